use super::*;
use crate::issue::Issue;
use crate::secrets::Keyring;
use std::io::Write as _;
use std::process::{Command as Process, Stdio};

const TODAY: Date = jiff::civil::date(2026, 11, 28);

pub(crate) fn formation(dir: &Path) -> Formation {
    let text = format!(
        "all:\n  vars: {{pgdata: /pg, ssl: managed, ca_dir: {}}}\n  children:\n    monitor: {{hosts: {{m: }}}}\n    postgres: {{hosts: {{a: }}}}\n",
        dir.display()
    );
    crate::inventory::parse("t.yml", &text, Path::new("")).unwrap()
}

pub(crate) fn found(dir: &Path) -> Authority {
    find(&formation(dir), TODAY).unwrap().unwrap()
}

pub(super) fn means_of<'a>(ca: &'a Ca, keyring: &'a Keyring) -> Means<'a> {
    Means { ca, keyring }
}

/// As a run does it.
pub(crate) fn ready(authority: &Authority) -> Result<Signer, Problem> {
    let signer = Signer::of(authority, means_of(&Ca::default(), &Keyring::empty()))?;
    signer.keep()?;
    Ok(signer)
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
    ready(&made).unwrap();
    ready(&made).unwrap();
    assert_eq!((mode(&dir), mode(&dir.join(KEY)), mode(&dir.join(CERTIFICATES))), (0o700, 0o600, 0o644));
    let kept = found(&dir);
    assert_eq!((&kept.certificates, &kept.key), (&made.certificates, &SigningKey::Here));
    ready(&kept).unwrap();
    let other = Authority { dir: dir.display().to_string(), ..found(&folder.path().join("third")) };
    let said = ready(&other).err().unwrap().to_string();
    assert!(said.contains("made in the meantime"), "{said}");
    assert_eq!(found(&dir).certificates, made.certificates);
}

#[test]
fn a_key_that_is_open_or_of_another_signs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
    for dir in [&one, &two] {
        ready(&found(dir)).unwrap();
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
    assert!(matches!(ready(&found(&one)).unwrap(), Signer::Nobody));
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
    ready(&old).unwrap();
    let both = successor(&found(&dir), &formation(&dir), (&old.certificates, &[]), TODAY);
    assert_eq!(both.certificates[1..], old.certificates, "each one once");
    ready(&both).unwrap();
    // As it is where the run was cut off between the files.
    fs::rename(dir.join(KEY), dir.join(NEXT)).unwrap();
    fs::rename(dir.join(OLD), dir.join(KEY)).unwrap();
    let kept = found(&dir);
    assert_eq!((kept.certificates.len(), &kept.key), (2, &SigningKey::Here));
    ready(&kept).unwrap();
    let alone = forget_others(&kept).unwrap();
    assert_eq!(alone.certificates, both.certificates[..1]);
    assert_eq!(found(&dir).certificates, alone.certificates);
}

pub(super) fn run(command: &crate::command::Command, path: &str) -> (bool, String) {
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
    let words = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    (said.status.success(), words)
}

/// The folders of programs, but without openssl.
pub(super) fn without_openssl(at: &Path) -> String {
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
    let signer = ready(&authority).unwrap();
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
    let stranger = ready(&found(&folder.path().join("stranger"))).unwrap();
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
