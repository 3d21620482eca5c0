//! What sudo has to allow for a formation, and nothing else: the text of a sudoers file.

use std::collections::{BTreeMap, BTreeSet};

use crate::formation::{BecomeMethod, NodeName, Server};
use crate::resource::keeper::{AsRoot, as_root, reboot_as_root};

/// Where the programs are that sudo is asked to run; beside /usr/bin where /bin is not a link to it.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("sh", &["/usr/bin/sh", "/bin/sh"]),
    ("install", &["/usr/bin/install"]),
    ("mv", &["/usr/bin/mv", "/bin/mv"]),
    ("systemctl", &["/usr/bin/systemctl", "/bin/systemctl"]),
];

const HEAD: &str = "\
# What muster needs of sudo; printed by muster sudoers. Nothing else is ever asked of it.
# On each host: visudo -c -f FILE, then install -m 0440 -o root -g root FILE /etc/sudoers.d/muster
";

const ALIASES: &str = "
# A host goes by what it calls itself, or by an address of its own. Where that is none of these, print a file for it
# alone: muster sudoers HOST.
";

const SHELL: &str = "
# Everything but the units is done as the user who owns the data directory. sh has no limits: who may run it as a user
# is that user.
";

const UNITS: &str = "
# systemd has to know the keepers' units, and to run them.
";

const WRITE: &str = "
# Whoever may write a unit is root in effect: it names a program and a user. To keep root to yourselves, leave the
# lines with install and mv out, and put the units there by hand before muster apply: muster plan -D shows them.
";

const REBOOT: &str = "
# For muster reboot alone: leave it out where muster is to reboot nobody.
";

const PASSWORD: &str = "
# With ansible_become_password a script for root is root's as a whole, so that the password is asked for once: this user
# is root there. Without a password the few programs that need root would be listed one by one.
";

/// Who logs in on a server's host.
pub type Logins = BTreeMap<NodeName, String>;

/// The file for these servers' hosts; for one alone it names no host.
pub fn sudoers(servers: &[&Server], logins: &Logins) -> String {
    let aliases = match servers {
        [_] => BTreeMap::new(),
        _ => aliases(servers),
    };
    let mut sections: BTreeMap<Section, BTreeMap<Rule, BTreeSet<NodeName>>> = BTreeMap::new();
    let mut nothing = String::new();
    let mut named = BTreeSet::new();
    for server in servers {
        let Some(login) = logins.get(&server.name) else { continue };
        if let Some(why) = needless(server, login) {
            nothing += &format!("# Nothing for {}: {why}.\n", server.name);
            continue;
        }
        for (section, rule) in rules(server, login) {
            sections.entry(section).or_default().entry(rule).or_default().insert(server.name.clone());
        }
    }
    let mut body = String::new();
    for (section, rules) in sections {
        body += section.text();
        for (rule, hosts) in rules {
            let everywhere = hosts.len() == servers.len();
            let hosts: Vec<&str> = match everywhere {
                true => vec!["ALL"],
                false => hosts
                    .iter()
                    .filter_map(|name| aliases.get(name))
                    .map(|(alias, _)| alias.as_str())
                    .collect(),
            };
            named.extend(hosts.iter().map(|alias| (*alias).to_owned()));
            body += &rule.line(&hosts.join(", "));
        }
    }
    let used: String = aliases
        .values()
        .filter(|(alias, _)| named.contains(alias))
        .map(|(alias, names)| format!("Host_Alias {alias} = {names}\n"))
        .collect();
    let used = if used.is_empty() { used } else { format!("{ALIASES}{used}") };
    format!("{HEAD}{nothing}{used}{body}")
}

/// Parts of the file in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Shell,
    Units,
    Reboot,
    Write,
    Password,
}

impl Section {
    fn text(self) -> &'static str {
        match self {
            Section::Shell => SHELL,
            Section::Units => UNITS,
            Section::Write => WRITE,
            Section::Password => PASSWORD,
            Section::Reboot => REBOOT,
        }
    }
}

/// One line, but for the hosts it holds on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    login: String,
    run_as: String,
    tag: &'static str,
    commands: Vec<String>,
}

impl Rule {
    fn line(&self, hosts: &str) -> String {
        let Rule { login, run_as, tag, commands } = self;
        let (login, run_as) = (user(login), user(run_as));
        match commands.iter().any(|command| command.contains(' ')) {
            false => format!("{login} {hosts} = ({run_as}) {tag}{}\n", commands.join(", ")),
            true => format!("{login} {hosts} = ({run_as}) {tag}\\\n    {}\n", commands.join(", \\\n    ")),
        }
    }
}

