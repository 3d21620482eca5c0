use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::super::{Authority, KEY, NEXT, OLD, Signer, find, successor};
use super::*;
use crate::console::Asker;
use crate::formation::{Formation, Held, Reference, SigningKey, Sought};
use crate::secrets::Named;

const TODAY: jiff::civil::Date = jiff::civil::date(2026, 11, 28);

/// A folder for an authority, and what opens its key.
struct Scene {
    folder: tempfile::TempDir,
    recipient: String,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let identity = age::x25519::Identity::generate();
        let secret = age::secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
        fs::write(folder.path().join("identity"), secret).unwrap();
        fs::write(folder.path().join("vault"), "the vault's").unwrap();
        Scene { recipient: identity.to_public().to_string(), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn formation(&self) -> Formation {
        let text = format!(
            "all:\n  vars: {{pgdata: /pg, ssl: managed, ca_dir: {}}}\n  children:\n    monitor: {{hosts: {{m: }}}}\n    postgres: {{hosts: {{a: }}}}\n",
            self.path("ca").display()
        );
        crate::inventory::parse("t.yml", &text, Path::new("")).unwrap()
    }

    fn found(&self, ca: &Ca) -> Authority {
        let ca = Ca { dir: Some(self.path("ca").display().to_string()), ..ca.clone() };
        find(&Formation { ca, ..self.formation() }, TODAY).unwrap().unwrap()
    }

    fn keyring(&self, asker: Asker) -> Keyring {
        let path = |name: &str| self.path(name).display().to_string();
        let named = Named {
            vault_password_files: vec![path("vault")],
            age_identities: vec![path("identity")],
            ..Named::default()
        };
        Keyring::new(&named, asker)
    }

    fn ca(&self, protection: Protection) -> Ca {
        Ca { protection: Some(protection), passphrase: Some(given("open sesame")), ..Ca::default() }
    }

    fn every(&self) -> [Ca; 4] {
        let recipients = vec![self.recipient.clone()];
        [Protection::Clear, Protection::Passphrase, Protection::Vault, Protection::Age { recipients }]
            .map(|protection| self.ca(protection))
    }

    /// As a run that signs does it.
    fn signs(&self, ca: &Ca, keyring: &Keyring) -> Result<(), Problem> {
        let signer = Signer::of(&self.found(ca), Means { ca, keyring })?;
        assert!(matches!(signer, Signer::Key(_)));
        signer.keep()
    }

    fn form(&self, name: &str) -> Form {
        let path = self.path("ca").join(name);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        Form::of(&fs::read(path).unwrap())
    }

    /// A program that answers, and counts how often it is asked.
    fn asker(&self, answers: &[&str]) -> Asker {
        fs::write(
            self.path("answers"),
            answers.iter().map(|answer| format!("{answer}\n")).collect::<String>(),
        )
        .unwrap();
        let program = self.path("asks");
        let script = format!(
            "#!/bin/sh\ncd {}\necho \"$1\" >>asked\nsed -n \"$(wc -l <asked)p\" answers\n",
            self.folder.path().display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(self.path("asked"), "").unwrap();
        Asker::program(program)
    }

    fn asked(&self) -> Vec<String> {
        fs::read_to_string(self.path("asked")).unwrap().lines().map(str::to_owned).collect()
    }
}

fn given(passphrase: &str) -> Sought {
    let held = Held::Reference(Reference::Text(Secret::new(passphrase)));
    Sought { held, base: String::new() }
}

#[test]
fn a_key_is_kept_as_asked_and_read_as_it_is_found() {
    let scene = Scene::new();
    let keyring = scene.keyring(Asker::nobody());
    let every = scene.every();
    let mut before = None;
    for wanted in [1, 2, 3, 1, 0, 3, 2, 0] {
        let ca = &every[wanted];
        // The first one is made, and needs no word.
        assert_eq!(scene.found(ca).note.is_some(), before.is_some(), "{before:?}");
        scene.signs(ca, &keyring).unwrap();
        let form = Form::wanted(ca.protection.as_ref().unwrap());
        assert_eq!(scene.form(KEY), form, "it was {before:?}");
        assert_eq!(scene.found(ca).note, None);
        let kept = fs::read(scene.path("ca").join(KEY)).unwrap();
        let shows = kept.windows(26).any(|words| words == b"-----BEGIN PRIVATE KEY----");
        assert_eq!(shows, form == Form::Clear, "{form}");
        // Where the inventory says nothing it is read all the same, and stays.
        let silent = Ca { passphrase: ca.passphrase.clone(), ..Ca::default() };
        assert_eq!(scene.found(&silent).key, SigningKey::Here);
        scene.signs(&silent, &keyring).unwrap();
        assert_eq!(fs::read(scene.path("ca").join(KEY)).unwrap(), kept);
        assert_eq!(
            fs::read_dir(scene.path("ca")).unwrap().count(),
            3,
            "nothing but ca.crt, ca.key and ca.crl"
        );
        before = Some(form);
    }
}

#[test]
fn no_key_lies_in_clear_beside_one_that_does_not() {
    let scene = Scene::new();
    let keyring = scene.keyring(Asker::nobody());
    let [clear, passphrase, vault, _] = scene.every();
    scene.signs(&clear, &keyring).unwrap();
    let next = successor(&scene.found(&clear), &scene.formation(), (&[], &[]), TODAY);
    let signer = Signer::of(&next, Means { ca: &passphrase, keyring: &keyring }).unwrap();
    assert_eq!(scene.form(KEY), Form::Clear, "nothing is written before a run begins");
    signer.keep().unwrap();
    signer.keep().unwrap();
    assert_eq!((scene.form(KEY), scene.form(OLD)), (Form::Passphrase, Form::Passphrase));
    // As it is where the run was cut off between the files.
    let at = |name: &str| scene.path("ca").join(name);
    fs::rename(at(KEY), at(NEXT)).unwrap();
    fs::rename(at(OLD), at(KEY)).unwrap();
    let authority = scene.found(&vault);
    assert_eq!((authority.certificates.len(), &authority.key), (2, &SigningKey::Here));
    scene.signs(&vault, &keyring).unwrap();
    assert_eq!(scene.form(NEXT), Form::Vault);
    // Another run was faster.
    let signer = Signer::of(&scene.found(&clear), Means { ca: &clear, keyring: &keyring }).unwrap();
    scene.signs(&passphrase, &keyring).unwrap();
    signer.keep().unwrap();
    assert_eq!(scene.form(NEXT), Form::Passphrase);
}

#[test]
fn a_passphrase_is_asked_for_once_a_run_and_never_by_a_look() {
    let scene = Scene::new();
    let ca = Ca { protection: Some(Protection::Passphrase), ..Ca::default() };
    let shown = scene.path("ca").join(KEY).display().to_string();
    let keyring = scene.keyring(scene.asker(&["one", "other"]));
    let said = scene.signs(&ca, &keyring).unwrap_err().to_string();
    assert!(said.contains("differ") && !scene.path("ca").exists(), "{said}");

    let keyring = scene.keyring(scene.asker(&["open sesame", "open sesame"]));
    scene.signs(&ca, &keyring).unwrap();
    scene.signs(&ca, &keyring).unwrap();
    assert_eq!(scene.asked(), [format!("New passphrase for {shown}: "), "The same again: ".to_owned()]);

    let keyring = scene.keyring(scene.asker(&["opensesame", "open sesame"]));
    assert_eq!(scene.found(&ca).key, SigningKey::Here);
    assert!(scene.asked().is_empty());
    scene.signs(&ca, &keyring).unwrap();
    scene.signs(&ca, &keyring).unwrap();
    assert_eq!(scene.asked().len(), 2, "a slip, and the right one");

    let before = fs::read(scene.path("ca").join(KEY)).unwrap();
    let keyring = scene.keyring(scene.asker(&["a", "b", "c", "open sesame"]));
    let said = scene.signs(&ca, &keyring).unwrap_err().to_string();
    assert!(said.contains(&shown) && said.contains("wrong, 3 times") && said.contains("hint:"), "{said}");
    let wrong = Ca { passphrase: Some(given("sesame")), ..ca.clone() };
    let said = scene.signs(&wrong, &keyring).unwrap_err().to_string();
    assert!(
        said.contains("`ca_key_passphrase` of the inventory does not open") && said.contains(&shown),
        "{said}"
    );
    let said = scene.signs(&ca, &scene.keyring(Asker::nobody())).unwrap_err().to_string();
    assert!(said.contains("nobody can be asked") && said.contains("ca_key_passphrase"), "{said}");
    assert!(!said.contains("sesame"));
    assert_eq!(fs::read(scene.path("ca").join(KEY)).unwrap(), before);
}

#[test]
fn what_nobody_here_could_open_is_not_written() {
    let scene = Scene::new();
    let keyring = scene.keyring(Asker::nobody());
    let stranger = age::x25519::Identity::generate().to_public().to_string();
    let others = scene.ca(Protection::Age { recipients: vec![stranger] });
    let said = scene.signs(&others, &keyring).unwrap_err().to_string();
    assert!(said.contains("nobody here could open it") && said.contains("ca_key_recipients"), "{said}");
    assert!(!scene.path("ca").exists());
    let vault = scene.ca(Protection::Vault);
    let said = scene.signs(&vault, &Keyring::empty()).unwrap_err().to_string();
    assert!(said.contains("no vault password is given") && said.contains("--vault-password-file"), "{said}");
    scene.signs(&vault, &keyring).unwrap();
    let said = scene.signs(&vault, &Keyring::empty()).unwrap_err().to_string();
    assert!(said.contains(KEY) && said.contains("no vault password is given"), "{said}");
    let path = scene.path("ca").join(KEY);
    let age = scene.ca(Protection::Age { recipients: vec![scene.recipient.clone()] });
    scene.signs(&age, &keyring).unwrap();
    assert!(scene.signs(&age, &Keyring::empty()).is_err());
    // Half of a file.
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(scene.signs(&age, &keyring).is_err());
}

/// Where it is installed.
#[test]
fn openssl_opens_it_and_what_openssl_wrote_is_opened() {
    if Command::new("openssl").arg("version").output().is_err() {
        return;
    }
    let scene = Scene::new();
    let keyring = scene.keyring(Asker::nobody());
    let ca = scene.ca(Protection::Passphrase);
    let silent = Ca { protection: None, ..ca.clone() };
    scene.signs(&ca, &keyring).unwrap();
    let key = scene.path("ca").join(KEY);
    let openssl = |line: &str| {
        let run = Command::new("sh").args(["-ceu", line, "sh"]).arg(&key).env("PW", "open sesame").output();
        let run = run.unwrap();
        assert!(run.status.success(), "{line}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    };
    let public = openssl("openssl pkey -in \"$1\" -passin env:PW -pubout");
    for how in
        ["-v2 aes-256-cbc", "-v2 aes-128-cbc -iter 1000", "-scrypt", "-v2 aes-256-cbc -v2prf hmacWithSHA512"]
    {
        openssl(&format!(
            "openssl pkcs8 -topk8 {how} -in \"$1\" -passin env:PW -passout env:PW -out \"$1.new\"; mv \"$1.new\" \"$1\""
        ));
        scene.signs(&silent, &keyring).unwrap_or_else(|why| panic!("{how}: {why}"));
        assert_eq!(openssl("openssl pkey -in \"$1\" -passin env:PW -pubout"), public);
    }
    openssl(
        "openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -in \"$1\" -passin env:PW -passout env:PW -out \"$1.new\"; mv \"$1.new\" \"$1\"",
    );
    let said = scene.signs(&silent, &keyring).unwrap_err().to_string();
    assert!(said.contains("does not read") && said.contains("openssl pkcs8 -topk8"), "{said}");
}
