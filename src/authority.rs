//! A formation's own certificate authority on this machine: found, made, kept, and asked to sign.
//!
//! It is two files in one folder: `ca.crt`, certificates as PEM of which the first one signs, and `ca.key`, the key of that
//! one, which only their owner may read, encrypted if the inventory asks for it. Who has the folder, and what opens the key,
//! can make certificates that every node trusts. Beside them are `ca.crl` and `issued`: see [`revocation`].

mod command;
mod key;
pub mod revocation;
mod signer;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::ToSpan as _;
use jiff::civil::Date;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData};
use zeroize::Zeroizing;

use crate::bounded;
use crate::error::Problem;
use crate::formation::{Authority, Ca, Formation, Secret, SigningKey, Tls};
use crate::issue::LONGEST_NAME;
use crate::private;
use crate::resource::certificate::{self, Certificate, Revoked};
use crate::secrets::folder;

pub use key::Means;
pub use signer::Signer;

use key::Form;
use signer::Anew;

/// Years that a new authority is valid: longer than the hosts it is for.
const VALID_YEARS: i64 = 10;

const CERTIFICATES: &str = "ca.crt";
const KEY: &str = "ca.key";
/// The key of a certificate that is to become the first one: it is there before that is.
const NEXT: &str = "ca.key.next";
/// The key of the one before.
const OLD: &str = "ca.key.old";

/// The authority of a formation that has servers with `ssl: managed`; `None` where none has. A new one is made in memory
/// where its folder has none, and nothing is written. What cannot be used is told by [`SigningKey::Unusable`]: looking at a
/// formation needs no authority.
///
/// # Errors
/// Nothing says where this user keeps data.
pub fn find(formation: &Formation, today: Date) -> Result<Option<Authority>, Problem> {
    if !formation.servers().any(|server| matches!(server.tls, Tls::Managed { .. })) {
        return Ok(None);
    }
    let dir = folder(formation)?;
    Ok(Some(in_folder(&dir, formation, today).unwrap_or_else(|why| Authority {
        dir: dir.display().to_string(),
        certificates: Vec::new(),
        revoked: Vec::new(),
        key: SigningKey::Unusable(why.to_string().replace('\n', "; ")),
        note: None,
    })))
}

fn in_folder(dir: &Path, formation: &Formation, today: Date) -> Result<Authority, Problem> {
    let shown = dir.display().to_string();
    let path = dir.join(CERTIFICATES);
    let is_elsewhere = formation.ca.command.is_some();
    let has_key = dir.join(KEY).exists() || dir.join(NEXT).exists();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if is_elsewhere {
                let problem = Problem::new(format!("{shown} has no {CERTIFICATES}"));
                return Err(
                    problem.hint("put the root certificate of the authority that `ca_command` asks there")
                );
            }
            if has_key {
                let problem = Problem::new(format!("{shown} has {KEY} and no {CERTIFICATES}"));
                return Err(problem.hint("put the certificate of that key there"));
            }
            let New { certificate, key, list } = make(&formation.name, today);
            let key = SigningKey::Made { key };
            let (certificates, revoked) = (vec![certificate], vec![list]);
            return Ok(Authority { dir: shown, certificates, revoked, key, note: None });
        }
        Err(error) => return Err(unreadable(&path, &error)),
    };
    let certificates = certificate::blocks(&text);
    let first = certificates.first().ok_or_else(|| {
        Problem::new(format!("{} holds no certificate", path.display()))
            .hint("it is to hold the certificate of the formation's authority as PEM")
    })?;
    check(&path, first, today)?;
    if is_elsewhere {
        check_root(&path, &certificates)?;
        // Whoever signs has the list, which may be of several authorities.
        let revoked = Vec::new();
        return Ok(Authority { dir: shown, certificates, revoked, key: SigningKey::Elsewhere, note: None });
    }
    let (key, note) = match has_key.then(|| look(dir, first)) {
        Some(Ok(form)) => (SigningKey::Here, otherwise(dir, form, &formation.ca)),
        Some(Err(why)) => (SigningKey::Unusable(why.to_string().replace('\n', "; ")), None),
        None => (SigningKey::Missing, None),
    };
    let revoked = revocation::read(dir, &certificates)?;
    Ok(Authority { dir: shown, certificates, revoked, key, note })
}

