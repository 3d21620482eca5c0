//! `ssl: managed`: which certificates a host is to trust, and whether its own is to be signed anew.

use std::collections::BTreeSet;

use jiff::ToSpan;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::file::{Content, File};
use crate::formation::{Authority, Formation, NodeName, Server, SigningKey, Tls};
use crate::issue::Issue;
use crate::op::{Op, Risk};
use crate::resource::certificate::{self, Certificate};
use crate::resource::tls::{self, RENEW_DAYS, TlsFacts};
use crate::step::{Action, Step};

/// Days that a certificate is valid. A rerun within the last [`RENEW_DAYS`] has a new one signed.
const VALID_DAYS: i64 = 397;

/// What every host of the formation is to trust, and who signs.
pub struct Trust {
    /// As PEM, one text each; the first one signs.
    certificates: Vec<String>,
    /// The identifier of its key.
    signer: String,
    /// Where it is kept on this machine.
    dir: String,
    /// What is in the way of a signature.
    cannot: Option<String>,
    /// Whether the hosts trust another authority than the one on this machine.
    is_foreign: bool,
    /// The lists of revoked certificates, as PEM, one of each certificate; none at all where nobody looks at them.
    lists: Vec<String>,
    /// The serial numbers on them.
    revoked: BTreeSet<String>,
    /// The servers that show one of those.
    revoked_on: Vec<NodeName>,
    /// Whether every host has the certificate that signs, and its list, so that nobody would refuse what it has signed.
    is_everywhere: bool,
    /// Whether hosts look at a list that this machine does not have.
    is_listed: bool,
    /// Whether it is asked by a program, whose matter it is which names it adds.
    is_elsewhere: bool,
    /// Whether it is made by this run.
    is_new: bool,
    /// How the key is kept, where that is not as the inventory asks.
    otherwise: Option<String>,
}

/// What is to be done: at once, and once every host has the new certificate among those that it trusts.
#[derive(Default)]
pub struct Steps {
    pub now: Vec<Step>,
    pub later: Vec<Step>,
    /// Once no server shows a certificate that it has others refuse.
    pub list: Option<Step>,
}

/// When another certificate is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Renew {
    /// Where there is none that is good.
    WhereNeeded,
    Always,
}

