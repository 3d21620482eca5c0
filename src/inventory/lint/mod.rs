//! What is allowed in an inventory and seldom meant: one table of lints, and a check each.

mod checks;
mod sealed;
mod unused;

use super::Draft;
use super::source::Source;
use crate::error::Problem;

/// One kind of warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lint {
    /// By which it is silenced.
    pub name: &'static str,
    /// What it finds.
    pub doc: &'static str,
    /// What to do.
    pub hint: &'static str,
}

const fn row(name: &'static str, doc: &'static str, hint: &'static str) -> Lint {
    Lint { name, doc, hint }
}

/// Every lint, in the order of the documentation.
pub static LINTS: &[Lint] = &[
    row(
        "trust-from-afar",
        "`auth: trust`, or a rule of `hba` with it, lets others in without a password",
        "give `auth: scram-sha-256` and passwords, or see to it that nobody else is on that network",
    ),
    row("weak-auth", "`auth` is `md5` or `password`", "give `auth: scram-sha-256`"),
    row(
        "no-encryption",
        "`no_ssl`: passwords and rows are readable on the wire",
        "leave it out: servers then make their own certificates",
    ),
    row(
        "clear-secret",
        "a password stands in a file in clear text",
        "encrypt it with ansible-vault, or say where it is: `env:`, `file:`, `cmd:`, `age:`",
    ),
    row(
        "default-dbname",
        "`dbname` is not given; it is the default's",
        "name your application's database as `dbname`: it cannot be changed later",
    ),
    row(
        "no-standby",
        "a group has no standby that may be promoted",
        "give it one, or its primary's host is its only copy",
    ),
    row(
        "single-standby",
        "a group has one standby: while it is away a commit is on one host alone",
        "give it a second one, if no commit may be lost",
    ),
    row(
        "unconfirmed-commits",
        "`number_sync_standbys: 0`, though there are standbys to confirm commits",
        "leave it out, or say 1",
    ),
    row(
        "no-keeper",
        "`keeper: none`: nothing fails over",
        "leave `keeper` out where pg_autoctl is installed",
    ),
    row(
        "shared-host",
        "the monitor is on a node's host",
        "give it a host of its own: where both are gone nobody takes over",
    ),
    row(
        "loopback-hostname",
        "`hostname` is this machine's own to every node",
        "give the name by which the other nodes reach it",
    ),
    row(
        "pgdata-differs",
        "nodes of different groups have different `pgdata`",
        "one layout is easier to look after",
    ),
    row(
        "unsafe-setting",
        "a setting that trades data for speed",
        "leave it out: after a crash the data may be gone",
    ),
    row(
        "unknown-setting",
        "`settings` has a name that PostgreSQL of the versions that muster knows does not have",
        "correct it, or remove it; one of an extension has a dot in its name",
    ),
    row(
        "nobody-takes-over",
        "`candidate_priority: 0` of every standby of a group: nothing fails over to one",
        "give one standby a higher priority, or leave it out",
    ),
    row(
        "no-checksums",
        "`data_checksums: false`: rot on a disk is not noticed",
        "leave it out; initdb cannot be asked again later",
    ),
    row(
        "readers-without-coordinator",
        "a read-replica cluster has no coordinator",
        "give its name as `citus_cluster` of a coordinator that is a `citus_secondary`",
    ),
    row(
        "near-miss",
        "a variable is nearly one of muster's, and not read",
        "correct its name, or say with --allow near-miss that it is another's",
    ),
    row(
        "not-followed",
        "an `ansible_*` variable that muster does not follow",
        "what it says is without effect here: see docs/ssh.md",
    ),
    row(
        "not-spoken",
        "a host outside the formation is reached by something that muster does not speak",
        "commands leave it out; nothing else is wrong with it",
    ),
    row(
        "asked-ansible",
        "the hosts come from one of Ansible's inventory plugins, which `ansible-inventory` was asked for",
        "this is said so that you know what was run here",
    ),
    row(
        "unused-template",
        "a file in `templates_dir` that replaces nothing",
        "correct its name, or move it away",
    ),
    row(
        "unused-variable",
        "a variable that is not muster's, reaches nodes alone, and no template mentions",
        "remove it, unless playbooks use it",
    ),
    row(
        "left-out",
        "hosts are outside the formation for want of a role",
        "say `role: none`, if they are meant to be",
    ),
];

/// What is wrong with an inventory, and what looks wrong.
pub struct Linted {
    pub mistakes: Vec<Problem>,
    /// By the files' order; each with the name of its lint.
    pub warnings: Vec<(&'static Lint, Problem)>,
}

impl Linted {
    pub(super) fn new(source: Source) -> Linted {
        let (found, mistakes) = source.findings();
        let of = |name: &str| LINTS.iter().find(|lint| lint.name == name).expect("every lint has its row");
        let with_hint = |(name, problem): (&str, Problem)| {
            let lint = of(name);
            (lint, problem.hint(lint.hint))
        };
        Linted { mistakes, warnings: found.into_iter().map(with_hint).collect() }
    }
}

/// Looks at an inventory that is read, whether it makes sense as a whole or not.
pub(super) fn look(draft: &Draft, source: &mut Source) {
    checks::look(draft, source);
    unused::look(draft, source);
    sealed::look(draft, source);
}
