use super::*;

fn types() -> Types {
    let row = |name: &str, kind: &str, unit: Option<&str>| {
        (name.to_owned(), (kind.to_owned(), unit.map(str::to_owned)))
    };
    Types::from([
        row("shared_buffers", "integer", Some("8kB")),
        row("work_mem", "integer", Some("kB")),
        row("checkpoint_timeout", "integer", Some("s")),
        row("statement_timeout", "integer", Some("ms")),
        row("max_connections", "integer", None),
        row("checkpoint_completion_target", "real", None),
        row("vacuum_cost_delay", "real", Some("ms")),
        row("unix_socket_permissions", "integer", None),
        row("hot_standby_feedback", "bool", None),
        row("wal_level", "enum", None),
        row("synchronous_commit", "enum", None),
    ])
}

#[test]
fn values_are_compared_as_postgresql_reads_them() {
    for (name, one, other) in [
        ("shared_buffers", "8MB", "8192kB"),
        ("shared_buffers", "1024", "8 MB"),
        ("shared_buffers", "0.5GB", "512MB"),
        ("work_mem", "4096", "4MB"),
        ("checkpoint_timeout", "5min", "300"),
        ("checkpoint_timeout", "1h", "60 min"),
        ("statement_timeout", "1.5s", "1500"),
        ("max_connections", "0x64", "100"),
        ("unix_socket_permissions", "0777", "511"),
        ("checkpoint_completion_target", "0.90", ".9"),
        ("checkpoint_completion_target", "9e-1", "0.9"),
        ("vacuum_cost_delay", "2ms", "2"),
        ("hot_standby_feedback", "on", "TRUE"),
        ("hot_standby_feedback", "no", "of"),
        ("wal_level", "Logical", "logical"),
        ("synchronous_commit", "yes", "on"),
        ("shared_preload_libraries", "citus, auto_explain", "citus,auto_explain"),
    ] {
        assert!(same(name, one, other, &types()), "{name}: {one} is {other}");
        assert!(same(name, other, one, &types()), "{name}: {other} is {one}");
    }
    for (name, one, other) in [
        ("shared_buffers", "8MB", "8"),
        ("work_mem", "4MB", "4GB"),
        ("statement_timeout", "1s", "1"),
        ("statement_timeout", "1s", "1 parsec"),
        ("hot_standby_feedback", "o", "on"),
        ("synchronous_commit", "local", "on"),
        ("application_name", "A", "a"),
        ("max_connections", "", "0"),
    ] {
        assert!(!same(name, one, other, &types()), "{name}: {one} is not {other}");
    }
}

const PATH: &str = "/d/postgresql.conf";

