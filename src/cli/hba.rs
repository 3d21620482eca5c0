//! `muster hba`: which line of each `pg_hba.conf` answers whom.

use std::collections::BTreeSet;
use std::net::IpAddr;

use clap::Args;
use futures_util::future::join_all;
use serde_json::json;

use super::{Options, exit, plan};
use crate::error::{Exit, Problem};
use crate::facts::{self, Facts, Sight};
use crate::fleet::Fleet;
use crate::formation::{Formation, NodeName, Server};
use crate::hba::{self, By, Connection, Database, Read, Seal};
use crate::links::{self, Link, Looked, Page, Says, Wanted};
use crate::report::{self, hba as report_hba};
use crate::resource::names::Names;
use crate::scope::Scope;

/// Files may name files, which may name files.
const ROUNDS: usize = 12;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Hosts and groups, as Ansible's patterns.
    #[arg(default_value = "all")]
    pattern: String,
    /// Ask for one connection: to NODE, as USER, to DATABASE (or `replication`), from ADDRESS (or `local`, or a host of the inventory);
    /// behind them `ssl` or `nossl`, where it is not as the server has it.
    #[arg(long, num_args = 4..=5, value_names = ["NODE", "USER", "DATABASE", "ADDRESS", "SSL"], allow_hyphen_values = true)]
    check: Option<Vec<String>>,
}

/// What `--check` asks.
struct Check {
    node: NodeName,
    user: String,
    database: Database,
    from: Vec<IpAddr>,
    /// `None`: as the server has it.
    seal: Option<Seal>,
}

pub(super) async fn run(options: &Options, arguments: &Arguments) -> Result<Exit, Vec<Problem>> {
    let formation = options.load_to_ask()?;
    let asked = arguments.check.as_deref();
    let pattern = asked.map_or(arguments.pattern.as_str(), |words| words[0].as_str());
    let servers = options.select(&formation, pattern)?;
    let words = asked.map(|words| words_of(words, &servers)).transpose()?;
    // Every host says which addresses it has, and how it sees the others.
    let all = Scope::whole().sight(&formation);
    let (fleet, facts) = plan::connect(options, options.reading(), &formation, &all).await;
    let names =
        Names::new(formation.servers().filter_map(|server| Some((server, &facts.seen(&server.name)?.host))));
    let hosts = Hosts { formation: &formation, facts: &facts, fleet: &fleet };
    let ended = match words {
        Some(words) => match check_of(&formation, &names, words) {
            Ok(check) => Ok(one(options, &hosts, servers[0], check).await),
            Err(problems) => Err(problems),
        },
        None => {
            let strangers = facts::strangers(&formation, &facts);
            let page = async |server: &Server| {
                let links = links::needed(&formation, &names, &strangers, server);
                let wanted = Wanted::about(links.iter().flat_map(Link::connections));
                let found = hosts.look(server, wanted).await;
                (
                    server.name.clone(),
                    found.map(|(looked, read)| links::judge(&looked, read, links, &server.hostname)),
                )
            };
            let pages = join_all(servers.iter().map(|server| page(server))).await;
            Ok(show(options, &facts, &pages))
        }
    };
    fleet.close().await;
    let selected: BTreeSet<NodeName> = servers.iter().map(|server| server.name.clone()).collect();
    let scope = Scope::of(&formation, selected);
    Ok(exit::or(ended?, exit::of_sight(&facts, &scope)))
}

fn show(options: &Options, facts: &Facts, pages: &[(NodeName, Result<Page, String>)]) -> Exit {
    report::print(&match options.json {
        true => report::json::result("hba", &report_hba::json(pages), &[]),
        false => report_hba::text(pages, options.paint()),
    });
    let is_wrong = |(name, page): &(NodeName, Result<Page, String>)| match page {
        Ok(page) => page.is_wrong(),
        // What a host that is away has, another code says.
        Err(_) => facts.seen(name).is_some(),
    };
    if pages.iter().any(is_wrong) { Exit::Failed } else { Exit::Ok }
}

struct Hosts<'a> {
    formation: &'a Formation,
    facts: &'a Facts,
    fleet: &'a Fleet,
}

