//! Inventories as text: wrong ones and every word of what they are told, right ones and what they become.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use muster::error::Problem;
use muster::formation::{
    Auth, Formation, HbaEdit, Keeper, Monitor, Node, NodeKind, NodeName, Server, SslMode, Standing, Tls,
};
use muster::inventory::{Hosts, Need, load, load_all, parse};
use muster::secrets::Keyring;

/// `tests/inventory/wrong.txt`: `==== title`, the inventory, `---- says`, the messages.
#[test]
fn wrong_inventories() {
    let expected = include_str!("inventory/wrong.txt");
    let mut actual = String::new();
    for case in expected.split("==== ").filter(|case| !case.is_empty()) {
        let (title, rest) = case.split_once('\n').unwrap();
        let (text, _) = rest.split_once("---- says\n").unwrap();
        let problems = parse("prod.yml", text, Path::new("/base")).map(|_| ()).expect_err(title);
        actual += &format!("==== {title}\n{text}---- says\n{}", shown(&problems));
    }
    if actual != expected {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong.txt");
        fs::write(&path, &actual).unwrap();
        let diff = similar::TextDiff::from_lines(expected, &actual);
        panic!("{}\nthe whole file as it would be: {}", diff.unified_diff(), path.display());
    }
}

fn shown(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n\n")).collect()
}

fn right(text: &str) -> Formation {
    parse("prod.yml", text, Path::new("/base")).unwrap_or_else(|problems| panic!("{}", shown(&problems)))
}

fn node<'f>(formation: &'f Formation, name: &str) -> &'f Node {
    &formation.nodes[&NodeName::from(name)]
}

fn managed(formation: &Formation) -> &Server {
    match &formation.monitor {
        Monitor::Managed(server) => server,
        Monitor::External(uri) => panic!("{uri:?}"),
    }
}

fn example(name: &str) -> Formation {
    load(&Path::new("inventory").join(name)).unwrap_or_else(|problems| panic!("{}", shown(&problems)))
}

#[test]
fn the_lab() {
    let formation = example("lab.yml");
    assert_eq!((formation.name.as_str(), formation.dbname.as_str()), ("default", "app"));
    assert_eq!(formation.warnings, Vec::<String>::new());
    assert_eq!(managed(&formation).host.address, "10.88.0.11");
    assert_eq!(managed(&formation).pgdata, "/var/lib/postgresql/15/monitor");
    let rows: Vec<String> = formation
        .nodes
        .values()
        .map(|node| {
            let server = &node.server;
            let (name, host, kind) = (node.name(), &server.host.address, node.kind);
            let (cluster, priority, quorum) =
                (node.cluster(), node.candidate_priority, node.replication_quorum);
            assert_eq!(server.hostname, name.0);
            format!("{name} {host} {kind} {} {:?} {cluster} {priority} {quorum}", node.group, node.standing)
        })
        .collect();
    assert_eq!(
        rows,
        [
            "coord1 10.88.0.12 coordinator 0 Candidate default 50 true",
            "coord1r 10.88.0.18 coordinator 0 Secondary reports 0 false",
            "coord2 10.88.0.13 coordinator 0 Secondary default 50 true",
            "w1a 10.88.0.14 worker 1 Candidate default 50 true",
            "w1b 10.88.0.15 worker 1 Secondary default 50 true",
            "w1r 10.88.0.19 worker 1 Secondary reports 0 false",
            "w2a 10.88.0.16 worker 2 Candidate default 50 true",
            "w2b 10.88.0.17 worker 2 Secondary default 50 true",
            "w2r 10.88.0.20 worker 2 Secondary reports 0 false",
        ]
    );
    let worker = &node(&formation, "w1a").server;
    let here = std::env::current_dir().unwrap();
    let file = |name: &str| here.join("inventory/../.lab").join(name).display().to_string();
    assert_eq!(worker.host.identity_files, [file("id")]);
    assert_eq!(worker.host.known_hosts, Some(file("known_hosts")));
    assert_eq!(managed(&formation).settings["shared_buffers"], "128MB");
    assert_eq!((managed(&formation).settings.len(), managed(&formation).hba.len()), (1, 0));
    assert_eq!(worker.settings["max_connections"], "300");
    assert_eq!(worker.settings["checkpoint_completion_target"], "0.9");
    assert_eq!(worker.hba, ["hostssl app app 10.88.0.0/24 scram-sha-256"]);
    assert_eq!(node(&formation, "coord1").server.settings["max_connections"], "200");
}

