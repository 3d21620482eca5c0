//! Files made to explode, to hang or to crash whoever reads them: each is refused or read in little memory and time.
//!
//! muster runs as a program of its own, because a test that has no memory left tells nothing. `make fuzz` looks for more
//! such files; the smallest of those it finds become cases here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use muster::facts;
use muster::formation::Formation;
use tempfile::TempDir;

/// KiB of address space: some 60 MB are the program itself, and the largest file that is read is 16 MiB.
const MEMORY: u64 = 640 << 10;
/// Seconds of a processor, in a debug build; what hangs takes hours.
const WORK: u64 = 20;
/// On a busy machine that takes its time.
const PATIENCE: Duration = Duration::from_secs(100);

/// What muster said in little memory; it ended by itself, with an exit code of the README's table.
#[track_caller]
fn muster(folder: &TempDir, args: &[&str]) -> (i32, String) {
    let said = folder.path().join("said");
    let mut child = Command::new("sh")
        .args([
            "-c",
            &format!("ulimit -c 0; ulimit -v {MEMORY}; ulimit -t {WORK}; exec \"$@\""),
            "sh",
            env!("CARGO_BIN_EXE_muster"),
        ])
        .args(args)
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env_remove("MUSTER_INVENTORY")
        .stdin(Stdio::null())
        .stdout(File::create(&said).unwrap())
        .stderr(File::create(folder.path().join("errors")).unwrap())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{args:?}: no end after {} s", PATIENCE.as_secs());
        }
        sleep(Duration::from_millis(5));
    };
    let errors = String::from_utf8_lossy(&fs::read(folder.path().join("errors")).unwrap()).into_owned();
    let start = |text: &str| text.chars().take(2000).collect::<String>();
    let code = status.code().unwrap_or_else(|| panic!("{args:?}: {status}\n{}", start(&errors)));
    assert!([0, 1, 2, 4].contains(&code), "{args:?}: {code}\n{}", start(&errors));
    assert!(errors.len() < 1 << 20, "{args:?}: a megabyte of complaints");
    (code, errors)
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Listed, and made a formation of; what the first complaint is.
#[track_caller]
fn inventory(name: &str, bytes: impl AsRef<[u8]>) -> String {
    let folder = folder();
    fs::write(folder.path().join(name), bytes).unwrap();
    muster(&folder, &["-i", name, "inventory", "--list"]);
    let (_, said) = muster(&folder, &["-i", name, "sudoers"]);
    said.lines().next().unwrap_or_default().chars().take(200).collect()
}

/// An inventory that is right but for what is added to its variables.
fn with(variables: &str) -> String {
    format!(
        "all:\n  vars:\n    pgdata: /data\n{variables}\n  children:\n    monitor: {{hosts: {{m: }}}}\n    postgres: {{hosts: {{a: }}}}\n"
    )
}

#[track_caller]
fn refused(name: &str, bytes: impl AsRef<[u8]>, why: &str) {
    // An empty reason: any will do.
    let said = inventory(name, bytes);
    assert!(said.starts_with("error: ") && said.contains(why), "{name}: {said}");
}

const TOO_LARGE: &str = "nested too deep or grows too large";

#[test]
fn a_billion_laughs() {
    let mut text = "    a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(text, "    a{level}: &a{level} [{below}]").unwrap();
    }
    refused("laughs.yml", with(&text), TOO_LARGE);
    let mut text = "    a0: &a0 {k: lol}\n".to_owned();
    for level in 1..40 {
        let below = level - 1;
        writeln!(text, "    a{level}: &a{level} {{x: *a{below}, y: *a{below}, <<: *a{below}}}").unwrap();
    }
    refused("mappings.yml", with(&text), TOO_LARGE);
    let merges = vec!["*b"; 20_000].join(", ");
    inventory("merges.yml", with(&format!("    b: &b {{k: v}}\n    c: {{<<: [{merges}]}}\n")));
    // A text of a megabyte, named a hundred thousand times.
    let text = format!("    t: &t {}\n    u: [{}]\n", "x".repeat(1 << 20), vec!["*t"; 90_000].join(", "));
    refused("long.yml", with(&text), "");
}

#[test]
fn anchors_and_aliases() {
    let mut text = String::new();
    for index in 0..100_000 {
        writeln!(text, "    k{index}: &k{index} 1").unwrap();
    }
    refused("anchors.yml", with(&text), TOO_LARGE);
    refused("unknown.yml", with("    x: *nobody\n"), "");
    refused("itself.yml", with("    x: &x [*x]\n"), "");
    refused("chain.yml", "a: &a\n  b: &b\n    c: &c\n      d: [*a, *b, *c]\n", "");
}