fn rules(server: &Server, login: &str) -> Vec<(Section, Rule)> {
    let rule = |run_as: &str, tag, commands| Rule {
        login: login.to_owned(),
        run_as: run_as.to_owned(),
        tag,
        commands,
    };
    let shell = || paths(&["sh".to_owned()]);
    let is_asked = server.host.becoming.password.is_some();
    let tag = if is_asked { "" } else { "NOPASSWD: " };
    let mut rules = Vec::new();
    if login != server.os_user {
        rules.push((Section::Shell, rule(&server.os_user, tag, shell())));
    }
    let all = |commands: Vec<Vec<String>>| commands.iter().flat_map(|command| paths(command)).collect();
    match (as_root(server), is_asked) {
        // A reboot is as much root's as everything else.
        (Some(_), true) => {
            rules.push((Section::Password, rule("root", tag, shell())));
            return rules;
        }
        (Some(AsRoot { write, systemctl }), false) => {
            rules.push((Section::Units, rule("root", tag, all(systemctl))));
            rules.push((Section::Write, rule("root", tag, all(write))));
        }
        (None, _) => (),
    }
    if let Some(reboot) = reboot_as_root(server) {
        let commands = if is_asked { shell() } else { all(vec![reboot]) };
        rules.push((Section::Reboot, rule("root", tag, commands)));
    }
    rules
}

/// Why a host needs no rule at all.
fn needless(server: &Server, login: &str) -> Option<String> {
    // sudo takes these for groups, netgroups and numbers, quoted or not.
    if let Some(name) =
        [login, &server.os_user].into_iter().find(|name| name.starts_with(['%', '+', '#', '!']))
    {
        return Some(format!("{name:?} is no name of a user"));
    }
    let method = match server.host.becoming.method {
        BecomeMethod::Sudo => None,
        BecomeMethod::Su => Some("su"),
        BecomeMethod::Doas => Some("doas, which has a configuration of its own"),
    };
    if login == "root" {
        Some("root logs in there".to_owned())
    } else if let Some(method) = method {
        Some(format!("ansible_become_method is {method}"))
    } else if login == server.os_user && as_root(server).is_none() && reboot_as_root(server).is_none() {
        Some(format!("{login} logs in there, and nothing is root's"))
    } else {
        None
    }
}

/// A command as sudoers has it, with every path its program may have.
fn paths(command: &[String]) -> Vec<String> {
    let (program, args) = command.split_first().expect("a command names its program");
    let row = PROGRAMS.iter().find(|(name, _)| name == program);
    let (_, paths) = row.expect("every program that root runs has its row");
    let args: String = args.iter().map(|arg| format!(" {}", escaped(arg))).collect();
    paths.iter().map(|path| format!("{path}{args}")).collect()
}

/// An argument that means itself: these characters mean something in sudoers.
fn escaped(arg: &str) -> String {
    arg.chars().flat_map(|c| ",:=\\*?[]! \"#".contains(c).then_some('\\').into_iter().chain([c])).collect()
}

fn user(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && name.chars().all(plain) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\\\"")),
    }
}

/// By server: the alias of its host, and by which names sudo may know it there.
fn aliases(servers: &[&Server]) -> BTreeMap<NodeName, (String, String)> {
    let mut taken = BTreeSet::new();
    let mut aliases = BTreeMap::new();
    for server in servers {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let mut alias = format!("MUSTER_{}", server.name.0.chars().map(letter).collect::<String>());
        while !taken.insert(alias.clone()) {
            alias.push('_');
        }
        aliases.insert(server.name.clone(), (alias, names(server).join(", ")));
    }
    aliases
}

