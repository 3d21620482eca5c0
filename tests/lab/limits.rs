//! `--limit`: a formation that is rolled out part by part, with hosts away that have no part in it.

use crate::fleet::Lab;
use crate::formation;

#[test]
#[ignore = "minutes: make test-long"]
fn part_by_part() {
    let Some(lab) = Lab::bare() else { return };
    let inventory = lab.inventory("lab", |text| text);
    let limited = |limit: &str, code: i32| {
        let run = lab.muster(&inventory, &["apply", "--yes", "--limit", limit]);
        run.exits(code)
    };
    // The hosts' files and processes, but for those of a limit.
    let others = |within: &str| -> Vec<String> {
        let all = formation::fingerprint(&lab).into_iter();
        all.filter(|of_host| !of_host.starts_with(within)).collect()
    };

    limited("worker1", 2).names("w1a", &["its monitor mon is outside --limit"]);
    let before = others("mon");
    limited("mon", 0);
    assert_eq!(others("mon"), before, "nobody else was touched");
    limited("worker1", 2).names("w1b", &["its coordinator coord1 is outside --limit"]);
    let before = others("coord");
    limited("coordinator", 0);
    assert_eq!(others("coord"), before, "nobody else was touched");

    // Whoever is away outside spoils nothing, and is waited for by those alone who need it.
    lab.script(&["stop", "w2r"]);
    limited("worker1[0]", 0);
    // The primary's keeper lets its standbys in.
    limited("worker1:!w1a", 0);
    limited("w2b", 2).names("w2b", &["its primary w2a is outside --limit"]);
    lab.muster(&inventory, &["plan", "--detailed-exitcode", "-l", "all:!worker2"]).exits(0);
    lab.muster(&inventory, &["status", "-l", "worker1"]).exits(0);
    limited("w2a:w2b", 0);
    lab.script(&["start", "w2r"]);
    limited("w2r", 0);

    // The whole has nothing left to do, and serves.
    lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0);
    formation::settle(&lab);
    formation::assert_converged(&lab);
    lab.muster(&inventory, &["verify"]).exits(0);
}