#[test]
fn the_smallest() {
    let formation = example("minimal.yml");
    assert_eq!(formation.dbname, "postgres");
    assert_eq!(formation.nodes.len(), 2);
    let pg1 = node(&formation, "pg1.db.example");
    let server = &pg1.server;
    assert_eq!((pg1.kind, pg1.group, pg1.standing), (NodeKind::Standalone, 0, Standing::Candidate));
    assert_eq!(
        (server.host.address.as_str(), server.hostname.as_str()),
        ("pg1.db.example", "pg1.db.example")
    );
    assert_eq!((server.host.port, server.pgport, server.listen.as_str()), (None, 5432, "*"));
    assert_eq!((server.host.connect_timeout, server.host.command_timeout), (None, 600));
    assert_eq!(server.tls, Tls::managed("/var/lib/postgresql/15/main.node".to_owned(), SslMode::VerifyFull));
    assert_eq!(
        (&server.auth, server.hba_edit, server.keeper),
        (&Auth::ScramSha256, HbaEdit::Minimal, Keeper::Auto)
    );
    assert_eq!((pg1.username.as_str(), server.os_user.as_str()), ("postgres", "postgres"));
    assert_eq!((pg1.candidate_priority, pg1.replication_quorum), (50, true));
    assert_eq!(pg1.maximum_backup_rate, "100M");
    let initdb = &server.initdb;
    assert_eq!(
        (initdb.data_checksums, initdb.encoding.as_str(), initdb.locale.as_str()),
        (true, "UTF8", "C.UTF-8")
    );
}

#[test]
fn the_example_behind_a_bastion() {
    let formation = example("bastion.yml");
    let Monitor::Managed(monitor) = &formation.monitor else { panic!("it is managed") };
    let option = ("ProxyJump".to_owned(), "ops@bastion.db.example".to_owned());
    assert_eq!(monitor.host.ssh_options, [option]);
    assert_eq!(monitor.host.host_keys.len(), 1);
    let host = &formation.nodes[&"pg1.db.example".into()].server.host;
    assert_eq!((host.address.as_str(), host.port), ("10.20.0.11", Some(2222)));
    assert!(host.host_keys.is_empty() && host.becoming.password.is_none());
}

#[test]
fn a_formation_as_ini() {
    let formation = example("citus.ini");
    assert_eq!(formation.warnings, Vec::<String>::new());
    let rows: Vec<String> = formation
        .nodes
        .values()
        .map(|node| format!("{} {} {} {:?}", node.name(), node.group, node.server.pgdata, node.standing))
        .collect();
    assert_eq!(
        rows,
        [
            "coord1.db.example 0 /pg Candidate",
            "coord2.db.example 0 /pg Secondary",
            "w1a.db.example 1 /pg Candidate",
            "w1b.db.example 1 /pg Secondary",
            "w2a.db.example 2 /pg Candidate",
            "w2b.db.example 2 /pg Secondary",
        ]
        .map(|row| row.replace("/pg", "/var/lib/postgresql/16/main"))
    );
    let w1a = &node(&formation, "w1a.db.example").server;
    assert_eq!((w1a.settings["max_connections"].as_str(), w1a.hba.len()), ("200", 1));
    assert!(managed(&formation).settings.is_empty() && managed(&formation).hba.is_empty());
}

#[test]
fn production() {
    let formation = example("production.yml");
    assert_eq!((formation.name.as_str(), formation.number_sync_standbys), ("shop", Some(1)));
    assert_eq!(formation.warnings, Vec::<String>::new());
    let c1 = node(&formation, "c1");
    assert_eq!(c1.password.as_ref().unwrap().reveal(), "REPLACE-ME");
    assert_eq!((c1.candidate_priority, c1.proxyport), (60, Some(6432)));
    assert_eq!(c1.server.tls.mode(), SslMode::VerifyFull);
    assert_eq!(c1.server.settings["wal_compression"], "on");
    assert_eq!(c1.server.settings["log_line_prefix"], "%m [%p] %u@%d ");
    assert_eq!(managed(&formation).settings["shared_buffers"], "256MB");
    // What the application needs is no business of the monitor's.
    assert_eq!(managed(&formation).settings.len(), 3);
    assert!(managed(&formation).hba.is_empty() && c1.server.hba.len() == 2);
    assert!(!format!("{formation:?}").contains("REPLACE-ME"));
}