fn names(server: &Server) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for full in [server.name.0.as_str(), &server.hostname, &server.host.address] {
        let is_address = full.parse::<std::net::IpAddr>().is_ok();
        let short = full.split('.').next().filter(|_| !is_address).unwrap_or(full);
        // A name with a dot is compared with the whole of the host's own, one without with its first part.
        for name in [full, short] {
            let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
            if !name.is_empty() && name.chars().all(plain) && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file of an inventory of the monitor and nodes with these variables; who logs in is `ansible_user`, or ana.
    fn printed(nodes: &[&str]) -> String {
        let hosts: String =
            nodes.iter().enumerate().map(|(n, vars)| format!("        pg{n}.db: {{{vars}}}\n")).collect();
        let text = format!(
            "all:\n  vars: {{pgdata: /data}}\n  children:\n    monitor:\n      hosts:\n        mon: {{keeper: none}}\n    \
             postgres:\n      hosts:\n{hosts}"
        );
        let formation = crate::inventory::parse("db.yml", &text, "".as_ref()).expect("it is right");
        let servers: Vec<&Server> = formation.servers().collect();
        let login = |server: &&Server| {
            (server.name.clone(), server.host.user.clone().unwrap_or_else(|| "ana".to_owned()))
        };
        sudoers(&servers, &servers.iter().map(login).collect())
    }

    /// Without comments.
    fn rules(nodes: &[&str]) -> String {
        printed(nodes).lines().filter(|line| !line.starts_with('#') && !line.is_empty()).fold(
            String::new(),
            |text, line| {
                text + line.trim_end_matches('\\').trim() + if line.ends_with('\\') { " " } else { "\n" }
            },
        )
    }

    #[test]
    fn without_units_there_is_one_line() {
        assert_eq!(
            rules(&["keeper: detached", "keeper: none"]),
            "ana ALL = (postgres) NOPASSWD: /usr/bin/sh, /bin/sh\n"
        );
    }

    #[test]
    fn hosts_are_told_apart_where_they_differ() {
        assert_eq!(
            rules(&[
                "keeper: none, become_user: pg, hostname: 10.0.0.7",
                "keeper: none, ansible_user: 'Eve L'",
                "ansible_become_password: s3cret",
            ]),
            "Host_Alias MUSTER_MON = mon\n\
             Host_Alias MUSTER_PG0_DB = pg0.db, pg0, 10.0.0.7\n\
             Host_Alias MUSTER_PG1_DB = pg1.db, pg1\n\
             Host_Alias MUSTER_PG2_DB = pg2.db, pg2\n\
             \"Eve L\" MUSTER_PG1_DB = (postgres) NOPASSWD: /usr/bin/sh, /bin/sh\n\
             ana MUSTER_PG0_DB = (pg) NOPASSWD: /usr/bin/sh, /bin/sh\n\
             ana MUSTER_PG2_DB = (postgres) /usr/bin/sh, /bin/sh\n\
             ana MUSTER_MON = (postgres) NOPASSWD: /usr/bin/sh, /bin/sh\n\
             ana MUSTER_PG2_DB = (root) /usr/bin/sh, /bin/sh\n"
        );
    }

    #[test]
    fn root_runs_named_programs_with_named_arguments() {
        let rules = rules(&["ansible_user: postgres"]);
        for command in [
            "/bin/systemctl enable -q pgautofailover-pg0.db.service",
            "/usr/bin/systemctl reboot",
            "/usr/bin/install -m 0644 -o root -g root -T /dev/stdin /etc/systemd/system/.muster.pgautofailover-pg0.db.service",
            "/usr/bin/mv -fT -- /etc/systemd/system/.muster.pgautofailover-pg0.db.service \
             /etc/systemd/system/pgautofailover-pg0.db.service",
        ] {
            assert!(rules.contains(command), "{rules}");
        }
        // Who owns the data directory need not become its owner.
        assert!(!rules.contains("postgres MUSTER_PG0_DB = (postgres)"), "{rules}");
    }

    #[test]
    fn who_needs_nothing_is_named() {
        let text = printed(&[
            "ansible_user: root",
            "ansible_become_method: su, ansible_become_password: s3cret",
            "ansible_user: postgres, keeper: none",
        ]);
        for line in [
            "# Nothing for pg0.db: root logs in there.",
            "# Nothing for pg1.db: ansible_become_method is su.",
            "# Nothing for pg2.db: postgres logs in there, and nothing is root's.",
        ] {
            assert!(text.lines().any(|said| said == line), "{text}");
        }
        assert!(!text.contains("s3cret"), "{text}");
    }

    #[test]
    fn visudo_reads_it() {
        use std::io::Write as _;
        let text = printed(&[
            "become_user: pg, hostname: '2001:db8::7'",
            "ansible_user: 'Eve L', name: a_b",
            "ansible_become_password: s3cret",
            "ansible_user: root",
        ]);
        let visudo = std::process::Command::new("/usr/sbin/visudo")
            .args(["-c", "-s", "-f", "-"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn();
        let Ok(mut visudo) = visudo else {
            drop(writeln!(
                std::io::stderr(),
                "LEFT OUT: there is no visudo (Debian's package sudo); nothing was tested"
            ));
            return;
        };
        visudo.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("visudo reads");
        let output = visudo.wait_with_output().expect("visudo ends");
        assert!(output.status.success(), "{output:?}\n{text}");
    }
}
