//! `accept-new`: what is recorded, by ssh and by muster, and what is not taken for new.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command as Process;
use std::sync::Arc;

use muster::ssh::settings::{Checking, Origin, Settings};

use super::oracle::{Case, Expect, Keys, Question, case, has_ssh, reach};
use crate::support::{Sshd, nobody};
use Expect::{Accept, Refuse, Stricter};

fn cases() -> Vec<Case> {
    vec![
        case("one", "").expect(Accept),
        case("one", "# mine\nweb {other}\n").expect(Accept),
        case("one", "web {other}").expect(Accept),
        case("one", "\n").host("LocalHost").expect(Accept),
        case("one", "{name} {other}\n").alias("db1").expect(Accept),
        case("one", "").alias("DB1.example.org").expect(Accept),
        case("one", "").hashed().expect(Accept),
        case("one", "web {other}").alias("db1").hashed().expect(Accept),
        case("three", "").expect(Accept),
        case("three", "").algorithms("rsa-sha2-512").expect(Accept),
        case("one", "").file("web {other}\n").expect(Accept),
        case("one", "").file("{name} {ed}\n").expect(Accept),
        case("one", "{host} {ed}\n").expect(Accept),
        // Another port, another sshd.
        case("one", "{host} {other}\n").expect(Accept),
        case("one", "@revoked * {other}\n").expect(Accept),
        // Not new: another key, another type, another file.
        case("one", "{name} {other}\n").expect(Refuse),
        case("one", "{name} {ec}\n").expect(Refuse),
        case("three", "{name} {otherec}\n").expect(Refuse),
        case("one", "* {rsa}\n").expect(Refuse),
        case("one", "").file("{name} {other}\n").expect(Refuse),
        case("one", "").file("").file("{name} {other}\n").expect(Refuse),
        case("one", "{name} {other}\n").hashed().expect(Refuse),
        case("one", "@revoked * {ed}\n").expect(Refuse),
        case("one", "").revoked("{ed}\n").expect(Refuse),
        // ssh reads over these lines and takes the first answer. To muster the host is not one that no line speaks of:
        // an authority vouches for it, or somebody has recorded a key that cannot be read.
        case("one", "@cert-authority * {ca}\n").expect(Stricter),
        case("expired", "@cert-authority db1 {ca}\n").alias("db1").expect(Stricter),
        case("one", "{name} ssh-ed25519 AAAA\n").expect(Stricter),
        case("one", "@revoked {host} {ed}\n").expect(Stricter),
    ]
}

#[tokio::test]
async fn a_first_answer_is_recorded_as_ssh_records_it() {
    let Some(keys) = Keys::new() else { return };
    let (Some(one), Some(three), Some(expired)) = (
        keys.sshd(&["ed"], ""),
        keys.sshd(&["ed", "ec", "rsa"], ""),
        keys.certified("expired", "ed", "ca", &["-h", "-n", "db1", "-V", "20200101:20210101"]),
    ) else {
        return;
    };
    if !has_ssh() {
        return;
    }
    for case in cases() {
        let sshd = match case.server {
            "one" => &one,
            "three" => &three,
            _ => &expired,
        };
        let ask = || {
            let mut question = Question::new(&case, &keys, sshd);
            question.checking = Checking::AcceptNew;
            question
        };
        let (theirs, ours) = (ask(), ask());
        let read = |question: &Question, file| fs::read_to_string(question.file(file)).unwrap();
        let before = read(&ours, 0);
        let (ssh, ssh_said) = theirs.ssh();
        let muster = ours.muster().await;
        let said = muster.as_ref().err().cloned().unwrap_or_default();
        let (should_ssh, should_muster) = match case.expect {
            Accept => (true, true),
            Refuse => (false, false),
            Stricter => (true, false),
            Expect::AsTheStricterSsh | Expect::AsksForTheRecorded => panic!("no such row"),
        };
        assert_eq!((ssh, muster.is_ok()), (should_ssh, should_muster), "{case:?}\n{ssh_said}\n{said}");
        let (recorded_theirs, recorded) = (read(&theirs, 0), read(&ours, 0));
        if muster.is_err() {
            assert_eq!(recorded, before, "{case:?}");
        } else if case.is_hashed {
            let name = case.alias.map_or(format!("[{}]:{}", case.host, sshd.port), str::to_owned);
            for question in [&theirs, &ours] {
                let find =
                    Process::new("ssh-keygen").args(["-F", &name, "-f"]).arg(question.file(0)).output();
                assert!(find.unwrap().status.success(), "{case:?} {recorded}");
            }
            let (last, last_theirs) =
                (recorded.lines().last().unwrap(), recorded_theirs.lines().last().unwrap());
            let key = |line: &str| line.split_once(' ').map(|(_, key)| key.to_owned());
            let is_same = last.len() == last_theirs.len() && key(last) == key(last_theirs);
            assert!(is_same && recorded.starts_with(&before) && !recorded.contains(&name), "{recorded}");
        } else {
            // Older versions of ssh continue a line that has no end, and so lose both.
            let end = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
            let added = recorded_theirs[before.len()..].trim_start();
            assert_eq!(
                recorded,
                if added.is_empty() { before.clone() } else { format!("{before}{end}{added}") },
                "{case:?}"
            );
        }
        for file in 1..case.files.len() {
            assert_eq!(read(&ours, file), read(&theirs, file));
        }
        if let Ok(session) = &muster {
            assert_eq!(!session.notes().is_empty(), recorded != before, "{case:?}");
            // The second time it is known, also to one who accepts nothing.
            let mut again = ours.settings();
            again.host_keys.checking = Checking::Strict;
            assert_eq!(reach(&again).await.unwrap().notes(), [""; 0], "{case:?}");
            assert_eq!(read(&ours, 0), recorded);
        }
    }
}