#[test]
fn inner_levels_win() {
    let formation = right(
        "
all:
  vars: {pgdata: /pg, pgport: 1, listen: 10.0.0.1, settings: {a: 1, b: 1, c: 1}, hba: [local all all peer]}
  children:
    monitor: {hosts: {mon: }}
    postgres:
      vars: {pgport: 2, username: outer, settings: {b: 2, c: 2}, hba: [host all all ::1/128 trust]}
      children:
        zone:
          hosts: {a: {pgport: 4, settings: {c: 4}}}
          vars: {pgport: 3, username: inner}
    # of two groups as deep as each other, the later name wins
    xrack: {hosts: {a: }, vars: {keeper: systemd, connect_timeout: 7}}
    zrack: {hosts: {a: }, vars: {keeper: detached}}
    # a second mention of a group adds to it
    south:
      children:
        postgres: {hosts: {b: {secondary: yes}}}
",
    );
    let a = node(&formation, "a");
    assert_eq!((a.server.pgport, a.username.as_str(), a.server.listen.as_str()), (4, "inner", "10.0.0.1"));
    assert_eq!((a.server.keeper, a.server.host.connect_timeout), (Keeper::Detached, Some(7)));
    let settings: Vec<String> = a.server.settings.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(settings, ["a=1", "b=2", "c=4"]);
    assert_eq!(a.server.hba, ["local all all peer", "host all all ::1/128 trust"]);
}

#[test]
fn an_inner_choice_of_encryption_replaces_the_outer_one() {
    let formation = right(
        "
all:
  vars: {pgdata: /pg, server_cert: /c, server_key: /k, ssl_ca_file: /ca, ssl_mode: verify-ca}
  children:
    monitor: {hosts: {mon: {no_ssl: true}}}
    postgres:
      hosts:
        a: {ssl_self_signed: true}
        b: {secondary: true, server_key: /own}
        c: {secondary: true, no_ssl: false}
",
    );
    let files = |key: &str| Tls::Files {
        cert: "/c".into(),
        key: key.into(),
        ca: Some("/ca".into()),
        crl: None,
        mode: SslMode::VerifyCa,
    };
    assert_eq!(managed(&formation).tls, Tls::Off);
    assert_eq!(node(&formation, "a").server.tls, Tls::SelfSigned { mode: SslMode::Require });
    assert_eq!(node(&formation, "b").server.tls, files("/own"));
    assert_eq!(node(&formation, "c").server.tls, files("/k"));
}

#[test]
fn values_keep_their_spelling() {
    let formation = right(
        "
all:
  vars:
    pgdata: /pg//data/./x/
    dbname: 0644
    pgport: \"5433\"
    settings: {a: 0.90, b: 0644, c: yes, d: true, E.f: 'off', g: 1_000, h: 1e3}
  children:
    monitor: {hosts: {mon: }}
    postgres: {hosts: {a: &base {keeper: none}, b: {<<: *base, keeper: auto, secondary: true}}}
",
    );
    let a = node(&formation, "a");
    assert_eq!((formation.dbname.as_str(), a.server.pgdata.as_str()), ("0644", "/pg/data/x"));
    let settings: Vec<String> = a.server.settings.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(settings, ["a=0.90", "b=0644", "c=yes", "d=on", "e.f=off", "g=1_000", "h=1e3"]);
    assert_eq!((a.server.keeper, node(&formation, "b").server.keeper), (Keeper::None, Keeper::Auto));
    assert_eq!(formation.warnings, ["nothing will fail over on a: keeper is none"]);
}

#[test]
fn a_monitor_that_is_there() {
    let formation = right(
        "
all:
  vars:
    pgdata: /pg
    auth: md5
    password: one
    replication_password: two
    monitor: postgresql://node:p%40ss@[2001:db8::1]:6000/failover?sslmode=verify-full&sslrootcert=/ca
  children: {postgres: {hosts: {a: }}}
",
    );
    let Monitor::External(uri) = &formation.monitor else { panic!() };
    assert_eq!((uri.host.as_str(), uri.port, uri.user.as_str()), ("2001:db8::1", 6000, "node"));
    assert_eq!((uri.password.as_ref().unwrap().reveal(), uri.dbname.as_str()), ("p@ss", "failover"));
    let pairs: Vec<String> = uri.parameters.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(pairs, ["sslmode=verify-full", "sslrootcert=/ca"]);
}

#[test]
fn two_nodes_on_one_host_and_hosts_behind_one_address() {
    right(
        "
all:
  vars: {ansible_host: 10.0.0.1, hostname: db}
  children:
    monitor: {hosts: {mon: {pgdata: /mon, pgport: 6000}}}
    postgres:
      vars: {pgdata: /pg}
      hosts: {a: , b: {ansible_port: 2222, pgport: 5433, secondary: true}}
",
    );
}

