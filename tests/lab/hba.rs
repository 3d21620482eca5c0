//! What muster says of a `pg_hba.conf` is what PostgreSQL does: files made by chance, and connections made for real.
//!
//! Which line answered is in the server's log: all methods are `password` or `reject`, and a rejection says itself apart from a line
//! that is missing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use muster::formation::{Formation, NodeName};
use muster::hba::{self, Answer, By, Connection, Database, Seal};
use muster::links::{self, Looked, Wanted};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::fleet::Lab;

/// Files that are tried; `MUSTER_LAB_FILES` tries more of them.
const FILES: u64 = 45;
const EACH: usize = 10;
const PGDATA: &str = "/var/lib/postgresql/hba";

const INVENTORY: &str = "all:\n  vars: {pgdata: /var/lib/postgresql/hba, pgport: 5544, monitor: 'postgres://m/d'}\n  \
    children: {postgres: {hosts: {h: {}}}}\n";

const KINDS: [&str; 8] =
    ["local", "host", "host", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"];
const DATABASES: [&str; 20] = [
    "all",
    "all",
    "all",
    "all",
    "shop,all",
    "\"all\"",
    "shop",
    "\"shop\"",
    "SHOP",
    "a\"ll\"",
    "sameuser",
    "samerole",
    "samegroup",
    "replication",
    "\"replication\"",
    "replication,shop",
    "app7, shop",
    "@dbs.list",
    "/^app[0-9]+$",
    "\"/^(?!shop)\"",
];
const USERS: [&str; 18] = [
    "all",
    "all",
    "all",
    "all",
    "bob,all",
    "\"all\"",
    "ann",
    "ann,bob",
    "\"Ann B\"",
    "Ann\" B\"",
    "+staff",
    "\"+staff\"",
    "+\"staff\"",
    "+nobody,app7",
    "@users.list",
    "repl, +staff",
    "/^a",
    "\"/n{2}\"",
];
const ORIGINS: [&str; 25] = [
    "all",
    "all",
    "all",
    "\"all\"",
    "samehost",
    "samenet",
    "127.0.0.1/32",
    "127.0.0.0/8",
    "127.1 255.255.255.255",
    "::1/128",
    "192.0.2.0/24",
    "192.0.2.0 255.255.255.0",
    "192.0.2.3 255.255.255.3",
    "0300.0.2.7/32",
    "0xc0.0.519/30",
    "198.51.100.9/32",
    "198.51/16",
    "2001:db8:5::/64",
    "2001:db8::/32",
    "::/0",
    "0.0.0.0/0",
    "db.example.test",
    ".EXAMPLE.test",
    "other.test",
    "bare.test",
];
/// Lines that are refused; the last one by 15 alone.
const WRONG: [&str; 9] = [
    "host all all 10.0.0.1 password",
    "host all all db.example.test/24 password",
    "hosts all all all password",
    "host all all all peer",
    "host all all 10.0.0.0/33 password",
    "local all all scram",
    "host,local all all all password",
    "local all @none password",
    "include_if_exists none.conf",
];

/// The last one is the local socket.
const CLIENTS: [&str; 6] = ["127.0.0.1", "::1", "192.0.2.7", "198.51.100.9", "2001:db8:5::5", ""];
const COMERS: [&str; 6] = ["ann", "bob", "app7", "Ann B", "repl", "all"];
const CALLED: [&str; 7] = ["shop", "app7", "ann", "staff", "all", "replication", "SHOP"];

#[test]
fn a_line_answers_that_answers_in_postgresql() {
    let Some(lab) = Lab::first(1) else { return };
    agrees(&lab, "mon", 15);
}

#[test]
fn a_line_answers_that_answers_in_postgresql_17() {
    let Some(lab) = Lab::trixie() else { return };
    agrees(&lab, "mon", 17);
}

fn agrees(lab: &Lab, host: &str, release: u32) {
    let formation = muster::inventory::parse("h.yml", INVENTORY, "".as_ref()).expect("it is one");
    let bin = format!("/usr/lib/postgresql/{release}/bin");
    lab.root(host, &SET_UP.replace("BIN", &bin));
    let (mut pairs, mut let_in, mut rejected, mut refused, mut differ) = (0, 0, 0, 0, Vec::new());
    let more = std::env::var("MUSTER_LAB_FILES").ok().and_then(|number| number.parse().ok());
    for seed in 0..more.unwrap_or(FILES) {
        let mut chance = StdRng::seed_from_u64(seed);
        let files = files(&mut chance, release);
        let connections: Vec<Connection> = (0..EACH).map(|_| connection(&mut chance)).collect();
        let said = lab.root(host, &format!("{}{}", placed(&files), ask(&bin, &connections)));
        let said: BTreeMap<&str, &str> = said.lines().filter_map(|line| line.split_once('=')).collect();
        let (looked, read) = look(lab, host, &formation, &bin, &connections);
        let wrong: Vec<String> = read.refused().map(|(line, _)| line.at.to_string()).collect();
        let by_server = said["refused"].split_whitespace().collect::<Vec<_>>();
        if wrong != by_server {
            differ.push(format!("refused by muster {wrong:?}, by the server {by_server:?}\n{files:#?}"));
        }
        refused += wrong.len();
        if !by_server.is_empty() {
            continue;
        }
        for (index, connection) in connections.iter().enumerate() {
            let expected = match hba::answer(&read, &looked.ground, connection) {
                Answer::Line(_, rule) if rule.rejects() => "reject".to_owned(),
                Answer::Line(line, _) => line.at.to_string(),
                Answer::Nobody => "nobody".to_owned(),
                Answer::Perhaps(line, unknown) => format!("perhaps {}: {unknown:?}", line.at),
            };
            let found = said[index.to_string().as_str()];
            pairs += 1;
            let_in += usize::from(expected.contains(':'));
            rejected += usize::from(expected == "reject");
            if expected != found {
                differ.push(format!("{connection:?}: muster {expected}, the server {found}\n{files:#?}"));
            }
        }
    }
    eprintln!(
        "PostgreSQL {release}: {pairs} pairs of a file and a connection ({let_in} let in, {rejected} rejected by a line), {refused} lines refused"
    );
    assert!(differ.is_empty(), "{} of {pairs} differ, the first:\n{}", differ.len(), differ[0]);
    assert!(pairs >= 300 && let_in >= 60 && rejected >= 10 && refused >= 3);
}

fn one<'a>(chance: &mut StdRng, of: &[&'a str]) -> &'a str {
    of[chance.random_range(0..of.len())]
}

