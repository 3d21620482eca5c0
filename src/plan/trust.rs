//! Certificates: a server's own pair, or one that the formation's own authority signs.

use crate::facts::Seen;
use crate::formation::{Auth, NodeName, Server, Tls};
use crate::plan::drift::running;
use crate::plan::{Plan, World};
use crate::resource::data::Pgdata;
use crate::resource::managed::Renew;
use crate::resource::pair::{self, Holds, Pair};
use crate::resource::{hba, ident, settings, tls};
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
        let mut own: Vec<Step> = both.into_iter().chain(own).collect();
        let Some(trust) = &self.trust else {
            own.extend(self.show_no_certificate(server, seen));
            return (own, Vec::new());
        };
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
        let (mut now, mut later) = (managed.now, managed.later);
        let has_new = |steps: &[Step]| steps.iter().any(|step| matches!(step.action, Action::Issue(_)));
        let is_new = has_new(&now);
        now.extend(self.show_certificate(server, seen, is_new));
        if has_new(&later) {
            later.extend(self.show_certificate(server, seen, true));
        }
        now.extend(self.show_no_certificate(server, seen));
        (own.into_iter().chain(now).collect(), later)
    }

    /// With `auth: cert` whatever connects from a host of the formation shows a certificate: of servers that share a home, that
    /// of one. Where it is shown already it is kept up, as one that has ended would be refused even where none is asked for.
    fn show_certificate(&self, server: &Server, seen: &Seen, is_new: bool) -> Option<Step> {
        let Tls::Managed { dir, .. } = &server.tls else { return None };
        let pair = seen.client.pair.as_ref()?;
        let is_asked = self.asks_for_certificates();
        let is_kept_up = pair.is_ours() && self.all_have_one();
        if !(is_asked || is_kept_up) {
            return None;
        }
        let holds_own = |other: &Server| {
            let pair = self.facts.seen(&other.name).and_then(|seen| seen.client.pair.as_ref());
            pair.is_some_and(|pair| pair.holds == Holds::Own)
        };
        let sharing = || self.formation.servers().filter(|other| ident::is_one(server, other));
        let may_write = |other: &&Server| {
            let is_managed = matches!(other.tls, Tls::Managed { .. });
            is_managed && self.scope.has(&other.name) && !self.is_excluded(&other.name)
        };
        let holder = sharing().find(|other| holds_own(other)).or_else(|| sharing().find(may_write))?;
        let because = match (is_new, pair.holds == Holds::Own && pair.is_linked()) {
            (true, true) => "it has a new one",
            (false, true) => return None,
            (_, false) if is_asked => "auth is cert, and what connects from here is known by it",
            (_, false) => "what it shows now will be refused once it has ended",
        };
        (holder.name == server.name).then(|| pair::show(server, dir, because))
    }

    /// Who does not know its authority would refuse it, even where none is asked for.
    fn show_no_certificate(&self, server: &Server, seen: &Seen) -> Option<Step> {
        let is_ours = seen.client.pair.as_ref().is_some_and(Pair::is_ours);
        let is_needless = !self.asks_for_certificates() && !self.all_have_one();
        let shows_one = is_ours && !server.adopted && is_needless;
        shows_one.then(|| pair::show_none(server, "servers without ssl: managed would refuse it"))
    }

    fn asks_for_certificates(&self) -> bool {
        self.formation.servers().any(|server| server.auth == Auth::Cert)
    }

    /// Whether every server has a certificate of the formation's authority, and knows that.
    fn all_have_one(&self) -> bool {
        self.formation.servers().all(|server| matches!(server.tls, Tls::Managed { .. }))
    }

    /// Why a server can neither show its certificate nor be one that asks for others'.
    pub(super) fn cannot_show(&self, server: &Server, seen: &Seen) -> Option<String> {
        if server.adopted {
            return None;
        }
        // On the way to another authority nobody has a certificate to show yet.
        if self.over.is_some() && self.asks_for_certificates() {
            return Some(
                "the servers' certificates are to be those of another authority, and rules are to ask for them (auth: cert): apply the other \
                 certificates with the auth of before first"
                    .to_owned(),
            );
        }
        let Some(trust) = self.trust.as_ref().filter(|_| matches!(server.tls, Tls::Managed { .. })) else {
            return self.is_asked_for_one();
        };
        if !self.asks_for_certificates() {
            return None;
        }
        let mut trusted = trust.known(seen.tls.authority.as_deref().unwrap_or_default());
        // Whoever has signed the server's own may stand between.
        trusted.extend(seen.tls.certificate.as_ref().and_then(|found| found.signed_with.clone()));
        let pair = seen.client.pair.as_ref();
        pair::refusal(&seen.host.home, pair, &trusted).or_else(|| self.is_verified_by_another())
    }

    /// A server that runs with another authority refuses whoever shows a certificate of the formation's, before it has any rule
    /// for that.
    fn is_verified_by_another(&self) -> Option<String> {
        let name = "postgresql-auto-failover.conf";
        let authority = |server: &Server| {
            let seen = self.facts.seen(&server.name)?;
            let Pgdata::Present(found) = &seen.pgdata else { return None };
            found.postmaster?;
            settings::value(found.files.get(name)?.as_deref()?, "ssl_ca_file")
        };
        self.formation.servers().find_map(|server| {
            let path = authority(server).filter(|path| Some(*path) != server.tls.ca())?;
            Some(format!(
                "{} runs with the authority in {path}, and would refuse the certificates of the formation's own, which auth: cert \
                 has every host show: apply ssl: managed with the auth of before first",
                server.name
            ))
        })
    }

    /// Whoever has no certificate of the formation's any more would be sent away.
    fn is_asked_for_one(&self) -> Option<String> {
        let asks = |server: &&Server| {
            let rules = self.facts.seen(&server.name).and_then(|seen| match &seen.pgdata {
                Pgdata::Present(found) => found.files.get("pg_hba.conf")?.as_deref(),
                Pgdata::Empty | Pgdata::Foreign(_) => None,
            });
            rules.is_some_and(hba::asks_for_certificates)
        };
        let asking = self.formation.servers().find(asks)?;
        Some(format!(
            "{} lets in who shows a certificate of the formation's authority (auth: cert), and ssl is not to be managed any more: \
             apply another auth first, and the other encryption then",
            asking.name
        ))
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
