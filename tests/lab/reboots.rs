//! Every host of a formation is rebooted while somebody writes, and one is on its way when muster dies.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use crate::fleet::Lab;
use crate::rolling::{Writers, assert_one_at_a_time, hosts, inventory};

/// Whose client writes: it is no host of the formation.
const CLIENT: &str = "w2r";

fn boots(lab: &Lab) -> Vec<(&'static str, String)> {
    let boot = |name| (name, lab.ssh(name, "cat /proc/sys/kernel/random/boot_id"));
    hosts().map(boot).collect()
}

#[test]
#[ignore = "minutes: make test-long"]
fn a_formation_lives_on_while_its_hosts_are_rebooted() {
    let Some(lab) = Lab::with_citus() else { return };
    let inventory = inventory(&lab, 200, 300);
    let text = std::fs::read_to_string(&inventory).expect("it was written");
    let rule = text.lines().find(|line| line.contains("hostssl app app")).expect("it has rules");
    let ours = rule.replace("app app", "app postgres").replace("scram-sha-256", "trust");
    std::fs::write(&inventory, text.replace(rule, &format!("{rule}\n{ours}"))).expect("it can be written");
    lab.muster(&inventory, &["apply", "--yes"]).exits(0);
    let writers = Writers::start(&lab, CLIENT);

    let before = boots(&lab);
    lab.muster(&inventory, &["reboot", "--yes", "w2a"])
        .exits(2)
        .says("w2a has no standby that could take over; with --allow-downtime");
    let run = lab.muster(&inventory, &["--json", "reboot", "--yes", "--allow-downtime"]).exits(0);
    assert_one_at_a_time(&run.stdout, "reboot the host", 8);
    for ((name, before), (_, now)) in before.iter().zip(boots(&lab)) {
        assert_ne!(*before, now, "{name} was not rebooted");
    }
    lab.muster(&inventory, &["status"]).exits(0);
    lab.muster(&inventory, &["verify"]).exits(0);
    lab.muster(&inventory, &["plan"]).exits(0).says("nothing to do");

    // muster dies while the host of a node is down, and the same command goes on.
    let moment = jiff::Timestamp::now();
    let mut muster = lab.start_muster(&inventory, &["--json", "reboot", "--yes", "w1a"]);
    let events = BufReader::new(muster.stdout.take().expect("stdout is piped")).lines();
    let is_going =
        |line: &String| line.contains("\"step_done\"") && line.contains("\"title\":\"reboot the host\"");
    assert!(events.map_while(Result::ok).any(|line| is_going(&line)), "it never came to the reboot");
    muster.kill().expect("muster can be killed");
    muster.wait().expect("it has ended");
    let again = ["reboot", "--yes", "w1a", "--booted-before", &moment.to_string()];
    let end = Instant::now() + Duration::from_secs(120);
    while lab.muster(&inventory, &again).code != Some(0) {
        assert!(Instant::now() < end, "w1a does not come back");
        std::thread::sleep(Duration::from_secs(2));
    }
    lab.muster(&inventory, &again).exits(0).says("nothing to do");
    lab.muster(&inventory, &["status"]).exits(0).says("settled\n");
    writers.stop(&lab);
}
