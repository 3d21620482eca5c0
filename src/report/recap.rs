//! How a run ended: a line a host, a line a group, why what went wrong did, and how to connect.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::event::NodeOutcome;
use crate::formation::{Formation, Node, NodeName};
use crate::reason::Reason;
use crate::report::paint::Paint;
use crate::report::text::{alike, plain};
use crate::scope::Scope;
use crate::uri::Uri;

/// How each node ended.
pub type Outcomes = BTreeMap<NodeName, NodeOutcome>;

/// What a group lacks of a node that an operator has taken out.
const OUT: &str = "in maintenance";

/// A Citus group, or the only group of standalone nodes, and what it lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    pub group: u32,
    pub complete: bool,
    /// `w1b unreachable (no route to host)`, one for each node that is not as it should be.
    pub lacks: Vec<String>,
}

/// Ansible's words, as people and pipelines look for them: `ok` counts the look at the host and each step done,
/// `failed` is 1 for a node that failed, was left alone, is not well, or ended nobody knows how.
pub fn text(formation: &Formation, scope: &Scope, outcomes: &Outcomes, paint: Paint) -> String {
    let mut names: Vec<&NodeName> = scope.servers(formation).into_iter().map(|server| &server.name).collect();
    names.sort_unstable();
    let width = names.iter().map(|name| name.0.chars().count()).max().unwrap_or_default();
    let mut lines = String::new();
    let mut reasons = Vec::new();
    for name in names {
        let outcome = outcomes.get(name).cloned().unwrap_or_default();
        let line = host(&outcome);
        let line = match () {
            () if !outcome.is_ok() => paint.red(&line),
            () if outcome.changed > 0 => paint.yellow(&line),
            () => paint.green(&line),
        };
        lines += &format!("{name:width$} : {line}\n");
        reasons.extend(troubles(&outcome).into_iter().map(|why| (name, why)));
        if outcome.out && outcome.is_ok() {
            reasons.push((name, Reason::Maintenance { node: name.clone() }.to_string()));
        }
    }
    for (group, lacks) in lacking(formation, scope, outcomes) {
        let is_out = |(name, _): &(&NodeName, String)| outcomes.get(*name).is_some_and(NodeOutcome::is_out);
        let out: Vec<&str> =
            lacks.iter().filter(|lack| is_out(lack)).map(|(name, _)| name.0.as_str()).collect();
        let word = match (lacks.is_empty(), out.len() == lacks.len()) {
            (true, _) => paint.green("complete"),
            (false, true) => {
                let are = if out.len() == 1 { "is" } else { "are" };
                paint.yellow(&format!("{} {are} {OUT}", out.join(", ")))
            }
            (false, false) => {
                let lacks: Vec<String> =
                    alike(lacks).into_iter().map(|(names, what)| format!("{names} {what}")).collect();
                format!("{}: {}", paint.red("incomplete"), lacks.join("; "))
            }
        };
        lines += &format!("group {group}: {word}\n");
    }
    for (names, why) in alike(reasons) {
        // What a host said may be many lines: they stay under its name.
        lines += &format!("{names}: {}\n", why.replace('\n', "\n    "));
    }
    lines
}

fn host(outcome: &NodeOutcome) -> String {
    let looked = outcome.unreachable.is_none() && outcome.blocked.is_none() || outcome.changed > 0;
    let failed = outcome.failed.is_some()
        || outcome.blocked.as_ref().is_some_and(|why| !why.is_wanted())
        || !outcome.unwell.is_empty()
        || !outcome.unknown.is_empty();
    format!(
        "ok={} changed={} unreachable={} failed={} skipped={}",
        outcome.changed + usize::from(looked),
        outcome.changed,
        usize::from(outcome.unreachable.is_some()),
        usize::from(failed),
        outcome.skipped
    )
}

fn troubles(outcome: &NodeOutcome) -> Vec<String> {
    let said = [
        ("unreachable", &outcome.unreachable),
        ("left alone", &outcome.blocked.as_ref().map(Reason::to_string)),
        ("failed", &outcome.failed),
    ];
    let said = said.into_iter().filter_map(|(word, why)| Some(format!("{word}: {}", plain(why.as_ref()?))));
    let unknown = outcome.unknown.iter().map(|title| format!("outcome unknown: {}", plain(title)));
    let unwell = outcome.unwell.iter().map(|why| format!("not well: {}", plain(&why.to_string())));
    said.chain(unwell).chain(unknown).collect()
}

/// Every group of the formation, in order; of one that is only in part within the limit nothing can be told.
pub fn groups(formation: &Formation, scope: &Scope, outcomes: &Outcomes) -> Vec<Group> {
    let group = |(group, lacks): (u32, Vec<(&NodeName, String)>)| Group {
        group,
        complete: lacks.is_empty(),
        lacks: lacks.into_iter().map(|(name, what)| format!("{name} {what}")).collect(),
    };
    lacking(formation, scope, outcomes).into_iter().map(group).collect()
}

