//! From the certificates of one authority to those of another, or to such that nobody can verify, while everybody verifies everybody.
//!
//! A server that shows its new certificate to somebody who trusts the old authority alone is refused. So first everybody trusts both,
//! in muster's own file beside PGDATA, or verifies no more where that is what is wanted; then each server shows its new certificate;
//! then everybody trusts what the inventory says, and nothing else. How far that has come is seen on the hosts: the first of these that
//! has something left to do is what is planned, and another look follows.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use crate::error::Problem;
use crate::facts::{Facts, Seen};
use crate::formation::{Authority, Formation, Monitor, NodeName, Server, SigningKey, SslMode, Tls};
use crate::plan::{Plan, toward};
use crate::reason::{Once, Reason};
use crate::resource::data::node_dir;
use crate::resource::in_use::InUse;
use crate::resource::keeper::as_written;
use crate::resource::tls::{self, TlsFacts};
use crate::scope::Scope;
use crate::step::{Content, File, Risk, Step};

/// A formation on its way from one kind of certificates to another.
pub(super) struct Changeover<'a> {
    /// What it comes to.
    pub(super) wanted: &'a Formation,
    /// Both authorities' certificates, as PEM, one text each; the one that signs first.
    both: Vec<String>,
    now: BTreeMap<&'a NodeName, InUse>,
}

/// What is done before everything is as the inventory says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nobody refuses any of the certificates, old or new, and each server shows its old one.
    Trust,
    /// Each server shows its new one.
    Show,
}

