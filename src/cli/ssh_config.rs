//! `muster ssh-config`: how a host is reached, as `ssh -G` says it.

use clap::Args;

use super::Options;
use crate::error::{Exit, Problem};
use crate::formation::{Host, Listed};
use crate::inventory::Need;
use crate::report;
use crate::ssh::config::{self, Request};
use crate::ssh::settings::Settings;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// What goes before the configuration, as with ssh: Keyword=value.
    #[arg(short, long = "option", value_name = "OPTION")]
    option: Vec<String>,
    /// A host of the inventory if one is given, else what ssh would be told: a host, USER@HOST or an ssh:// URI.
    host: String,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    options.not_limited("ssh-config is for one host")?;
    let said = arguments.option.iter().map(|text| config::option(text));
    let mut said: Vec<(String, String)> = said.collect::<Result<_, _>>().map_err(|problem| vec![problem])?;
    let transport = options.transport();
    let (settings, file) = match of_inventory(options, &arguments.host)? {
        Some(mut host) => {
            said.append(&mut host.ssh_options);
            let ssh_config = host.ssh_config.or_else(|| options.ssh_config.clone());
            let host = Host { ssh_options: said, ssh_config: ssh_config.clone(), ..host };
            (config::of_host(&host, transport.credentials()), ssh_config)
        }
        None => {
            let file = options.ssh_config.as_deref();
            let request = Request { destination: &arguments.host, options: &said, file };
            (config::resolve(&request, transport.credentials()), options.ssh_config.clone())
        }
    };
    let settings = settings.map_err(|problem| vec![problem])?;
    let route =
        transport.route_of(settings, file.as_deref()).map_err(|failure| vec![super::problem(failure)])?;
    let rows = route.last().map(Settings::rows).unwrap_or_default();
    report::print(&match options.json {
        true => report::json::result("settings", &report::settings::json(&rows), &[]),
        false => report::settings::text(&rows),
    });
    Ok(Exit::Ok)
}

/// The host that has this name or address, if there is an inventory and it has one.
fn of_inventory(options: &Options, name: &str) -> Result<Option<Host>, Vec<Problem>> {
    if options.inventory.is_empty() {
        return Ok(None);
    }
    let mut hosts = options.roster(Need::Nothing)?.hosts.into_iter();
    let is_it = |listed: &Listed| listed.node.0 == name || listed.name == name || listed.host.address == name;
    Ok(hosts.find(is_it).map(|listed| listed.host))
}
