//! Where the server that is there is not the one that the inventory means: another port, another superuser. libpq only says
//! that a socket is not there, or a role.

use crate::formation::{Node, Server};
use crate::resource::data::Pgdata;
use crate::resource::hba;

/// The server of this data directory is another's in every connection that the inventory would make.
pub fn port(server: &Server, pgdata: &Pgdata) -> Option<String> {
    let Pgdata::Present(found) = pgdata else { return None };
    let port = found.port.filter(|port| *port != server.pgport)?;
    Some(format!(
        "PostgreSQL of {} listens on port {port}, and the inventory says {}: set pgport to {port}",
        server.pgdata, server.pgport
    ))
}

/// The superuser of its rules is another than the one that muster logged in as, and was refused. An adopted server's rules
/// are the host's own: there its keeper knows, by whose configuration it is told.
pub fn superuser(
    server: &Server,
    node: Option<&Node>,
    pgdata: &Pgdata,
    of_keeper: Option<&str>,
) -> Option<String> {
    let Pgdata::Present(found) = pgdata else { return None };
    let rules = found.files.get("pg_hba.conf").and_then(Option::as_deref).unwrap_or_default();
    let is = hba::superuser(rules).or_else(|| of_keeper.map(str::to_owned))?;
    let node = node.filter(|node| node.username != is)?;
    Some(format!(
        "the superuser of PostgreSQL in {} is {is}, and the inventory says {}: set username to {is}",
        server.pgdata, node.username
    ))
}

/// Defines `meant`, which prints the same on the host; `$pgdata`, `$port` and `$user` of the connection. The process of the pid
/// file has to live: a server that is stopped listens nowhere.
pub const MEANT: &str = r#"
meant() {
  { read -r pid; read -r is; read -r is; read -r is; } 2>/dev/null <"$pgdata/postmaster.pid" || is=
  case $is in
  ''|*[!0-9]*|"$port") ;;
  *) if kill -0 "$pid" 2>/dev/null; then echo "PostgreSQL of $pgdata listens on port $is, and the inventory says $port: set pgport to $is"; fi ;;
  esac
  is=$(sed -n 's/^local all "\(.*\)" peer$/\1/p; s/^local all "\(.*\)" trust$/\1/p' "$pgdata/pg_hba.conf" 2>/dev/null | head -n 1)
  if [ -n "$is" ] && [ "$is" != "$user" ]; then
    echo "the superuser of PostgreSQL in $pgdata is $is, and the inventory says $user: set username to $is"
  fi
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_says_which_server_it_has() {
        let pgdata = tempfile::tempdir().expect("a folder can be made");
        let put = |name: &str, text: String| std::fs::write(pgdata.path().join(name), text).expect("it can");
        let said = |port: &str, user: &str| {
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &format!("set -eu\n{MEANT}meant")]).env("pgdata", pgdata.path());
            let out = shell.env("port", port).env("user", user).output().expect("there is a shell");
            assert!(out.status.success());
            String::from_utf8(out.stdout)
                .expect("it is text")
                .replace(&pgdata.path().display().to_string(), "/pg")
        };
        assert_eq!(said("5432", "postgres"), "", "there is no server");
        let here = std::process::id();
        put("postmaster.pid", format!("{here}\n/pg\n1700000000\n5433\n/tmp\n"));
        put("pg_hba.conf", "# muster\nlocal all \"admin\" trust\nlocal all \"other\" peer\n".to_owned());
        assert_eq!(said("5433", "admin"), "");
        assert_eq!(
            said("5432", "postgres"),
            "PostgreSQL of /pg listens on port 5433, and the inventory says 5432: set pgport to 5433\n\
             the superuser of PostgreSQL in /pg is admin, and the inventory says postgres: set username to admin\n"
        );
    }
}
