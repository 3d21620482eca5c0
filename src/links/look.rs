//! What a host has to be asked before its `pg_hba.conf` can be judged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use crate::command::{Command, RunAs, Stdin};
use crate::formation::{Formation, Server};
use crate::hba::{Ask, By, Connection, Database, Files, Given, Ground};
use crate::probe::{self, Answer, Answers};
use crate::session::PSQL;
use crate::sql::literal;

/// Whom and what the answer is to be about.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub users: BTreeSet<String>,
    pub databases: BTreeSet<String>,
    pub addresses: BTreeSet<IpAddr>,
    /// Files that others name.
    pub files: Vec<Ask>,
}

impl Wanted {
    /// All that the answers to these connections hang on.
    pub fn about(connections: impl IntoIterator<Item = Connection>) -> Wanted {
        let mut wanted = Wanted::default();
        for Connection { user, database, by } in connections {
            wanted.users.insert(user);
            if let Database::Named(name) = database {
                wanted.databases.insert(name);
            }
            if let By::Network { from, .. } = by {
                wanted.addresses.insert(from);
            }
        }
        wanted
    }
}

/// What a host said.
#[derive(Clone, Debug)]
pub struct Looked {
    /// Where the server reads its rules.
    pub path: String,
    pub files: Files,
    pub ground: Ground,
    /// What the server says of itself; `None` where it does not answer.
    pub server: Option<OfServer>,
}

/// What a server says of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct OfServer {
    release: u32,
    /// Whether TLS is on.
    pub tls: bool,
    /// Whether its file has been changed since it was read.
    pub stale: bool,
    /// Lines that it refuses, and why.
    pub refused: Vec<(u32, String)>,
    members: BTreeMap<String, BTreeSet<String>>,
    matches: Vec<(String, String, bool)>,
}

/// `$1` bin, `$2` socket directory or empty, `$3` port, `$4` user, `$5` PGDATA, `$6` addresses, then `file:PATH` and `dir:PATH`.
const PROBE: &str = r#"
bin=$1 pgdata=$5 addresses=$6
path=$pgdata/pg_hba.conf
if said=$(psql ${2:+-h "$2"} -p "$3" -U "$4" -d postgres -f - 2>/dev/null) && [ -n "$said" ]; then
  path=$(printf '%s\n' "$said" | head -n 1)
  say server "$(printf '%s\n' "$said" | sed 1d | tr -d '\n')"
else none server; fi
say path "$path"
file hba "$path"
if command -v ip >/dev/null && said=$(ip -o addr 2>/dev/null); then
  say interfaces "$(printf '%s\n' "$said" | sed -n 's/.* inet6\{0,1\} \([^ ]*\) .*/\1/p' | tr '\n' ' ')"
else none interfaces; fi
# The name of an address counts where it has that address, too.
name_of() {
  set -- "$1" $(getent hosts "$1" 2>/dev/null)
  if [ -n "${3:-}" ] && getent ahosts "$3" 2>/dev/null | grep -q "^$1 "; then printf '%s' "$3"; fi
}
n=0
for a in $addresses; do
  n=$((n + 1))
  if found=$(name_of "$a") && [ -n "$found" ]; then say "name.$n" "$found"; else none "name.$n"; fi
done
shift 6
n=0
for f in "$@"; do
  n=$((n + 1)) p=${f#*:}
  case $f in
  file:*) file "file.$n" "$p" ;;
  *)
    if [ -d "$p" ] && [ -r "$p" ] && [ -x "$p" ]; then
      printf 'file.%s:' "$n"
      for one in "$p"/*; do if [ -f "$one" ]; then printf '%s\n' "${one##*/}"; fi; done | base64 -w0
      echo
    elif [ -d "$p" ]; then blind "file.$n" "cannot look into $p"
    else none "file.$n"; fi ;;
  esac
done
say end ''
"#;

/// Files that were changed since they were read are no other rules yet. A role that is not there is a member of nothing.
const SQL: &str = "\
select current_setting('hba_file');
with recursive asked(name) as (select unnest(USERS::text[])),
found(name, id) as (
  select rolname::text, oid from pg_roles where rolname::text in (select name from asked)
  union select f.name, m.roleid from found f join pg_auth_members m on m.member = f.id),
members as (select a.name, coalesce(json_agg(r.rolname) filter (where r.rolname is not null), '[]') as roles
  from asked a left join found f using (name) left join pg_roles r on r.oid = f.id group by 1),