/// The file itself, and those that it may name.
fn files(chance: &mut StdRng, release: u32) -> Vec<(&'static str, String)> {
    let mut text = "local all postgres peer\n".to_owned();
    let count = chance.random_range(4..10);
    for _ in 0..count {
        match chance.random_range(0..40) {
            0 => text += "# goes on \\\nhost all all all trust\n",
            1 => text += "\n   \n\t# nothing\n",
            2 if release >= 16 => text += "include more.conf\n",
            3 if release >= 16 => text += "include_dir more.d\n",
            4 => _ = writeln!(text, "{}", one(chance, &WRONG)),
            _ => text += &rule(chance),
        }
    }
    let more = || "host all bob 127.0.0.1/32 password\nlocal shop,app7 all password\n";
    let mut files = vec![
        ("dbs.list", "shop # and\n\"ann\" , @more.list\n".to_owned()),
        ("more.list", "app7\n\n# nothing\n".to_owned()),
        ("users.list", "bob\tann\n+staff".to_owned()),
        ("more.conf", more().to_owned()),
        ("more.d/2.conf", rule(chance)),
        ("more.d/1.conf", rule(chance)),
        ("more.d/.3.conf", "nonsense\n".to_owned()),
        ("more.d/old", "nonsense\n".to_owned()),
    ];
    files.push(("pg_hba.conf", text));
    files
}

/// Byte by byte, whatever is in them.
fn placed(files: &[(&str, String)]) -> String {
    let octal = |text: &str| text.bytes().map(|byte| format!("\\{byte:03o}")).collect::<String>();
    files.iter().map(|(name, text)| format!("printf '{}' >{PGDATA}/{name}\n", octal(text))).collect()
}

fn rule(chance: &mut StdRng) -> String {
    let kind = one(chance, &KINDS);
    let mut fields = vec![kind, one(chance, &DATABASES), one(chance, &USERS)];
    if kind != "local" {
        fields.push(one(chance, &ORIGINS));
    }
    fields.push(if chance.random_ratio(1, 6) { "reject" } else { "password" });
    let between = one(chance, &[" ", "\t", "   ", " \\\n  "]);
    let behind = one(chance, &["", "", " # why, \"not", "  ", "\r"]);
    format!("{}{behind}\n", fields.join(between))
}

fn connection(chance: &mut StdRng) -> Connection {
    let seal = if chance.random_ratio(1, 2) { Seal::Tls } else { Seal::Plain };
    let by = match one(chance, &CLIENTS).parse::<IpAddr>() {
        Ok(from) => By::Network { from, seal },
        Err(_) => By::Socket,
    };
    let database = match chance.random_ratio(1, 6) {
        true => Database::Replication,
        false => Database::Named(one(chance, &CALLED).to_owned()),
    };
    Connection { user: one(chance, &COMERS).to_owned(), database, by }
}