#[test]
fn warnings() {
    let formation = right(
        "
all:
  vars: {pgdata: /pg, ansible_python_interpreter: /usr/bin/python3, ansible_become: true, ansible_become_exe: pbrun}
  children:
    monitor: {hosts: {mon: }}
    coordinator: {hosts: {c: }}
    workers:
      vars: {group: 1}
      hosts:
        w: {hba: [host all all 10.0.0.0/8 trust, host all all 127.0.0.1/32 trust, local all all trust]}
        r: {citus_secondary: true, citus_cluster: reports, ansible_connection: ssh}
",
    );
    assert_eq!(
        formation.warnings,
        [
            "prod.yml:3: `ansible_become_exe` is not read here",
            "prod.yml:10: the rule lets anybody in without a password (trust beyond loopback): \
             `host all all 10.0.0.0/8 trust`",
            "prod.yml:11: read-replica cluster `reports` has no coordinator: nobody can query it",
        ]
    );
}

#[test]
fn variables_of_others_are_theirs() {
    let formation = right(
        "
all:
  vars: {pgdata: /pg, ssl-mode: prefer, shared_buffers: 8GB, http_port: 80, users: [a, b], pgprot: 1}
  children:
    monitor: {hosts: {mon: }}
    postgres: {hosts: {a: }}
",
    );
    assert_eq!(
        formation.warnings,
        [
            "prod.yml:3: `ssl-mode` is not read; did you mean `ssl_mode`?",
            "prod.yml:3: `pgprot` is not read; did you mean `pgport`?",
        ]
    );
}

#[test]
fn templates_in_values() {
    let formation = right(
        "
all:
  vars:
    pgdata: '/pg/{{ version }}/{{ inventory_hostname_short }}'
    version: 16
    hostname: '{{ ansible_host }}'
    pgport: '{{ 5000 + version }}'
    listen: \"{{ [ansible_host, '127.0.0.1'] | join(',') }}\"
    hba: ['host all all {{ hostvars[groups.monitor[0]].ansible_host }}/32 md5']
    settings: {work_mem: '{{ mem | default(\"4MB\") }}', a: \"{{ 'x' if 'postgres' in group_names else 'y' }}\"}
    name: '{{ inventory_hostname.split(\".\")[0].upper() }}'
    password: !unsafe '{{ as it is }}'
  children:
    monitor: {hosts: {mon.example: {ansible_host: 10.0.0.1}}}
    postgres: {hosts: {a.example: {ansible_host: 10.0.0.2, mem: 8MB, listen: '*'}}}
",
    );
    let a = &node(&formation, "A");
    assert_eq!((a.server.pgdata.as_str(), a.server.pgport), ("/pg/16/a", 5016));
    assert_eq!((a.server.hostname.as_str(), a.server.listen.as_str()), ("10.0.0.2", "*"));
    assert_eq!(managed(&formation).listen, "10.0.0.1,127.0.0.1");
    assert_eq!(a.server.hba, ["host all all 10.0.0.1/32 md5"]);
    assert_eq!(a.server.settings["work_mem"], "8MB");
    assert_eq!(a.server.settings["a"], "x");
    assert_eq!(managed(&formation).settings["a"], "y");
    assert_eq!(a.password.as_ref().unwrap().reveal(), "{{ as it is }}");
}

#[test]
fn templates_made_to_explode_are_refused() {
    let mut laughs = String::from("all:\n  vars:\n    pgdata: '{{ a0 }}'\n");
    for i in 0..15 {
        laughs += &format!("    a{i}: '{{{{ a{0} }}}}{{{{ a{0} }}}}{{{{ a{0} }}}}'\n", i + 1);
    }
    laughs += "    a15: x\n";
    let loops = "all:\n  vars:\n    pgdata: '{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}'\n";
    let long = "all:\n  vars:\n    pgdata: \"{{ 'x' * 1000000000 }}\"\n";
    for text in [laughs.as_str(), loops, long] {
        let text =
            format!("{text}  children: {{monitor: {{hosts: {{m: }}}}, postgres: {{hosts: {{a: }}}}}}\n");
        let started = std::time::Instant::now();
        assert!(parse("prod.yml", &text, Path::new("")).is_err());
        assert!(started.elapsed().as_secs() < 20, "{text}");
    }
}

/// A formation in the words of INI, in a folder with variables beside it, and a second source over it.
#[test]
fn a_shared_inventory_of_several_files() {
    let base = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = base.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "inv/hosts",
        "[monitor]\nmon\n[coordinator]\ncoord\n[w1]\nw1[a:b] group=1\n[workers:children]\nw1\n",
    );
    write(
        "inv/group_vars/all/main.yml",
        "pgdata: /pg\nsettings: {a: 1, b: 1}\nknown_hosts: kh\napp_version: 3\n",
    );
    write("inv/group_vars/w1.yml", "settings: {b: 2}\nsecondary: \"{{ inventory_hostname == 'w1b' }}\"\n");
    write("inv/host_vars/w1b.json", "{\"settings\": {\"c\": 3}}");
    write("more.yml", "all: {vars: {pgport: 6000}}\nw1: {vars: {settings: {a: 4}}}\n");
    let path = |name: &str| base.path().join(name).display().to_string();
    let formation = load_all(&[path("inv"), path("more.yml")], &Arc::new(Keyring::empty()), Need::Everything)
        .unwrap_or_else(|problems| panic!("{}", shown(&problems)));
    let w1b = node(&formation, "w1b");
    let settings: Vec<String> = w1b.server.settings.iter().map(|(k, v)| format!("{k}={v}")).collect();
    // A file wins over what stands in an inventory, for groups as for `all`.
    assert_eq!(settings, ["a=1", "b=2", "c=3"]);
    assert_eq!((w1b.server.pgport, w1b.standing, w1b.group), (6000, Standing::Secondary, 1));
    assert_eq!(w1b.server.host.known_hosts, Some(path("inv/kh")));
    write("more.yml", "all: {vars: {pgport: 0}}\n");
    write("inv/group_vars/w1.yml", "no_ssl: maybe\n");
    let problems = load_all(&[path("inv"), path("more.yml")], &Arc::new(Keyring::empty()), Need::Everything)
        .unwrap_err();
    let told = shown(&problems).replace(&base.path().display().to_string(), "BASE");
    assert_eq!(
        told,
        "error: `pgport` must be a number from 1 to 65535, not `0`
 --> BASE/more.yml:1:22
  |
1 | all: {vars: {pgport: 0}}
  |                      ^

error: `no_ssl` must be true or false, not `maybe`
 --> BASE/inv/group_vars/w1.yml:1:9
  |
1 | no_ssl: maybe
  |         ^^^^^

"
    );
}

