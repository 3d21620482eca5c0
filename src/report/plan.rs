//! The plan on the screen.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::Failure;
use crate::formation::NodeName;
use crate::op::Op;
use crate::plan::{Plan, Stranger};
use crate::report::diff::{self, Contents};
use crate::report::paint::Paint;
use crate::report::text::{alike, count, first, indented, plain};
use crate::step::{Action, Risk, Step, Trial};

/// Stage by stage, node by node, a line a step; what is left alone and why; one line that sums it up.
pub fn text(plan: &Plan, contents: Contents, paint: Paint) -> String {
    let mut text = String::new();
    for wave in &plan.waves {
        text += &format!("{}\n", paint.bold(wave.stage.as_str()));
        for lane in &wave.lanes {
            for (index, turn) in lane.turns.iter().enumerate() {
                let then = if index == 0 { "" } else { "then " };
                text += &format!("  {then}{}\n", turn.node);
                turn.all().for_each(|step| text += &line(&turn.node, step, contents, paint));
            }
        }
    }
    let mut section = |title: &str, lines: String| {
        if !lines.is_empty() {
            text += &format!("{title}\n{lines}");
        }
    };
    let lines = |said: Vec<(&NodeName, String)>| {
        let line = |(names, words): (String, String)| format!("  {names}: {words}\n");
        alike(said).into_iter().map(line).collect::<String>()
    };
    let notes = plan.notes.iter().flat_map(|(node, notes)| notes.iter().map(move |note| (node, plain(note))));
    let outside = match plan.outside.as_slice() {
        [] => String::new(),
        names => format!("  outside the formation, for want of a role: {}\n", names.join(", ")),
    };
    section(&paint.bold("notes"), outside + &strangers(plan) + &lines(notes.collect()));
    let blocked = plan.blocked.iter().map(|(node, why)| (node, plain(&why.to_string())));
    section(&paint.yellow("left alone"), lines(blocked.collect()));
    let unwell =
        plan.unwell.iter().flat_map(|(node, all)| all.iter().map(move |why| (node, plain(&why.to_string()))));
    section(&paint.red("not well"), lines(unwell.collect()));
    let unreachable = plan.unreachable.iter().map(|(node, failure)| {
        let hint = match failure {
            Failure::Unreachable { hint, .. } if !hint.is_empty() => format!("\n    hint: {}", plain(hint)),
            Failure::Unreachable { .. }
            | Failure::Refused { .. }
            | Failure::Lost { .. }
            | Failure::TimedOut { .. } => String::new(),
        };
        (node, format!("{}{hint}", plain(&failure.cause())))
    });
    section(&paint.red("unreachable"), lines(unreachable.collect()));
    text + &paint.bold(&(summary(plan) + &limited(plan))) + "\n"
}

/// A step of a node, with what it changes in a file.
fn line(node: &NodeName, step: &Step, contents: Contents, paint: Paint) -> String {
    let on = if step.on == *node { String::new() } else { format!(" (on {})", step.on) };
    let because = paint.dim(&format!("- {}", plain(&step.because)));
    let line = format!("    {} {}{on} {because}\n", symbol(step, paint), plain(&step.title()));
    match &step.action {
        Action::Put(file) => line + &indented(&diff::text(file, contents, paint), 8),
        Action::Try(trial) => line + &indented(&paint.dim(&on_trial(trial)), 8),
        Action::Run(_) | Action::Issue(_) | Action::Wait { .. } => line,
    }
}

/// What becomes of it where it locks somebody out.
fn on_trial(trial: &Trial) -> String {
    let connections = trial.asks.iter().map(|ask| ask.who.len()).sum();
    format!(
        "taken back if one of {} that came in before does not come in after it, or if nobody says so within {} s\n",
        count(connections, "connection"),
        trial.within
    )
}

/// Whom the inventory does not name: made by others, or taken out of it.
fn strangers(plan: &Plan) -> String {
    const MOST: usize = 6;
    let one = |Stranger { name, group }: &Stranger| format!("{} (group {group})", plain(name));
    match first(plan.strangers.iter().map(one), MOST) {
        names if names.is_empty() => String::new(),
        names => format!("  the monitor knows {names}, the inventory does not\n"),
    }
}

