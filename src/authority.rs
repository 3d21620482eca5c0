//! A formation's own certificate authority on this machine: found, made, kept, and asked to sign.
//!
//! It is two files in one folder: `ca.crt`, certificates as PEM of which the first one signs, and `ca.key`, the key of that
//! one, which only their owner may read. Who has the folder can make certificates that every node trusts. Beside them are `ca.crl` and `issued`:
//! see [`revocation`].

pub mod revocation;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::ToSpan as _;
use jiff::civil::Date;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};

use crate::error::Problem;
use crate::formation::{Authority, Formation, Secret, SigningKey, Tls};
use crate::issue::{Issue, Issued, LONGEST_NAME};
use crate::private;
use crate::resource::certificate::{self, Revoked};
use crate::secrets::folder;

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
    })))
}

fn in_folder(dir: &Path, formation: &Formation, today: Date) -> Result<Authority, Problem> {
    let shown = dir.display().to_string();
    let path = dir.join(CERTIFICATES);
    let has_key = dir.join(KEY).exists() || dir.join(NEXT).exists();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if has_key {
                let problem = Problem::new(format!("{shown} has {KEY} and no {CERTIFICATES}"));
                return Err(problem.hint("put the certificate of that key there"));
            }
            let New { certificate, key, list } = make(&formation.name, today);
            let key = SigningKey::Made { key };
            return Ok(Authority { dir: shown, certificates: vec![certificate], revoked: vec![list], key });
        }
        Err(error) => return Err(unreadable(&path, &error)),
    };
    let certificates = certificate::blocks(&text);
    let first = certificates.first().ok_or_else(|| {
        Problem::new(format!("{} holds no certificate", path.display()))
            .hint("it is to hold the certificate of the formation's authority as PEM")
    })?;
    check(&path, first, today)?;
    let key = match has_key.then(|| signing_key(dir, first)) {
        Some(Ok(_)) => SigningKey::Here,
        Some(Err(why)) => SigningKey::Unusable(why.to_string().replace('\n', "; ")),
        None => SigningKey::Missing,
    };
    let revoked = revocation::read(dir, &certificates)?;
    Ok(Authority { dir: shown, certificates, revoked, key })
}

