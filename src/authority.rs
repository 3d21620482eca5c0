//! A formation's own certificate authority on this machine: found, made, kept, and asked to sign.
//!
//! It is two files in one folder: `ca.crt`, certificates as PEM of which the first one signs, and `ca.key`, the key of that
//! one, which only their owner may read. Who has the folder can make certificates that every node trusts.

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
use crate::resource::certificate;
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
            let (certificate, key) = make(&formation.name, today);
            let key = SigningKey::Made { key };
            return Ok(Authority { dir: shown, certificates: vec![certificate], key });
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
    Ok(Authority { dir: shown, certificates, key })
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

/// A new certificate and its key.
fn make(name: &str, today: Date) -> (String, Secret) {
    let pair = KeyPair::generate().expect("the operating system gives random numbers");
    let mut params = CertificateParams::default();
    let name: String = format!("muster {name}").chars().take(LONGEST_NAME).collect();
    // A day back: a host's clock may be behind.
    let days = (today.saturating_sub(1.days()), today.saturating_add(VALID_YEARS.years()));
    certificate::is_for(&mut params, &name, days);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&pair).expect("the parameters are complete");
    (certificate.pem(), Secret::new(pair.serialize_pem()))
}

/// Another authority in the place of this one: the certificates before it, and `trusted`, are trusted beside it for now.
pub fn successor(authority: &Authority, formation: &Formation, trusted: &[String], today: Date) -> Authority {
    let (certificate, key) = make(&formation.name, today);
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
    Authority { dir: authority.dir.clone(), certificates, key: SigningKey::Made { key } }
}