#[test]
fn templates_replace_ours() {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir(base.path().join("tpl")).unwrap();
    fs::write(base.path().join("tpl/postgresql.conf.j2"), "# mine\n").unwrap();
    fs::write(base.path().join("tpl/pg_hba.conf"), "").unwrap();
    let text = "all: {vars: {pgdata: /pg, templates_dir: tpl},
      children: {monitor: {hosts: {m: }}, postgres: {hosts: {a: }}}}";
    let formation = parse("prod.yml", text, base.path()).unwrap();
    assert_eq!(
        formation.templates.into_iter().collect::<Vec<_>>(),
        [("postgresql.conf.j2".into(), "# mine\n".into())]
    );
    assert_eq!(
        formation.warnings,
        ["prod.yml:1: `pg_hba.conf` in `templates_dir` is not used; did you mean `pg_hba.conf.j2`?"]
    );
}

#[test]
fn files_made_to_explode_are_refused() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let before = format!("*a{}, ", i - 1).repeat(9);
        laughs += &format!("a{i}: &a{i} [{before}]\n");
    }
    for text in [laughs, "[".repeat(100_000), format!("all:{}", " {a:".repeat(1000)), "a: ".repeat(100_000)] {
        let problems = parse("prod.yml", &text, Path::new("")).unwrap_err();
        let told = shown(&problems);
        let limit =
            ["nested too deep or grows too large", "longer than 128 KiB", "mapping values are not allowed"];
        assert!(problems.len() == 1 && told.len() < 500 && limit.iter().any(|l| told.contains(l)), "{told}");
    }
}

