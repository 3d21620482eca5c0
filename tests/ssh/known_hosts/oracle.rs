//! One question, asked of `ssh` and of muster: is this host trusted?

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::Mutex;

use muster::command::Failure;
use muster::formation::NodeName;
use muster::ssh::Session;
use muster::ssh::settings::{Checking, Settings};
use tempfile::TempDir;

use crate::support::{Sshd, keygen, nobody};

/// What both should say.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    Accept,
    Refuse,
    /// ssh accepts, muster does not; the row says why.
    Stricter,
    /// Some versions of ssh accept, others and muster do not.
    AsTheStricterSsh,
    /// muster asks the host for a key that is recorded, ssh for one that is not; the row says why.
    AsksForTheRecorded,
}

/// The question: in all texts `{…}` is filled in by [`Keys::fill`].
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) server: &'static str,
    /// The files of known hosts, one after the other; the last one is global if there are three.
    pub(crate) files: Vec<String>,
    pub(crate) host: &'static str,
    pub(crate) alias: Option<&'static str>,
    pub(crate) revoked: Option<String>,
    pub(crate) algorithms: Option<&'static str>,
    /// `KEYWORD=VALUE`, as for `-o`.
    pub(crate) option: Option<&'static str>,
    pub(crate) is_hashed: bool,
    pub(crate) expect: Expect,
}

pub(crate) fn case(server: &'static str, known: &str) -> Case {
    Case {
        server,
        files: vec![known.to_owned()],
        host: "127.0.0.1",
        alias: None,
        revoked: None,
        algorithms: None,
        option: None,
        is_hashed: false,
        expect: Expect::Refuse,
    }
}

impl Case {
    pub(crate) fn alias(mut self, alias: &'static str) -> Case {
        self.alias = Some(alias);
        self
    }
    pub(crate) fn host(mut self, host: &'static str) -> Case {
        self.host = host;
        self
    }
    pub(crate) fn file(mut self, text: &str) -> Case {
        self.files.push(text.to_owned());
        self
    }
    pub(crate) fn revoked(mut self, text: &str) -> Case {
        self.revoked = Some(text.to_owned());
        self
    }
    pub(crate) fn algorithms(mut self, list: &'static str) -> Case {
        self.algorithms = Some(list);
        self
    }
    pub(crate) fn option(mut self, text: &'static str) -> Case {
        self.option = Some(text);
        self
    }
    pub(crate) fn hashed(mut self) -> Case {
        self.is_hashed = true;
        self
    }
    pub(crate) fn expect(mut self, expect: Expect) -> Case {
        self.expect = expect;
        self
    }
}

/// The keys there can be: authorities, and keys no host has.
const KEYS: [(&str, &str); 9] = [
    ("ca", "ed25519"),
    ("ca2", "ed25519"),
    ("ecca", "ecdsa"),
    ("rsaca", "rsa"),
    ("other", "ed25519"),
    ("otherec", "ecdsa"),
    ("ec", "ecdsa"),
    ("rsa", "rsa"),
    ("ed", "ed25519"),
];

/// The keys of a test, each made when it is first asked for: a key of RSA takes a second.
pub(crate) struct Keys {
    dir: TempDir,
    made: Mutex<BTreeSet<String>>,
}

impl Keys {
    /// `None`, said loudly, where nothing makes keys.
    pub(crate) fn new() -> Option<Keys> {
        if Process::new("ssh-keygen").arg("-?").output().is_err() {
            eprintln!("LEFT OUT: there is no ssh-keygen; nothing was tested");
            return None;
        }
        Some(Keys { dir: tempfile::tempdir().unwrap(), made: Mutex::default() })
    }

