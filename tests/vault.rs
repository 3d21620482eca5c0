//! ansible-vault itself against muster: what it has encrypted muster reads, and lists as `ansible-inventory` does.
//!
//! Without ansible-core (`make install-deps`) nothing is compared, and that is said.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use muster::console::Asker;
use muster::inventory::{self, Need};
use muster::secrets::{Keyring, Named};
use serde_json::Value;

/// The virtual environment of `make install-deps`.
const BIN: &str = "target/ansible/bin";

const TEXTS: [&str; 5] =
    ["hunter2", "exactly sixteen!", "é ü 漢字", "{{ not_a_template }} '\"\\", "0123456789abcdefg"];

fn bin() -> Option<PathBuf> {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join(BIN);
    if bin.join("ansible-vault").exists() {
        return Some(bin);
    }
    let said = writeln!(std::io::stderr(), "LEFT OUT: the comparison with ansible-vault (make install-deps)");
    said.expect("stderr is open");
    None
}

/// Standard output of a program of Ansible.
fn ansible(program: &str, folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new(bin().expect("it is there").join(program));
    command.args(args).current_dir(folder).env("ANSIBLE_DEVEL_WARNING", "0").env("HOME", folder);
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it writes UTF-8")
}

/// Values with labels and without, whole files, an inventory that is encrypted itself, and JSON.
#[test]
fn what_ansible_encrypts_is_read() {
    if bin().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let folder = folder.path();
    let write = |name: &str, text: &str| {
        fs::create_dir_all(folder.join(name).parent().expect("a folder")).expect("a folder can be made");
        fs::write(folder.join(name), text).expect("a file can be written");
    };
    write("one", "the first password\n");
    write("two", " the second \n");
    let ids = ["--vault-id", "one", "--vault-id", "dev@two"];
    let mut vars = String::new();
    let names: Vec<String> = (0..TEXTS.len()).map(|number| format!("v{number}")).collect();
    for (first, label) in ["default", "dev"].into_iter().enumerate() {
        let mut args = [&["encrypt_string", "--encrypt-vault-id", label], &ids[..]].concat();
        args.extend(names.iter().skip(first).step_by(2).flat_map(|name| ["--name", name]));
        args.extend(TEXTS.iter().skip(first).step_by(2));
        let sealed = ansible("ansible-vault", folder, &args);
        vars += &sealed.lines().map(|line| format!("    {line}\n")).collect::<String>();
    }
    assert!(names.iter().all(|name| vars.contains(&format!("    {name}: !vault |"))), "{vars}");
    let hosts = "  children:\n    monitor: {hosts: {mon: {pgport: 5000, pgdata: /m}}}\n    postgres: {hosts: {pg1: }}\n";
    write("db.yml", &format!("all:\n  vars:\n    pgdata: /x\n    password: '{{{{ v0 }}}}'\n{vars}{hosts}"));
    write("group_vars/all.yml", "monitor_password: of all\nlist: [1, yes, '{{ v0 }}']\nn: 0644\n");
    write("group_vars/postgres/x.yml", "replication_password: of the group\n");
    write("host_vars/pg1", "pgport: 5444\n");
    for (label, files) in
        [("default", &["group_vars/all.yml"][..]), ("dev", &["group_vars/postgres/x.yml", "host_vars/pg1"])]
    {
        let args = [&["encrypt", "--encrypt-vault-id", label], &ids[..], files].concat();
        ansible("ansible-vault", folder, &args);
    }
    let same = |inventory: &str| {
        let theirs = ansible("ansible-inventory", folder, &[&["-i", inventory, "--list"], &ids[..]].concat());
        let theirs: Value = serde_json::from_str(&theirs).expect("JSON");
        let ours = inventory::list(&[folder.join(inventory).display().to_string()], &keyring(folder));
        let ours = ours.unwrap_or_else(|why| panic!("{inventory}: {why:?}")).list();
        assert_eq!(ours, theirs, "{inventory}");
        theirs
    };
    let listed = same("db.yml");
    assert!(listed.to_string().contains("__ansible_vault"), "{listed}");
    // As JSON again, with what is encrypted in it; and as a file that nobody can read.
    let hostvars = &listed["_meta"]["hostvars"]["pg1"];
    write("again/db.json", &serde_json::json!({ "all": { "hosts": { "pg1": hostvars } } }).to_string());
    same("again/db.json");
    fs::copy(folder.join("db.yml"), folder.join("sealed.yml")).expect("it can be copied");
    ansible(
        "ansible-vault",
        folder,
        &[&["encrypt", "--encrypt-vault-id", "dev"], &ids[..], &["sealed.yml"]].concat(),
    );
    same("sealed.yml");
    write("hosts.ini", "[g]\na x=1\nb\n[g:vars]\ny='two words'\n");
    ansible(
        "ansible-vault",
        folder,
        &[&["encrypt", "--encrypt-vault-id", "default"], &ids[..], &["hosts.ini"]].concat(),
    );
    same("hosts.ini");

    for (number, text) in TEXTS.iter().enumerate() {
        let inventory = fs::read_to_string(folder.join("db.yml")).expect("it is there");
        write("db2.yml", &inventory.replace("{{ v0 }}", &format!("{{{{ v{number} }}}}")));
        let names = [folder.join("db2.yml").display().to_string()];
        let formation = inventory::load_all(&names, &keyring(folder), Need::Everything);
        let formation = formation.unwrap_or_else(|why| panic!("{why:?}"));
        let node = &formation.nodes[&"pg1".into()];
        let reveal =
            |secret: &Option<muster::formation::Secret>| secret.as_ref().expect("given").reveal().to_owned();
        assert_eq!(reveal(&node.password), *text);
        assert_eq!(reveal(&node.replication_password), "of the group");
        assert_eq!(reveal(&node.monitor_password), "of all");
        assert_eq!(node.server.pgport, 5444);
    }
    // Without passwords both refuse the files, and neither of them minds a value that it need not read.
    let alone = [folder.join("hosts.ini").display().to_string()];
    assert!(inventory::list(&alone, &Arc::new(Keyring::empty())).is_err());
}

/// Files with a label and without.
#[test]
fn what_muster_encrypts_ansible_opens() {
    if bin().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let folder = folder.path();
    fs::write(folder.join("one"), "the first password\n").expect("a file can be written");
    fs::write(folder.join("two"), " the second \n").expect("a file can be written");
    let path = |name: &str| folder.join(name).display().to_string();
    for (id, text) in [(path("one"), TEXTS[1]), (format!("dev@{}", path("two")), TEXTS[2])] {
        let named = Named { vault_ids: vec![id], ..Named::default() };
        let sealed = Keyring::new(&named, Asker::nobody()).seal_vault(&folder.join("key"), text.as_bytes());
        fs::write(folder.join("key"), sealed.expect("a password is given")).expect("a file can be written");
        let ids = ["--vault-id", "one", "--vault-id", "dev@two"];
        let viewed = ansible("ansible-vault", folder, &[&["view", "key"], &ids[..]].concat());
        assert_eq!(viewed.trim_end_matches('\n'), text);
    }
}

fn keyring(folder: &Path) -> Arc<Keyring> {
    let path = |name: &str| folder.join(name).display().to_string();
    let vault_ids = vec![path("one"), format!("dev@{}", path("two"))];
    Arc::new(Keyring::new(&Named { vault_ids, ..Named::default() }, Asker::nobody()))
}
