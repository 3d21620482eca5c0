//! `muster cert renew` and `muster ca rotate`: other certificates, and nothing else. Sessions live on: a server reads its
//! certificate at a reload.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::formation::{NodeName, Tls};
use crate::plan::drift::running;
use crate::plan::{Changeover, Plan, World};
use crate::reason::Reason;
use crate::resource::data::Pgdata;
use crate::resource::managed::Renew;
use crate::resource::settings;
use crate::step::{Stage, Step};

/// Whose certificates, and whether good ones are replaced as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    pub nodes: BTreeSet<NodeName>,
    pub renew: Renew,
}

pub(super) fn plan(world: &World, wanted: &Certificates, plan: &mut Plan) {
    let is_on_the_way = Changeover::of(world.formation, world.facts).is_some();
    let servers = world.formation.servers().filter(|server| wanted.nodes.contains(&server.name));
    for server in servers.filter(|server| !world.is_excluded(&server.name)) {
        let name = &server.name;
        if is_on_the_way {
            let why = "the formation is on its way to other certificates: `muster apply` comes first";
            plan.blocked.insert(name.clone(), Reason::Refused(why.to_owned()));
            continue;
        }
        let seen = world.seen(name);
        let cannot = world.trust.as_ref().and_then(|trust| trust.cannot_sign());
        if let (Tls::Managed { .. }, Renew::Always, Some(cannot)) = (&server.tls, wanted.renew, cannot) {
            plan.blocked.insert(name.clone(), Reason::Refused(cannot.to_owned()));
            continue;
        }
        let (now, later) = world.certificate(server, seen, wanted.renew, plan);
        let runs = matches!(&seen.pgdata, Pgdata::Present(found) if found.postmaster.is_some());
        let node = world.formation.nodes.get(name);
        let with_reload = |mut steps: Vec<Step>| {
            if runs && !steps.is_empty() {
                let asked = running(server, node);
                let because = "its certificates changed";
                steps.push(settings::reload(server, world.bin(name), &asked, because));
            }
            steps
        };
        plan.add(Stage::Prepare, name, with_reload(now));
        world.add_last(name, with_reload(later), plan);
    }
}
