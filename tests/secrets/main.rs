//! Passwords: where they may be, and that a poison word planted in every one of them shows up nowhere else.
//!
//! No host but this machine is asked (`ansible_connection: local`); `tests/lab/secrets.rs` does the same with real ones.

mod found;
mod kept;
mod poison;
mod vault;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use age::secrecy::ExposeSecret as _;
use tempfile::TempDir;

/// A folder with an inventory, a home and what passwords are kept in.
pub(crate) struct Site {
    folder: TempDir,
    /// Of the environment of every muster.
    env: Vec<(String, String)>,
    key: age::x25519::Identity,
}

/// The password of everything that `Site::vault` encrypts.
pub(crate) const VAULT_PASSWORD: &str = "poison-vault-password";

impl Site {
    pub(crate) fn new() -> Site {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let key = age::x25519::Identity::generate();
        let site = Site { folder, env: Vec::new(), key };
        for name in ["home", "tmp", "site"] {
            fs::create_dir(site.folder.path().join(name)).expect("a folder can be made");
        }
        site.write("../home/vault-password", VAULT_PASSWORD);
        let key = site.key.to_string();
        site.write("../home/age.key", format!("# a comment\n{}\n", key.expose_secret()));
        site
    }

    /// Where the inventory is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("site").join(name)
    }

    /// Everything there is, the home too.
    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// A file that nobody else may read.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder can be made");
        fs::write(&path, content).expect("a file can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    }

    pub(crate) fn program(&self, name: &str, script: &str) {
        self.write(name, format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o700)).expect("it is ours");
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// A file that age has encrypted for the key in `home/age.key`.
    pub(crate) fn write_age(&self, name: &str, text: &str) {
        let recipient = self.key.to_public();
        let bytes = age::encrypt(&recipient, text.as_bytes()).expect("it is encrypted");
        self.write(name, bytes);
    }

    /// Runs `muster -i INVENTORY ARGS` with everything that opens what is closed.
    pub(crate) fn muster(&self, inventory: &str, args: &[&str]) -> Said {
        said(self.start(inventory, args).wait_with_output().expect("it ends"))
    }

    pub(crate) fn start(&self, inventory: &str, args: &[&str]) -> Child {
        let home = self.folder.path().join("home");
        let mut command = self.bare(inventory, args);
        command.env("ANSIBLE_VAULT_PASSWORD_FILE", home.join("vault-password"));
        command.env("MUSTER_AGE_IDENTITY", home.join("age.key"));
        command.spawn().expect("muster starts")
    }

    /// Without a vault password and a key.
    pub(crate) fn closed(&self, inventory: &str, args: &[&str]) -> Said {
        said(self.bare(inventory, args).output().expect("muster runs"))
    }

    fn bare(&self, inventory: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.arg("-i").arg(self.path(inventory)).args(args);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("RUST_BACKTRACE", "1");
        command.env("HOME", self.folder.path().join("home")).env("TMPDIR", self.folder.path().join("tmp"));
        command.envs(self.env.iter().map(|(name, value)| (name, value))).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// What muster said, and how it ended.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Said {
    pub(crate) fn both(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Indented as the text of a YAML block.
pub(crate) fn block(text: &str, spaces: usize) -> String {
    text.lines().map(|line| format!("\n{:spaces$}{line}", "")).collect()
}

/// A value under the key `password` of the one node of an inventory; `pgdata` makes it whole.
pub(crate) fn inventory_with(vars: &str) -> String {
    format!(
        "all:
  vars:
    ansible_host: 127.0.0.1
    ansible_port: 1
    ansible_user: x
    pgdata: /nowhere/at/all
{vars}
  children:
    monitor:
      hosts: {{mon: {{hostname: mon, pgport: 5000, pgdata: /nowhere/mon}}}}
    postgres:
      hosts: {{pg1: {{hostname: pg1}}}}
"
    )
}