/// What a server would answer about a file of plain lines, after its keeper's and before `ALTER SYSTEM`'s.
fn read(text: &str, system: &[(&str, &str)]) -> Vec<Line> {
    let line = |file: &str, line, name: &str, value: &str| Line {
        file: file.to_owned(),
        line,
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let mut lines = vec![line("/d/postgresql-auto-failover.conf", 9, "work_mem", "24 MB")];
    for (index, written) in text.lines().enumerate() {
        let Some((name, value)) = written.split('#').next().and_then(|code| code.split_once('=')) else {
            continue;
        };
        let value = value.trim().trim_matches('\'').replace("''", "'");
        lines.push(line(PATH, index + 1, name.trim(), &value));
    }
    lines.extend(system.iter().map(|(name, value)| line("/d/postgresql.auto.conf", 3, name, value)));
    lines
}

fn settings(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn decided(text: &str, system: &[(&str, &str)], wanted: &[(&str, &str)]) -> Decision {
    decide(PATH, text, &read(text, system), &types(), &settings(wanted)).unwrap_or_default()
}

#[test]
fn only_what_differs_is_written() {
    let text = "max_connections = 100 # as it was\nport = 5432\n";
    let same = [("max_connections", "100"), ("work_mem", "24MB")];
    assert_eq!(decided(text, &[], &same), Decision::default());
    let made = decided(text, &[], &[("max_connections", "200"), ("work_mem", "24MB")]);
    assert_eq!(made.changed, ["max_connections"]);
    let after = made.text.unwrap_or_default();
    assert_eq!(after, format!("{text}{BEGIN}\nmax_connections = 200\n{END}\n"));
    // A second look finds nothing to do, also in another spelling.
    assert_eq!(decided(&after, &[], &[("max_connections", "0xC8")]).text, None);
    // Back to what the file says by itself.
    assert_eq!(decided(&after, &[], &same).text.as_deref(), Some(text));
    // A setting that goes from the inventory goes from the block, and the block with the last of them.
    let gone = decided(&after, &[], &[("work_mem", "24MB")]);
    assert_eq!((gone.changed, gone.text.as_deref()), (vec!["max_connections".to_owned()], Some(text)));
}

#[test]
fn a_line_below_the_block_is_seen_to_win() {
    let text = edit("a = 1\n", &settings(&[("work_mem", "8MB")])).unwrap_or_default();
    let below = format!("{text}b = 2\n");
    assert_eq!(decided(&below, &[], &[("work_mem", "8MB")]).text, None, "it does no harm");
    let wins = format!("{text}work_mem = 1MB\n");
    let made = decided(&wins, &[], &[("work_mem", "8MB")]).text.unwrap_or_default();
    assert_eq!(made, format!("a = 1\nwork_mem = 1MB\n{BEGIN}\nwork_mem = '8MB'\n{END}\n"));
}

#[test]
fn alter_system_wins_and_is_told() {
    let text = "x = 1\n";
    assert_eq!(decided(text, &[("work_mem", "64MB")], &[("work_mem", "65536")]), Decision::default());
    let made = decided(text, &[("work_mem", "64MB")], &[("work_mem", "32MB")]);
    assert_eq!(made.overruled, [("work_mem".to_owned(), "64MB".to_owned())]);
    let after = made.text.unwrap_or_default();
    let again = decided(&after, &[("work_mem", "64MB")], &[("work_mem", "32MB")]);
    assert_eq!((again.text, again.overruled.len()), (None, 1));
}

#[test]
fn a_block_without_an_end_is_not_guessed_at() {
    let text = format!("{BEGIN}\nwork_mem = 1\n");
    assert!(edit(&text, &settings(&[("work_mem", "2")])).is_err());
}

/// Texts made by chance: an edit is idempotent, and whatever is not the block stays byte by byte.
#[test]
fn every_other_byte_stays() {
    let pieces = [
        "a = 1\n",
        "# täglich\r\n",
        "\n",
        "b = 'it''s'",
        "\tc = 3   # x\n",
        END,
        "\u{fffd}\u{0}",
        "include 'x'\n",
    ];
    let values = ["1", "it's", "", "8MB", "on", "\\", "$user, public"];
    let mut chance: u64 = 7;
    let mut next = |below: usize| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(chance >> 33).unwrap_or_default() % below
    };
    for _ in 0..2000 {
        let text: String = (0..next(9)).map(|_| pieces[next(pieces.len())]).collect();
        let some = |next: &mut dyn FnMut(usize) -> usize| {
            let names = ["a", "b", "work_mem"];
            (0..1 + next(3)).map(|at| (names[at].to_owned(), values[next(values.len())].to_owned())).collect()
        };
        let (one, two): (BTreeMap<_, _>, BTreeMap<_, _>) = (some(&mut next), some(&mut next));
        let first = edit(&text, &one).unwrap_or_default();
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        assert!(first.starts_with(&format!("{text}{end}{BEGIN}\n")), "{text:?}");
        assert_eq!(edit(&first, &one).as_ref(), Ok(&first));
        assert_eq!(edit(&first, &BTreeMap::new()), Ok(format!("{text}{end}")));
        assert_eq!(edit(&first, &two), edit(&format!("{text}{end}"), &two));
    }
}
