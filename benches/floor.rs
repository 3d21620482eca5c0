//! The least a rerun can cost: connect to every host, run its probe, read the answer. Nothing is parsed or planned.
//!
//! `floor INVENTORY` prints the seconds it took; benches/rerun.sh sets a whole `muster apply` beside it.

#![expect(clippy::print_stdout, reason = "the number is its output")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use futures_util::future::try_join_all;
use muster::facts;
use muster::fleet::Fleet;
use muster::ssh::{Credentials, Overrides, Transport};
use tokio::sync::mpsc::unbounded_channel;

/// As many commands in flight as there are hosts: the floor does not queue.
const FORKS: usize = 512;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let inventory = std::env::args().nth(1).ok_or("usage: floor INVENTORY")?;
    let started = Instant::now();
    let formation = muster::inventory::load(Path::new(&inventory)).map_err(|_| "not a valid inventory")?;
    let (events, _nobody_listens) = unbounded_channel();
    let transport = Transport::new(Credentials::from_environment(), Overrides::default());
    let hosts = formation.servers().map(|server| (&server.name, &server.host));
    let fleet = Fleet::connect(hosts, transport, FORKS, &events).await;
    let answers = formation.servers().map(|server| {
        let (fleet, probe) = (&fleet, facts::probe(&formation, server));
        async move { fleet.run(&server.name, &probe).await.map(|output| output.stdout.len()) }
    });
    let bytes = try_join_all(answers).await.map_err(|failure| failure.cause())?;
    if bytes.contains(&0) {
        return Err("a host said nothing".into());
    }
    println!("{:.3}", started.elapsed().as_secs_f64());
    fleet.close().await;
    Ok(())
}