/// Whom it is about, where that is not everybody.
fn limited(plan: &Plan) -> String {
    const MOST: usize = 6;
    match &plan.limit {
        None => String::new(),
        Some(names) if names.len() > MOST => format!("; limited to {}", count(names.len(), "host")),
        Some(names) => {
            let names: Vec<&str> = names.iter().map(|name| name.0.as_str()).collect();
            format!("; limited to {}", names.join(", "))
        }
    }
}

/// What is counted for itself at the end of a plan.
fn heavy_word(step: &Step) -> Option<&'static str> {
    match (&step.op, step.risk()) {
        (Op::Switchover { .. }, _) => Some("switchover"),
        (Op::Reboot, _) => Some("reboot"),
        // PostgreSQL runs on.
        (Op::Maintenance { .. }, _) => None,
        (_, Risk::Restart) => Some("restart"),
        (_, Risk::Destroy) => Some("removal"),
        (_, Risk::Safe | Risk::Reload) => None,
    }
}

/// `+` makes, `~` changes, `!` restarts or destroys, `…` waits.
fn symbol(step: &Step, paint: Paint) -> String {
    match (&step.action, step.risk()) {
        (Action::Wait { .. }, _) => paint.dim("…"),
        (_, Risk::Restart | Risk::Destroy) => paint.red("!"),
        (_, Risk::Reload) => paint.yellow("~"),
        (Action::Put(file), Risk::Safe) if file.before.is_some() => paint.yellow("~"),
        (Action::Put(_) | Action::Run(_) | Action::Issue(_) | Action::Try(_), Risk::Safe) => paint.green("+"),
    }
}