/// `ca_dir`, or the formation's own folder below the user's data.
fn folder(formation: &Formation) -> Result<PathBuf, Problem> {
    match &formation.ca_dir {
        Some(dir) => Ok(PathBuf::from(dir)),
        None => folder::of_formation(formation, &folder::Env::of_this_process()),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(format!("cannot read {}: {error}", path.display()))
        .hint("`ca_dir` in the inventory says where the formation's certificate authority is")
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
        SigningKey::Here | SigningKey::Missing | SigningKey::Unusable(_) => authority.certificates.as_slice(),
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
    Authority { dir: authority.dir.clone(), certificates, revoked, key: SigningKey::Made { key } }
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
fn keep(authority: &Authority, key: &Secret) -> Result<(), Problem> {
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
    private::write(&next, key.reveal().as_bytes()).map_err(|error| unwritable(&next, &error))?;
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

/// What signs on this machine in a run.
pub enum Signer {
    /// Nothing that is planned needs a signature.
    Nobody,
    /// `dir`: the folder in which is written down what it has signed; nowhere where that is of no use.
    Key { issuer: Box<Issuer<'static, KeyPair>>, dir: Option<PathBuf> },
}

impl Signer {
    /// The authority's key; one that was made for this run is kept first.
    ///
    /// # Errors
    /// A key that cannot be read, that others may read, or that is another certificate's.
    pub fn of(authority: &Authority) -> Result<Signer, Problem> {
        let dir = Path::new(&authority.dir);
        let certificate = authority.certificates.first().map_or("", String::as_str);
        match &authority.key {
            SigningKey::Made { key } => keep(authority, key)?,
            SigningKey::Here => {}
            SigningKey::Missing | SigningKey::Unusable(_) => return Ok(Signer::Nobody),
        }
        let pair = signing_key(dir, certificate)?;
        let issuer = Issuer::from_ca_cert_pem(certificate, pair).map_err(|error| {
            let path = dir.join(CERTIFICATES);
            Problem::new(format!("{}: it cannot sign: {error}", path.display()))
        })?;
        Ok(Signer::Key { issuer: Box::new(issuer), dir: Some(dir.to_owned()) })
    }

    /// A certificate as PEM, and its key.
    ///
    /// # Errors
    /// What cannot be read as such.
    pub fn with(certificate: &str, key: KeyPair) -> Result<Signer, rcgen::Error> {
        Ok(Signer::Key { issuer: Box::new(Issuer::from_ca_cert_pem(certificate, key)?), dir: None })
    }

    /// Signs what a host asks for, for the names that were planned: what the request itself says of names counts for nothing.
    ///
    /// `request`: a certificate signing request as PEM, or `none` where the host cannot make a key; then it is made here.
    ///
    /// # Errors
    /// In words, where the request is none, or is not signed by its own key.
    pub fn sign(&self, issue: &Issue, request: &str) -> Result<Issued, String> {
        let Signer::Key { issuer, dir } = self else {
            return Err("the key of the formation's certificate authority is not on this machine".to_owned());
        };
        let days = (issue.not_before, issue.not_after);
        let mut params = certificate::of_server(&issue.names, issue.common_name(), days)
            .map_err(|error| format!("a certificate cannot hold its names: {error}"))?;
        params.use_authority_key_identifier_extension = true;
        let failed = |error: rcgen::Error| format!("the certificate cannot be signed: {error}");
        // What was signed can be revoked, also where its host is lost.
        let written_down = |pem: &str| match dir {
            Some(dir) => certificate::read(pem).and_then(|signed| {
                let cannot =
                    |error| format!("what is signed cannot be written down in {}: {error}", dir.display());
                revocation::record(dir, &signed).map_err(cannot)
            }),
            None => Ok(()),
        };
        if request.trim() == "none" {
            let pair = KeyPair::generate().map_err(failed)?;
            let certificate = params.signed_by(&pair, issuer).map_err(failed)?.pem();
            written_down(&certificate)?;
            return Ok(Issued { certificate, key: Some(Secret::new(pair.serialize_pem())) });
        }
        let asked = CertificateSigningRequestParams::from_pem(request)
            .map_err(|error| format!("what the host asks to be signed cannot be read: {error}"))?;
        let certificate = params.signed_by(&asked.public_key, issuer).map_err(failed)?.pem();
        written_down(&certificate)?;
        Ok(Issued { certificate, key: None })
    }
}

/// The key of a certificate.
///
/// # Errors
/// One that others may read, that cannot be read, or that is another certificate's.
fn signing_key(dir: &Path, certificate: &str) -> Result<KeyPair, Problem> {
    let of_certificate = certificate::public_key(certificate);
    // A run that was cut off may have left the right one under its other name.
    for path in [KEY, NEXT].map(|name| dir.join(name)).into_iter().filter(|path| path.exists()) {
        let key = read_key(&path)?;
        let found = KeyPair::from_pem(key.reveal()).map_err(|_| {
            Problem::new(format!("{}: it is no private key that muster can sign with", path.display()))
                .hint("it is to be PKCS #8 as PEM, of an EC (P-256, P-384) or RSA key, without a passphrase")
        })?;
        if of_certificate.as_deref() == Some(found.der_bytes()) {
            return Ok(found);
        }
    }
    let (key, certificates) = (dir.join(KEY), dir.join(CERTIFICATES));
    let problem = Problem::new(format!("{} is not the key of {}", key.display(), certificates.display()));
    Err(problem.hint("put the key of the first certificate there"))
}

fn read_key(path: &Path) -> Result<Secret, Problem> {
    let metadata = path.metadata().map_err(|error| unreadable(path, &error))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        let problem =
            Problem::new(format!("others may read {}, the key that every node trusts", path.display()));
        return Err(problem.hint(format!("`chmod 600 {}`, and think about who may have it", path.display())));
    }
    fs::read_to_string(path).map(Secret::new).map_err(|error| unreadable(path, &error))
}

#[cfg(test)]
pub(crate) mod tests;
