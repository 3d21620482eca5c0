//! A change that may lock out: who came in before it has to come in after it, by a new connection; else it is undone at once.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep;

use super::{End, Run};
use crate::command::{Command, Failure};
use crate::step::{Ask, Step, Trial};

/// Pauses before somebody who does not come in is asked again: a server may have been busy for a moment.
const AGAIN: [u64; 4] = [0, 500, 1500, 3000];

/// The status of a step whose host took nothing, as of a file that is no configuration; sysexits' EX_DATAERR.
const NOT_TAKEN: u32 = 65;

/// What one connection came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Came {
    In,
    /// With what was said.
    NotIn(String),
}

impl Run<'_> {
    /// Carries out what may lock out. What a host does not hear of any more it undoes by itself.
    pub(super) async fn on_trial(
        &self,
        step: &Step,
        trial: &Trial,
        guarded: impl Fn(&Command) -> Command,
    ) -> End {
        let before = self.who_comes_in(&trial.asks).await;
        let changed = self.fleet.run(&step.on, &guarded(&trial.command)).await;
        let begun = Instant::now();
        let why = match changed {
            Ok(_) => match self.who_is_missed(trial, &before, begun).await {
                None => {
                    return match self.fleet.run(&step.on, &guarded(&trial.confirm)).await {
                        Ok(_) => End::Done,
                        Err(failure) => End::Failed(failure),
                    };
                }
                Some(missed) => missed,
            },
            Err(Failure::Refused { status, stderr }) => {
                // It may have been undone by then; the host sees to it where nobody can say.
                let _ = self.fleet.run(&step.on, &guarded(&trial.undo)).await;
                return End::Failed(Failure::Refused { status, stderr });
            }
            Err(failure) => return End::Failed(failure),
        };
        let undone = match self.fleet.run(&step.on, &guarded(&trial.undo)).await {
            Ok(_) => "so what was there before is back".to_owned(),
            Err(failure) => format!(
                "and it could not be undone ({}): its host does so within {} s",
                failure.cause(),
                trial.within
            ),
        };
        End::Failed(Failure::Refused {
            status: NOT_TAKEN,
            stderr: format!("ERROR: {}, {undone}: {}", why.who, why.said),
        })
    }

    /// Every host by itself, side by side.
    async fn who_comes_in(&self, asks: &[Ask]) -> Vec<Vec<Came>> {
        let one = async |ask: &Ask| match self.fleet.run(&ask.on, &ask.command).await {
            Ok(output) => came(&String::from_utf8_lossy(&output.stdout), ask.who.len()),
            Err(failure) => {
                let why = format!("{} could not be asked: {}", ask.on, failure.cause());
                vec![Came::NotIn(why); ask.who.len()]
            }
        };
        join_all(asks.iter().map(one)).await
    }

    /// Who came in before and does not after it; `None` where nobody is missed.
    async fn who_is_missed(&self, trial: &Trial, before: &[Vec<Came>], begun: Instant) -> Option<Missed> {
        let mut last = None;
        for pause in AGAIN {
            // Half of the time is left to undo it.
            if last.is_some()
                && begun.elapsed() + Duration::from_millis(pause) > Duration::from_secs(trial.within / 2)
            {
                break;
            }
            sleep(Duration::from_millis(pause)).await;
            last = missed(&trial.asks, before, &self.who_comes_in(&trial.asks).await);
            last.as_ref()?;
        }
        last
    }
}

/// Somebody who came in before, and is not let in after.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Missed {
    who: String,
    said: String,
}

/// A line a connection; what was not answered has not come in.
fn came(stdout: &str, count: usize) -> Vec<Came> {
    let one = |line: &str| match line {
        "in" => Came::In,
        said => Came::NotIn(said.trim().to_owned()),
    };
    let lines = stdout.lines().map(one);
    lines.chain(std::iter::repeat(Came::NotIn("no answer".to_owned()))).take(count).collect()
}

fn missed(asks: &[Ask], before: &[Vec<Came>], after: &[Vec<Came>]) -> Option<Missed> {
    let who = asks.iter().flat_map(|ask| &ask.who);
    let all = who.zip(before.iter().flatten().zip(after.iter().flatten()));
    let missed: Vec<(&String, &String)> = all
        .filter_map(|(who, (before, after))| match (before, after) {
            (Came::In, Came::NotIn(said)) => Some((who, said)),
            (Came::In, Came::In) | (Came::NotIn(_), _) => None,
        })
        .collect();
    let (who, said) = *missed.first()?;
    let others = match missed.iter().filter(|(other, _)| *other != who).count() {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    Some(Missed { who: format!("{who}{others} did not come in any more"), said: said.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::RunAs;

    #[test]
    fn only_who_came_in_before_is_missed() {
        let ask = |on: &str, who: &[&str]| Ask {
            on: on.into(),
            command: Command::new(RunAs::Login, ""),
            who: who.iter().map(|who| (*who).to_owned()).collect(),
        };
        let asks = [ask("a", &["a (one)", "a (two)"]), ask("b", &["b (one)"])];
        let before = [came("in\nFATAL: no\n", 2), came("in\n", 1)];
        let after = |a: &str, b: &str| missed(&asks, &before, &[came(a, 2), came(b, 1)]);
        assert_eq!(after("in\nFATAL: still no\n", "in\n"), None);
        assert_eq!(after("in\nin\n", "in\n"), None);
        let said = after("psql: FATAL: no entry \nin\n", "");
        let wanted = Missed {
            who: "a (one) and 1 more did not come in any more".to_owned(),
            said: "psql: FATAL: no entry".to_owned(),
        };
        assert_eq!(said, Some(wanted));
        let none = after("in\n", "");
        assert_eq!(none.expect("b is missed").said, "no answer");
        assert_eq!(missed(&[], &[], &[]), None, "nobody came in before");
    }
}