/// As files, since INI is tried where YAML fails.
#[test]
fn files_too_large_are_refused() {
    let base = tempfile::tempdir().unwrap();
    let chain: String = (0..9000).map(|i| format!("[g{i}:children]\ng{}\n", i + 1)).collect();
    let diamonds: String = (0..40)
        .map(|i| {
            format!("[a{i}:children]\nb{i}\nc{i}\n[b{i}:children]\na{0}\n[c{i}:children]\na{0}\n", i + 1)
        })
        .collect();
    let many: String = (0..150_000).map(|i| format!("h{i} x={i}\n")).collect();
    for (name, text) in [
        ("line", "x".repeat(100 << 20)),
        ("line.yml", format!("all: {}", "x".repeat(15 << 20))),
        ("nul.ini", "[g]\nh x='\0'\n\0\n".to_owned()),
        ("noise.ini", "a b c\n".repeat(300_000)),
        ("many.ini", many),
        ("range.ini", "[g]\nh[0:99][0:99][0:99]\n".to_owned()),
        ("ranges.ini", "[g]\nh[1:99999999999]\n".to_owned()),
        ("groups.ini", (0..100_000).map(|i| format!("[g{i}]\n")).collect()),
        ("chain.ini", chain + "[g9000]\nh\n"),
        ("diamonds.ini", diamonds + "[a40]\nh\n"),
        ("deep.ini", format!("h x={}\n", "[".repeat(1 << 20))),
        ("deep.json", "[".repeat(1 << 20)),
    ] {
        let path = base.path().join(name);
        fs::write(&path, text).unwrap();
        let started = std::time::Instant::now();
        let problems = load(&path).expect_err(name);
        assert!(started.elapsed().as_secs() < 100, "{name} takes {:?}", started.elapsed());
        assert!(
            problems.len() <= 501 && shown(&problems[..1]).len() < 1000,
            "{name}: {}",
            shown(&problems[..1])
        );
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_thousand_hosts() {
    let mut text =
        String::from("all:\n  vars: &v {pgdata: /pg}\n  children:\n    monitor: {hosts: {mon: }}\n");
    text += "    coordinator: {hosts: {c: }}\n    workers:\n      hosts:\n";
    for i in 1..=1000 {
        text += &format!("        w{i}: {{<<: *v, group: {i}}}\n");
    }
    assert_eq!(right(&text).nodes.len(), 1001);
}

#[test]
fn a_formation_knows_whom_the_inventory_names() {
    let roster = example("lab.yml").roster;
    let hosts: Vec<&str> = roster.hosts.iter().map(|host| host.name.as_str()).collect();
    let in_file = ["mon", "coord1", "coord2", "coord1r", "w1a", "w1b", "w1r", "w2a", "w2b", "w2r"];
    assert_eq!(hosts, in_file);
    let groups: Vec<&str> = roster.groups.iter().map(|group| group.name.as_str()).collect();
    let declared =
        ["all", "ungrouped", "monitor", "coordinator", "workers", "worker1", "worker2", "nodes", "readers"];
    assert_eq!(groups, declared);
    let w1r: Vec<&str> = roster.hosts[6].groups.iter().map(String::as_str).collect();
    assert_eq!(w1r, ["all", "nodes", "readers", "worker1", "workers"]);
}

/// What was left out and what was not, by the words of one inventory each.
#[test]
fn hosts_without_a_role() {
    let with = |more: &str| {
        let text = format!(
            "all:\n  vars: {{pgdata: /d}}\n  children:\n    monitor: {{hosts: {{m: }}}}\n    postgres: {{hosts: {{a: }}}}\n{more}"
        );
        parse("prod.yml", &text, Path::new("/base"))
    };
    // Others' hosts, with variables that would be wrong for a node, are reached as the inventory says.
    let formation = with(
        "    monitoring: {vars: {name: 'Grafana 1', settings: x, listen: [1]}, hosts: {grafana: {ansible_user: ann, ansible_become_user: app}}}\n",
    );
    let formation = formation.unwrap_or_else(|problems| panic!("{}", shown(&problems)));
    assert_eq!(formation.outside, ["grafana"]);
    assert_eq!(formation.servers().count(), 2);
    let grafana = &formation.roster.hosts[2];
    assert_eq!((grafana.name.as_str(), grafana.node.0.as_str()), ("grafana", "grafana"));
    assert_eq!((grafana.host.user.as_deref(), grafana.os_user.as_str()), (Some("ann"), "app"));
    // Said to be none of them: not even named.
    let formation = with("    workers: {hosts: {w: {role: none, group: 1, pgdata: /d}}}\n");
    assert_eq!(formation.map(|formation| formation.outside), Ok(Vec::new()));
    for (mistake, says) in [
        ("    worker: {hosts: {w: }}\n", "is its group `worker` meant to be `workers`?"),
        ("    postgresql: {hosts: {w: }}\n", "is its group `postgresql` meant to be `postgres`?"),
        ("    secondaries: {hosts: {w: }}\n", "`secondaries` alone says no role"),
        (
            "    db: {vars: {pgdata: /e}, hosts: {w: }}\n",
            "because of its `pgdata` on line 6 it is not left out",
        ),
        ("    db: {hosts: {w: {citus_secondary: true}}}\n", "because of its `citus_secondary` on line 6"),
    ] {
        let problems = with(mistake).map(|_| ()).expect_err(mistake);
        assert_eq!(problems[0].message, "host `w` has no role", "{mistake}");
        assert!(problems[0].hint.as_deref().is_some_and(|hint| hint.contains(says)), "{}", problems[0]);
        assert!(
            problems[0].hint.as_deref().is_some_and(|hint| hint.contains("`role: none`")),
            "{}",
            problems[0]
        );
    }
    let problems = with("    web: {hosts: {w: }}\n    workers: {hosts: {x: {group: 1, name: w}}}\n");
    let problems = shown(&problems.map(|_| ()).expect_err("two of one name"));
    assert!(problems.contains("`x` is called `w`, as another host of the inventory"), "{problems}");
}

/// Plain inventories of others make no formation; their hosts are there all the same.
#[test]
fn hosts_are_reached_without_a_formation() {
    let hosts = hosts_of(&["a,b:2222,".to_owned()]).unwrap_or_else(|p| panic!("{}", shown(&p)));
    let shape = |listed: &muster::formation::Listed| (listed.node.0.clone(), listed.host.port);
    let found: Vec<_> = hosts.roster.hosts.iter().map(shape).collect();
    assert_eq!(found, [("a".to_owned(), None), ("b".to_owned(), Some(2222))]);
    let problems = load_all(&["a,b,".to_owned()], &Arc::new(Keyring::empty()), Need::Everything)
        .map(|_| ())
        .expect_err("no formation");
    assert_eq!(problems[0].message, "the inventory makes no formation");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hosts.ini");
    let text = "[postgres]\na name='Web 1' group=web settings=no\nb name=two\nc name=two ansible_port=x\n";
    fs::write(&path, text).unwrap();
    let names = [path.display().to_string()];
    let problems = hosts_of(&names).map(|_| ()).expect_err("a wrong port");
    assert_eq!(problems.len(), 1, "{}", shown(&problems));
    fs::write(&path, text.replace("=x", "=23")).unwrap();
    let hosts = hosts_of(&names).unwrap_or_else(|p| panic!("{}", shown(&p)));
    let found: Vec<_> = hosts.roster.hosts.iter().map(shape).collect();
    assert_eq!(found, [("a".to_owned(), None), ("b".to_owned(), None), ("c".to_owned(), Some(23))]);
}

fn hosts_of(names: &[String]) -> Result<Hosts, Vec<Problem>> {
    muster::inventory::hosts(names, &Arc::new(Keyring::empty()), Need::Everything)
}

/// What others have made, the plan sees; an inventory of a part is whole.
#[test]
fn a_part_of_a_formation_and_a_monitor_alone() {
    let part = |nodes: &str| {
        right(&format!("all:\n  vars: {{pgdata: /pg, monitor: 'postgres://m'}}\n  children:\n    {nodes}\n"))
    };
    assert_eq!(part("workers: {hosts: {w: {group: 2}}}").nodes.len(), 1);
    assert_eq!(part("postgres: {hosts: {a: {secondary: true, number_sync_standbys: 1}}}").nodes.len(), 1);
    let reader = part("workers: {hosts: {w: {group: 1, citus_secondary: true, citus_cluster: reports}}}");
    assert_eq!(reader.warnings, Vec::<String>::new());

    let alone = right("all:\n  vars: {pgdata: /pg}\n  children:\n    monitor: {hosts: {mon: }}\n");
    assert!(alone.nodes.is_empty() && alone.monitor_password().is_none());
    assert_eq!((alone.name.as_str(), managed(&alone).pgdata.as_str()), ("default", "/pg"));
    let text = "all:\n  vars: {pgdata: /pg, auth: md5, monitor_password: s}\n  children:\n    monitor: {hosts: {mon: }}\n";
    assert_eq!(right(text).monitor_password().map(|password| password.reveal().to_owned()), Some("s".into()));
}

/// A name that other roles have is theirs in the whole inventory, once muster's own spelling of it is used anywhere.
#[test]
fn every_variable_has_a_spelling_of_its_own() {
    let formation = right(
        "all:\n  vars: {muster_pgdata: /pg, muster_formation: f, name: 'a b', role: web, group: admins, pgport: x, muster_pgport: 6000, ansible_user: play}\n  \
         children:\n    db:\n      vars: {muster_role: postgres, muster_group: 0, muster_ansible_user: pgadmin, hba: what, muster_hba: [local a all peer]}\n      \
         hosts: {a: {muster_name: one}, b: {muster_secondary: true, muster_hba: local b all peer}}\n    \
         others: {hosts: {m: {muster_role: monitor}, web: {}}}\n",
    );
    let (one, two) = (node(&formation, "one"), node(&formation, "b"));
    assert_eq!((formation.name.as_str(), one.server.pgdata.as_str(), one.server.pgport), ("f", "/pg", 6000));
    assert_eq!((one.standing, two.standing), (Standing::Candidate, Standing::Secondary));
    assert_eq!(two.server.hba, ["local a all peer", "local b all peer"]);
    // How a host is reached is each host's own.
    assert_eq!(one.server.host.user.as_deref(), Some("pgadmin"));
    assert_eq!(managed(&formation).host.user.as_deref(), Some("play"));
    assert_eq!(formation.outside, ["web"]);
}

#[test]
fn rules_are_mappings_and_texts_as_well() {
    let rules = |hba: &str| {
        let text = format!(
            "all:\n  vars: {{pgdata: /pg}}\n  children:\n    monitor: {{hosts: {{m: }}}}\n    postgres: {{hosts: {{a: , b: {{secondary: true}}}}}}\n  \
             hosts: {{}}\npostgres:\n  vars:\n    hba: {hba}\n"
        );
        node(&right(&text), "a").server.hba.clone()
    };
    let expected = ["hostssl app,b all 10.0.0.0/8 scram-sha-256", "local all all peer map=ops"];
    for hba in [
        "['hostssl app,b all 10.0.0.0/8 scram-sha-256', local all all peer map=ops]",
        "|\n      # ours\n      hostssl app,b all 10.0.0.0/8 scram-sha-256\n\n      local all all peer map=ops",
        "[{type: hostssl, database: [app, b], user: all, address: 10.0.0.0/8, method: scram-sha-256}, {contype: local, databases: all, users: all, auth_method: peer, options: {map: ops}}]",
        "[{type: hostssl, db: 'app,b', user: all, addr: 10.0.0.0/8, auth: scram-sha-256}, local all all peer map=ops]",
        "\"hostssl app,b all 10.0.0.0/8 scram-sha-256\\nlocal all all peer map=ops\"",
    ] {
        assert_eq!(rules(hba), expected, "{hba}");
    }
    let one = "{type: host, database: all, user: all, address: 10.0.0.0, netmask: 255.0.0.0, method: md5}";
    assert_eq!(rules(one), ["host all all 10.0.0.0 255.0.0.0 md5"]);
}

/// `ansible_ssh_args`, the variables, the other arguments: the first value counts, as on Ansible's command line.
#[test]
fn arguments_of_ssh_stand_where_ansible_has_them() {
    let host = |vars: &str| {
        let text = format!(
            "all:\n  vars: {{pgdata: /pg}}\n  children:\n    monitor: {{hosts: {{m: {{{vars}}}}}}}\n"
        );
        managed(&right(&text)).host.clone()
    };
    let found = host(
        "ansible_user: var, ansible_port: 1, ansible_ssh_private_key_file: k, ansible_ssh_common_args: -o User=common -p 3 -i c, ansible_ssh_args: -l args -o Port=2 -i a -R 1:b:2",
    );
    let options: Vec<String> =
        found.ssh_options.iter().map(|(key, value)| format!("{key} {value}")).collect();
    assert_eq!((found.user, found.port, found.identity_files.len()), (None, None, 0));
    let expected = [
        "User args",
        "Port 2",
        "IdentityFile a",
        "IdentityFile \"/base/k\"",
        "User common",
        "Port 3",
        "IdentityFile c",
    ];
    assert_eq!(options, expected);
    // Empty is not given, and hides what an outer level gives.
    let text = "all:\n  vars: {pgdata: /pg, ansible_user: ops, ansible_port: 22, nothing: ''}\n  children:\n    \
                monitor: {hosts: {m: {ansible_user: '', ansible_port: ~, ansible_ssh_private_key_file: \"{{ nothing }}\", \
                ansible_become_method: \"{{ no | default(omit) }}\", ansible_become_user: '', ansible_password: ''}}}\n";
    let server = managed(&right(text)).clone();
    assert_eq!((server.host.user, server.host.port, server.os_user.as_str()), (None, None, "postgres"));
    assert!(server.host.identity_files.is_empty() && server.host.password.is_none());
}

/// Hosts outside may be reached by whatever there is.
#[test]
fn what_muster_does_not_speak_is_a_note_outside_the_formation() {
    let formation = right(
        "all:\n  vars: {pgdata: /pg}\n  children:\n    monitor: {hosts: {m: {ansible_connection: ansible.builtin.paramiko_ssh}}}\n    \
         windows: {hosts: {w: {}}, vars: {ansible_connection: winrm, ansible_become_method: runas}}\n",
    );
    let listed = |name: &str| formation.roster.hosts.iter().find(|host| host.name == name).unwrap();
    assert_eq!(listed("m").host.unspoken, None);
    assert_eq!(listed("w").host.unspoken.as_deref(), Some("`ansible_connection` is `winrm`"));
    let said = "muster cannot reach w, and leaves them be: of w `ansible_connection` is `winrm`, `ansible_become_method` is `runas`";
    assert!(formation.warnings.contains(&said.to_owned()), "{:?}", formation.warnings);
}

#[test]
fn a_list_of_hosts_takes_ranges() {
    let Hosts { roster, .. } =
        muster::inventory::hosts(&["n[1:3],m:22".to_owned()], &Arc::new(Keyring::empty()), Need::Nothing)
            .unwrap_or_else(|problems| panic!("{}", shown(&problems)));
    let names: Vec<&str> = roster.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["n1", "n2", "n3", "m"]);
}