#[test]
fn a_hundred_megabytes() {
    // NULs, at no cost on the disk; and what looks like text.
    for name in ["zeros.yml", "zeros.ini", "zeros"] {
        let folder = folder();
        File::create(folder.path().join(name)).unwrap().set_len(100 << 20).unwrap();
        let (code, said) = muster(&folder, &["-i", name, "inventory", "--list"]);
        assert!(code == 1 && said.contains("larger than 16 MiB"), "{name}: {said}");
    }
    let line = "a".repeat(100 << 20);
    for name in ["line.yml", "line.ini"] {
        refused(name, &line, "larger than 16 MiB");
    }
    let folder = folder();
    fs::create_dir(folder.path().join("group_vars")).unwrap();
    fs::write(folder.path().join("db.yml"), with("")).unwrap();
    fs::write(folder.path().join("group_vars/all.yml"), &line).unwrap();
    let (code, said) = muster(&folder, &["-i", "db.yml", "inventory", "--list"]);
    assert!(code == 1 && said.contains("larger than 16 MiB"), "{said}");
    let (code, said) = muster(&folder, &["-i", "/dev/zero", "inventory", "--list"]);
    assert!(code == 1 && said.contains("larger than 16 MiB"), "{said}");
}

/// Almost as large as is read.
#[test]
fn fifteen_megabytes() {
    let size = 15 << 20;
    inventory("line.ini", "a".repeat(size));
    inventory("comment.yml", "#".repeat(size));
    inventory("words.ini", format!("[postgres]\na {}\n", "b ".repeat(size / 2)));
}

/// Of what is read more slowly: what goes on like this has the limit of bytes before it.
const SIZE: usize = 1 << 20;

/// One line, one value, many lines, lines that are all wrong.
#[test]
fn a_megabyte_of_ini() {
    inventory("value.ini", format!("[postgres]\na x='{}'\n", "v".repeat(SIZE)));
    inventory("literal.ini", format!("[postgres]\na x=[{}1]\n", "1,".repeat(SIZE / 2)));
    inventory("lines.ini", "a b c\n".repeat(SIZE / 6));
    inventory("heads.ini", "[a]\n".repeat(SIZE / 4));
    inventory("quotes.ini", format!("[postgres]\na x={}\n", "'".repeat(SIZE)));
    inventory("digits.ini", format!("[postgres]\na x={}\n", "9".repeat(SIZE)));
}

#[test]
fn a_megabyte_of_yaml() {
    inventory("line.yml", "a".repeat(SIZE));
    inventory("value.yml", with(&format!("    x: {}\n", "v".repeat(SIZE))));
    inventory("wrong.yml", "a: b\n".repeat(SIZE / 5));
    inventory("open.yml", format!("x: \"{}", "\\n".repeat(SIZE / 2)));
    inventory("sexagesimal.yml", with(&format!("    x: 1{}\n", ":59".repeat(SIZE / 3))));
}