/// Trusts nobody any more but the one that signs.
///
/// # Errors
/// A folder that cannot be written.
pub fn forget_others(authority: &Authority) -> Result<Authority, Problem> {
    let dir = Path::new(&authority.dir);
    let certificates: Vec<String> = authority.certificates.first().cloned().into_iter().collect();
    put_certificates(dir, &certificates)?;
    Ok(Authority { certificates, ..authority.clone() })
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
    Key(Box<Issuer<'static, KeyPair>>),
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
        Signer::with(certificate, pair).map_err(|error| {
            let path = dir.join(CERTIFICATES);
            Problem::new(format!("{}: it cannot sign: {error}", path.display()))
        })
    }

    /// A certificate as PEM, and its key.
    ///
    /// # Errors
    /// What cannot be read as such.
    pub fn with(certificate: &str, key: KeyPair) -> Result<Signer, rcgen::Error> {
        Ok(Signer::Key(Box::new(Issuer::from_ca_cert_pem(certificate, key)?)))
    }

    /// Signs what a host asks for, for the names that were planned: what the request itself says of names counts for nothing.
    ///
    /// `request`: a certificate signing request as PEM, or `none` where the host cannot make a key; then it is made here.
    ///
    /// # Errors
    /// In words, where the request is none, or is not signed by its own key.
    pub fn sign(&self, issue: &Issue, request: &str) -> Result<Issued, String> {
        let Signer::Key(issuer) = self else {
            return Err("the key of the formation's certificate authority is not on this machine".to_owned());
        };
        let days = (issue.not_before, issue.not_after);
        let mut params = certificate::of_server(&issue.names, issue.common_name(), days)
            .map_err(|error| format!("a certificate cannot hold its names: {error}"))?;
        params.use_authority_key_identifier_extension = true;
        let failed = |error: rcgen::Error| format!("the certificate cannot be signed: {error}");
        if request.trim() == "none" {
            let pair = KeyPair::generate().map_err(failed)?;
            let certificate = params.signed_by(&pair, issuer).map_err(failed)?.pem();
            return Ok(Issued { certificate, key: Some(Secret::new(pair.serialize_pem())) });
        }
        let asked = CertificateSigningRequestParams::from_pem(request)
            .map_err(|error| format!("what the host asks to be signed cannot be read: {error}"))?;
        let certificate = params.signed_by(&asked.public_key, issuer).map_err(failed)?.pem();
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
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command as Process, Stdio};

    const TODAY: Date = jiff::civil::date(2026, 11, 28);

    fn formation(dir: &Path) -> Formation {
        let text = format!(
            "all:\n  vars: {{pgdata: /pg, ssl: managed, ca_dir: {}}}\n  children:\n    monitor: {{hosts: {{m: }}}}\n    postgres: {{hosts: {{a: }}}}\n",
            dir.display()
        );
        crate::inventory::parse("t.yml", &text, Path::new("")).unwrap()
    }

    fn found(dir: &Path) -> Authority {
        find(&formation(dir), TODAY).unwrap().unwrap()
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn it_is_made_once_and_nobody_else_reads_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("keys/ca");
        let made = found(&dir);
        assert!(matches!(made.key, SigningKey::Made { .. }) && !dir.exists(), "a look writes nothing");
        assert!(!format!("{made:?}").contains("PRIVATE"), "{made:?}");
        Signer::of(&made).unwrap();
        Signer::of(&made).unwrap();
        assert_eq!((mode(&dir), mode(&dir.join(KEY)), mode(&dir.join(CERTIFICATES))), (0o700, 0o600, 0o644));
        let kept = found(&dir);
        assert_eq!((&kept.certificates, &kept.key), (&made.certificates, &SigningKey::Here));
        Signer::of(&kept).unwrap();
        let other = Authority { dir: dir.display().to_string(), ..found(&folder.path().join("third")) };
        let said = Signer::of(&other).err().unwrap().to_string();
        assert!(said.contains("made in the meantime"), "{said}");
        assert_eq!(found(&dir).certificates, made.certificates);
    }

    #[test]
    fn a_key_that_is_open_or_of_another_signs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        for dir in [&one, &two] {
            Signer::of(&found(dir)).unwrap();
        }
        fs::set_permissions(one.join(KEY), fs::Permissions::from_mode(0o640)).unwrap();
        let unusable = |dir: &Path| match found(dir).key {
            SigningKey::Unusable(why) => why,
            other => panic!("{other:?}"),
        };
        let said = unusable(&one);
        assert!(said.contains("others may read") && said.contains("chmod 600"), "{said}");
        fs::copy(two.join(KEY), one.join(KEY)).unwrap();
        fs::set_permissions(one.join(KEY), fs::Permissions::from_mode(0o600)).unwrap();
        let said = unusable(&one);
        assert!(said.contains("is not the key of"), "{said}");
        assert!(matches!(Signer::of(&found(&one)).unwrap(), Signer::Nobody));
        fs::remove_file(one.join(KEY)).unwrap();
        assert_eq!(found(&one).key, SigningKey::Missing);
        fs::remove_file(two.join(CERTIFICATES)).unwrap();
        assert!(unusable(&two).contains("no ca.crt"));
        fs::write(one.join(CERTIFICATES), "nothing").unwrap();
        assert!(unusable(&one).contains("holds no certificate") && found(&one).certificates.is_empty());
    }

    #[test]
    fn a_successor_stands_before_the_old_one_and_a_cut_loses_neither() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("ca");
        let old = found(&dir);
        Signer::of(&old).unwrap();
        let both = successor(&found(&dir), &formation(&dir), &old.certificates, TODAY);
        assert_eq!(both.certificates[1..], old.certificates, "each one once");
        Signer::of(&both).unwrap();
        // As it is where the run was cut off between the files.
        fs::rename(dir.join(KEY), dir.join(NEXT)).unwrap();
        fs::rename(dir.join(OLD), dir.join(KEY)).unwrap();
        let kept = found(&dir);
        assert_eq!((kept.certificates.len(), &kept.key), (2, &SigningKey::Here));
        Signer::of(&kept).unwrap();
        let alone = forget_others(&kept).unwrap();
        assert_eq!(alone.certificates, both.certificates[..1]);
        assert_eq!(found(&dir).certificates, alone.certificates);
    }

    fn run(command: &crate::command::Command, path: &str) -> (bool, String) {
        let mut shell = Process::new("/bin/sh")
            .args(["-c", &format!("set -eu\numask 077\n{}", command.script), "muster"])
            .args(&command.args)
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(command.stdin.as_bytes()).unwrap();
        let said = shell.wait_with_output().unwrap();
        let words =
            String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
        (said.status.success(), words)
    }

    /// The folders of programs, but without openssl.
    fn without_openssl(at: &Path) -> String {
        fs::create_dir(at).unwrap();
        for name in ["mkdir", "mktemp", "cat", "stat", "sed", "grep", "rm", "chmod", "sync", "mv"] {
            let found = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(name));
            let found = found.iter().find(|path| path.exists()).expect("coreutils are there");
            std::os::unix::fs::symlink(found, at.join(name)).unwrap();
        }
        at.display().to_string()
    }

    #[test]
    fn a_host_makes_its_key_and_takes_what_fits_it() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, node) = (folder.path().join("ca"), folder.path().join("pg.node"));
        let authority = found(&ours);
        let signer = Signer::of(&authority).unwrap();
        let issue = Issue {
            dir: node.display().to_string(),
            owner: "postgres".to_owned(),
            names: ["db1.example", "192.0.2.7", "fd00::1", "localhost"].map(str::to_owned).to_vec(),
            not_before: TODAY.yesterday().unwrap(),
            not_after: jiff::civil::date(2099, 1, 1),
        };
        let there = std::env::var("PATH").unwrap();
        let bare = without_openssl(&folder.path().join("bin"));
        let has_openssl = Process::new("openssl").arg("version").output().is_ok();
        fs::create_dir(&node).unwrap();
        fs::write(node.join("ca.crt"), authority.certificates.concat()).unwrap();
        for (path, makes) in [(&there, has_openssl), (&bare, false)] {
            let (ok, request) = run(&issue.request(), path);
            assert!(ok, "{request}");
            assert_eq!(request.trim() != "none", makes, "{request}");
            assert!(!request.contains("PRIVATE"), "no key leaves the host");
            let issued = signer.sign(&issue, &request).unwrap();
            assert_eq!(issued.key.is_none(), makes);
            let (ok, said) = run(&issue.place(&issued), path);
            assert!(ok, "{said}");
            let placed = fs::read_to_string(node.join("server.crt")).unwrap();
            let read = certificate::authority(&authority.certificates[0]).unwrap();
            let certificate = certificate::read(&placed).unwrap();
            assert_eq!(certificate.names, issue.names);
            assert_eq!(certificate.signed_with, read.own_key);
            assert_eq!(placed, issued.certificate);
            assert_eq!((mode(&node.join("server.key")), mode(&node.join("server.crt"))), (0o600, 0o644));
            let left: Vec<_> = fs::read_dir(&node).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left.len(), 3, "{left:?}");
        }
        if !has_openssl {
            return;
        }
        // What another authority has signed, or what is for another key, is placed nowhere.
        let before = fs::read_to_string(node.join("server.crt")).unwrap();
        let stranger = Signer::of(&found(&folder.path().join("stranger"))).unwrap();
        let (_, request) = run(&issue.request(), &there);
        let (ok, said) = run(&issue.place(&stranger.sign(&issue, &request).unwrap()), &there);
        assert!(!ok && said.contains("does not hold against"), "{said}");
        let signed = signer.sign(&issue, &request).unwrap();
        run(&issue.request(), &there);
        let (ok, said) = run(&issue.place(&signed), &there);
        assert!(!ok && said.contains("not for the key"), "{said}");
        assert_eq!(fs::read_to_string(node.join("server.crt")).unwrap(), before);
        assert!(signer.sign(&issue, "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n").is_err());
    }
}