impl<'a> Changeover<'a> {
    /// `None` where nobody verifies anybody, or no server is to show another file than now, as far as can be seen.
    pub(super) fn of(wanted: &'a Formation, facts: &Facts) -> Option<Changeover<'a>> {
        let servers = || wanted.servers().filter(|server| !server.adopted);
        let seen = servers().filter_map(|server| Some((server, facts.seen(&server.name)?)));
        let mut now = BTreeMap::new();
        let mut differs = false;
        for (server, seen) in seen {
            let Some(found) = InUse::of(server, &seen.pgdata, &seen.keeper, &seen.tls) else { continue };
            let then = tls::paths(&as_written(server, &seen.keeper));
            let is_another = |pair: &Option<_>| pair.is_some() && then.is_some() && *pair != then;
            differs |= is_another(&found.pair) || is_another(&found.told);
            now.insert(&server.name, found);
        }
        let verifies = |found: &InUse| found.mode.is_some_and(|mode| mode >= SslMode::VerifyCa);
        let signs = wanted.authority.iter().flat_map(|authority| &authority.certificates);
        let given =
            servers().filter_map(|server| facts.seen(&server.name)?.tls.given_authority.as_ref()).flatten();
        let mut both: Vec<String> = signs.chain(given).cloned().collect();
        // Who was not looked at may show an old one still.
        let is_unseen = |server: &Server| facts.seen(&server.name).is_none();
        let trusts_more = |found: &InUse| found.trusted.iter().any(|pem| !both.contains(pem));
        let is_open = servers().any(is_unseen) && now.values().any(trusts_more);
        if !(differs || is_open) || !now.values().any(verifies) {
            return None;
        }
        let trusted: Vec<String> = now.values().flat_map(|found| found.trusted.clone()).collect();
        both.extend(trusted);
        let mut seen = BTreeSet::new();
        both.retain(|pem| seen.insert(pem.clone()));
        Some(Changeover { wanted, both, now })
    }

    /// The plan of what comes first.
    pub(super) fn plan(&self, scope: &Scope, facts: &Facts, today: Date) -> Result<Plan, Problem> {
        let mut plan = toward(&self.formation(Phase::Trust), scope, facts, today, Some(self))?;
        let once = match self.wanted.servers().any(|server| server.tls.mode() >= SslMode::VerifyCa) {
            true => Once::EverybodyTrustsBoth,
            false => Once::NobodyVerifies,
        };
        if !plan.is_empty() || plan.partial.is_some() {
            self.note_new_authority(once, &mut plan);
            plan.partial.get_or_insert(Reason::ChangesOver(once));
            return Ok(plan);
        }
        if let Some(why) = waits_for(scope, &plan) {
            for name in self.now.keys().filter(|name| scope.has(name)) {
                plan.note(name, format!("no server shows another certificate before {why}"));
            }
            return Ok(plan);
        }
        let mut plan = toward(&self.formation(Phase::Show), scope, facts, today, Some(self))?;
        plan.partial.get_or_insert(Reason::ChangesOver(Once::EverybodyShowsTheNew));
        Ok(plan)
    }

    /// The formation as it is on the way.
    fn formation(&self, phase: Phase) -> Formation {
        let mut formation = self.wanted.clone();
        if let Monitor::Managed(server) = &mut formation.monitor {
            server.tls = self.tls(server, phase);
        }
        for node in formation.nodes.values_mut() {
            node.server.tls = self.tls(&node.server, phase);
        }
        formation.authority = formation.authority.map(|authority| match authority.certificates.is_empty() {
            true => authority,
            false => Authority { certificates: self.both.clone(), ..authority },
        });
        formation
    }

    /// A list of revoked certificates is one authority's: with it those of the other would be refused.
    fn tls(&self, server: &Server, phase: Phase) -> Tls {
        let now = self.now.get(&server.name);
        if server.adopted {
            return server.tls.clone();
        }
        let wanted = server.tls.mode();
        let mode = now.and_then(|now| now.mode).map_or(wanted, |mode| mode.min(wanted));
        let ca = (wanted >= SslMode::VerifyCa).then(|| file(server));
        match (now.and_then(|now| now.pair.clone()).filter(|_| phase == Phase::Trust), &server.tls) {
            (Some((cert, key)), _) => Tls::Files { cert, key, ca, crl: None, mode },
            (None, Tls::Files { cert, key, .. }) => {
                Tls::Files { cert: cert.clone(), key: key.clone(), ca, crl: None, mode }
            }
            (None, Tls::Managed { dir, ca, .. }) => {
                Tls::Managed { dir: dir.clone(), ca: ca.clone(), crl: None, mode }
            }
            (None, Tls::SelfSigned { .. }) => Tls::SelfSigned { mode },
            (None, Tls::Off) => Tls::Off,
        }
    }

    /// Both authorities in the file of a server whose certificate is not muster's to make now.
    pub(super) fn trust(&self, server: &Server, facts: &TlsFacts) -> Option<Step> {
        let Tls::Files { ca: Some(ca), .. } = &server.tls else { return None };
        if server.adopted || *ca != file(server) || facts.authority.as_ref() == Some(&self.both) {
            return None;
        }
        let content = Content::Certificate(self.both.concat());
        let before = facts.authority.as_ref().map(|_| String::new());
        let risk = if before.is_some() { Risk::Reload } else { Risk::Safe };
        let file = File::new(ca, &server.os_user, content).before(before);
        let because = "it is to trust the authorities of the old certificates and of the new ones";
        Some(Step::write(&server.name, file, risk, because))
    }

    /// Why a server cannot go that way.
    pub(super) fn refusal(&self, server: &Server, seen: &Seen) -> Option<String> {
        // Keepers write that path into connection strings as it is.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/');
        let verifies = server.tls.mode() >= SslMode::VerifyCa;
        if server.adopted {
            return self.refusal_of_adopted(server, seen);
        }
        if let (Tls::Managed { .. }, Some(Authority { certificates, key: SigningKey::Unusable(why), .. })) =
            (&server.tls, &self.wanted.authority)
            && certificates.is_empty()
        {
            return Some(format!("it needs a certificate, and {why}"));
        }
        match &server.tls {
            Tls::Files { ca: Some(ca), .. }
                if verifies && seen.tls.given_authority.as_ref().is_none_or(Vec::is_empty) =>
            {
                Some(format!(
                    "{ca} holds no certificate, by which others are to be verified: put the authority's there"
                ))
            }
            Tls::Files { .. } if verifies && !server.pgdata.chars().all(is_plain) => Some(format!(
                "both authorities would be trusted in {} for a while, a path that keepers cannot write into connection strings: go over \
                 `ssl_mode: require`, in an apply of its own",
                file(server)
            )),
            Tls::Off | Tls::SelfSigned { .. } | Tls::Managed { .. } | Tls::Files { .. } => None,
        }
    }

    /// What it verifies with is not muster's to write.
    fn refusal_of_adopted(&self, server: &Server, seen: &Seen) -> Option<String> {
        let found = InUse::of(server, &seen.pgdata, &seen.keeper, &seen.tls)?;
        let verifies = found.mode.is_some_and(|mode| mode >= SslMode::VerifyCa);
        let others =
            self.wanted.servers().any(|other| !other.adopted && other.tls.mode() >= SslMode::VerifyCa);
        let lacks = self.both.iter().any(|pem| !found.trusted.contains(pem));
        (verifies && others && lacks).then(|| {
            "it is adopted, and verifies the others with a file of its own that has not both authorities, of their old certificates and of \
             their new ones: put both into it first"
                .to_owned()
        })
    }

    /// Who trusts an authority that was just made is told where it is.
    fn note_new_authority(&self, once: Once, plan: &mut Plan) {
        let Some(Authority { dir, key: SigningKey::Made { .. }, .. }) = &self.wanted.authority else {
            return;
        };
        let first = self.wanted.servers().find(|server| matches!(server.tls, Tls::Managed { .. }));
        if let (Some(first), Once::EverybodyTrustsBoth) = (first, once) {
            plan.note(&first.name, crate::resource::managed::is_made_in(dir));
        }
    }
}

/// Muster's own file of who is trusted.
fn file(server: &Server) -> String {
    format!("{}/ca.crt", node_dir(server))
}

/// Whom the rest waits for.
fn waits_for(scope: &Scope, plan: &Plan) -> Option<String> {
    let away = plan.unreachable.keys().chain(plan.blocked.keys()).next();
    match (scope.is_whole(), away) {
        (_, Some(name)) => Some(format!("{name} accepts it, which cannot be told now")),
        (false, None) => Some("everybody accepts it: that takes a run without --limit".to_owned()),
        (true, None) => None,
    }
}