    /// Of a key, or of a file beside them.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        let key = file.strip_suffix(".pub").unwrap_or(file);
        if let Some((name, kind)) = KEYS.iter().find(|(name, _)| *name == key) {
            let mut made = self.made.lock().unwrap();
            if made.insert(key.to_owned()) {
                keygen(&self.dir.path().join(name), kind, "");
            }
        }
        self.dir.path().join(file)
    }

    /// `TYPE BASE64`, without the comment.
    pub(crate) fn public(&self, file: &str) -> String {
        let text = fs::read_to_string(self.path(&format!("{file}.pub"))).unwrap();
        text.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    /// An sshd whose only host key is the ed25519 one, or which has all three.
    pub(crate) fn sshd(&self, files: &[&str], more: &str) -> Option<Sshd> {
        let keys = files.iter().map(|file| format!("HostKey {}\n", self.path(file).display()));
        Sshd::start(&(keys.collect::<String>() + more))
    }

    /// An sshd that shows a certificate of one of its keys.
    pub(crate) fn certified(&self, name: &str, key: &str, ca: &str, sign: &[&str]) -> Option<Sshd> {
        let own = self.path(name);
        fs::copy(self.path(key), &own).unwrap();
        fs::copy(self.path(&format!("{key}.pub")), own.with_extension("pub")).unwrap();
        let signed = Process::new("ssh-keygen")
            .args(["-q", "-I", "test", "-s"])
            .arg(self.path(ca))
            .args(sign)
            .arg(own.with_extension("pub"))
            .output()
            .unwrap();
        assert!(signed.status.success(), "{name}: {signed:?}");
        self.sshd(&[name], &format!("HostCertificate {}-cert.pub", own.display()))
    }

    /// `{name}` is `[host]:port`, `{host}`, `{port}`; `{FILE}` a key, `{FILE:blob}` its BASE64.
    pub(crate) fn fill(&self, text: &str, host: &str, port: u16) -> String {
        let mut text = text
            .replace("{name}", &format!("[{host}]:{port}"))
            .replace("{host}", host)
            .replace("{port}", &port.to_string());
        for (file, _) in KEYS {
            let (whole, blob) = (format!("{{{file}}}"), format!("{{{file}:blob}}"));
            if text.contains(&whole) || text.contains(&blob) {
                let key = self.public(file);
                text = text.replace(&whole, &key).replace(&blob, key.split(' ').nth(1).unwrap());
            }
        }
        text
    }
}

/// How a case is asked: its files are in a directory of its own.
pub(crate) struct Question<'a> {
    pub(crate) case: &'a Case,
    pub(crate) sshd: &'a Sshd,
    pub(crate) dir: TempDir,
    pub(crate) checking: Checking,
}

