//! What muster must not touch: hosts it cannot explain, cannot see, or cannot trust.

use std::fs;

use crate::fleet::Lab;

/// Something wrong with one host.
struct Fault {
    host: &'static str,
    /// Run there as root; `$1` is the data directory.
    script: &'static str,
    /// Exit code of a plan.
    code: i32,
    /// One of these must be said, beside the host's name.
    words: &'static [&'static str],
}

/// On standbys where it can be: their primaries are well, so that it is this fault that stops them.
const FAULTS: &[Fault] = &[
    Fault {
        host: "w1b",
        script: "install -d -o postgres -g postgres -m 700 \"$(dirname \"$1\")\" \"$1\"; echo precious >\"$1/letters.txt\"",
        code: 2,
        words: &["letters.txt", "not a data directory", "not empty"],
    },
    Fault {
        host: "coord2",
        script: "systemd-run -q --unit=squatter perl -MSocket -e '
            socket(my $s, PF_INET, SOCK_STREAM, 0); setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
            bind($s, sockaddr_in(5432, INADDR_ANY)) or die; listen($s, 5); sleep'",
        code: 2,
        words: &["5432"],
    },
    Fault {
        host: "w2a",
        script: "cd /usr/share/postgresql/15/extension; mv citus.control citus.control.gone",
        code: 2,
        words: &["extension", "citus.control"],
    },
    Fault {
        host: "w1r",
        script: "d=$(dirname \"$1\"); mkdir -p \"$d\"; mount -t tmpfs -o size=8m tmpfs \"$d\"; chown postgres: \"$d\"",
        code: 2,
        words: &["space", "disk", "full"],
    },
    Fault {
        host: "coord1r",
        script: "install -d -o postgres -g postgres \"$(dirname \"$1\")\"; install -d -m 700 \"$1\"; touch \"$1/PG_VERSION\"",
        code: 2,
        words: &["cannot read the directory"],
    },
    // Stopped: the port is free, until the host boots.
    Fault {
        host: "w2b",
        script: "pg_createcluster 15 main >/dev/null",
        code: 2,
        words: &["port 5432 is that of debian's cluster 15/main"],
    },
];

/// It answers with another key than the one we know.
const STRANGER: &str = "w2r";

#[test]
fn refusals() {
    let Some(lab) = Lab::bare() else { return };
    let inventory = lab.inventory("lab", |text| text);

    let mut before = Vec::new();
    for fault in FAULTS {
        lab.root(fault.host, &format!("set -- {}; {}", lab.pgdata(), fault.script));
        before.push((fault.host, everything(&lab, fault.host)));
        lab.muster(&inventory, &["plan"]).exits(fault.code).names(fault.host, fault.words);
    }

    let mistrusting = with_wrong_key(&lab, STRANGER);
    before.push((STRANGER, everything(&lab, STRANGER)));
    lab.muster(&mistrusting, &["plan"]).exits(2).names(STRANGER, &["host key"]);

    // All at once, and for real: the healthy hosts go on, these stay as they are.
    let run = lab.muster(&mistrusting, &["apply", "--yes"]);
    assert!(matches!(run.code, Some(2 | 4)), "{:?}", run.code);
    for (host, before) in &before {
        assert_eq!(*before, everything(&lab, host), "{host} was touched");
    }
}

/// Whatever muster could have written on a host, with times.
fn everything(lab: &Lab, host: &str) -> String {
    lab.root(
        host,
        "find /var/lib/postgresql /etc/postgresql /etc/postgresql-common /etc/systemd/system /home/deploy \
           -printf '%p %y %i %m %u:%g %s %T@\\n' | sort; pgrep -u postgres -a || true",
    )
}

/// An inventory whose known_hosts has another host's key for `host`.
fn with_wrong_key(lab: &Lab, host: &str) -> std::path::PathBuf {
    let known = fs::read_to_string(lab.beside_keys("known_hosts")).expect("lab.sh wrote known_hosts");
    let key = known.lines().find_map(|line| line.split_once(",mon ")).expect("the monitor's key is known").1;
    let wrong: Vec<String> = known
        .lines()
        .map(|line| match line.split_once(' ') {
            Some((names, _)) if names.ends_with(&format!(",{host}")) => format!("{names} {key}"),
            _ => line.to_owned(),
        })
        .collect();
    fs::write(lab.beside_keys("known_hosts.wrong"), wrong.join("\n") + "\n")
        .expect("known_hosts can be written");
    lab.inventory("wrong-key", |text| text.replace("/known_hosts", "/known_hosts.wrong"))
}
