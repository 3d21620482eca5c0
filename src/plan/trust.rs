//! Certificates: a server's own pair, or one that the formation's own authority signs.

use crate::facts::Seen;
use crate::formation::{NodeName, Server, Tls};
use crate::plan::drift::running;
use crate::plan::{Plan, World};
use crate::resource::data::Pgdata;
use crate::resource::managed::Renew;
use crate::resource::{settings, tls};
use crate::step::{Action, Content, File, Stage, Step};

impl World<'_> {
    /// What a host's certificate needs: at once, and once everybody trusts who signs.
    pub(super) fn certificate(
        &self,
        server: &Server,
        seen: &Seen,
        renew: Renew,
        plan: &mut Plan,
    ) -> (Vec<Step>, Vec<Step>) {
        let own = tls::steps(server, &seen.tls, self.today, renew);
        let both = self.over.and_then(|over| over.trust(server, &seen.tls));
        let own: Vec<Step> = both.into_iter().chain(own).collect();
        let Some(trust) = &self.trust else { return (own, Vec::new()) };
        let managed = trust.steps(server, &seen.tls, self.today, renew);
        let first = self.formation.servers().find(|server| matches!(server.tls, Tls::Managed { .. }));
        if first.is_some_and(|first| first.name == server.name)
            && let Some(note) = trust.note()
        {
            plan.note(&server.name, note);
        }
        if let Some(step) = managed.list {
            self.add_list(server, seen, trust.revoked_on(), step, plan);
        }
        (own.into_iter().chain(managed.now).collect(), managed.later)
    }

    /// Everybody refuses what is revoked once those who show it have another certificate in this run.
    fn add_list(&self, server: &Server, seen: &Seen, shown_by: &[NodeName], step: Step, plan: &mut Plan) {
        if let Some(other) = shown_by.iter().find(|name| !self.scope.has(name)) {
            let what = format!(
                "the list of revoked certificates waits for {other}, which shows one of them and is left out by --limit"
            );
            plan.note(&server.name, what);
            return;
        }
        let mut steps = vec![step];
        if matches!(&seen.pgdata, Pgdata::Present(found) if found.postmaster.is_some()) {
            let asked = running(server, self.formation.nodes.get(&server.name));
            let because = "other certificates are revoked";
            steps.push(settings::reload(server, self.bin(&server.name), &asked, because));
        }
        // Who cannot have another one is refused: that is what was asked for.
        let others = shown_by.iter().filter(|name| **name != server.name && !self.is_excluded(name));
        let steps = steps.into_iter().map(|step| step.needs_all(others.clone().cloned()));
        plan.add(Stage::Adjust, &server.name, steps);
    }
}

impl Plan {
    /// Whether the authority on this machine has something to sign.
    pub fn is_to_sign(&self) -> bool {
        self.steps().any(|(_, _, step)| matches!(step.action, Action::Issue(_)))
    }

    /// Whether somebody is to trust another authority than now.
    pub fn is_to_trust(&self) -> bool {
        let is_it =
            |file: &File| matches!(file.content, Content::Certificate(_)) && file.path.ends_with("/ca.crt");
        self.steps().any(|(_, _, step)| matches!(&step.action, Action::Put(file) if is_it(file)))
    }
}
