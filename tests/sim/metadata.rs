//! Statements about `pg_dist_node` and `pg_dist_poolinfo`.

use muster::formation::NodeName;
use muster::op::Metadata;
use muster::resource::citus::CitusNode;

use crate::apply::values;
use crate::world::{Seeing, World};

impl World {
    /// Where statements about `pg_dist_node` go over the network.
    pub(crate) fn coordinator_elsewhere(&self, args: &[String]) -> Result<NodeName, String> {
        let there = self.at(&args[1], args[2].parse().unwrap());
        let there = there.filter(|name| self.hosts[*name].sight != Seeing::Unreachable);
        there.cloned().ok_or_else(|| "could not connect to server".to_owned())
    }

    pub(crate) fn change_metadata(
        &mut self,
        coordinator: &NodeName,
        change: &Metadata,
        sql: &str,
    ) -> Result<(), String> {
        let (names, numbers) = values(sql);
        match change {
            Metadata::SetCoordinator { .. } | Metadata::Add { .. } | Metadata::Point { .. } => {
                return self.add_citus_node(coordinator, change, sql);
            }
            Metadata::Activate { .. } => {
                let rows = self.writable(coordinator)?.citus.iter_mut();
                rows.filter(|row| row.name == names[0]).for_each(|row| row.active = true);
            }
            Metadata::ForgetPooler { .. } => {
                let row = i64::try_from(numbers[0]).unwrap();
                self.writable(coordinator)?.pools.remove(&row);
            }
            Metadata::SetPooler { .. } => {
                let data = self.writable(coordinator)?;
                let row = data.citus.iter().find(|row| row.name == names[1]).ok_or("no such node")?.id;
                data.pools.insert(row, names[0].clone());
            }
        }
        Ok(())
    }

    /// `citus_set_coordinator_host`, `citus_add_node`, `citus_update_node`.
    fn add_citus_node(&mut self, on: &NodeName, change: &Metadata, sql: &str) -> Result<(), String> {
        let (names, numbers) = values(sql);
        let is_update = matches!(change, Metadata::Point { .. });
        let port = u16::try_from(numbers[usize::from(is_update)]).unwrap();
        let host = names[0].clone();
        let target = self.at(&host, port).ok_or_else(|| format!("{host}:{port} is nobody"))?;
        let is_ready = self.hosts[target]
            .data()
            .is_some_and(|data| data.runs() && data.extensions.contains_key("citus"));
        if !is_ready {
            return Err(format!("connection to {host}:{port} failed"));
        }
        let data = self.writable(on)?;
        if is_update {
            let id = i64::try_from(numbers[0]).unwrap();
            let row = data.citus.iter_mut().find(|row| row.id == id).ok_or("there is no such node")?;
            (row.name, row.port) = (host, port.into());
            return Ok(());
        }
        if data.citus.iter().any(|row| row.is_at(&host, port)) {
            return Ok(());
        }
        let is_coordinator = matches!(change, Metadata::SetCoordinator { .. });
        let id = data.citus.iter().map(|row| row.id).max().unwrap_or(0) + 1;
        data.citus.push(CitusNode {
            id,
            group: if is_coordinator { 0 } else { i64::try_from(numbers[1]).unwrap() },
            name: host,
            port: port.into(),
            active: true,
            role: if is_coordinator { "primary".to_owned() } else { names[1].clone() },
            cluster: if is_coordinator { "default".to_owned() } else { names[2].clone() },
            metadata_synced: true,
        });
        Ok(())
    }
}
