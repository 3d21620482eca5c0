//! Patterns against the names of one inventory.

use super::select;
use crate::formation::{Host, Listed, ListedGroup, NodeName, Roster};

/// As in `inventory/lab.yml`, but for a host on its own, one with another name on the monitor and an address.
fn roster() -> Roster {
    let given = [
        ("mon", "mon", "monitor"),
        ("coord1", "coord1", "coordinator"),
        ("coord1r", "coord1r", "coordinator readers"),
        ("w1a", "w1a", "workers worker1"),
        ("w1r", "w1r", "workers worker1 readers"),
        ("w2a", "w2a", "workers worker2"),
        ("w2b.db.example", "w2b", "workers worker2"),
        ("fe80::1", "six", "workers"),
        ("alone", "alone", ""),
    ];
    let groups = |of: &str| of.split_whitespace().chain(["all"]).map(str::to_owned).collect();
    let hosts: Vec<Listed> = given
        .iter()
        .map(|(name, node, of)| Listed {
            name: (*name).into(),
            node: NodeName::from(*node),
            groups: groups(of),
            host: Host::named(*name),
            os_user: "postgres".into(),
        })
        .collect();
    let mut names = vec!["all", "ungrouped"];
    for (_, _, of) in given {
        names.extend(of.split_whitespace());
    }
    names.push("spare");
    let mut groups: Vec<ListedGroup> = Vec::new();
    for name in names {
        let is_in = |host: &&Listed| match name {
            "ungrouped" => host.groups.len() == 1,
            _ => host.groups.contains(name),
        };
        let hosts = hosts.iter().filter(is_in).map(|host| host.name.clone()).collect();
        if groups.iter().all(|group| group.name != name) {
            groups.push(ListedGroup { name: name.to_owned(), hosts });
        }
    }
    Roster { hosts, groups }
}

/// Files for `@`.
fn files(path: &str) -> Result<String, String> {
    match path {
        "rerun" => Ok("w1a\n# after the outage\n\n  fe80::1  \ncoordinator:!coord1r\n".to_owned()),
        "without" => Ok("!readers\n&workers\n".to_owned()),
        "wrong" => Ok("w1a\n  wrokers\n".to_owned()),
        "nested" => Ok("@rerun\n".to_owned()),
        "empty" => Ok("\n# nobody\n".to_owned()),
        _ => Err("no such file".to_owned()),
    }
}

#[test]
fn patterns_select_as_ansible_does() {
    const WORKERS: &str = "w1a w1r w2a w2b six";
    for (pattern, selected) in [
        ("w1a", "w1a"),
        ("w2b.db.example", "w2b"),
        ("w2b", "w2b"),
        ("fe80::1", "six"),
        ("workers", WORKERS),
        ("all", "mon coord1 coord1r w1a w1r w2a w2b six alone"),
        ("*", "mon coord1 coord1r w1a w1r w2a w2b six alone"),
        ("ungrouped", "alone"),
        // Put together, in the inventory's order, each once.
        ("w2a:mon", "mon w2a"),
        ("w2a,mon, worker1", "mon w1a w1r w2a"),
        ("worker1,w1a,w1a", "w1a w1r"),
        // With a comma colons part nothing.
        ("fe80::1,mon", "mon six"),
        ("all,!fe80::1,!workers", "mon coord1 coord1r alone"),
        ("!fe80::1", "mon coord1 coord1r w1a w1r w2a w2b alone"),
        ("~w(?:1|2)a,mon", "mon w1a w2a"),
        // First all that is put together, then `&`, then `!`, wherever they stand.
        ("workers:&readers", "w1r"),
        ("workers:!readers", "w1a w2a w2b six"),
        ("!readers:workers", "w1a w2a w2b six"),
        ("&readers:workers:coordinator", "coord1r w1r"),
        ("!w1r:&readers:workers:coordinator", "coord1r"),
        ("!workers", "mon coord1 coord1r alone"),
        ("&readers", "coord1r w1r"),
        ("&workers:!worker1", "w2a w2b six"),
        ("workers,!worker1[0]", "w1r w2a w2b six"),
        // Globs, of hosts and of groups.
        ("w?a", "w1a w2a"),
        ("w*", WORKERS),
        ("worker?", WORKERS),
        ("*ker2", "w2a w2b"),
        ("*.example", "w2b"),
        ("[mc]o*", "mon coord1 coord1r"),
        ("w[!1]a", "w2a"),
        ("w[]^\\[1]a", "w1a"),
        ("w[1-2]a", "w1a w2a"),
        ("*1*:!w*", "coord1 coord1r"),
        // Regular expressions begin where the name begins.
        ("~w\\d", "w1a w1r w2a w2b"),
        ("~(w|c).*r", "coord1 coord1r w1a w1r w2a w2b six"),
        ("~.*r$", "mon coord1 coord1r w1r"),
        ("~w[0-9]{1,2}(?:a|r)$:!w2a", "w1a w1r"),
        ("~w1,!~.*r$", "w1a"),
        // Subscripts, of the inventory's order; the last one is counted in.
        ("workers[0]", "w1a"),
        ("workers[-1]", "six"),
        ("workers[-5]", "w1a"),
        ("workers[1:2]", "w1r w2a"),
        ("workers[1-2]", "w1r w2a"),
        ("workers[3:]", "w2b six"),
        ("workers[3:99]", "w2b six"),
        ("workers[-0]", "w1a"),
        ("workers[01]", "w1r"),
        ("workers[0:0]", "w1a"),
        ("workers[2:0]", "w2a"),
        ("workers[2-]", "w2a w2b six"),
        ("workers[0:99999999999999999999]", WORKERS),
        ("mon:spare[0]:spare[1:]", "mon"),
        ("w*[0]:mon[0]", "mon w1a"),
        ("!workers[0:3]", "mon coord1 coord1r six alone"),
        ("workers:&all[3:4]", "w1a w1r"),
        // Files of patterns.
        ("@rerun", "coord1 w1a six"),
        ("@rerun:mon:!six", "mon coord1 w1a"),
        ("@without", "w1a w2a w2b six"),
        ("w1*,@without", "w1a"),
    ] {
        let found =
            select(&roster(), pattern, &files).unwrap_or_else(|problem| panic!("{pattern}: {problem}"));
        let found: Vec<&str> = found.iter().map(|name| name.0.as_str()).collect();
        assert_eq!(found.join(" "), selected, "{pattern}");
    }
}