fn lacking<'f>(
    formation: &'f Formation,
    scope: &Scope,
    outcomes: &Outcomes,
) -> BTreeMap<u32, Vec<(&'f NodeName, String)>> {
    let mut groups: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    let is_whole = |node: &&Node| formation.group(node.group).all(|member| scope.has(member.name()));
    for node in formation.nodes.values().filter(is_whole) {
        let lacks = groups.entry(node.group).or_default();
        let Some(outcome) = outcomes.get(node.name()).filter(|outcome| !outcome.is_ok() || outcome.out)
        else {
            continue;
        };
        let first_line = |why: &str| plain(why.lines().next().unwrap_or_default());
        let what = match (&outcome.unreachable, &outcome.failed, &outcome.blocked) {
            _ if outcome.is_out() => OUT.to_owned(),
            (Some(why), _, _) => format!("unreachable ({})", first_line(why)),
            (None, Some(why), _) => format!("failed ({})", first_line(why)),
            (None, None, Some(why)) => format!("left alone ({})", first_line(&why.to_string())),
            (None, None, None) if !outcome.unwell.is_empty() => "not well".to_owned(),
            (None, None, None) if outcome.unknown.is_empty() => "skipped".to_owned(),
            (None, None, None) => "outcome unknown".to_owned(),
        };
        lacks.push((node.name(), what));
    }
    groups
}

/// How to connect, once there is something to connect to.
pub fn uris(uris: &[Uri]) -> String {
    let width = uris.iter().map(|uri| uri.kind.len() + uri.name.len() + 1).max().unwrap_or_default();
    let line = |uri: &Uri| format!("{:width$} {}\n", format!("{} {}", uri.kind, uri.name), uri.uri);
    uris.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_host_and_a_line_a_group() {
        let inventory = include_str!("../../inventory/lab.yml");
        let formation = crate::inventory::parse("lab.yml", inventory, "inventory".as_ref()).unwrap();
        let outcomes = BTreeMap::from([
            ("w1a".into(), NodeOutcome { changed: 12, ..NodeOutcome::default() }),
            (
                "w1b".into(),
                NodeOutcome { unreachable: Some("no route to host".into()), ..Default::default() },
            ),
            (
                "w1r".into(),
                NodeOutcome { failed: Some("boom".into()), skipped: 3, changed: 2, ..Default::default() },
            ),
            (
                "w2a".into(),
                NodeOutcome {
                    blocked: Some(Reason::Refused("port 5432 is taken".into())),
                    ..Default::default()
                },
            ),
            ("w2b".into(), NodeOutcome { unknown: vec!["initdb /data".into()], ..Default::default() }),
            (
                "coord2".into(),
                NodeOutcome {
                    unwell: vec![Reason::NotWaitedFor("its keeper is silent".into())],
                    ..Default::default()
                },
            ),
        ]);
        let expected = "\
coord1  : ok=1 changed=0 unreachable=0 failed=0 skipped=0
coord1r : ok=1 changed=0 unreachable=0 failed=0 skipped=0
coord2  : ok=1 changed=0 unreachable=0 failed=1 skipped=0
mon     : ok=1 changed=0 unreachable=0 failed=0 skipped=0
w1a     : ok=13 changed=12 unreachable=0 failed=0 skipped=0
w1b     : ok=0 changed=0 unreachable=1 failed=0 skipped=0
w1r     : ok=3 changed=2 unreachable=0 failed=1 skipped=3
w2a     : ok=0 changed=0 unreachable=0 failed=1 skipped=0
w2b     : ok=1 changed=0 unreachable=0 failed=1 skipped=0
w2r     : ok=1 changed=0 unreachable=0 failed=0 skipped=0
group 0: incomplete: coord2 not well
group 1: incomplete: w1b unreachable (no route to host); w1r failed (boom)
group 2: incomplete: w2a left alone (port 5432 is taken); w2b outcome unknown
coord2: not well: its keeper is silent
w1b: unreachable: no route to host
w1r: failed: boom
w2a: left alone: port 5432 is taken
w2b: outcome unknown: initdb /data
";
        assert_eq!(text(&formation, &Scope::whole(), &outcomes, Paint::Plain), expected);
    }

    #[test]
    fn a_group_with_a_node_that_is_out_is_not_called_complete() {
        let inventory = include_str!("../../inventory/lab.yml");
        let formation = crate::inventory::parse("lab.yml", inventory, "inventory".as_ref()).unwrap();
        let taken_out = NodeOutcome { changed: 1, out: true, ..NodeOutcome::default() };
        let was_out = |node: &str| NodeOutcome {
            blocked: Some(Reason::Maintenance { node: node.into() }),
            ..NodeOutcome::default()
        };
        let failed = NodeOutcome { failed: Some("boom".into()), out: true, ..NodeOutcome::default() };
        let outcomes = BTreeMap::from([
            ("w1b".into(), taken_out.clone()),
            ("w1r".into(), was_out("w1r")),
            ("w2b".into(), taken_out),
            ("w2r".into(), failed),
        ]);
        let said = text(&formation, &Scope::whole(), &outcomes, Paint::Plain);
        for line in [
            "group 0: complete\n",
            "group 1: w1b, w1r are in maintenance\n",
            "group 2: incomplete: w2b in maintenance; w2r failed (boom)\n",
            "w1b: it is in maintenance: `muster maintenance off w1b` takes it back\n",
        ] {
            assert!(said.contains(line), "{line}{said}");
        }
        let groups = groups(&formation, &Scope::whole(), &outcomes);
        assert_eq!(groups[1].lacks, ["w1b in maintenance", "w1r in maintenance"]);
        assert!(!groups[1].complete);
    }
}
