//! Becoming another user on a host, by every program there is, with a password and without.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command as Process, Stdio};

use muster::command::{Command, Failure, RunAs, Stdin};
use muster::formation::{Become, BecomeMethod, Host, NodeName, Secret};
use muster::ssh::{Overrides, Session, Transport};

use crate::support::{Sshd, nobody};

pub(crate) const OWN: &str = "own-horse-41";
pub(crate) const THEIRS: &str = "their-horse-42";

/// An sshd whose /etc is its own: ana logs in and has a password, and so has pgsql, whom she may become.
pub(crate) fn sshd(program: &str, sudoers: &str, doas: &str) -> Option<Sshd> {
    let found = Process::new("sh").args(["-c", "command -v \"$0\" && command -v unshare", program]).output();
    if !found.is_ok_and(|found| found.status.success()) {
        eprintln!("LEFT OUT: this test needs {program} and unshare; nothing was tested");
        return None;
    }
    let sshd = Sshd::start_by("LogLevel VERBOSE", |dir| {
        let etc = dir.join("etc");
        fs::create_dir_all(etc.join("pam.d")).unwrap();
        fs::create_dir(dir.join("work")).unwrap();
        let add = |file: &str, mode: u32, text: String| {
            fs::write(etc.join(file), text).unwrap();
            fs::set_permissions(etc.join(file), fs::Permissions::from_mode(mode)).unwrap();
        };
        let before = |file: &str| fs::read_to_string(Path::new("/etc").join(file)).unwrap_or_default();
        let users = "ana:x:54711:54711::/:/bin/sh\npgsql:x:54712:54712::/:/bin/sh\n";
        add("passwd", 0o644, before("passwd") + users);
        add("group", 0o644, before("group") + "ana:x:54711:\npgsql:x:54712:\n");
        let hash = |password| {
            // Other tests look for it on every command line of this machine.
            let mut openssl = Process::new("openssl")
                .args(["passwd", "-6", "-stdin"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            writeln!(openssl.stdin.take().unwrap(), "{password}").unwrap();
            let output = openssl.wait_with_output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let shadow = [("ana", OWN), ("pgsql", THEIRS)]
            .map(|(user, password)| format!("{user}:{}:19000:0:99999:7:::\n", hash(password)));
        add("shadow", 0o600, before("shadow") + &shadow.concat());
        add("sudoers", 0o440, format!("Defaults lecture=always\nroot ALL=(ALL) NOPASSWD: ALL\n{sudoers}\n"));
        add("doas.conf", 0o600, format!("{doas}\n"));
        for service in ["sudo", "su", "doas"] {
            let rules = "auth sufficient pam_rootok.so\nauth required pam_unix.so\naccount required pam_permit.so\n\
                         session required pam_permit.so\n";
            add(&format!("pam.d/{service}"), 0o644, rules.to_owned());
        }
        let script = "mount -t overlay overlay -o \"lowerdir=/etc,upperdir=$0/etc,workdir=$0/work\" /etc && \
                      exec /usr/sbin/sshd \"$@\"";
        let mut process = Process::new("unshare");
        process.args(["-m", "sh", "-c", script]).arg(dir);
        process
    })?;
    // ana reads her authorized keys herself.
    for file in ["", "authorized_keys"] {
        fs::set_permissions(sshd.path(file), fs::Permissions::from_mode(0o755)).unwrap();
    }
    Some(sshd)
}

async fn session(sshd: &Sshd, user: &str, method: BecomeMethod, password: Option<&str>) -> Session {
    let becoming = Become { method, password: password.map(Secret::new) };
    let host = Host { user: Some(user.to_owned()), becoming, ..sshd.host() };
    let transport = Transport::new(nobody(), Overrides::default());
    transport.connect(&NodeName::from("node"), &host).await.unwrap()
}

/// What a script of pgsql's gets is all that it is given.
async fn becomes(session: &Session) {
    let script =
        "id -un; printf '%s|%s|' \"$1\" \"$A\"; cat; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' >&2";
    let command = Command::new(RunAs::User("pgsql".into()), script)
        .args(["it's"])
        .env("A", &Secret::new("hush-1"))
        .stdin(Stdin::Text("rest\n".into()));
    let output = session.run(&command).await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "pgsql\nit's|hush-1|rest\n");
    for secret in [OWN, THEIRS, "wrong-horse", "hush-1"] {
        assert!(!output.stderr.contains(secret), "{secret} is on a command line");
    }
    let status = Command::new(RunAs::User("pgsql".into()), "echo why >&2; exit 7");
    assert_eq!(session.run(&status).await, Err(Failure::Refused { status: 7, stderr: "why\n".into() }));
    let own = session.run(&Command::new(RunAs::Login, "id -un")).await.unwrap();
    assert_ne!(own.stdout, b"pgsql\n");
}

async fn refusal(session: &Session) -> String {
    let failed = session.run(&Command::new(RunAs::User("pgsql".into()), "id -un")).await;
    let Err(Failure::Refused { stderr, .. }) = failed else { panic!("{failed:?}") };
    assert!(!stderr.contains("horse"), "{stderr}");
    stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn sudo_with_a_password() {
    let Some(sshd) = sshd("sudo", "ana ALL=(pgsql) ALL", "") else { return };
    becomes(&session(&sshd, "ana", BecomeMethod::Sudo, Some(OWN)).await).await;
    let wrong = refusal(&session(&sshd, "ana", BecomeMethod::Sudo, Some("wrong-horse")).await).await;
    assert!(wrong.contains("incorrect password") && wrong.contains("ansible_become_password"), "{wrong}");
    let none = refusal(&session(&sshd, "ana", BecomeMethod::Sudo, None).await).await;
    assert!(none.contains("password is required") && none.contains("NOPASSWD"), "{none}");
    // Root needs neither.
    becomes(&session(&sshd, "root", BecomeMethod::Sudo, Some("wrong-horse")).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sudo_that_asks_for_none_does_not_get_the_password_as_a_script() {
    let Some(sshd) = sshd("sudo", "ana ALL=(pgsql) NOPASSWD: ALL", "") else { return };
    becomes(&session(&sshd, "ana", BecomeMethod::Sudo, None).await).await;
    becomes(&session(&sshd, "ana", BecomeMethod::Sudo, Some("wrong-horse")).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_asks_for_a_password_does_not_get_it() {
    let Some(sshd) = sshd("sudo", "ana ALL=(pgsql) NOPASSWD: ALL", "") else { return };
    let key = sshd.read("authorized_keys");
    // What a profile may do before any command: ask, and wait a moment.
    let noisy = "printf 'mysql root password:' >&2; sleep 0.3; exec sh -c \\\"$SSH_ORIGINAL_COMMAND\\\"";
    fs::write(sshd.path("authorized_keys"), format!("command=\"{noisy}\" {key}")).unwrap();
    becomes(&session(&sshd, "ana", BecomeMethod::Sudo, Some("wrong-horse")).await).await;
    // A trace of the command line is neither sudo's question nor the shell's word.
    let traced = "set -x; sh -c \\\"$SSH_ORIGINAL_COMMAND\\\"";
    fs::write(sshd.path("authorized_keys"), format!("command=\"{traced}\" {key}")).unwrap();
    becomes(&session(&sshd, "ana", BecomeMethod::Sudo, Some("wrong-horse")).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn su_with_the_other_users_password() {
    let Some(sshd) = sshd("su", "", "") else { return };
    becomes(&session(&sshd, "ana", BecomeMethod::Su, Some(THEIRS)).await).await;
    let wrong = refusal(&session(&sshd, "ana", BecomeMethod::Su, Some("wrong-horse")).await).await;
    assert!(wrong.contains("Authentication failure") && wrong.contains("hint: "), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doas_where_it_asks_for_nothing() {
    let Some(sshd) = sshd("doas", "", "permit nopass ana as pgsql") else { return };
    becomes(&session(&sshd, "ana", BecomeMethod::Doas, None).await).await;
    fs::write(sshd.path("etc/doas.conf"), "permit ana as pgsql\n").unwrap();
    let asked = refusal(&session(&sshd, "ana", BecomeMethod::Doas, None).await).await;
    assert!(asked.contains("nopass"), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_asked_for_once_a_run() {
    let Some(sshd) = sshd("sudo", "ana ALL=(pgsql) ALL", "") else { return };
    let somebody = crate::login::setup::somebody(&sshd, &format!("echo {OWN}"));
    let overrides = Overrides { ask_become_password: true, ..Overrides::default() };
    let transport = Transport::new(somebody, overrides);
    let host = Host { user: Some("ana".to_owned()), ..sshd.host() };
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let (transport, host) = (transport.clone(), host.clone());
        tasks.spawn(async move {
            let session = transport.connect(&NodeName::from("node"), &host).await.unwrap();
            session.run(&Command::new(RunAs::User("pgsql".into()), "id -un")).await.unwrap().stdout
        });
    }
    while let Some(said) = tasks.join_next().await {
        assert_eq!(said.unwrap(), b"pgsql\n");
    }
    assert_eq!(crate::login::setup::asked(&sshd).lines().count(), 1);

    // Nobody there: the hosts are unreachable, and it is said why.
    let transport = Transport::new(nobody(), Overrides { ask_become_password: true, ..Overrides::default() });
    let failed = transport.connect(&NodeName::from("node"), &host).await.err();
    let Some(Failure::Unreachable { reason, .. }) = failed else { panic!("{failed:?}") };
    assert!(reason.contains("password to become another user") && reason.contains("nobody"), "{reason}");
}