/// Accepts new keys, under a name, recorded in a file.
fn accepting(sshd: &Sshd, alias: &str, file: impl Into<PathBuf>) -> Settings {
    let mut settings = Settings::of(&sshd.host(), &nobody()).unwrap();
    settings.host_key_alias = Some(alias.to_owned());
    settings.host_keys.user_files = vec![file.into()];
    settings.host_keys.origin = Origin::Config;
    settings.host_keys.checking = Checking::AcceptNew;
    settings
}

#[tokio::test]
async fn sixty_hosts_are_recorded_at_once() {
    let Some(sshd) = Sshd::start("") else { return };
    let file = sshd.path("new/.ssh/known_hosts");
    fs::create_dir(sshd.path("new")).unwrap();
    let sshd = Arc::new(sshd);
    let connections: Vec<_> = (0..60)
        .map(|number| {
            // Two connections to each host.
            let (sshd, file, alias) = (sshd.clone(), file.clone(), format!("db{}", number / 2));
            tokio::spawn(async move { reach(&accepting(&sshd, &alias, &file)).await.map(|_| ()) })
        })
        .collect();
    for connection in connections {
        connection.await.unwrap().unwrap();
    }
    let key = sshd.read("host.pub").split(' ').take(2).collect::<Vec<_>>().join(" ");
    let text = fs::read_to_string(&file).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort();
    let mut expected: Vec<String> = (0..30).map(|number| format!("db{number} {key}")).collect();
    expected.sort();
    assert_eq!(lines, expected);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(file), mode(sshd.path("new/.ssh"))), (0o600, 0o700));
}

#[tokio::test]
async fn what_cannot_be_recorded_is_trusted_in_this_run_only() {
    let (Some(sshd), Some(other)) = (Sshd::start(""), Sshd::start("")) else { return };
    let note = async |settings: Settings| reach(&settings).await.map(|session| session.notes().pop());

    // Nothing lasts in /dev/null, but the second answer has to be the same.
    let first = note(accepting(&sshd, "null", "/dev/null")).await.unwrap().unwrap();
    assert!(first.contains("this run only") && first.contains("SHA256:"), "{first}");
    assert_eq!(note(accepting(&sshd, "null", "/dev/null")).await, Ok(None));
    let changed = note(accepting(&other, "null", "/dev/null")).await.unwrap_err();
    assert!(changed.contains("has changed") && changed.contains("first answer in this run"), "{changed}");

    // A file that cannot be written: that is said once, the key of each host is named.
    let file = sshd.path("host.pub/known_hosts");
    let first = note(accepting(&sshd, "a", &file)).await.unwrap().unwrap();
    assert!(first.contains("key of a is new") && first.contains("cannot be written"), "{first}");
    let second = note(accepting(&sshd, "b", &file)).await.unwrap().unwrap();
    assert!(second.contains("key of b is new") && !second.contains("cannot be written"), "{second}");
    assert!(note(accepting(&other, "b", &file)).await.is_err());

    // No file, and names that would be patterns or several.
    let mut nowhere = accepting(&sshd, "c", "");
    nowhere.host_keys.user_files.clear();
    let text = note(nowhere).await.unwrap_err();
    assert!(text.contains("no file") && text.contains("/dev/null"), "{text}");
    for name in ["db*", "a,b", "a b", "a\n* ssh-ed25519"] {
        let text = note(accepting(&sshd, name, "/dev/null")).await.unwrap_err();
        assert!(text.contains("cannot stand in known_hosts"), "{text}");
    }
}

#[tokio::test]
async fn a_first_answer_is_said_where_nobody_is_let_in() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut settings = accepting(&sshd, "db1", sshd.path("new"));
    settings.identity_files.clear();
    let text = reach(&settings).await.err().unwrap();
    assert!(
        text.contains("the host key of db1 is new and recorded in") && text.contains("SHA256:"),
        "{text}"
    );
}

#[tokio::test]
async fn a_first_answer_is_trusted_only_where_that_is_asked_for() {
    let Some(sshd) = Sshd::start("") else { return };
    let file = sshd.path("empty");
    for (checking, hint) in [(Checking::Strict, "ssh-keyscan"), (Checking::Off, "accept-new")] {
        let mut settings = accepting(&sshd, "db1", &file);
        settings.host_keys.checking = checking;
        let text = reach(&settings).await.err().unwrap();
        assert!(text.contains("not known") && text.contains(hint), "{text}");
        assert!(!file.exists());
    }
}
