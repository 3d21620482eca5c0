//! The versions of all hosts as one table.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::command::Failure;
use crate::formation::NodeName;
use crate::report::paint::Paint;
use crate::report::text::{alike, plain, table};
use crate::resource::installed::{Extension, Installed, Version};

/// What a host said, or why it said nothing.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Installed(Box<Installed>),
    Failure(Failure),
    Unreadable(String),
}

/// A line a host; below it what could not be looked at, and what waits for a restart.
pub fn text(muster: &str, hosts: &[(NodeName, Answer)], paint: Paint) -> String {
    let heading =
        ["Name", "System", "sshd", "PostgreSQL", "Running", "pg_autoctl", "citus", "pgautofailover"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut notes: Vec<(&NodeName, String)> = Vec::new();
    for (name, answer) in hosts {
        let mut row = vec![name.0.clone()];
        match answer {
            Answer::Installed(host) => {
                row.extend([short(&host.os), short(&host.sshd), programs(host), short(&host.server)]);
                row.push(short(&host.pg_autoctl));
                row.extend(["citus", "pgautofailover"].map(|name| extension(&host.extensions[name])));
                notes.extend(remarks(host).into_iter().map(|note| (name, note)));
            }
            Answer::Failure(failure) => {
                row.extend([(); 7].map(|()| "unknown".to_owned()));
                notes.push((name, failure.cause()));
            }
            Answer::Unreadable(why) => {
                row.extend([(); 7].map(|()| "unknown".to_owned()));
                notes.push((name, format!("could not look: {why}")));
            }
        }
        rows.push(row.iter().map(|cell| plain(cell)).collect());
    }
    let notes = notes.iter().map(|(name, note)| (*name, plain(note)));
    let line = |(names, note): (String, String)| format!("{} {names}: {note}\n", paint.yellow("note:"));
    format!("muster {muster}\n{}{}", table(&rows), alike(notes).into_iter().map(line).collect::<String>())
}

fn short(version: &Version) -> String {
    match version {
        Version::Is(text) => text.clone(),
        Version::None => "-".to_owned(),
        Version::Unknown { .. } => "unknown".to_owned(),
    }
}

/// All alike, as they should be; else each version once.
fn programs(host: &Installed) -> String {
    let all: BTreeSet<String> = host.programs.values().map(short).collect();
    match host.bin {
        Version::Is(_) => all.into_iter().collect::<Vec<_>>().join(", "),
        Version::None | Version::Unknown { .. } => short(&host.bin),
    }
}

/// What the database has; beside it what is installed on the host, where that is another one.
fn extension(extension: &Extension) -> String {
    match (&extension.installed, &extension.available) {
        (Version::Is(installed), Version::Is(available)) if installed == available => installed.clone(),
        (Version::Is(installed), available) => format!("{installed}, of {}", short(available)),
        (Version::None | Version::Unknown { .. }, Version::Is(available)) => format!("({available})"),
        (Version::None | Version::Unknown { .. }, available) => short(available),
    }
}

fn remarks(host: &Installed) -> Vec<String> {
    let mut notes = Vec::new();
    let unknown = |version: &Version| match version {
        Version::Unknown { unknown } => Some(unknown.clone()),
        Version::Is(_) | Version::None => None,
    };
    let looked = [&host.os, &host.sshd, &host.bin, &host.server, &host.pg_autoctl];
    let mut whys: Vec<String> =
        looked.into_iter().chain(host.programs.values()).filter_map(unknown).collect();
    whys.extend(host.extensions.values().filter_map(|extension| unknown(&extension.available)));
    if matches!(host.server, Version::Is(_)) {
        whys.extend(host.extensions.values().filter_map(|extension| unknown(&extension.installed)));
    }
    whys.sort();
    whys.dedup();
    notes.extend(whys.into_iter().map(|why| format!("could not look: {why}")));
    if let (Version::Is(running), Some(Version::Is(postgres))) = (&host.server, host.programs.get("postgres"))
        && running != postgres
    {
        notes.push(format!("PostgreSQL {running} runs, and {postgres} is installed: it was not restarted"));
    }
    for (name, extension) in &host.extensions {
        if let (Version::Is(installed), Version::Is(available)) = (&extension.installed, &extension.available)
            && installed != available
        {
            notes.push(format!(
                "the database has {name} {installed}, and {available} is installed: alter extension {name} update"
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::installed::parse;

    #[test]
    fn what_runs_what_is_installed_and_what_nobody_knows_are_told_apart() {
        let host = |more: &str| {
            let text = format!(
                "os=Debian GNU/Linux 12 (bookworm)\nkernel=6.1\nsshd=9.2p1\nbin=/usr/lib/postgresql/15/bin\n\
                 program.postgres=15.20\nprogram.pg_ctl=15.20\nprogram.initdb=15.20\nprogram.psql=15.20\n\
                 program.pg_basebackup=15.20\nprogram.pg_rewind=15.20\nprogram.pg_controldata=15.20\n\
                 pg_autoctl=2.0\nextension.citus=13.2-1\nextension.pgautofailover=2.0\n\
                 extension.pg_stat_statements=1.10\nextension.btree_gist=1.7\n{more}end=\n"
            );
            Answer::Installed(Box::new(parse(&text).unwrap()))
        };
        let bare = "os~\nkernel=6.1\nsshd!/x does not say its version\nbin~\npg_autoctl~\nserver~\nend=\n";
        let away = Failure::Unreachable { reason: "no route to host".into(), hint: String::new() };
        let hosts = [
            ("mon", host("server=15.20\ninstalled=plpgsql 1.0 pgautofailover 2.0 btree_gist 1.7 \n")),
            ("old", host("server=15.19\ninstalled=plpgsql 1.0 citus 13.1-1 pg_stat_statements 1.10 \n")),
            ("off", host("server~\n")),
            ("hid", host("server!cannot look into /var/x\n")),
            ("new", Answer::Installed(Box::new(parse(bare).unwrap()))),
            ("far", Answer::Failure(away)),
        ]
        .map(|(name, answer)| (NodeName::from(name), answer));
        let expected = "\
muster 1.2.3
Name  System                          sshd     PostgreSQL  Running  pg_autoctl  citus              pgautofailover
mon   Debian GNU/Linux 12 (bookworm)  9.2p1    15.20       15.20    2.0         (13.2-1)           2.0
old   Debian GNU/Linux 12 (bookworm)  9.2p1    15.20       15.19    2.0         13.1-1, of 13.2-1  (2.0)
off   Debian GNU/Linux 12 (bookworm)  9.2p1    15.20       -        2.0         (13.2-1)           (2.0)
hid   Debian GNU/Linux 12 (bookworm)  9.2p1    15.20       unknown  2.0         (13.2-1)           (2.0)
new   -                               unknown  -           -        -           -                  -
far   unknown                         unknown  unknown     unknown  unknown     unknown            unknown
note: old: PostgreSQL 15.19 runs, and 15.20 is installed: it was not restarted
note: old: the database has citus 13.1-1, and 13.2-1 is installed: alter extension citus update
note: hid: could not look: cannot look into /var/x
note: new: could not look: /x does not say its version
note: far: no route to host
";
        assert_eq!(text("1.2.3", &hosts, Paint::Plain), expected);
    }
}
