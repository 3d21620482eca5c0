//! Settings that a standby must not have lower than its primary: what moves them, and what a standby's data needs.

use std::collections::{BTreeMap, BTreeSet};

use crate::resource::database::DatabaseFacts;
use crate::resource::{guc, settings};

/// A setting that a standby must not have lower than its primary.
pub struct StandbyNeed {
    pub name: &'static str,
    /// What it is where no file says it.
    default: u32,
    /// What pg_controldata calls it.
    pub in_control: &'static str,
}

const fn need(name: &'static str, default: u32, in_control: &'static str) -> StandbyNeed {
    StandbyNeed { name, default, in_control }
}

/// A standby does not start while its value is lower than the primary runs with.
/// Source: PostgreSQL's manual, "Hot Standby", administrator's overview.
pub const STANDBY_NEEDS: [StandbyNeed; 5] = [
    need("max_connections", 100, "max_connections setting"),
    need("max_worker_processes", 8, "max_worker_processes setting"),
    need("max_wal_senders", 10, "max_wal_senders setting"),
    need("max_prepared_transactions", 0, "max_prepared_xacts setting"),
    need("max_locks_per_transaction", 64, "max_locks_per_xact setting"),
];

/// What the files would make of a server's settings that a standby must not have lower than its primary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub raised: BTreeSet<String>,
    pub lowered: BTreeMap<String, Lowered>,
}

/// A number that becomes a lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lowered {
    pub from: u64,
    pub to: u64,
}

/// What these files say of a setting; the last one counts.
fn given(name: &str, default: u32, files: &[&str]) -> Option<f64> {
    let given = files.iter().rev().find_map(|text| settings::value(text, name));
    given.map_or(Some(f64::from(default)), |value| guc::count(name, value))
}

/// Of what a standby's data needs, that which these files have lower: it does not start with them.
pub fn lower_than_needed(needs: &BTreeMap<String, u64>, files: &[&str]) -> BTreeMap<String, u64> {
    // By itself Citus sets the one of which there are none where nobody says it.
    let known = STANDBY_NEEDS.into_iter().filter(|setting| {
        setting.default > 0 || files.iter().any(|text| settings::value(text, setting.name).is_some())
    });
    let lower = known.filter_map(|StandbyNeed { name, default, .. }| {
        let need = *needs.get(name)?;
        given(name, default, files).is_some_and(|value| value < need as f64).then(|| (name.to_owned(), need))
    });
    lower.collect()
}

impl DatabaseFacts {
    /// Settings that must be in force before a standby joins.
    pub fn bars_standbys(&self) -> Vec<&str> {
        self.pending()
            .into_iter()
            .filter(|name| STANDBY_NEEDS.iter().any(|known| known.name == *name))
            .collect()
    }

    /// Why a standby replays no further, and would not be promoted, where it runs with less than its data needs.
    pub fn why_paused(&self, needs: Option<&BTreeMap<String, u64>>) -> Option<String> {
        self.streaming.as_ref().filter(|streaming| streaming.paused)?;
        let is_less =
            |(name, need): &(&String, &u64)| self.number(name).is_some_and(|has| has < **need as f64);
        let less =
            needs?.iter().filter(is_less).map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        (!less.is_empty())
            .then(|| format!("its replay has paused, as it runs with less {less} than its primary"))
    }

    /// What it runs with, as a number.
    fn number(&self, name: &str) -> Option<f64> {
        self.runs_with.get(name).and_then(|value| guc::count(name, value))
    }

    /// What of that an inventory gives as less than the server runs with.
    pub fn lowered_by(&self, settings: &BTreeMap<String, String>) -> Vec<String> {
        let is_less = |name: &&str| {
            let wanted = settings.get(*name).and_then(|value| guc::count(name, value));
            wanted.zip(self.number(name)).is_some_and(|(wanted, runs_with)| wanted < runs_with)
        };
        STANDBY_NEEDS.iter().map(|need| need.name).filter(is_less).map(str::to_owned).collect()
    }

    /// How these settings in these configuration files, the last one last, differ from what it runs with. Of others that differs, too:
    /// Citus sets `max_prepared_transactions` by itself where nobody says it.
    pub fn moved(&self, settings: &[String], files: &[&str]) -> Moved {
        let mut moved = Moved::default();
        let is_one = |name: &str| settings.iter().any(|one| one.eq_ignore_ascii_case(name));
        for StandbyNeed { name, default, .. } in STANDBY_NEEDS.into_iter().filter(|known| is_one(known.name))
        {
            let Some(runs_with) = self.number(name) else { continue };
            let Some(value) = given(name, default, files) else { continue };
            match value.total_cmp(&runs_with) {
                std::cmp::Ordering::Less => {
                    let lowered = Lowered { from: runs_with as u64, to: value as u64 };
                    moved.lowered.insert(name.to_owned(), lowered);
                }
                std::cmp::Ordering::Equal => (),
                std::cmp::Ordering::Greater => _ = moved.raised.insert(name.to_owned()),
            }
        }
        moved
    }
}