#[test]
fn a_pattern_that_means_nobody_says_why() {
    for (pattern, message, hint) in [
        ("w1x", "there is no host and no group `w1x`", "did you mean `w"),
        ("all:!reader", "there is no host and no group `reader`", "did you mean `readers`?"),
        ("all:&wrokers", "there is no host and no group `wrokers`", "did you mean `workers`?"),
        ("zzzzzz", "there is no host and no group `zzzzzz`", "the groups are all, coordinator, monitor"),
        ("x*", "`x*` selects no host", "the groups are"),
        ("~x", "`~x` selects no host", "the groups are"),
        ("spare", "`spare` selects no host", "the groups are"),
        ("w1a:!w1a", "`w1a:!w1a` selects no host", "the groups are"),
        ("workers[5]", "there is no `workers[5]`: `workers` is 5 hosts", "counted from 0"),
        ("workers[-6]", "there is no `workers[-6]`", "counted from 0"),
        ("workers[7:]", "`workers[7:]` selects no host", "the groups are"),
        ("workers[7:0]", "there is no `workers[7:0]`", "counted from 0"),
        ("workers[2:1]", "`workers[2:1]` selects no host", "the groups are"),
        ("workers[99999999999999999999]", "there is no `workers[99999999999999999999]`", "counted from 0"),
        ("workers[-99999999999999999999]", "there is no `workers[-99999999999999999999]`", "counted from 0"),
        ("spare[0]", "`spare[0]` selects no host", "the groups are"),
        // No subscripts but sets of a glob.
        ("workers[+1]", "`workers[+1]` selects no host", "the groups are"),
        ("workers[:1]", "`workers[:1]` selects no host", "the groups are"),
        ("workers[-1:]", "`workers[-1:]` selects no host", "the groups are"),
        // Ansible takes it for all of them.
        ("workers[0", "`workers[0` selects no host", "the groups are"),
        ("~(", "`(` is no regular expression", "without `~`"),
        ("", "the pattern is empty", "`all`"),
        (" , ", "the pattern is empty", "`all`"),
        ("all:!", "there is no host and no group ``", "the groups are"),
        ("worker1:w1a,mon", "`worker1:w1a,mon` mixes commas and colons", "write `worker1,w1a,mon`"),
        ("fe80::2,mon", "there is no host and no group `fe80::2`", "did you mean `fe80::1`?"),
        ("@lost", "cannot read the patterns of `lost`: no such file", "relative to the current folder"),
        ("all:!@rerun", "`@rerun` is a file of patterns", "in front of the names"),
        ("@nested", "a file of patterns names no other file", "give both"),
        // Else it would be everybody.
        ("@empty", "the file `empty` holds no pattern", "one a line"),
        ("@wrong", "there is no host and no group `wrokers`", "did you mean `workers`?"),
    ] {
        let problem = select(&roster(), pattern, &files).expect_err(pattern);
        assert!(problem.message.starts_with(message), "{pattern}: {problem}");
        assert!(problem.hint.as_deref().unwrap_or_default().contains(hint), "{pattern}: {problem}");
    }
}

#[test]
fn a_name_in_a_file_is_told_with_its_line() {
    let problem = select(&roster(), "mon,@wrong", &files).expect_err("it is misspelt");
    let place = problem.place.expect("it stands in a file");
    assert_eq!((place.file.as_str(), place.line, place.column, place.width), ("wrong", 2, 3, 7));
}