#[test]
fn nesting_a_hundred_thousand_deep() {
    const DEEP: usize = 100_000;
    let (open, close) = ("[".repeat(DEEP), "]".repeat(DEEP));
    let indented: String = (0..3_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    refused("flow.yml", format!("{open}{close}"), "");
    refused("open.yml", &open, "");
    refused("maps.yml", "{a: ".repeat(DEEP), "");
    refused("keys.yml", "? ".repeat(DEEP), "");
    refused("dashes.yml", "- ".repeat(DEEP), "");
    refused("indented.yml", indented, "");
    refused("tags.yml", "!a ".repeat(DEEP), "");
    refused("data.json", format!("{{\"all\":{open}{close}}}"), "");
    refused("maps.json", format!("{}1{}", "{\"a\":".repeat(DEEP), "}".repeat(DEEP)), "");
    for value in [
        &open,
        &format!("{open}{close}"),
        &"(".repeat(DEEP),
        &"{1:".repeat(DEEP),
        &"-".repeat(DEEP),
        &"r'' ".repeat(DEEP),
    ] {
        inventory("value.ini", format!("[postgres]\na x={value}\n"));
        inventory("vars.ini", format!("[postgres]\na\n[postgres:vars]\nx={value}\n"));
    }
    let chain: String = (0..2_900).map(|group| format!("[g{}:children]\ng{group}\n", group + 1)).collect();
    inventory("chain.ini", format!("[g0]\na\n{chain}"));
}

#[test]
fn groups_in_a_circle() {
    refused("circle.yml", "a: {children: {b: {children: {c: {children: {a: }}}}}}\n", "its own ancestor");
    refused("circle.ini", "[a:children]\nb\n[b:children]\na\n", "");
    refused("itself.ini", "[a:children]\na\n", "");
    refused("all.ini", "[a:children]\nall\n[all:children]\na\n", "");
    // Every group below every later one: as many ways down as there are subsets.
    let mut text = String::new();
    for group in 0..300 {
        writeln!(text, "[g{group}]\nh{group}\n[g{group}:children]").unwrap();
        (group + 1..300).for_each(|below| writeln!(text, "g{below}").unwrap());
    }
    inventory("lattice.ini", text);
}

#[test]
fn nuls_and_what_is_no_text() {
    for name in ["nul.yml", "nul.ini"] {
        inventory(name, b"\0");
        inventory(name, b"[postgres]\na x=\0 pgdata=/\0\n");
        inventory(name, with("    x: \0\n    pgport: \"\\0\"\n"));
        refused(name, b"all:\n  hosts:\n    \xff\xfe:\n", "not UTF-8");
        refused(name, b"\xc3", "not UTF-8");
        inventory(name, "\u{feff}all:\n  hosts:\n    a:\n");
        inventory(name, "all:\r  hosts:\r    a\u{2028}b:\u{85}\n");
    }
    refused("nul.yml", with("    dbname: \"a\\0b\"\n"), "NUL");
    refused("escape.yml", with("    pgdata: \"/a\\e[2Jb\"\n"), "");
}

#[test]
fn ranges_without_end() {
    for range in [
        "a[0:99999999999999999999]",
        "a[0:999999999]",
        "a[1:9]b[1:9]c[1:9]d[1:9]e[1:9]f[1:9]g[1:9]",
        "[a:Z]".repeat(40).as_str(),
    ] {
        refused("range.ini", format!("[postgres]\n{range}\n"), "");
        refused("range.yml", format!("all: {{hosts: {{'{range}': }}}}\n"), "");
    }
    let many: String = (0..200).map(|line| format!("h{line}-[0:9999]\n")).collect();
    refused("many.ini", format!("[postgres]\n{many}"), "");
    inventory("zeros.ini", format!("[postgres]\na[{}1:{}2]\n", "0".repeat(5_000), "0".repeat(5_000)));
    inventory("brackets.ini", format!("[postgres]\n{}\n", "[".repeat(100_000)));
    inventory("colons.ini", format!("[postgres]\n{}22\n", "a:".repeat(100_000)));
}

/// Values that name each other, loops, and what grows: minijinja counts, and muster counts what it is asked for.
#[test]
fn templates_without_end() {
    let twice: String = (0..60)
        .map(|level| format!("    x{}: '{{{{ x{level} }}}}{{{{ x{level} }}}}'\n", level + 1))
        .collect();
    // A line of YAML is 128 KiB at most.
    let deep = format!("{}1{}", "(".repeat(50_000), ")".repeat(50_000));
    for (value, more) in [
        ("{{ x }}", "    x: '{{ hostname }}'\n"),
        ("{{ x }}", "    x: '{{ x }}'\n"),
        ("{{ x60 }}", format!("    x0: lol\n{twice}").as_str()),
        ("{{ hostvars['a'].hostname }}", ""),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", ""),
        (
            "{% set n = namespace(a='a') %}{% for i in range(99) %}{% set n.a = n.a ~ n.a %}{% endfor %}{{ n.a }}",
            "",
        ),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", ""),
        ("{{ 'a' * 1000000000 }}", ""),
        ("{{ [1] * 1000000000 }}", ""),
        ("{{ 'a' | indent(1000000000) }}", ""),
        ("{{ '%999999999d' | format(1) }}", ""),
        ("{{ range(100000) | map('string') | join('a' * 10000) }}", ""),
        ("{{ 2 ** 9999999 }}", ""),
        (format!("{{{{ {deep} }}}}").as_str(), ""),
        (format!("{{{{ {}1 }}}}", "not ".repeat(20_000)).as_str(), ""),
        (format!("{{{{ {}1 }}}}", "-".repeat(100_000)).as_str(), ""),
        (format!("{{{{ 1{} }}}}", "+1".repeat(50_000)).as_str(), ""),
        (format!("{{{{ a{} }}}}", ".a".repeat(50_000)).as_str(), ""),
        (format!("{{{{ a{} }}}}", "|upper".repeat(15_000)).as_str(), ""),
        (format!("{{{{ {} }}}}", "[".repeat(100_000)).as_str(), ""),
        ("{% if 1 %}".repeat(5_000).as_str(), ""),
        ("{{".repeat(50_000).as_str(), ""),
    ] {
        let text = with(&format!("    hostname: \"{value}\"\n{more}"));
        let said = inventory("template.yml", text);
        assert!(said.contains("hostname"), "{value:.60}: {said}");
    }
}

/// A template of the operator's own, where muster gets as far as to use it: it fails, and names its line.
#[test]
fn a_template_that_loops_in_a_loop() {
    let loops = "{% for i in range(99999) %}{% for j in range(99999) %}{{ j }}{% endfor %}{% endfor %}\n";
    let itself = "{% include 'postgresql.conf.j2' %}\n";
    let chain = format!("{{{{ 1{} }}}}\n", "~1".repeat(100_000));
    for text in [loops, itself, &chain] {
        let own = [("postgresql.conf.j2".to_owned(), text.to_owned())].into();
        let started = Instant::now();
        let problem = muster::template::Templates::new(&own).render("postgresql.conf.j2", &()).unwrap_err();
        assert!(problem.place.is_some(), "{problem}");
        assert!(started.elapsed() < PATIENCE);
    }
}

#[test]
fn patterns_without_end() {
    let folder = folder();
    fs::write(folder.path().join("db.yml"), with("")).unwrap();
    for pattern in [
        "*".repeat(50_000),
        "a:".repeat(50_000),
        "[".repeat(50_000),
        format!("~{}", "(".repeat(50_000)),
        format!("~{}", "(a*)*".repeat(1_000)),
        format!("~({})b", "a{1000}".repeat(20)),
        "~((((a{100}){100}){100}){100})".to_owned(),
        "a[99999999999999999999]".to_owned(),
        "a[-4294967295:]".to_owned(),
        "\\".repeat(50_000),
    ] {
        muster(&folder, &["-i", "db.yml", "sudoers", "--", &pattern]);
    }
}

/// What programs answer, and programs that go on answering.
#[test]
fn programs_without_end() {
    let rows = [
        ("cat /dev/zero", ""),
        ("yes", ""),
        ("head -c 20000000 /dev/zero", "too much"),
        ("printf '{\"a\":%s' \"$(head -c 100000 /dev/zero | tr '\\0' '[')\"", "JSON"),
        ("printf '\\0'", "JSON"),
        ("printf '\\377'", "JSON"),
        ("printf '{\"a\": {\"children\": [\"b\"]}, \"b\": {\"children\": [\"a\"]}}'", "ancestor"),
        ("kill -9 $$", "signal"),
    ];
    let run = |(body, why): (&str, &str)| {
        let folder = folder();
        let program = folder.path().join("inventory");
        // Patience is two minutes; nobody has to wait for that here.
        fs::write(
            &program,
            format!("#!/bin/sh\n({body}) & p=$!\n(sleep 3; kill $p) 2>/dev/null & wait $p\n"),
        )
        .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let (code, said) = muster(&folder, &["-i", "./inventory", "inventory", "--list"]);
        assert!(code == 1 && (said.contains(why) || why == "signal"), "{body}: {said:.300}");
    };
    // Most of the time is spent waiting for `sleep`.
    std::thread::scope(|scope| rows.into_iter().for_each(|row| drop(scope.spawn(move || run(row)))));
}

#[test]
fn ssh_configurations_without_end() {
    let folder = folder();
    let ssh = folder.path().join("ssh");
    fs::create_dir(&ssh).unwrap();
    let path = |name: &str| ssh.join(name).display().to_string();
    fs::write(ssh.join("itself"), format!("Include {}\n", path("itself"))).unwrap();
    fs::write(ssh.join("a"), format!("Include {}\nInclude {}\n", path("b"), path("b"))).unwrap();
    fs::write(ssh.join("b"), format!("Include {}\nInclude {}\n", path("a"), path("a"))).unwrap();
    fs::write(ssh.join("star"), format!("Include {}/*\n", ssh.display()).repeat(1_000)).unwrap();
    fs::write(ssh.join("line"), "User a".repeat(1 << 20)).unwrap();
    fs::write(ssh.join("lines"), "User a\n".repeat(500_000)).unwrap();
    fs::write(ssh.join("nul"), b"User a\0b\n\xff\n").unwrap();
    fs::write(ssh.join("host"), format!("Host {}\n", "*a".repeat(100_000))).unwrap();
    fs::write(ssh.join("match"), format!("Match {}\n", "host * ".repeat(100_000))).unwrap();
    fs::write(ssh.join("quotes"), "\"".repeat(100_000)).unwrap();
    fs::write(ssh.join("jumps"), format!("ProxyJump {}\n", "a,".repeat(100_000))).unwrap();
    fs::write(ssh.join("ciphers"), format!("Ciphers +{}\n", "*,".repeat(100_000))).unwrap();
    fs::write(ssh.join("tokens"), format!("ProxyCommand {}\n", "%h".repeat(100_000))).unwrap();
    File::create(ssh.join("zeros")).unwrap().set_len(100 << 20).unwrap();
    for name in [
        "itself", "a", "star", "line", "lines", "nul", "host", "match", "quotes", "jumps", "ciphers",
        "tokens", "zeros",
    ] {
        muster(&folder, &["-F", &path(name), "ssh-config", "db1"]);
    }
    muster(&folder, &["-F", "/dev/zero", "ssh-config", "db1"]);
}

/// Files of keys, read before anything is connected to: nothing listens on port 1.
#[test]
fn files_of_keys_without_end() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(folder.path().join("stars"), format!("{} ssh-ed25519 AAAA\n", "*a,".repeat(2 << 20))).unwrap();
    fs::write(folder.path().join("hashes"), "|1|AAAA|AAAA ssh-ed25519 AAAA\n".repeat(100_000)).unwrap();
    fs::write(folder.path().join("bytes"), vec![0xff; 1 << 20]).unwrap();
    File::create(folder.path().join("zeros")).unwrap().set_len(100 << 20).unwrap();
    for file in
        ["stars", "hashes", "bytes", "zeros"].map(path).iter().map(String::as_str).chain(["/dev/zero"])
    {
        for keyword in ["UserKnownHostsFile", "RevokedHostKeys", "IdentityFile"] {
            let config = path("config");
            fs::write(&config, format!("HostName 127.0.0.1\nPort 1\n{keyword} {file}\n")).unwrap();
            let (code, said) = muster(&folder, &["-F", &config, "ssh-check", "db1"]);
            assert_eq!(code, 4, "{keyword} {file}: {said}");
        }
    }
}