impl Hosts<'_> {
    /// Looks at a host's file and at those that it names; the error is why that was not possible.
    async fn look(&self, server: &Server, mut wanted: Wanted) -> Result<(Looked, Read), String> {
        let Some(seen) = self.facts.seen(&server.name) else {
            return Err(match self.facts.hosts.get(&server.name) {
                Some(Sight::Unreachable(failure)) => failure.cause(),
                Some(Sight::Unreadable(why)) => format!("could not look: {why}"),
                Some(Sight::Seen(_)) | None => "it was not looked at".to_owned(),
            });
        };
        let software = seen.software.as_ref().ok_or("no PostgreSQL is installed")?;
        for _ in 0..ROUNDS {
            let question = links::question(self.formation, server, &software.bin, &wanted);
            let output = self.fleet.run(&server.name, &question).await.map_err(|failure| failure.cause())?;
            let looked = links::parse(&wanted, software.major, &String::from_utf8_lossy(&output.stdout))?;
            let file = hba::Ask::File(looked.path.clone());
            match looked.files.get(&file) {
                Some(hba::Given::Absent) | None => return Err(format!("there is no file {}", looked.path)),
                Some(hba::Given::Blind(why)) => return Err(why.clone()),
                Some(hba::Given::Text(_) | hba::Given::Names(_)) => {}
            }
            let read = hba::read(&looked.path, &looked.files, looked.ground.release);
            if read.missing.is_empty() {
                return Ok((looked, read));
            }
            wanted.files.extend(read.missing);
        }
        Err("its files name files that name files without an end".to_owned())
    }
}

fn words_of<'w>(words: &'w [String], servers: &[&Server]) -> Result<&'w [String], Vec<Problem>> {
    match servers {
        [_] => Ok(words),
        _ => {
            let problem = Problem::new(format!("`{}` is {} servers", words[0], servers.len()));
            Err(vec![problem.hint("--check asks one: give the name of one node")])
        }
    }
}

fn check_of(formation: &Formation, names: &Names, words: &[String]) -> Result<Check, Vec<Problem>> {
    let [node, user, database, address, rest @ ..] = words else { unreachable!("clap counts them") };
    let seal = match rest.first().map(String::as_str) {
        None => None,
        Some("ssl") => Some(Seal::Tls),
        Some("nossl") => Some(Seal::Plain),
        Some(other) => {
            let problem = Problem::new(format!("`{other}` says nothing of encryption"));
            return Err(vec![problem.hint("write ssl or nossl behind the address, or nothing")]);
        }
    };
    let from = match (address.as_str(), address.parse::<IpAddr>()) {
        ("local", _) => Vec::new(),
        (_, Ok(address)) => vec![address],
        (name, Err(_)) => {
            let known: Vec<IpAddr> = links::addresses(formation, names, name).into_iter().collect();
            if known.is_empty() {
                let problem = Problem::new(format!("nobody knows an address of `{name}`"));
                let hint = "give an address such as 10.0.0.7, the name of a host of the formation, or local";
                return Err(vec![problem.hint(hint)]);
            }
            known
        }
    };
    let database = match database.as_str() {
        "replication" => Database::Replication,
        name => Database::Named(name.to_owned()),
    };
    Ok(Check { node: NodeName(node.clone()), user: user.clone(), database, from, seal })
}

/// Answers one connection, by each address that it may come from.
async fn one(options: &Options, hosts: &Hosts<'_>, server: &Server, check: Check) -> Exit {
    let connections = |seal: Seal| {
        let ways = match check.from.is_empty() {
            true => vec![By::Socket],
            false => check.from.iter().map(|from| By::Network { from: *from, seal }).collect(),
        };
        let (user, database) = (&check.user, &check.database);
        ways.into_iter().map(|by| Connection { user: user.clone(), database: database.clone(), by })
    };
    let (looked, read) = match hosts.look(server, Wanted::about(connections(Seal::Tls))).await {
        Ok(found) => found,
        Err(why) => {
            report::log(&format!("{}: {why}\n", check.node));
            // A host that is away has a code of its own.
            let is_seen = hosts.facts.seen(&server.name).is_some();
            return if is_seen { Exit::Failed } else { Exit::Ok };
        }
    };
    let page = links::judge(&looked, read, Vec::new(), &server.hostname);
    let asked = format!("{} to {} of {}", check.user, links::target(&check.database), check.node);
    let seal = check.seal.unwrap_or(if page.tls == Some(false) { Seal::Plain } else { Seal::Tls });
    let says = |connection: Connection| {
        (connection.by, Says::new(hba::answer(&page.read, &looked.ground, &connection)))
    };
    let answers: Vec<(By, Says)> = connections(seal).map(says).collect();
    report::print(&match options.json {
        true => {
            let all: Vec<_> = answers.iter().map(|(by, says)| report_hba::answer(&page, *by, says)).collect();
            report::json::result("answers", &json!(all), &[("host", json!(check.node))])
        }
        false => report_hba::check(&page, &asked, &answers, options.paint()),
    });
    let comes_in = |(_, says): &(By, Says)| matches!(says, Says::Method { .. });
    let is_taken = page.read.refused().next().is_none();
    if is_taken && answers.iter().all(comes_in) { Exit::Ok } else { Exit::Failed }
}