impl Trust {
    /// `None` where no server has `ssl: managed`. `seen`: what was found on those hosts that could be looked at.
    pub fn of<'f>(formation: &Formation, seen: impl Fn(&Server) -> Option<&'f TlsFacts>) -> Option<Trust> {
        let Authority { dir, certificates, revoked: lists, key, note } = formation.authority.as_ref()?;
        let managed = || formation.servers().filter(|server| matches!(server.tls, Tls::Managed { .. }));
        // What holds no certificate is damaged, and trusts nobody.
        let all: Vec<(&Server, &[String])> = managed()
            .map(|server| {
                let found = seen(server).and_then(|facts| facts.authority.as_deref());
                (server, found.unwrap_or_default())
            })
            .collect();
        let has_list = |server: &Server| seen(server).is_some_and(|facts| facts.revoked.is_some());
        let is_listed = lists.is_empty() && managed().any(has_list);
        let is_ours = |found: &[String]| found.iter().any(|pem| certificates.contains(pem));
        // Where one host alone has another one, that is what is put right.
        let foreign = match all.iter().any(|(_, found)| is_ours(found)) {
            true => None,
            false => all.iter().find(|(_, found)| !found.is_empty()).map(|(server, _)| &server.name),
        };
        let lost = "if it is lost, `muster ca rotate` makes another one, which every host is told to trust";
        let cannot = match (foreign, key) {
            (_, SigningKey::Unusable(why)) => Some(why.clone()),
            (Some(name), SigningKey::Made { .. }) => Some(format!(
                "{dir} on this machine has no certificate authority, and {name} trusts one: copy that folder from the machine where the formation was made, or name it with ca_dir; {lost}"
            )),
            (Some(name), SigningKey::Elsewhere) => Some(format!(
                "{name} trusts another certificate authority than the one in {dir}/ca.crt, which `ca_command` asks: put the certificate that it trusts \
                 behind that one there, and take it out again once every node has its new certificate"
            )),
            (Some(name), SigningKey::Here | SigningKey::Missing) => Some(format!(
                "{name} trusts another certificate authority than the one in {dir} on this machine, which may be a copy from \
                 before that was replaced: copy the folder again from the machine that did it, or name it with ca_dir; {lost}"
            )),
            // What is taken out of a server's settings here would let in what was revoked.
            (None, SigningKey::Here | SigningKey::Missing) if is_listed => Some(format!(
                "{dir} on this machine has no ca.crl that fits its ca.crt, and hosts have one: copy that file from the machine where the formation was \
                 made, or from a host, where it is beside PGDATA"
            )),
            (None, SigningKey::Missing) => Some(format!(
                "{dir} on this machine has no ca.key, and nothing can be signed without it: copy it from the machine where the formation was made, or run apply there"
            )),
            (None, SigningKey::Here | SigningKey::Elsewhere | SigningKey::Made { .. }) => None,
        };
        let first = certificates.first();
        let has_first = |(_, found): &(&Server, &[String])| first.is_some_and(|first| found.contains(first));
        let signer = first.and_then(|pem| certificate::authority(pem).ok()?.own_key).unwrap_or_default();
        let is_looked_at = managed().any(|server| server.tls.crl().is_some());
        // A list of an earlier day does: it is there.
        let has_its_list = |server: &Server| {
            let found = seen(server).and_then(|facts| facts.revoked.as_deref()).unwrap_or_default();
            let mut keys = found.iter().filter_map(|list| certificate::revoked(list)?.signed_with);
            !is_looked_at || lists.is_empty() || keys.any(|key| key == signer)
        };
        let revoked = certificate::revoked_by(lists);
        let shows_revoked = |server: &&Server| {
            let found = seen(server).and_then(|facts| facts.certificate.as_ref());
            found.is_some_and(|found| revoked.contains(&found.serial))
        };
        let revoked_on = managed().filter(shows_revoked).map(|server| server.name.clone()).collect();
        Some(Trust {
            is_everywhere: all
                .iter()
                .all(|(server, found)| has_first(&(server, found)) && has_its_list(server)),
            is_listed,
            is_elsewhere: *key == SigningKey::Elsewhere,
            lists: lists.clone(),
            revoked_on,
            revoked,
            signer,
            certificates: certificates.clone(),
            dir: dir.clone(),
            is_foreign: foreign.is_some() || certificates.is_empty(),
            is_new: matches!(key, SigningKey::Made { .. }) && cannot.is_none() && !all.iter().any(has_first),
            cannot,
            otherwise: note.clone(),
        })
    }

    /// What an operator should know of it.
    pub fn note(&self) -> Option<String> {
        let dir = &self.dir;
        match &self.cannot {
            Some(cannot) => Some(format!("no certificate can be signed: {cannot}")),
            None if self.is_new => Some(is_made_in(dir)),
            None => self.otherwise.clone(),
        }
    }

    /// Why a server cannot have the certificate that it needs; `None` where it can, or needs none.
    ///
    /// A run that asks for another one is refused by [`Trust::cannot_sign`].
    pub fn refusal(&self, server: &Server, facts: &TlsFacts, today: Date) -> Option<String> {
        let cannot = self.cannot.as_ref()?;
        if self.is_listed && matches!(server.tls, Tls::Managed { .. }) {
            return Some(cannot.clone());
        }
        let why = self.wants(server, facts, today)?;
        Some(format!("it needs a certificate ({why}), and {cannot}"))
    }

    /// The identifiers of the keys that vouch for the formation's certificates, here or in the eyes of a host.
    pub fn known(&self, on_host: &[String]) -> Vec<String> {
        let both = self.certificates.iter().chain(on_host);
        both.filter_map(|pem| certificate::authority(pem).ok()?.own_key).collect()
    }

    /// The servers that show a certificate which is revoked.
    pub fn revoked_on(&self) -> &[NodeName] {
        &self.revoked_on
    }

    /// What is in the way of any signature.
    pub fn cannot_sign(&self) -> Option<&str> {
        self.cannot.as_deref()
    }

    /// Why a certificate is to be signed; `None` where that of the host is good.
    fn wants(&self, server: &Server, facts: &TlsFacts, today: Date) -> Option<String> {
        if !matches!(server.tls, Tls::Managed { .. }) {
            return None;
        }
        let names = names(server);
        match &facts.certificate {
            None if facts.file => Some("what is in its file is no certificate".to_owned()),
            None => Some("there is none yet".to_owned()),
            Some(_) if !facts.key => Some("the one that is there has lost its key".to_owned()),
            Some(found) if found.not_after <= today.saturating_add(RENEW_DAYS.days()) => {
                Some(format!("the one that is there ends on {}", found.not_after))
            }
            Some(_) if !facts.unusable.is_empty() => Some(facts.unusable.join("; ")),
            Some(found) if !self.has_signed(found.signed_with.as_ref(), facts) => {
                Some(match found.is_self_signed() {
                    true => "nobody else vouches for the one that is there".to_owned(),
                    false => "another authority has signed the one that is there".to_owned(),
                })
            }
            Some(found) if self.revoked.contains(&found.serial) => {
                Some("the one that is there is revoked".to_owned())
            }
            Some(found) if names.iter().any(|name| !found.names.contains(name)) => Some(format!(
                "the one that is there is for {}, not for {}",
                found.names.join(", "),
                names.join(", ")
            )),
            Some(_) => None,
        }
    }

    /// Whether the authority that signs has signed it, or, of hosts that have another one, theirs.
    fn has_signed(&self, signed_with: Option<&String>, facts: &TlsFacts) -> bool {
        match self.is_foreign {
            true => is_trusted(signed_with, facts.authority.as_deref().unwrap_or_default()),
            false => signed_with == Some(&self.signer),
        }
    }

    /// What a host lacks.
    ///
    /// `renew`: another certificate is signed though there is a good one.
    pub fn steps(&self, server: &Server, facts: &TlsFacts, today: Date, renew: Renew) -> Steps {
        let Tls::Managed { dir, ca, crl, .. } = &server.tls else { return Steps::default() };
        let mut steps = Steps::default();
        if self.is_foreign {
            return steps;
        }
        let found = facts.authority.as_ref();
        if found != Some(&self.certificates) {
            let trusted = found.map_or(&[][..], Vec::as_slice);
            let is_left_out = |pem: &String| !self.certificates.contains(pem);
            let because = match (found, self.certificates.iter().all(|pem| trusted.contains(pem))) {
                (None, _) => "it is to trust the formation's certificate authority",
                (Some(_), true) => "it is to trust the old certificate authority no more",
                (Some(_), false) if trusted.iter().any(is_left_out) => {
                    "it is to trust another certificate authority"
                }
                (Some(_), false) => "it is to trust the new certificate authority as well",
            };
            let risk = if found.is_some() { Risk::Reload } else { Risk::Safe };
            let content = Content::Certificate(self.certificates.concat());
            let file = File::new(ca, &server.os_user, content).before(found.map(|_| String::new()));
            steps.now.push(Step::write(&server.name, file, risk, because));
        }
        if let Some(path) = crl
            && facts.revoked.as_ref() != Some(&self.lists)
        {
            let found = facts.revoked.as_ref();
            let risk = if found.is_some() { Risk::Reload } else { Risk::Safe };
            let content = Content::Certificate(self.lists.concat());
            let file = File::new(path, &server.os_user, content).before(found.map(|_| String::new()));
            let because = "it is to refuse certificates that are revoked, and those alone";
            let step = Step::write(&server.name, file, risk, because);
            // Nobody looks at it yet where there is none.
            match found.is_some() && !self.revoked_on.is_empty() {
                true => steps.list = Some(step),
                false => steps.now.push(step),
            }
        }
        // Until everybody has been told of another name, they come by the old one.
        let has_more =
            |found: &Certificate| found.names.iter().find(|name| !names(server).contains(name)).cloned();
        let asked = || (renew == Renew::Always).then(|| "a new one is asked for".to_owned());
        let why = self.wants(server, facts, today).or_else(asked);
        let is_last = why.is_none() && self.cannot.is_none() && !self.is_elsewhere;
        let more = facts.certificate.as_ref().filter(|_| is_last).and_then(has_more);
        let because = more.as_ref().map(|name| format!("the one that is there is for {name}, too"));
        if let Some(why) = why.or(because) {
            let names = names(server);
            let risk = if facts.file { Risk::Reload } else { Risk::Safe };
            let op = Op::Issue { names: names.clone(), risk };
            let issue = Issue {
                dir: dir.clone(),
                owner: server.os_user.clone(),
                names,
                // A day back: the host's clock may be behind.
                not_before: today.saturating_sub(1.days()),
                not_after: today.saturating_add(VALID_DAYS.days()),
            };
            let step = Step::new(&server.name, op, format!("ssl is managed: {why}"), Action::Issue(issue));
            // Who verifies the old one does not know the new authority before its own file says so.
            let is_verified = facts
                .certificate
                .as_ref()
                .is_some_and(|found| is_trusted(found.signed_with.as_ref(), &self.certificates));
            match more.is_some() || is_verified && !self.is_everywhere {
                true => steps.later.push(step),
                false => steps.now.push(step),
            }
        }
        steps
    }
}

/// What is told of an authority that a run makes.
pub fn is_made_in(dir: &str) -> String {
    format!(
        "the certificate authority of this formation is made in {dir} on this machine: keep a copy of that folder"
    )
}

/// Whether one of these authorities has signed it.
fn is_trusted(signed_with: Option<&String>, trusted: &[String]) -> bool {
    let mut keys = trusted.iter().filter_map(|pem| certificate::authority(pem).ok()?.own_key);
    keys.any(|key| Some(&key) == signed_with)
}

/// Every name a client may know the server by, its own clients on its host included.
fn names(server: &Server) -> Vec<String> {
    let mut names = tls::names(server);
    if !names.iter().any(|name| name == "localhost") {
        names.push("localhost".to_owned());
    }
    names
}