/// As `muster hba` looks: again, until no file names another one.
fn look(lab: &Lab, host: &str, formation: &Formation, bin: &str, all: &[Connection]) -> (Looked, hba::Read) {
    let server = &formation.nodes[&NodeName::from("h")].server;
    let mut wanted = Wanted::about(all.iter().cloned());
    loop {
        let question = links::question(formation, server, bin, &wanted);
        let quoted: Vec<String> =
            question.args.iter().map(|arg| format!("'{}'", arg.replace('\'', "'\\''"))).collect();
        let put = |path: &str, text: &[u8]| {
            let text = String::from_utf8_lossy(text);
            format!("cat >{path} <<'END OF FILE'\n{text}\nEND OF FILE\n")
        };
        let (script, sql) =
            (put("/tmp/look", question.script.as_bytes()), put("/tmp/sql", question.stdin.as_bytes()));
        let script =
            format!("cd /\n{script}{sql}sudo -u postgres sh /tmp/look {} </tmp/sql", quoted.join(" "));
        let looked = links::parse(&wanted, 0, &lab.root(host, &script)).expect("an answer");
        assert!(looked.server.is_some(), "the server answered");
        let read = hba::read(&looked.path, &looked.files, looked.ground.release);
        if read.missing.is_empty() {
            return (looked, read);
        }
        wanted.files.extend(read.missing);
    }
}

/// The file is read, and each connection made: `0=FILE:LINE`, `1=reject`, `2=nobody`; `refused=FILE:LINE …` for the file itself.
fn ask(bin: &str, connections: &[Connection]) -> String {
    let mut script = ASK.replace("BIN", bin);
    for (index, Connection { user, database, by }) in connections.iter().enumerate() {
        let (database, stream) = match database {
            Database::Named(name) => (name.as_str(), ""),
            Database::Replication => ("shop", "replication=true"),
        };
        let (from, seal) = match by {
            By::Socket => ("/var/run/postgresql".to_owned(), "disable"),
            By::Network { from, seal: Seal::Tls } => (from.to_string(), "require"),
            By::Network { from, seal: Seal::Plain } => (from.to_string(), "disable"),
        };
        _ = writeln!(script, "come {index} '{user}' '{database}' '{stream}' '{from}' {seal}");
    }
    script
}

const SET_UP: &str = r#"
cd /
D=/var/lib/postgresql/hba
if ! [ -e $D ]; then
  sudo -u postgres BIN/initdb -D $D -E UTF8 --locale C.UTF-8 >/dev/null
  sudo -u postgres openssl req -new -x509 -days 9 -nodes -subj /CN=h -out $D/server.crt -keyout $D/server.key 2>/dev/null
  chmod 600 $D/server.key
  sudo -u postgres mkdir $D/more.d
  printf '%s\n' "port = 5544" "ssl = on" "listen_addresses = '*'" "unix_socket_directories = '/var/run/postgresql'" \
    "log_connections = on" "log_line_prefix = ''" "password_encryption = 'scram-sha-256'" >>$D/postgresql.conf
  for a in 192.0.2.7/24 198.51.100.9/32 2001:db8:5::5/64; do ip addr add $a dev lo 2>/dev/null || :; done
  printf '%s\n' '192.0.2.7 db.example.test' '198.51.100.9 bare.test' '2001:db8:5::5 Six.Example.TEST' >>/etc/hosts
  mkdir -p /var/run/postgresql; chown postgres: /var/run/postgresql
fi
sudo -u postgres BIN/pg_ctl -D $D -l $D/log -w start >/dev/null
sudo -u postgres BIN/psql -XAtqw -p 5544 -d postgres <<'SQL'
create role staff;
create role ann login password 'p' in role staff;
create role bob login password 'p';
create role app7 login password 'p';
create role "Ann B" login password 'p' in role ann;
create role repl login replication password 'p';
create role "all" login password 'p';
create database shop; create database app7; create database ann; create database staff; create database "all";
create database "replication"; create database "SHOP";
SQL
"#;

const ASK: &str = r#"
cd /
D=/var/lib/postgresql/hba
chown -R postgres: $D/*.list $D/*.conf $D/more.d
super() { sudo -u postgres BIN/psql -XAtqw -p 5544 -d postgres "$@"; }
before=$(super -c 'select pg_conf_load_time()')
sleep 0.01
sudo -u postgres BIN/pg_ctl -D $D reload -s
while [ "$(super -c 'select pg_conf_load_time()')" = "$before" ]; do sleep 0.02; done
where=$(super -c "select case when current_setting('server_version_num')::int >= 160000 then 'file_name' else '''$D/pg_hba.conf''' end")
echo "refused=$(super -c "select $where || ':' || line_number from pg_hba_file_rules where error is not null and type is null" | tr '\n' ' ')"
come() {
  lines=$(wc -l <$D/log)
  said=$(PGUSER=$2 PGDATABASE=$3 PGPASSWORD=p PGHOST=$5 PGPORT=5544 PGSSLMODE=$6 PGGSSENCMODE=disable PGCONNECT_TIMEOUT=9 \
    BIN/psql -Xw "$4" -c 'IDENTIFY_SYSTEM' 2>&1) || :
  at=$(tail -n +$((lines + 1)) $D/log | sed -n 's/.*connection authenticated: .*method=password (\(.*\)).*/\1/p')
  case $at$said in
  "$D"*|/*) echo "$1=$at" ;;
  *'rejects '*) echo "$1=reject" ;;
  *'no pg_hba.conf entry'*) echo "$1=nobody" ;;
  *) printf '%s=%s\n' "$1" "$(printf '%s' "$said" | tr '\n' ' ')" ;;
  esac
}
"#;
