//! A row that is written on every primary: only a commit that returns shows that commits return.

use super::{Expects, Probe, View};
use crate::command::{Command, RunAs};
use crate::facts::Facts;
use crate::formation::{Formation, Node, NodeName};
use crate::sql::literal;

/// Seconds in which a commit has to return. A standby confirms in milliseconds; who waits ten seconds for one write
/// does not call it a service.
const WITHIN: u64 = 10;

/// One probe for each primary of the inventory whose host was seen.
pub(super) fn probes(formation: &Formation, facts: &Facts) -> Vec<Probe> {
    let Some(monitor) = facts.monitor(formation) else { return Vec::new() };
    let primaries = formation.groups().into_iter().filter_map(|group| monitor.primary(group));
    let nodes = primaries.filter_map(|row| formation.nodes.get(&NodeName(row.name.clone())));
    let probe = |node: &Node| {
        let bin = &facts.seen(node.name())?.software.as_ref()?.bin;
        Some(Probe {
            view: View::Servers,
            subject: format!("a commit on {}", node.name()),
            on: node.name().clone(),
            command: command(node, bin, &formation.dbname),
            expects: Expects::Written,
        })
    };
    nodes.filter_map(probe).collect()
}

/// `$1` bin, `$2` socket directory or empty, `$3` port, `$4` user, `$5` database. With the defaults that clients get: no
/// session of muster's own. `timeout` ends what does not even start, e.g. a connection that is never answered; psql cancels
/// its statement when it is interrupted.
const SCRIPT: &str = r#"exec timeout -k 5 -s INT 40 "$1/psql" -XAtqw -v ON_ERROR_STOP=1 ${2:+-h "$2"} -p "$3" -U "$4" -d "$5" -f -
"#;

fn command(node: &Node, bin: &str, dbname: &str) -> Command {
    let socket = node.server.pghost.clone().unwrap_or_default();
    let port = node.server.pgport.to_string();
    Command::new(RunAs::User(node.server.os_user.clone()), SCRIPT)
        .args([bin, &socket, &port, &node.username, dbname])
        .stdin(crate::command::Stdin::Text(sql()))
        .timeout(50)
}

/// A schema of its own, made and dropped without waiting for anybody; in between one row in a commit that waits as
/// everybody's does.
///
/// A timeout of a statement does not reach a commit of its own, but one within `do`: the server then gives up to wait,
/// says so as a warning, and goes on, so that the time tells. It is one second longer than what is judged: it runs from the
/// statement's begin, and the clock that is read from a moment later. Citus is not to make the schema elsewhere. Where all
/// tables are published a subscriber would stop at a table that it does not have: there a message takes the row's place.
fn sql() -> String {
    let timeout = format!("{} s", WITHIN + 1);
    format!(
        r#"\set QUIET on
set statement_timeout = {timeout};
set lock_timeout = {timeout};
set client_min_messages = error;
set citus.enable_ddl_propagation = off;
select from pg_advisory_lock(hashtext('muster: verify'));
select current_setting('synchronous_commit') as waits \gset
set synchronous_commit = local;
drop table if exists muster_verify.written;
create schema if not exists muster_verify;
create table muster_verify.written (at timestamptz not null);
select case when :'waits' in ('off', 'local') then 'on' else :'waits' end as waits \gset
set synchronous_commit = :waits;
do $$
declare
  began timestamptz := clock_timestamp();
begin
  if exists (select from pg_publication where puballtables) then
    perform pg_logical_emit_message(true, 'muster', 'verify');
  else
    insert into muster_verify.written values (began);
  end if;
  commit;
  perform set_config('muster.took', (extract(epoch from clock_timestamp() - began) * 1000)::bigint::text, false);
end $$;
set synchronous_commit = local;
drop table muster_verify.written;
drop schema muster_verify;
select format('%s|%s', current_setting('muster.took'), current_setting('synchronous_standby_names'));
"#,
        timeout = literal(&timeout)
    )
}

/// What the two parts of the answer mean; `None` where they are no answer.
pub(super) fn read(took: &str, waits_for: &str) -> Option<Result<String, String>> {
    let took: u64 = took.parse().ok()?;
    Some(match took / 1000 < WITHIN {
        true => Ok(format!("it returned after {took} ms")),
        false => Err(format!(
            "it did not return within {WITHIN} s: no standby of synchronous_standby_names = '{waits_for}' confirms it"
        )),
    })
}
