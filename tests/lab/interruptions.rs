//! muster dies at any moment; the rerun converges.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::fleet::Lab;
use crate::formation;

/// `MUSTER_LAB_KILLS` rounds; `MUSTER_LAB_SEED` repeats the moments of an earlier run.
#[test]
fn killed_at_random() {
    let Some(lab) = Lab::bare() else { return };
    let inventory = lab.inventory("lab", |text| text);
    let rounds = number("MUSTER_LAB_KILLS").unwrap_or(4);
    let seed = number("MUSTER_LAB_SEED").unwrap_or_else(now);
    let whole = fs::read_to_string(lab.beside_keys("apply-seconds")).ok();
    let whole = whole.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(30);
    eprintln!("{rounds} rounds within {whole} s; again: MUSTER_LAB_SEED={seed} MUSTER_LAB_KILLS={rounds}");

    let mut random = Random(seed | 1);
    for round in 1..=rounds {
        if round > 1 {
            lab.wipe();
        }
        let moment = Duration::from_millis(300 + random.below(whole * 1000));
        let mut muster = lab.start_muster(&inventory, &["apply", "--yes"]);
        std::thread::sleep(moment);
        let over = muster.try_wait().expect("muster can be waited for");
        muster.kill().expect("muster can be killed");
        let output = muster.wait_with_output().expect("muster ends");
        let last = String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned();
        let how = if over.is_some() { "had ended before" } else { "killed" };
        eprintln!("== round {round}: {how} at {moment:?}, its last line: {last}");

        lab.muster(&inventory, &["apply", "--yes"]).exits(0);
        formation::settle(&lab);
        formation::assert_converged(&lab);
        formation::write_rows(&lab);
        formation::assert_rows(&lab);
        lab.muster(&inventory, &["plan", "--detailed-exitcode"]).exits(0);
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs())
}

/// Marsaglia's xorshift: the same moments for the same seed, on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}
