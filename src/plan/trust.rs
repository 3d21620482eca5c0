//! Certificates: a server's own pair, or one that the formation's own authority signs.

use crate::facts::Seen;
use crate::formation::{Server, Tls};
use crate::plan::{Plan, World};
use crate::resource::managed::Renew;
use crate::resource::tls;
use crate::step::{Action, Step};

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
        let Some(trust) = &self.trust else { return (own, Vec::new()) };
        let managed = trust.steps(server, &seen.tls, self.today, renew);
        let first = self.formation.servers().find(|server| matches!(server.tls, Tls::Managed { .. }));
        if first.is_some_and(|first| first.name == server.name)
            && let Some(note) = trust.note()
        {
            plan.note(&server.name, note);
        }
        (own.into_iter().chain(managed.now).collect(), managed.later)
    }
}

impl Plan {
    /// Whether the authority on this machine has something to sign.
    pub fn is_to_sign(&self) -> bool {
        self.steps().any(|(_, _, step)| matches!(step.action, Action::Issue(_)))
    }
}
