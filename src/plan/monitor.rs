//! The monitor's own steps: made, filled and handed to its keeper, before any node registers.

use crate::error::Problem;
use crate::formation::{Keeper, Monitor, NodeName, Server};
use crate::op::{Op, Serving, Wait};
use crate::plan::drift::{Changed, Drift, drifted, install_configuration, reload};
use crate::plan::{MonitorView, Plan, World, adopted, lockout, node};
use crate::reason::Reason;
use crate::resource::data::Pgdata;
use crate::resource::keeper::{self, Whose};
use crate::resource::managed::Renew;
use crate::resource::{data, monitor};
use crate::step::{Action, Stage, Step};

pub(super) fn plan(world: &World, plan: &mut Plan) -> Result<(), Problem> {
    let Monitor::Managed(server) = &world.formation.monitor else { return Ok(()) };
    if world.is_excluded(&server.name) || !world.scope.has(&server.name) {
        return Ok(());
    }
    if server.adopted {
        adopted::monitor(world, server, plan);
        return Ok(());
    }
    let (steps, last) = steps(world, server, plan)?;
    if let (MonitorView::Unknown(why), false) = (&world.monitor, steps.is_empty()) {
        plan.partial = Some(why.clone());
        plan.blocked.retain(|_, blocked| blocked != why);
    }
    plan.add(Stage::Prepare, &server.name, steps);
    world.add_last(&server.name, last, plan);
    // Who is left alone for that is told it.
    if !plan.blocked.contains_key(&server.name) {
        node::notes(world, server, plan);
    }
    node::overruled(world.seen(&server.name), server, None, plan);
    Ok(())
}

/// What is done first, and what last: then every keeper has been told how it is to come in from now on.
fn steps(world: &World, server: &Server, plan: &mut Plan) -> Result<(Vec<Step>, Vec<Step>), Problem> {
    let seen = world.seen(&server.name);
    let software = seen.software.as_ref().expect("a server without PostgreSQL is refused");
    let bin = software.bin.as_str();
    let is_kept = seen.keeper.alive.is_some();
    let (mut steps, signed_later) = world.certificate(server, seen, Renew::WhereNeeded, plan);
    let mut last = Vec::new();
    match &seen.pgdata {
        Pgdata::Empty | Pgdata::Foreign(_) => {
            steps.extend(signed_later);
            steps.push(data::initdb(
                server,
                software,
                &server.os_user,
                "the data directory is empty".to_owned(),
            ));
            steps.extend(install_configuration(world, server, None)?);
            steps.push(data::install(server));
        }
        Pgdata::Present(found) => {
            steps.extend(found.stale.map(|pid| data::remove_stale(server, pid)));
            let running = found.postmaster.is_some();
            let drift = Drift::new(server, found, &seen.node_conf);
            let mut changes = drifted(world, server, None, &drift)?;
            let pair_on_trial = running && lockout::guard(world, server, &mut steps);
            let changed = Changed::of(
                !changes.now.is_empty() || (!steps.is_empty() && running),
                changes.on_trial || pair_on_trial,
            );
            changes.last.splice(0..0, signed_later);
            steps.append(&mut changes.now);
            plan.held.extend(changes.held.take().map(|held| (server.name.clone(), held)));
            last = changes.last(world, server, None);
            if running {
                steps.extend(reload(world, server, None, changed, seen));
            }
        }
    }
    let password = (world.formation.monitor_password(), &world.formation.seed);
    let sql = monitor::steps(server, bin, seen.database.as_ref(), seen.monitor.as_ref(), password);
    let runs = matches!(&seen.pgdata, Pgdata::Present(found) if found.postmaster.is_some());
    // A monitor that once had its keeper is complete: the keeper starts it, and this run looks again.
    let was_kept = matches!(world.monitor, MonitorView::Unknown(_));
    if !runs && !was_kept {
        steps.push(data::start(server, bin, "to make its database"));
    }
    if runs || !was_kept {
        steps.extend(sql);
    }
    if server.keeper != Keeper::None && !is_kept && (runs || !was_kept) {
        // pg_autoctl wants PostgreSQL as its own child, and restarts one that it finds running.
        // Nobody is served by a monitor that this run has made.
        let serving = if runs { Serving::Somebody } else { Serving::Nobody };
        steps.push(data::stop(
            server,
            bin,
            serving,
            "the monitor's keeper starts PostgreSQL as its own child",
        ));
    }
    if server.keeper == Keeper::None && was_kept {
        steps.push(data::start(server, bin, "the monitor is stopped"));
    }
    let kept = (&seen.keeper, seen.pgdata.postmaster());
    let kept = keeper::steps(&world.templates, server, &Whose::Monitor, &seen.host, software, kept)?;
    let starts = !kept.now.is_empty() && !is_kept;
    steps.extend(kept.now);
    last.extend(kept.last);
    // Its keeper tries again and again: what keeps it from that is told, and nobody waits.
    let keeps_down = || {
        let why = seen.why_down().map(|why| Reason::DoesNotStart(why.to_owned()));
        seen.spoiled().or(why)
    };
    if let (true, Some(why)) = (is_kept && was_kept && steps.is_empty(), keeps_down()) {
        world.leave_monitor_down(&server.name, why, plan);
    } else if starts || (is_kept && was_kept) {
        // A keeper that has just been started has not started PostgreSQL yet: this run waits, and looks again.
        steps.push(wait_for_answer(server, bin, "nodes register with it next"));
    }
    Ok((steps, last))
}

impl World<'_> {
    /// Nobody starts it in this run, and who would wait for that is told why.
    fn leave_monitor_down(&self, monitor: &NodeName, why: Reason, plan: &mut Plan) {
        let unasked = Reason::MonitorUnasked { monitor: monitor.clone(), why: Some(Box::new(why.clone())) };
        for blocked in plan.blocked.values_mut().filter(|blocked| **blocked == Reason::MonitorStopped) {
            *blocked = unasked.clone();
        }
        plan.blocked.insert(monitor.clone(), why);
    }
}

/// Registrations that meet the monitor's start are lost: it must answer first.
pub(super) fn wait_for_answer(server: &Server, bin: &str, because: &str) -> Step {
    let sql =
        "select extversion is not null from pg_extension where extname = 'pgautofailover';\n".to_owned();
    let command =
        crate::sql::local(server, bin, &server.os_user, monitor::DBNAME, crate::command::Stdin::Text(sql));
    let wait = Action::Wait { command, answers: vec!["t".to_owned()], timeout: 60 };
    Step::new(&server.name, Op::Wait(Wait::MonitorAnswers), because, wait)
}