/// What is to be said of a key that is kept otherwise than the inventory asks.
fn otherwise(dir: &Path, form: Form, ca: &Ca) -> Option<String> {
    let wanted = Form::wanted(ca.protection.as_ref()?);
    (form != wanted).then(|| {
        format!(
            "{} is {form}, and the inventory asks for it {wanted}: the next run that signs a certificate writes it so, e.g. `muster cert renew`",
            dir.join(KEY).display()
        )
    })
}

/// `ca_dir`, or the formation's own folder below the user's data.
fn folder(formation: &Formation) -> Result<PathBuf, Problem> {
    match &formation.ca.dir {
        Some(dir) => Ok(PathBuf::from(dir)),
        None => folder::of_formation(formation, &folder::Env::of_this_process()),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(format!("cannot read {}: {error}", path.display()))
        .hint("`ca_dir` in the inventory says where the formation's certificate authority is")
}

/// Clients of PostgreSQL take no chain that does not end in a root.
fn check_root(path: &Path, certificates: &[String]) -> Result<(), Problem> {
    let read: Vec<Certificate> =
        certificates.iter().filter_map(|pem| certificate::authority(pem).ok()).collect();
    let is_root = |first: &Certificate| {
        first.is_self_signed() || read.iter().skip(1).any(|other| other.own_key == first.signed_with)
    };
    match read.first() {
        Some(first) if !is_root(first) => {
            let problem = format!(
                "{}: {} is signed by {}, which is not there",
                path.display(),
                first.subject,
                first.issuer
            );
            Err(Problem::new(problem).hint(
                "put the root certificate there: what is between it and a server comes from `ca_command`",
            ))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a certificate can be an authority's.
fn check(path: &Path, pem: &str, today: Date) -> Result<(), Problem> {
    let wrong = |why: String| Problem::new(format!("{}: {why}", path.display()));
    let found = certificate::authority(pem).map_err(wrong)?;
    if found.not_after < today {
        let why = format!("the certificate authority ended on {}", found.not_after);
        return Err(wrong(why).hint(
            "move its folder away: muster makes another one, and the next apply takes it to every node",
        ));
    }
    Ok(())
}

/// An authority that nobody knows yet.
struct New {
    certificate: String,
    key: Secret,
    /// Its list of revoked certificates: none is.
    list: String,
}

fn make(name: &str, today: Date) -> New {
    let pair = KeyPair::generate().expect("the operating system gives random numbers");
    let mut params = CertificateParams::default();
    let name: String = format!("muster {name}").chars().take(LONGEST_NAME).collect();
    // A day back: a host's clock may be behind.
    let days = (today.saturating_sub(1.days()), today.saturating_add(VALID_YEARS.years()));
    certificate::is_for(&mut params, &name, days);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&pair).expect("the parameters are complete");
    let (certificate, key) = (certificate.pem(), Secret::new(pair.serialize_pem()));
    let none = Revoked { signed_with: None, number: 1, serials: BTreeMap::new() };
    let list = revocation::list(&certificate, pair, &none, today).expect("it may sign lists");
    New { certificate, key, list }
}

/// Another authority in the place of this one: the certificates before it, and those that hosts trust, are trusted beside it for now.
///
/// `trusted`: what was found on hosts, certificates and lists of revoked ones.
pub fn successor(
    authority: &Authority,
    formation: &Formation,
    (trusted, listed): (&[String], &[String]),
    today: Date,
) -> Authority {
    let New { certificate, key, list } = make(&formation.name, today);
    let before = match &authority.key {
        SigningKey::Here | SigningKey::Elsewhere | SigningKey::Missing | SigningKey::Unusable(_) => {
            authority.certificates.as_slice()
        }
        // Nobody has ever trusted it.
        SigningKey::Made { .. } => &[],
    };
    let mut certificates = vec![certificate];
    for pem in before.iter().chain(trusted) {
        if !certificates.contains(pem) {
            certificates.push(pem.clone());
        }
    }
    let lists: Vec<String> = [&list].into_iter().chain(&authority.revoked).chain(listed).cloned().collect();
    let revoked = revocation::of(&certificates, &lists);
    Authority { dir: authority.dir.clone(), certificates, revoked, key: SigningKey::Made { key }, note: None }
}

/// Trusts nobody any more but the one that signs.
///
/// # Errors
/// A folder that cannot be written.
pub fn forget_others(authority: &Authority) -> Result<Authority, Problem> {
    let dir = Path::new(&authority.dir);
    let certificates: Vec<String> = authority.certificates.first().cloned().into_iter().collect();
    put_certificates(dir, &certificates)?;
    let revoked = revocation::of(&certificates, &authority.revoked);
    if !revoked.is_empty() {
        revocation::put(dir, &revoked)?;
    }
    Ok(Authority { certificates, revoked, ..authority.clone() })
}

/// Once no host trusts the one before: its key is worth nothing any more.
///
/// # Errors
/// A file that cannot be removed.
pub fn end_rotation(authority: &Authority) -> Result<(), Problem> {
    let path = Path::new(&authority.dir).join(OLD);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unwritable(&path, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Keeps a new authority in its folder, before anything that it signed is on a host.
///
/// # Errors
/// A folder that cannot be written, or another run that made one there in the meantime.
fn keep(authority: &Authority, key: &str) -> Result<(), Problem> {
    let dir = Path::new(&authority.dir);
    private::make_folder(dir).map_err(|error| unwritable(dir, &error))?;
    let path = dir.join(CERTIFICATES);
    let found = fs::read_to_string(&path).map(|text| certificate::blocks(&text)).unwrap_or_default();
    // A run of several plans comes here for each of them.
    if found == authority.certificates {
        return Ok(());
    }
    // What is there is never lost: it may be what every node trusts.
    if !found.iter().all(|pem| authority.certificates.contains(pem)) {
        let problem = Problem::new(format!("{} was made in the meantime, by another run", path.display()));
        return Err(problem.hint("run the same command again: it takes that one"));
    }
    let next = dir.join(NEXT);
    private::write(&next, key.as_bytes()).map_err(|error| unwritable(&next, &error))?;
    // A list without its certificate is nobody's.
    if !authority.revoked.is_empty() {
        revocation::put(dir, &authority.revoked)?;
    }
    put_certificates(dir, &authority.certificates)?;
    // From here on the key is found under either name.
    let rename = |from: &str, to: &str| match fs::rename(dir.join(from), dir.join(to)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unwritable(&dir.join(to), &error)),
        Ok(()) | Err(_) => Ok(()),
    };
    rename(KEY, OLD)?;
    rename(NEXT, KEY)
}

/// Clients read the certificates, whoever they are; the folder is the operator's alone.
fn put_certificates(dir: &Path, certificates: &[String]) -> Result<(), Problem> {
    let path = dir.join(CERTIFICATES);
    private::write_for_all(&path, certificates.concat().as_bytes()).map_err(|error| unwritable(&path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(format!("cannot write {}: {error}", path.display()))
        .hint("`ca_dir` in the inventory says where the formation's certificate authority is to be")
}

/// The files of the key: a run that was cut off may have left the right one under its other name.
fn files_of_key(dir: &Path) -> impl Iterator<Item = PathBuf> {
    [KEY, NEXT].map(|name| dir.join(name)).into_iter().filter(|path| path.exists())
}

/// How the key of a certificate is kept. Whether one that is encrypted is the certificate's own shows once it is opened.
///
/// # Errors
/// One that others may read, that cannot be read, or that is another certificate's.
fn look(dir: &Path, certificate: &str) -> Result<Form, Problem> {
    for path in files_of_key(dir) {
        let bytes = read_key(&path)?;
        let form = Form::of(&bytes);
        let is_it = || {
            let key = std::str::from_utf8(&bytes).map(Secret::new).unwrap_or_else(|_| Secret::new(""));
            parsed(&path, &key).map(|pair| is_of(&pair, certificate))
        };
        if form != Form::Clear || is_it()? {
            return Ok(form);
        }
    }
    Err(not_the_key(dir))
}

/// The key of a certificate, and the file that it was found in.
struct Opened {
    path: PathBuf,
    found: Zeroizing<Vec<u8>>,
    pem: Secret,
    pair: KeyPair,
}

/// # Errors
/// As [`look`], and a key that nobody here can open.
fn open(dir: &Path, certificate: &str, means: Means) -> Result<Opened, Problem> {
    let mut closed = None;
    for path in files_of_key(dir) {
        let found = read_key(&path)?;
        match means.open(&path, &found) {
            Ok(pem) => {
                let pair = parsed(&path, &pem)?;
                if is_of(&pair, certificate) {
                    return Ok(Opened { path, found, pem, pair });
                }
            }
            Err(why) => closed = closed.or(Some(why)),
        }
    }
    Err(closed.unwrap_or_else(|| not_the_key(dir)))
}

/// What is to be written as the inventory asks: the key that signs, and any other that lies there in clear.
fn anew(dir: &Path, opened: Option<&Opened>, means: Means) -> Result<Vec<Anew>, Problem> {
    let Some(wanted) = means.ca.protection.as_ref().map(Form::wanted) else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    // One is the other's successor: a passphrase is asked for once.
    let sealed = |pem: &Secret| means.seal(&dir.join(KEY), pem);
    if let Some(Opened { path, found, pem, .. }) = opened
        && Form::of(found) != wanted
    {
        files.push(Anew { path: path.clone(), found: found.clone(), file: sealed(pem)? });
    }
    let is_another = |path: &PathBuf| opened.is_none_or(|opened| opened.path != *path) && path.exists();
    for path in [KEY, NEXT, OLD].map(|name| dir.join(name)).into_iter().filter(is_another) {
        // One that nobody uses any more is in nobody's way.
        let Ok(found) = read_key(&path) else { continue };
        if wanted != Form::Clear && Form::of(&found) == Form::Clear {
            let pem = means.open(&path, &found)?;
            if parsed(&path, &pem).is_ok() {
                files.push(Anew { path, found, file: sealed(&pem)? });
            }
        }
    }
    Ok(files)
}

fn is_of(pair: &KeyPair, certificate: &str) -> bool {
    certificate::public_key(certificate).as_deref() == Some(pair.der_bytes())
}

fn parsed(path: &Path, key: &Secret) -> Result<KeyPair, Problem> {
    KeyPair::from_pem(key.reveal()).map_err(|_| {
        let problem = format!("{}: it is no private key that muster can sign with", path.display());
        Problem::new(problem).hint(
            "it is to be PKCS #8 as PEM, of an EC (P-256, P-384) or RSA key; `openssl pkcs8 -topk8` writes that",
        )
    })
}

fn not_the_key(dir: &Path) -> Problem {
    let (key, certificates) = (dir.join(KEY), dir.join(CERTIFICATES));
    let problem = Problem::new(format!("{} is not the key of {}", key.display(), certificates.display()));
    problem.hint("put the key of the first certificate there")
}

fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, Problem> {
    /// A key of RSA with 16384 bits, as digits of digits.
    const MOST_BYTES: u64 = 1 << 20;
    let metadata = path.metadata().map_err(|error| unreadable(path, &error))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        let problem =
            Problem::new(format!("others may read {}, the key that every node trusts", path.display()));
        return Err(problem.hint(format!("`chmod 600 {}`, and think about who may have it", path.display())));
    }
    bounded::read(path, MOST_BYTES).map(Zeroizing::new).map_err(|error| unreadable(path, &error))
}

#[cfg(test)]
pub(crate) mod tests;