fn lab() -> Formation {
    muster::inventory::load(Path::new("tests/facts/inventory.yml")).unwrap()
}

/// What a host answers is text of its own choice: no answer stops muster, and none is read as what it is not.
#[test]
fn answers_without_end() {
    let formation = lab();
    let server = formation.servers().find(|server| server.name.0 == "w1a").unwrap();
    let real = fs::read_to_string("tests/facts/w1a.txt").unwrap();
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    use base64::Engine as _;
    let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    for line in [
        "a".repeat(8 << 20),
        "=".repeat(8 << 20),
        "a=\n".repeat(1 << 20),
        format!("sql:{}", encoded(&deep)),
        format!("monitor:{}", encoded(&format!("{{\"nodes\": {deep}}}"))),
        format!("citus:{}", encoded("{\"nodes\": [{\"id\": -1}]}")),
        "memory_kb=18446744073709551615".to_owned(),
        "memory_kb=-1".to_owned(),
        "cpus=4294967296".to_owned(),
        format!("keeper.state={}", "é".repeat(88)),
        format!("keeper.state={}", "f".repeat(1 << 20)),
        format!("tls.cert:{}", encoded(&"-----BEGIN CERTIFICATE-----\n".repeat(10_000))),
        format!("routes:{}", encoded(&"eth0\tFFFFFFFF\t00000000\t1\t1\t1\t1\tF0F0F0F0\n".repeat(10_000))),
        "listening=10000 \u{e9}".to_owned(),
        format!("pgdata.control:{}", encoded("Database system identifier: 99999999999999999999999\n")),
        "name.w1a=\u{202e}".to_owned(),
        "\u{e9}".to_owned(),
        "end=\nend=".to_owned(),
    ] {
        let text = real.replace("\nend=", &format!("\n{line}\nend="));
        let Ok(seen) = facts::parse(&formation, server, &text) else { continue };
        let hosts = [(server.name.clone(), facts::Sight::Seen(Box::new(seen)))].into();
        let day = jiff::civil::date(2026, 11, 23);
        drop(muster::plan::plan(&formation, &facts::Facts { hosts }, day));
    }
}
