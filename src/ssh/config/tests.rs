use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;
use crate::command::Failure;
use crate::formation::Secret;
use crate::ssh::settings::{IdentityFile, Proxy};

fn host() -> Host {
    Host::named("db1")
}

/// An operator whose `~/.ssh` has these files; the machine's own configuration says nothing of these hosts.
fn ana(files: &[(&str, &str)]) -> (tempfile::TempDir, Credentials) {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".ssh")).unwrap();
    for (name, text) in files {
        let path = home.path().join(".ssh").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let credentials = Credentials::new("ana", Some(home.path().to_owned()), Some("/agent".into()));
    (home, credentials)
}

const CONFIG: &str = "Host db1\n  User file\n  Port 1\n  IdentityFile /file\n  ConnectTimeout 1\n  ServerAliveInterval 1\n\
                      Host *\n  UserKnownHostsFile /file\n  ProxyJump bastion\nHost bastion\n  Port 7\n";

#[test]
fn the_inventory_goes_before_its_options_and_these_before_the_file() {
    let (_home, credentials) = ana(&[("config", CONFIG)]);
    let pair = |keyword: &str, value: &str| (keyword.to_owned(), value.to_owned());
    let host = Host {
        user: Some("inventory".into()),
        identity_files: vec!["~/inventory".into()],
        connect_timeout: Some(33),
        password: Some(Secret::new("secret")),
        host_keys: vec!["ssh-ed25519 AAAA".into()],
        ssh_options: vec![
            pair("User", "option"),
            pair("port", "2"),
            pair("Port", "3"),
            pair("IdentityFile", "/option"),
            pair("ConnectTimeout", "2"),
        ],
        ..host()
    };
    let settings = of_host(&host, &credentials).unwrap();
    let expected = (("inventory", 2), (33, 1));
    assert_eq!(
        ((settings.user.as_str(), settings.port), (settings.connect_timeout, settings.alive_interval)),
        expected
    );
    let home = credentials.home().unwrap();
    let file = |path: &Path, origin| IdentityFile { path: path.to_owned(), origin };
    let expected = [
        file(&home.join("inventory"), Origin::Inventory),
        file(Path::new("/option"), Origin::Config),
        file(Path::new("/file"), Origin::Config),
    ];
    assert_eq!(settings.identity_files, expected);
    assert_eq!(settings.host_keys.user_files, [Path::new("/file")]);
    assert_eq!((settings.host_keys.origin, settings.host_keys.pinned.len()), (Origin::Config, 1));
    assert!(settings.password.is_some() && !format!("{:?}", settings.rows()).contains("secret"));
    let Proxy::Jump(hops) = &settings.proxy else { panic!("{:?}", settings.proxy) };
    assert_eq!(hops[0].host, "bastion");

    let named = Host { known_hosts: Some("~/known".into()), ssh_config: Some("none".into()), ..host };
    let settings = of_host(&named, &credentials).unwrap();
    assert_eq!(settings.host_keys.user_files, [home.join("known")]);
    assert_eq!((settings.host_keys.origin, settings.host_keys.global_files.len()), (Origin::Inventory, 0));
    assert_eq!(settings.proxy, Proxy::Direct);
}

#[test]
fn two_defaults_are_our_own() {
    let (_home, credentials) = ana(&[]);
    let settings = of_host(&Host { ssh_config: Some("none".into()), ..host() }, &credentials).unwrap();
    assert_eq!((settings.connect_timeout, settings.alive_interval), (10, 15));
    assert_eq!(settings.identity_files.len(), 5);
    assert_eq!(settings.identity_agent.as_deref(), Some(Path::new("/agent")));
    let off = vec![("ServerAliveInterval".to_owned(), "0".to_owned())];
    let settings = of_host(&Host { ssh_options: off, ..host() }, &credentials).unwrap();
    assert_eq!(settings.alive_interval, 0);
}

#[test]
fn a_bastion_has_its_own_lines() {
    let (_home, credentials) = ana(&[("config", CONFIG), ("other", "User other\n")]);
    let problem = of_jump(&jump("u@bastion:22").unwrap(), None, &credentials).unwrap_err();
    assert!(problem.message.contains("through itself"), "the line for all hosts is the bastion's, too");
    let settings = of_jump(&jump("bastion").unwrap(), None, &credentials).unwrap();
    assert_eq!((settings.user.as_str(), settings.port), ("ana", 7));
    let hop = jump("admin@[::1]:2022").unwrap();
    let settings = of_jump(&hop, Some("none"), &credentials).unwrap();
    assert_eq!((settings.user.as_str(), settings.hostname.as_str(), settings.port), ("admin", "::1", 2022));
    let other = credentials.home().unwrap().join(".ssh/other").display().to_string();
    let settings = of_jump(&jump("bastion").unwrap(), Some(&other), &credentials).unwrap();
    assert_eq!(settings.user, "other");
    assert!(of_jump(&Jump { user: None, host: "a;b".into(), port: None }, None, &credentials).is_err());
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let (home, credentials) = ana(&[("config", "User a\nInclude one\n"), ("one", "\n  Prt 22\n")]);
    let Err(Failure::Unreachable { reason, hint }) = Settings::of(&host(), &credentials) else { panic!() };
    assert!(reason.ends_with(".ssh/one:2: unknown keyword \"prt\" of ssh_config"), "{reason}");
    assert_eq!(hint, "did you mean port?");

    let config = home.path().join(".ssh/config");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o620)).unwrap();
    let credentials = Credentials::new("ana", Some(home.path().to_owned()), None);
    let problem = of_host(&host(), &credentials).unwrap_err();
    assert!(problem.hint.unwrap().starts_with("chmod go-w"));
}

#[test]
fn files_that_include_each_other_end() {
    let twice = "Include a* a*\n";
    let (_home, credentials) = ana(&[("config", twice), ("a1", "Include b*\n"), ("b1", twice)]);
    assert!(of_host(&host(), &credentials).unwrap_err().message.contains("without an end"));
    // Not deep, and yet without an end: fifteen files, each of which reads the next one three times.
    let texts: Vec<(String, String)> =
        (0..15).map(|n| (format!("f{n}"), format!("Include {0} {0} {0}\n", format!("f{}", n + 1)))).collect();
    let mut files: Vec<(&str, &str)> =
        texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    files.extend([("config", "Include f0\n"), ("f15", "User a\n")]);
    let (_home, credentials) = ana(&files);
    assert!(of_host(&host(), &credentials).unwrap_err().message.contains("without an end"));
}

#[test]
fn the_last_hop_is_a_token() {
    let (_home, credentials) = ana(&[("config", "ProxyJump a,b\nIdentityFile /k/%j\n")]);
    let settings = of_host(&host(), &credentials).unwrap();
    assert_eq!(settings.identity_files[0].path, Path::new("/k/b"));
}

#[test]
fn tags_are_matched() {
    let config =
        "Host db1\n  Tag prod\nMatch tagged prod,test\n  User prod\nMatch tagged \"\"\n  User none\n";
    let (_home, credentials) = ana(&[("config", config)]);
    assert_eq!(of_host(&host(), &credentials).unwrap().user, "prod");
    assert_eq!(of_host(&Host { address: "db2".into(), ..host() }, &credentials).unwrap().user, "none");
}
