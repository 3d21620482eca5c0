//! What a host answers to the probe: what a real one has said, with lines of the input in their place; and the plan that
//! follows from it.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use muster::facts::{self, Facts, Sight};
use muster::formation::{Formation, NodeName};

static FORMATION: LazyLock<Formation> = LazyLock::new(|| {
    let text = include_str!("../../facts/inventory.yml");
    muster::inventory::parse("inventory.yml", text, Path::new("inventory")).expect("the example is right")
});

const REAL: [(&str, &str); 4] = [
    ("mon", include_str!("../../facts/mon.txt")),
    ("coord1", include_str!("../../facts/coord1.txt")),
    ("w1a", include_str!("../../facts/w1a.txt")),
    ("w1b", include_str!("../../facts/w1b.txt")),
];

/// The hosts as they were.
static SEEN: LazyLock<BTreeMap<NodeName, Sight>> = LazyLock::new(|| {
    let seen = |(name, text): &(&str, &str)| {
        let server = FORMATION.servers().find(|server| server.name.0 == *name).expect("it is there");
        let seen = facts::parse(&FORMATION, server, text).expect("it can be read");
        (server.name.clone(), Sight::Seen(Box::new(seen)))
    };
    REAL.iter().map(seen).collect()
});

fuzz_target!(|bytes: &[u8]| {
    let [which, rest @ ..] = bytes else { return };
    let (name, real) = REAL[usize::from(*which) % REAL.len()];
    let server = FORMATION.servers().find(|server| server.name.0 == name).expect("it is there");
    let input = String::from_utf8_lossy(rest);
    drop(facts::parse(&FORMATION, server, &input));
    // What comes later counts.
    let whole = real.replace("\nend=", &format!("\n{input}\nend="));
    let Ok(seen) = facts::parse(&FORMATION, server, &whole) else { return };
    let mut hosts = SEEN.clone();
    hosts.insert(server.name.clone(), Sight::Seen(Box::new(seen)));
    let day = "2026-11-23".parse().expect("a day");
    let facts = Facts { hosts };
    drop(muster::plan::plan(&FORMATION, &facts, day).map(|plan| format!("{plan:?}")));
    drop(muster::verify::from_facts(&FORMATION, &facts));
});