rules as (select * from pg_hba_file_rules),
expressions as (select distinct substr(word, 2) as e from rules, unnest(database || user_name) as word where word like '/%')
select json_build_object(
  'release', current_setting('server_version_num')::int / 10000,
  'tls', current_setting('ssl') = 'on',
  'stale', coalesce((pg_stat_file(current_setting('hba_file'), true)).modification > pg_conf_load_time(), false),
  'refused', (select coalesce(json_agg(json_build_array(coalesce(line_number, 0), error)), '[]') from rules
    where error is not null and type is null),
  'members', (select coalesce(json_object_agg(name, roles), '{}') from members),
  'matches', (select coalesce(json_agg(json_build_array(e, t, t ~ e collate \"C\")), '[]')
    from expressions, unnest(TEXTS::text[]) as t where current_setting('server_version_num')::int >= 160000));
";

/// Seconds.
const WITHIN: u64 = 60;

/// One script, one round trip, read-only. `bin`: the directory of psql; `user`: the superuser.
pub fn question(formation: &Formation, server: &Server, bin: &str, wanted: &Wanted) -> Command {
    let user = formation.nodes.get(&server.name).map_or(&server.os_user, |node| &node.username);
    let array = |texts: &mut dyn Iterator<Item = &String>| {
        format!("array[{}]", texts.map(|text| literal(text)).collect::<Vec<_>>().join(","))
    };
    let sql = SQL
        .replace("USERS", &array(&mut wanted.users.iter()))
        .replace("TEXTS", &array(&mut wanted.users.union(&wanted.databases)));
    let addresses: Vec<String> = wanted.addresses.iter().map(IpAddr::to_string).collect();
    let mut args = vec![
        bin.to_owned(),
        server.pghost.clone().unwrap_or_default(),
        server.pgport.to_string(),
        user.clone(),
        server.pgdata.clone(),
        addresses.join(" "),
    ];
    args.extend(wanted.files.iter().map(|ask| match ask {
        Ask::File(path) => format!("file:{path}"),
        Ask::Directory(path) => format!("dir:{path}"),
    }));
    let script = ["set +e\n", probe::FUNCTIONS, PSQL, PROBE].concat();
    Command::new(RunAs::User(server.os_user.clone()), script)
        .args(args)
        .stdin(Stdin::Text(sql))
        .timeout(WITHIN)
}

/// Reads a host's answer. `release`: that of the programs, for a server that does not answer.
pub fn parse(wanted: &Wanted, release: u32, stdout: &str) -> Result<Looked, String> {
    let answers = Answers::parse(stdout)?;
    let given = |key: &str| match answers.get(key) {
        Answer::Text(text) => Given::Text(text),
        Answer::Absent => Given::Absent,
        Answer::Blind(why) => Given::Blind(why),
    };
    let server: Option<OfServer> = match answers.text("server")? {
        Some(text) => Some(serde_json::from_str(&text).map_err(|why| format!("the server: {why}"))?),
        None => None,
    };
    let path = answers.need("path")?;
    let mut files = Files::from([(Ask::File(path.clone()), given("hba"))]);
    for (index, ask) in wanted.files.iter().enumerate() {
        let found = match (ask, given(&format!("file.{}", index + 1))) {
            (Ask::Directory(_), Given::Text(names)) => {
                Given::Names(names.lines().map(str::to_owned).collect())
            }
            (_, given) => given,
        };
        files.insert(ask.clone(), found);
    }
    let interfaces = answers.text("interfaces")?.map(|text| {
        // Of an end of a cable the other end's address is told, too; what is no network is no interface.
        text.split_whitespace().filter_map(|word| word.parse::<IpNet>().ok()).collect()
    });
    let name = |(index, address): (usize, &IpAddr)| {
        let name = answers.text(&format!("name.{}", index + 1))?;
        Ok::<_, String>((*address, name))
    };
    let names = wanted.addresses.iter().enumerate().map(name).collect::<Result<_, _>>()?;
    let ground = match &server {
        Some(server) => Ground {
            release: server.release,
            interfaces,
            names,
            members: server.members.clone(),
            matches: server.matches.iter().map(|(e, text, is)| ((e.clone(), text.clone()), *is)).collect(),
        },
        None => Ground { release, interfaces, names, ..Ground::default() },
    };
    Ok(Looked { path, files, ground, server })
}
