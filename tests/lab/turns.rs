//! Two at once on one formation, and a fleet that changes while a question stands open.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fleet::{Lab, head, pair};
use crate::formation;

const INVENTORY: &str = concat!(
    head!(),
    "
    pgdata: /var/lib/postgresql/15/main
    auth: trust",
    pair!()
);

const PGDATA: &str = "/var/lib/postgresql/15/main";

#[test]
fn one_run_at_a_time() {
    let Some(lab) = Lab::first(3) else { return };
    let inventory = lab.inventory_of("turns", INVENTORY);

    // What was shown is what runs: while the question stands open, somebody puts a file where there was to be an initdb.
    let mut asked = OnTerminal::start(&inventory);
    asked.reads("apply these ");
    lab.root("coord2", &format!("mkdir -p {PGDATA}; touch {PGDATA}/precious; chown -R postgres: {PGDATA}"));
    asked.says("y");
    asked.reads("have changed since they were looked at");
    asked.reads("coord2: ");
    asked.reads("apply these ");
    asked.says("n");
    assert_eq!(asked.ends(), Some(130));
    for host in ["mon", "coord1"] {
        assert_eq!(
            lab.root(host, "ls /var/lib/postgresql/15 2>/dev/null || true"),
            "",
            "{host}: nothing was done"
        );
    }
    lab.root("coord2", "rm -r /var/lib/postgresql/15");

    // Another run comes while one is at work, which does a saved plan; the first one goes on to its end.
    let file = lab.beside_keys("plan.json").display().to_string();
    lab.muster(&inventory, &["plan", "--out", &file]).exits(0);
    let first = lab.start_muster(&inventory, &["apply", &file]);
    let end = Instant::now() + Duration::from_secs(30);
    while lab.root("coord1", "ls ~postgres/.muster-lock 2>/dev/null || true").is_empty() {
        assert!(Instant::now() < end, "nobody locks coord1");
    }
    lab.muster(&inventory, &["apply", "--yes"])
        .exits(2)
        .says("error: mon: another run of muster is at work: ")
        .says("--break-lock");
    lab.muster(&inventory, &["status"]);
    let output = first.wait_with_output().expect("muster ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("have changed"), "it was alone");
    formation::settle(&lab);
    lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0);

    // A plan that was looked at yesterday is done as it was, or not at all.
    let edited = |more: &str| {
        lab.inventory_of(
            "turns",
            &INVENTORY.replace("    auth: trust\n", &format!("    auth: trust\n{more}\n")),
        )
    };
    let inventory = edited("    settings: {work_mem: 7MB}");
    lab.muster(&inventory, &["plan", "--out", &file]).exits(0).says("work_mem = '7MB'");
    lab.root("coord1", "echo '# by hand' >>/var/lib/postgresql/15/main/postgresql.conf");
    lab.muster(&inventory, &["apply", &file])
        .exits(1)
        .says("is not what there is to do: it differs for coord1");
    assert_ne!(lab.psql("coord2", "show work_mem"), "7MB", "nothing of it was done");
    lab.muster(&inventory, &["plan", "--out", &file]).exits(0);
    lab.muster(&inventory, &["apply", &file]).exits(0);
    assert_eq!(lab.psql("coord2", "show work_mem"), "7MB");
    lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0);
    lab.muster(&inventory, &["apply", &file]).exits(1);

    // A lock that a host believes in: not this machine's, and its connection lives.
    let before = "p=$(pgrep -o sshd); set -- $(sed 's/.*)//' /proc/$p/stat); shift 19\n\
                  echo \"elsewhere eve@pipeline 17 2026-11-23T10:03:12+01:00\n$p $1 $(cat /proc/sys/kernel/random/boot_id)\" >~postgres/.muster-lock\n\
                  chown postgres: ~postgres/.muster-lock\n";
    lab.root("coord2", before);
    let inventory = edited("    settings: {work_mem: 8MB}");
    lab.muster(&inventory, &["apply", "--yes"]).exits(2).says(
        "coord2: another run of muster is at work: eve@pipeline, process 17, since 2026-11-23T10:03:12+01:00",
    );
    lab.muster(&inventory, &["apply", "--yes", "--break-lock"]).exits(0);
    lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0);

    // Without a home to write to it lies in a folder of the user's own; what others have put there is not followed.
    lab.root("coord2", "chmod 555 ~postgres; ln -s /var/lib/postgresql /tmp/.muster-$(id -u postgres)");
    let inventory = edited("    settings: {work_mem: 9MB}");
    lab.muster(&inventory, &["apply", "--yes"])
        .exits(2)
        .says("coord2: cannot lock it: ")
        .says("is not a folder of postgres's");
    lab.root("coord2", "rm /tmp/.muster-*");
    lab.muster(&inventory, &["apply", "--yes"]).exits(0);
    assert_eq!(lab.root("coord2", "stat -c '%U %a' /tmp/.muster-*; ls -A /tmp/.muster-*"), "postgres 700\n");
    lab.root("coord2", "chmod 755 ~postgres; rmdir /tmp/.muster-*");

    for host in ["mon", "coord1", "coord2"] {
        let left = lab.root(host, "ls -d ~postgres/.muster* /tmp/.muster* 2>/dev/null || true");
        assert_eq!(left, "", "{host}: what was taken is given back");
    }
}

/// `muster apply` with somebody before it.
struct OnTerminal {
    script: Child,
    seen: String,
}

impl OnTerminal {
    fn start(inventory: &Path) -> OnTerminal {
        let command = format!("'{}' -i '{}' apply", env!("CARGO_BIN_EXE_muster"), inventory.display());
        let script = Command::new("script")
            .args(["-qefc", &command, "/dev/null"])
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script runs");
        OnTerminal { script, seen: String::new() }
    }

    /// Waits until the text is on the screen, behind what was waited for before.
    #[track_caller]
    fn reads(&mut self, text: &str) {
        let stdout = self.script.stdout.as_mut().expect("it is piped");
        let mut bytes = [0; 4096];
        while !self.seen.contains(text) {
            let count = stdout.read(&mut bytes).expect("it can be read");
            assert!(count > 0, "it does not say {text}: {}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        let (before, after) = self.seen.split_once(text).expect("it is there");
        eprintln!("{before}{text}");
        self.seen = after.to_owned();
    }

    fn says(&mut self, line: &str) {
        let stdin = self.script.stdin.as_mut().expect("it is piped");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("it reads");
    }

    fn ends(mut self) -> Option<i32> {
        let mut rest = Vec::new();
        let stdout = self.script.stdout.as_mut().expect("it is piped");
        stdout.read_to_end(&mut rest).expect("it can be read");
        eprintln!("{}{}", self.seen, String::from_utf8_lossy(&rest));
        self.script.wait().expect("it ends").code()
    }
}
