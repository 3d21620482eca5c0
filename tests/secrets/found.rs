//! Each way to give a password, and each way in which it is not there.

use std::path::Path;
use std::sync::Arc;

use muster::console::Asker;
use muster::error::Problem;
use muster::formation::Formation;
use muster::inventory::{Need, load_all};
use muster::secrets::{Keyring, Named};

use crate::vault::encrypted;
use crate::{Site, VAULT_PASSWORD, block, inventory_with};

pub(crate) fn keyring(site: &Site) -> Keyring {
    let home = |name: &str| site.root().join("home").join(name).display().to_string();
    let named = Named {
        vault_password_files: vec![home("vault-password")],
        age_identities: vec![home("age.key")],
        ..Named::default()
    };
    Keyring::new(&named, Asker::nobody())
}

fn load(site: &Site, text: &str, keyring: Keyring) -> Result<Formation, Vec<Problem>> {
    site.write("db.yml", text);
    load_all(&[site.path("db.yml").display().to_string()], &Arc::new(keyring), Need::Everything)
}

pub(crate) fn shown(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[track_caller]
fn password_is(site: &Site, vars: &str, expected: &str) {
    let formation =
        load(site, &inventory_with(vars), keyring(site)).unwrap_or_else(|why| panic!("{}", shown(&why)));
    let node = &formation.nodes[&"pg1".into()];
    assert_eq!(node.password.as_ref().expect("it is given").reveal(), expected, "{vars}");
    // Shorter ones are in there anyway.
    if expected.len() > 7 {
        assert!(!format!("{formation:?}").contains(expected), "it is in Debug");
        assert!(!serde_json::to_string(&formation).expect("JSON").contains(expected), "it is in JSON");
    }
}

#[test]
fn a_password_may_be_elsewhere() {
    let site = Site::new();
    site.write("one", "from-a-file\n");
    site.write("sub/dos", "from dos\r\n");
    site.write("../home/three", "from-home");
    site.write("four", "first line\nsecond line\n");
    site.write_age("five.age", "from-age\n");
    let vault = encrypted(VAULT_PASSWORD, "", "from-vault é {{ x }}");
    let labelled = encrypted(VAULT_PASSWORD, "prod", "from-label");
    let reference = encrypted(VAULT_PASSWORD, "", "file:one");
    for (vars, expected) in [
        ("    password: in-clear", "in-clear"),
        ("    password: 12345", "12345"),
        ("    password: a:b", "a:b"),
        ("    password: text:env:X", "env:X"),
        ("    password: file:one", "from-a-file"),
        ("    password: file:sub/dos", "from dos"),
        ("    password: cmd:head -n 5 four", "first line"),
        ("    password: cmd:echo $((6 * 7)) | tr 4 5", "52"),
        ("    password: {cmd: [cat, sub/dos]}", "from dos"),
        ("    password: {cmd: [echo, $HOME; x, '{{ 1 + 1 }}']}", "$HOME; x 2"),
        ("    password: {cmd: 'basename $(pwd)'}", "site"),
        ("    password: age:five.age", "from-age"),
        ("    password: \"{{ 'fi' ~ 'le:' ~ which }}\"\n    which: one", "from-a-file"),
        ("    password: '{{ other }}'\n    other: cmd:echo x", "x"),
        ("    password: '{{ replication_password }}'\n    replication_password: file:one", "from-a-file"),
        (&format!("    password: !vault |{}", block(&vault, 8)), "from-vault é {{ x }}"),
        (&format!("    password: !vault-encrypted |{}", block(&labelled, 8)), "from-label"),
        (&format!("    password: !vault |{}", block(&reference, 8)), "from-a-file"),
        (&format!("    password: '{{{{ v }}}}!'\n    v: !vault |{}", block(&labelled, 8)), "from-label!"),
    ] {
        password_is(&site, vars, expected);
    }
}

#[test]
fn inventories_that_are_not_yaml_have_them_too() {
    let site = Site::new();
    site.write("pw", "from-a-file\n");
    let ini = "[monitor]\nmon hostname=mon pgport=5000 pgdata=/m\n[postgres]\npg1 hostname=pg1 password=file:pw \
               replication_password='{\"cmd\": [\"echo\", \"said\"]}'\n[all:vars]\npgdata=/nowhere\n";
    site.write("hosts", ini);
    let json = serde_json::json!({ "all": {
        "vars": { "pgdata": "/nowhere", "password": { "__ansible_vault": encrypted(VAULT_PASSWORD, "", "of JSON") } },
        "children": {
            "monitor": { "hosts": { "mon": { "hostname": "mon", "pgport": 5000, "pgdata": "/m" } } },
            "postgres": { "hosts": { "pg1": { "hostname": "pg1", "replication_password": "text:x" } } },
        },
    } });
    site.write("db.json", json.to_string());
    for (name, password, replication) in [("hosts", "from-a-file", "said"), ("db.json", "of JSON", "x")] {
        let names = [site.path(name).display().to_string()];
        let formation = load_all(&names, &Arc::new(keyring(&site)), Need::Everything);
        let formation = formation.unwrap_or_else(|why| panic!("{}", shown(&why)));
        let node = &formation.nodes[&"pg1".into()];
        let reveal = |secret: &Option<muster::formation::Secret>| {
            secret.as_ref().map(|secret| secret.reveal().to_owned()).unwrap_or_default()
        };
        assert_eq!(
            (reveal(&node.password), reveal(&node.replication_password)),
            (password.into(), replication.into())
        );
    }
}

#[test]
fn whole_files_may_be_encrypted() {
    let site = Site::new();
    let seal = |text: &str| encrypted(VAULT_PASSWORD, "", text);
    site.write("group_vars/all.yml", seal("password: of-a-file\npgport: 5544\n"));
    site.write("host_vars/mon/x.yml", seal("pgport: 5001\n"));
    let text = inventory_with("");
    let formation = load(&site, &seal(&text), keyring(&site)).unwrap_or_else(|why| panic!("{}", shown(&why)));
    let node = &formation.nodes[&"pg1".into()];
    assert_eq!(node.password.as_ref().expect("it is given").reveal(), "of-a-file");
    assert_eq!(node.server.pgport, 5544);
    // Not a host variable of the inventory's, which is outside; but the monitor's own file wins.
    let muster::formation::Monitor::Managed(monitor) = &formation.monitor else { panic!("it is managed") };
    assert_eq!(monitor.pgport, 5001);
}

#[test]
fn a_monitor_elsewhere_takes_its_password_from_beside_the_uri() {
    let site = Site::new();
    site.write("pw", "p@ss\n");
    let text = "all:\n  vars: {pgdata: /x, auth: md5, password: a, replication_password: b, monitor_password: file:pw, \
                monitor: postgres://autoctl_node@mon:5000/pg_auto_failover}\n  children: {postgres: {hosts: {pg1: }}}\n";
    let formation = load(&site, text, keyring(&site)).unwrap_or_else(|why| panic!("{}", shown(&why)));
    let muster::formation::Monitor::External(uri) = &formation.monitor else { panic!("it is external") };
    assert_eq!(uri.text().reveal(), "postgres://autoctl_node:p%40ss@mon:5000/pg_auto_failover");
    assert!(!uri.shown().contains("ss@"));
}

#[test]
fn what_is_not_there_is_said_with_its_place() {
    let site = Site::new();
    site.write("two", "one poison-line\ntwo\n");
    site.write("none", "");
    site.write("binary", b"poison-\xff\xfe");
    site.write("no.age", "poison-age");
    let other = age::x25519::Identity::generate();
    site.write("other.age", age::encrypt(&other.to_public(), b"poison").expect("it is encrypted"));
    site.write_age("two.age", "poison\nx");
    let vault = |text: &str| encrypted(VAULT_PASSWORD, "", text);
    let wrong = encrypted("another", "dev", "poison");
    let digits = vault("poison-digits");
    let sealed = |text: &str| format!("!vault |{}", block(text, 8));
    let rows: Vec<(String, &str)> = vec![
        ("env:MUSTER_TEST_NOT_SET".into(), "the environment has no variable `MUSTER_TEST_NOT_SET`"),
        ("'env:'".into(), "`env:` needs the name of a variable"),
        ("file:missing".into(), "cannot read the file"),
        ("file:two".into(), "is more than a line"),
        ("file:none".into(), "is empty"),
        ("file:binary".into(), "is not UTF-8"),
        ("cmd:echo poison; echo why >&2; exit 3".into(), "the command `echo` failed: exit status: 3"),
        ("cmd:TOKEN='abc poison' nosuchprogram x".into(), "the command `sh` failed"),
        ("cmd:true".into(), "the output of the command `true` is empty"),
        ("{cmd: [/no/such/program, poison]}".into(), "the command `/no/such/program` cannot be started"),
        ("{cmd: []}".into(), "is a mapping that is no command"),
        ("{cmd: [a], x: poison}".into(), "is a mapping that is no command"),
        ("{env: poison}".into(), "is a mapping that is no command"),
        ("[poison]".into(), "must be text, not a list"),
        ("age:missing".into(), "cannot read the age file"),
        ("age:no.age".into(), "is no age file, or a damaged one"),
        ("age:other.age".into(), "is encrypted for other keys"),
        ("age:two.age".into(), "is more than a line"),
        ("'text:'".into(), "`password` is empty"),
        (sealed(&wrong), "no vault password that is given opens this; its label is `dev`"),
        (sealed(&vault("poison\nx")), "`password` holds a line break"),
        (sealed(&vault("")), "`password` is empty"),
        (sealed(&vault("cmd:exit 1 # poison")), "the command `exit` failed"),
        (sealed(&digits[..digits.len() - 10]), "its digits are damaged"),
        (sealed(&digits.replace("AES256", "AES")), "its cipher is not AES256"),
        (sealed(&digits.replace("1.1", "1.0")), "neither 1.1 nor 1.2"),
        (sealed(&digits.replace('3', "4")), ""),
        (sealed("poison"), "it does not begin with $ANSIBLE_VAULT"),
        ("x{{ replication_password }}".into(), "takes in a password that is elsewhere"),
    ];
    for (value, why) in rows {
        let text = inventory_with(&format!("    replication_password: env:PATH\n    password: {value}"));
        let problems = load(&site, &text, keyring(&site)).map(|_| ()).expect_err(&value);
        let said = shown(&problems);
        assert!(said.contains(why), "{value}: {said}");
        assert!(
            problems.iter().all(|problem| problem.place.as_ref().is_some_and(|place| place.line >= 8)),
            "{said}"
        );
        assert!(!said.contains("poison"), "{said}");
        assert_eq!(problems.len(), 1, "{said}");
    }
}

#[test]
fn without_a_vault_password_it_is_said_once() {
    let site = Site::new();
    let one = block(&encrypted(VAULT_PASSWORD, "", "x"), 8);
    let vars = format!("    password: !vault |{one}\n    replication_password: !vault |{one}");
    let problems =
        load(&site, &inventory_with(&vars), Keyring::empty()).map(|_| ()).expect_err("it is closed");
    assert_eq!(problems.len(), 1, "{}", shown(&problems));
    assert!(shown(&problems).contains("no vault password is given"));
    // Who needs none of them is not stopped.
    let names = [site.path("db.yml").display().to_string()];
    load_all(&names, &Arc::new(Keyring::empty()), Need::Login)
        .unwrap_or_else(|why| panic!("{}", shown(&why)));
}

#[test]
fn vault_passwords_come_from_files_and_programs() {
    let site = Site::new();
    let dev = encrypted("dev pass", "dev", "of-dev");
    let text = inventory_with(&format!("    password: !vault |{}", block(&dev, 8)));
    site.write("wrong", "something else\n");
    site.write("right", "  dev pass\n\n");
    site.program("script", "echo 'dev pass'");
    site.program("asks-client", "[ \"$1\" = --vault-id ] && [ \"$2\" = dev ] && echo 'dev pass' || exit 2");
    site.program("fails", "echo 'dev pass'; exit 1");
    let path = |name: &str| site.path(name).display().to_string();
    let ids = |ids: &[&str]| Named {
        vault_ids: ids.iter().map(|id| id.replace('@', &format!("@{}", path("")))).collect(),
        ..Named::default()
    };
    let files = |files: &[&str]| Named {
        vault_password_files: files.iter().map(|name| path(name)).collect(),
        ..Named::default()
    };
    for named in [
        files(&["right"]),
        files(&["wrong", "right"]),
        files(&["script"]),
        ids(&["dev@right"]),
        ids(&["prod@wrong", "dev@right"]),
        ids(&["prod@right"]),
        // The label's own goes first: nobody runs what fails.
        ids(&["prod@fails", "dev@asks-client"]),
    ] {
        let formation = load(&site, &text, Keyring::new(&named, Asker::nobody()));
        let formation = formation.unwrap_or_else(|why| panic!("{named:?}: {}", shown(&why)));
        assert_eq!(formation.nodes[&"pg1".into()].password.as_ref().expect("given").reveal(), "of-dev");
    }
    for (named, why) in [
        (files(&["wrong"]), "opens this; its label is `dev`"),
        (files(&["missing"]), "cannot read the vault password file"),
        (files(&["fails"]), "failed: exit status: 1"),
        (ids(&["prod@asks-client"]), "knows no password for `prod`"),
        (
            Named { ask_vault_password: true, ..Named::default() },
            "there is no vault password: nobody can be asked",
        ),
    ] {
        let problems =
            load(&site, &text, Keyring::new(&named, Asker::nobody())).map(|_| ()).expect_err("closed");
        assert!(shown(&problems).contains(why), "{named:?}: {}", shown(&problems));
        assert!(!shown(&problems).contains("dev pass"));
    }
    site.program("askpass", "echo \"$1\" >>asked; echo 'dev pass'");
    let asker = Asker::program(site.path("askpass"));
    let named = Named { vault_ids: vec!["dev@prompt".into()], ..Named::default() };
    std::env::set_current_dir(site.path("")).expect("a folder of ours");
    load(&site, &text, Keyring::new(&named, asker)).unwrap_or_else(|why| panic!("{}", shown(&why)));
    let asked = std::fs::read_to_string(Path::new("asked")).expect("it was asked");
    assert_eq!(asked, "Vault password (dev): \n", "once");
}

/// Keys of ssh, locked ones too, and passphrases.
#[test]
fn age_files_are_opened_with_ssh_keys_and_passphrases() {
    let site = Site::new();
    let key = |name: &str, passphrase: &str| {
        let path = site.root().join("home/.ssh").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
        let mut keygen = std::process::Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-a", "1", "-N", passphrase, "-f"]).arg(&path);
        assert!(keygen.status().expect("ssh-keygen runs").success());
        let public = std::fs::read_to_string(path.with_extension("pub")).expect("it is there");
        public.parse::<age::ssh::Recipient>().expect("a public key")
    };
    let (open, locked) = (key("id_ed25519", ""), key("locked", "the passphrase"));
    site.write("open.age", age::encrypt_and_armor(&open, b"by-default").expect("it is encrypted"));
    site.write("locked.age", age::encrypt(&locked, b"by-locked").expect("it is encrypted"));
    let mut passphrase = age::scrypt::Recipient::new("the passphrase".into());
    passphrase.set_work_factor(2);
    site.write("typed.age", age::encrypt(&passphrase, b"by-passphrase").expect("it is encrypted"));

    site.write("db.yml", inventory_with("    ansible_password: age:open.age"));
    let said = site.closed("db.yml", &["ping"]);
    assert_eq!(said.code, Some(4), "{}", said.both());
    assert!(!said.both().contains("by-default"));

    site.program("askpass", "echo 'the passphrase'");
    let locked = site.root().join("home/.ssh/locked").display().to_string();
    let named = Named { age_identities: vec![locked], ..Named::default() };
    for (file, expected) in [("locked.age", "by-locked"), ("typed.age", "by-passphrase")] {
        let text = inventory_with(&format!("    password: age:{file}"));
        let asked = load(&site, &text, Keyring::new(&named, Asker::program(site.path("askpass"))));
        let formation = asked.unwrap_or_else(|why| panic!("{}", shown(&why)));
        assert_eq!(formation.nodes[&"pg1".into()].password.as_ref().expect("given").reveal(), expected);
        let problems = load(&site, &text, Keyring::new(&named, Asker::nobody())).map(|_| ()).expect_err(file);
        assert_eq!(problems.len(), 1, "{}", shown(&problems));
        assert!(!shown(&problems).contains("by-"), "{}", shown(&problems));
    }
}

#[test]
fn a_command_runs_once_and_a_readable_file_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new();
    site.write("open", "x\n");
    std::fs::set_permissions(site.path("open"), std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    let vars = "    password: cmd:echo ran >>runs; echo x\n    replication_password: file:open\n    \
                monitor_password: \"cmd:echo ran >>runs; echo {{ 'x' }}\"";
    let formation = load(&site, &inventory_with(vars), keyring(&site));
    let formation = formation.unwrap_or_else(|why| panic!("{}", shown(&why)));
    assert_eq!(std::fs::read_to_string(site.path("runs")).expect("it ran"), "ran\n");
    assert_eq!(formation.warnings.len(), 1, "{:?}", formation.warnings);
    assert!(formation.warnings[0].contains("others may read the password"), "{:?}", formation.warnings);
}