/// `nothing to do` only where everything was looked at, and is well: what was not seen may need anything.
pub fn summary(plan: &Plan) -> String {
    let steps = plan.steps().count();
    let nodes: BTreeSet<_> = plan.steps().map(|(_, node, _)| node).collect();
    let mut parts = match steps {
        0 if plan.blocked.is_empty()
            && plan.unwell.is_empty()
            && plan.unreachable.is_empty()
            && plan.partial.is_none() =>
        {
            return "nothing to do".to_owned();
        }
        0 => vec!["no step to do".to_owned()],
        _ => vec![format!("{} on {}", count(steps, "step"), count(nodes.len(), "node"))],
    };
    let mut heavy: BTreeMap<&str, usize> = BTreeMap::new();
    for verb in plan.steps().filter_map(|(_, _, step)| heavy_word(step)) {
        *heavy.entry(verb).or_default() += 1;
    }
    parts.extend(heavy.into_iter().map(|(verb, many)| count(many, verb)));
    if !plan.blocked.is_empty() {
        parts.push(format!("{} left alone", count(plan.blocked.len(), "node")));
    }
    if !plan.unwell.is_empty() {
        parts.push(format!("{} not well", count(plan.unwell.len(), "node")));
    }
    if !plan.unreachable.is_empty() {
        parts.push(format!("{} unreachable", count(plan.unreachable.len(), "host")));
    }
    if let Some(why) = &plan.partial {
        parts.push(format!("more will follow: {}", plain(&why.to_string())));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::command::{Command, RunAs};
    use crate::formation::Secret;
    use crate::op::{Address, Metadata, Op, Serving};
    use crate::plan::{Begins, Lane, Turn, Wave};
    use crate::reason::Reason;
    use crate::step::{Content, File, Stage};

    fn put(on: &NodeName, path: &str, content: Content, before: Option<&str>, because: &str) -> Step {
        let file = File::new(path, "postgres", content).before(before.map(str::to_owned));
        Step::write(on, file, Risk::Safe, because)
    }

    fn example() -> Plan {
        let (w1a, coord1) = (NodeName::from("w1a"), NodeName::from("coord1"));
        let run = || Action::Run(Command::new(RunAs::Login, "true"));
        let new = || Content::Text("local all all trust\nhost all\n".into());
        let secret = Content::Hidden(Secret::new("s3cret"));
        let prepare = vec![
            put(&w1a, "/data/pg_hba.conf", new(), Some("local all all trust\n"), "it is another"),
            put(&w1a, "/data/new.conf", new(), None, "there is none"),
            put(&w1a, "/k", secret, Some("old"), "there is none"),
            put(&w1a, "/b", Content::Binary(vec![0; 3]), None, "there is none"),
            Step::new(&w1a, Op::Stop { serving: Serving::Somebody }, "max_connections is 100", run()),
        ];
        let node = Address { host: "w1a".to_owned(), port: 5432 };
        let add = Metadata::Add { node, role: "primary".to_owned(), group: 1 };
        let add = Op::Metadata { change: add, elsewhere: None };
        let metadata = vec![Step::new(&coord1, add, "pg_dist_node does not know it", run())];
        let wave = |stage, turns: Vec<Turn>| Wave {
            stage,
            begins: Begins::WithTheRest,
            lanes: vec![Lane::of(turns)],
        };
        let waves = vec![
            wave(Stage::Prepare, vec![Turn::new(&w1a, prepare)]),
            wave(Stage::Metadata, vec![Turn::new(&w1a, metadata), Turn::new(&coord1, Vec::new())]),
        ];
        let failure = Failure::Unreachable { reason: "no route to host".into(), hint: "start it".into() };
        Plan {
            waves,
            blocked: BTreeMap::from([(
                NodeName::from("w1b"),
                Reason::Refused("port 5432 is taken".to_owned()),
            )]),
            unwell: BTreeMap::from([(
                NodeName::from("w2a"),
                vec![Reason::NotWaitedFor("its keeper is silent".to_owned())],
            )]),
            unreachable: BTreeMap::from([(NodeName::from("w2b"), failure)]),
            notes: BTreeMap::from([(coord1, vec!["a stranger".to_owned()])]),
            outside: vec!["web1".to_owned(), "web2".to_owned()],
            strangers: vec![
                Stranger { name: "w1c".to_owned(), group: 1 },
                Stranger { name: "w3a".to_owned(), group: 3 },
            ],
            limit: Some(["coord1", "w1a", "w1b"].map(NodeName::from).into()),
            partial: None,
            given: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    #[test]
    fn a_plan_is_read_from_top_to_bottom() {
        let expected = "\
prepare
  w1a
    ~ write /data/pg_hba.conf - it is another
        @@ -1 +1,2 @@
         local all all trust
        +host all
    + write /data/new.conf - there is none
    ~ write /k - there is none
        (content hidden)
    + write /b - there is none
        (3 bytes)
    ! stop PostgreSQL - max_connections is 100
metadata
  w1a
    + add w1a:5432 to Citus as primary of group 1 (on coord1) - pg_dist_node does not know it
  then coord1
notes
  outside the formation, for want of a role: web1, web2
  the monitor knows w1c (group 1), w3a (group 3), the inventory does not
  coord1: a stranger
left alone
  w1b: port 5432 is taken
not well
  w2a: its keeper is silent
unreachable
  w2b: no route to host
    hint: start it
6 steps on 1 node; 1 restart; 1 node left alone; 1 node not well; 1 host unreachable; limited to coord1, w1a, w1b
";
        assert_eq!(text(&example(), Contents::Changes, Paint::Plain), expected);
        let all = text(&example(), Contents::All, Paint::Colour);
        assert_eq!(all.matches("+host all").count(), 2);
        assert!(!all.contains("s3cret") && !all.contains("old"));
    }

    #[test]
    fn nothing_to_do_is_said_only_where_all_was_seen() {
        assert_eq!(text(&Plan::default(), Contents::All, Paint::Plain), "nothing to do\n");
        let plan = Plan { waves: Vec::new(), notes: BTreeMap::new(), ..example() };
        assert_eq!(summary(&plan), "no step to do; 1 node left alone; 1 node not well; 1 host unreachable");
    }
}