impl<'a> Question<'a> {
    pub(crate) fn new(case: &'a Case, keys: &Keys, sshd: &'a Sshd) -> Question<'a> {
        let question = Question { case, sshd, dir: tempfile::tempdir().unwrap(), checking: Checking::Strict };
        for (index, text) in case.files.iter().enumerate() {
            let path = question.file(index);
            fs::write(&path, keys.fill(text, case.host, sshd.port)).unwrap();
            if case.is_hashed {
                // ssh-keygen leaves lines with a marker as they are.
                let text = fs::read_to_string(&path).unwrap();
                let marker =
                    text.split_once(' ').map(|(first, _)| first).filter(|first| first.starts_with('@'));
                fs::write(&path, text.trim_start_matches(marker.unwrap_or_default())).unwrap();
                let hash = Process::new("ssh-keygen").arg("-Hf").arg(&path).output().unwrap();
                assert!(hash.status.success(), "{hash:?}");
                let hashed = fs::read_to_string(&path).unwrap();
                assert!(hashed.contains("|1|") || text.is_empty(), "{hashed}");
                fs::write(&path, marker.map(|marker| format!("{marker} ")).unwrap_or_default() + &hashed)
                    .unwrap();
            }
        }
        if let Some(text) = &case.revoked {
            fs::write(question.dir.path().join("revoked"), keys.fill(text, case.host, sshd.port)).unwrap();
        }
        question
    }

    pub(crate) fn file(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("known{index}"))
    }

    fn files(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let files: Vec<PathBuf> = (0..self.case.files.len()).map(|index| self.file(index)).collect();
        let user = files.len().min(2);
        (files[..user].to_vec(), files[user..].to_vec())
    }

    /// Whether ssh trusts the host, and what it said.
    pub(crate) fn ssh(&self) -> (bool, String) {
        let (user, global) = self.files();
        let list = |files: &[PathBuf]| match files {
            [] => "/dev/null".to_owned(),
            files => files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" "),
        };
        let checking = match self.checking {
            Checking::Strict => "yes",
            Checking::AcceptNew => "accept-new",
            Checking::Off => "no",
        };
        let mut ssh = Process::new("ssh");
        let mut option = |text: String| {
            ssh.arg("-o").arg(text);
        };
        option("BatchMode=yes".into());
        option("IdentitiesOnly=yes".into());
        option("UpdateHostKeys=no".into());
        // The default of some versions costs ssh 100 ms, and has nothing to do with host keys.
        option("KexAlgorithms=curve25519-sha256".into());
        option(format!("StrictHostKeyChecking={checking}"));
        option(format!("UserKnownHostsFile={}", list(&user)));
        option(format!("GlobalKnownHostsFile={}", list(&global)));
        if let Some(alias) = self.case.alias {
            option(format!("HostKeyAlias={alias}"));
        }
        if self.case.revoked.is_some() {
            option(format!("RevokedHostKeys={}", self.dir.path().join("revoked").display()));
        }
        if let Some(list) = self.case.algorithms {
            option(format!("HostKeyAlgorithms={list}"));
        }
        if let Some(text) = self.case.option {
            option(text.to_owned());
        }
        if self.case.is_hashed {
            option("HashKnownHosts=yes".into());
        }
        let port = self.sshd.port.to_string();
        let output = ssh
            .args(["-F", "none", "-T", "-p", &port, "-l", "root", "-i"])
            .arg(self.sshd.path("user"))
            .args([self.case.host, "true"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub(crate) fn settings(&self) -> Settings {
        let mut host = self.sshd.host();
        let option = self.case.option.and_then(|text| text.split_once('='));
        host.ssh_options.extend(option.map(|(keyword, value)| (keyword.to_owned(), value.to_owned())));
        let mut settings = Settings::of(&host, &nobody()).unwrap();
        settings.hostname = self.case.host.to_owned();
        settings.host_key_alias = self.case.alias.map(str::to_owned);
        let (user, global) = self.files();
        settings.host_keys.user_files = user;
        settings.host_keys.global_files = global;
        settings.host_keys.checking = self.checking;
        settings.host_keys.hash = self.case.is_hashed;
        settings.host_keys.revoked =
            self.case.revoked.iter().map(|_| self.dir.path().join("revoked")).collect();
        let list = |text: &str| text.split(',').map(str::to_owned).collect();
        settings.algorithms.host_keys = self.case.algorithms.map(list);
        settings
    }

    pub(crate) async fn muster(&self) -> Result<Session, String> {
        reach(&self.settings()).await
    }
}

/// A session, or reason and hint of why there is none.
pub(crate) async fn reach(settings: &Settings) -> Result<Session, String> {
    match Session::reach(&NodeName::from("node"), settings, &nobody(), 10).await {
        Ok(session) => Ok(session),
        Err(Failure::Unreachable { reason, hint }) => Err(format!("{reason}\n{hint}")),
        Err(other) => panic!("{other:?}"),
    }
}

/// Whether there is an `ssh` to compare with; said loudly if not.
pub(crate) fn has_ssh() -> bool {
    let has = ["/usr/bin/ssh", "/usr/local/bin/ssh"].iter().any(|path| Path::new(path).exists());
    if !has {
        eprintln!("LEFT OUT: there is no ssh to compare with; nothing was tested");
    }
    has
}
