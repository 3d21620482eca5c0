//! What a host tells of others and is not believed: said to the operator, and nothing is made of it.

use crate::formation::{HbaEdit, Node, NodeName};
use crate::plan::{Plan, World};
use crate::resource::hba;
use crate::resource::names::is_host;

impl World<'_> {
    pub(super) fn note_what_is_not_believed(&self, plan: &mut Plan) {
        let mut note = |name: &NodeName, text: String| {
            if self.scope.has(name) {
                plan.note(name, text);
            }
        };
        self.names.notes().into_iter().for_each(|(name, text)| note(&name, text));
        for node in self.formation.nodes.values().filter(|node| node.server.hba_edit == HbaEdit::Lan) {
            let members: Vec<&Node> = self.formation.group(node.group).collect();
            let own = self.names.lan(&node.server.hostname);
            if let (Some(own), None) = (own, hba::lan(&self.names, &members)) {
                let group = node.group;
                note(
                    node.name(),
                    format!(
                        "pg_hba_lan opens no network: {own} is that of this host, and others of group {group}, which has one \
                         pg_hba.conf, say another; give the rule in `hba`"
                    ),
                );
            }
        }
        for row in self.strangers().into_iter().filter(|row| !is_host(&row.host)) {
            for node in self.formation.nodes.values().filter(|node| node.group == row.group) {
                note(
                    node.name(),
                    format!(
                        "the monitor has {} at {:?}, which is no host: no rule of pg_hba.conf is written for it; drop that \
                         node",
                        row.name, row.host
                    ),
                );
            }
        }
    }
}
