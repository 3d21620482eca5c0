//! The names of the formation as its hosts see them, and which of what they say is believed.
//!
//! A host is believed about itself. What it says of another decides nothing by itself: a single line in one `/etc/hosts`
//! would say who may log in to every node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::formation::{NodeName, Server};
use crate::resource::host::HostFacts;

/// What one host sees of a name.
#[derive(Clone, Debug)]
struct View {
    by: NodeName,
    address: IpAddr,
    /// Whether that address has this very name.
    reverse: bool,
}

/// What a host of the inventory says of itself.
#[derive(Clone, Debug, Default)]
struct Itself {
    servers: BTreeSet<NodeName>,
    /// Its addresses; none where it did not tell.
    addresses: BTreeSet<IpAddr>,
    networks: BTreeSet<IpNet>,
    /// The address by which muster reaches it; behind NAT or a bastion it is not its own.
    reached_at: Option<IpAddr>,
}

/// All of that, by host name.
#[derive(Clone, Debug, Default)]
pub struct Names {
    views: BTreeMap<String, Vec<View>>,
    hosts: BTreeMap<String, Itself>,
}

impl Names {
    /// Puts together what each host says: of those that were seen.
    pub fn new<'a>(seen: impl IntoIterator<Item = (&'a Server, &'a HostFacts)>) -> Names {
        let mut names = Names::default();
        for (server, host) in seen {
            for (name, resolved) in &host.names {
                // Debian's own /etc/hosts says 127.0.1.1 to the host itself.
                if let Some(address) = resolved.address.filter(|address| !address.is_loopback()) {
                    let by = server.name.clone();
                    let view = View { by, address, reverse: resolved.reverse };
                    names.views.entry(name.clone()).or_default().push(view);
                }
            }
            let itself = names.hosts.entry(server.hostname.clone()).or_default();
            itself.servers.insert(server.name.clone());
            itself.addresses.extend(host.addresses.iter().filter(|address| is_for_others(**address)));
            itself.networks.extend(&host.networks);
            itself.reached_at = itself.reached_at.or(server.host.address.parse().ok());
        }
        names
    }

    fn views(&self, hostname: &str) -> &[View] {
        self.views.get(hostname).map(Vec::as_slice).unwrap_or_default()
    }

    /// What is known of a host by its own word; `None` where it was not asked, or could not tell.
    fn itself(&self, hostname: &str) -> Option<&Itself> {
        self.hosts.get(hostname).filter(|itself| !itself.addresses.is_empty())
    }

    /// The views of a name that are believed: all of those that the host itself confirms. Where it confirms none, or
    /// was not asked, they have to agree; of a host that was asked, two at least, or its own.
    fn believed(&self, hostname: &str) -> Vec<&View> {
        let views: Vec<&View> = self.views(hostname).iter().collect();
        let is_alone = match self.itself(hostname) {
            Some(itself) => {
                let confirmed = |view: &&View| itself.addresses.contains(&view.address);
                if views.iter().any(&confirmed) {
                    return views.into_iter().filter(confirmed).collect();
                }
                views.len() < 2 && !views.iter().any(|view| itself.servers.contains(&view.by))
            }
            None => false,
        };
        let agree = views.windows(2).all(|pair| pair[0].address == pair[1].address);
        if agree && !is_alone { views } else { Vec::new() }
    }

    /// The address that the inventory has of a host, and that the host has, too.
    fn of_inventory(&self, hostname: &str) -> Option<IpAddr> {
        let itself = self.itself(hostname)?;
        itself.reached_at.filter(|address| itself.addresses.contains(address))
    }

    /// The addresses by which others know a host; none where nobody can be believed.
    pub fn addresses(&self, hostname: &str) -> BTreeSet<IpAddr> {
        if let Ok(address) = hostname.parse() {
            return BTreeSet::from([address]);
        }
        let believed: BTreeSet<IpAddr> = self.believed(hostname).iter().map(|view| view.address).collect();
        if believed.is_empty() { self.of_inventory(hostname).into_iter().collect() } else { believed }
    }

    /// The address fields of the rules for a host in a file that these servers read. PostgreSQL matches a name only if
    /// it resolves there and back where the file is read; where it does not, the address is written, as keepers do.
    pub(super) fn fields(&self, hostname: &str, readers: &BTreeSet<&NodeName>) -> Vec<String> {
        let field = |address: IpAddr| IpNet::from(address).to_string();
        if let Ok(address) = hostname.parse::<IpAddr>() {
            return vec![field(address)];
        }
        let believed = self.believed(hostname);
        let own: Vec<&View> = believed.iter().copied().filter(|view| readers.contains(&view.by)).collect();
        let views = if own.is_empty() { believed } else { own };
        let there_and_back = !views.is_empty() && views.iter().all(|view| view.reverse);
        let mut addresses: BTreeSet<IpAddr> = views.iter().map(|view| view.address).collect();
        if addresses.is_empty() {
            addresses.extend(self.of_inventory(hostname));
        }
        // A name of digits would be read as an address.
        let is_name = crate::hba::numeric(hostname).is_none();
        if there_and_back && is_name || addresses.is_empty() {
            return vec![hostname.to_owned()];
        }
        addresses.into_iter().map(field).collect()
    }

    /// The network around a host's address, of those that it has: the "local network" of its rules.
    pub fn lan(&self, hostname: &str) -> Option<&IpNet> {
        let itself = self.hosts.get(hostname)?;
        let around = |address: IpAddr| {
            itself.networks.iter().filter(|net| net.contains(&address)).max_by_key(|net| net.prefix_len())
        };
        let views = self.believed(hostname);
        let own = views.iter().find(|view| itself.servers.contains(&view.by)).map(|view| view.address);
        if let Some(address) = hostname.parse().ok().or(own) {
            return around(address);
        }
        // Who is alone in saying which of its networks is meant has to agree with the inventory.
        let of_inventory = self.of_inventory(hostname).filter(|_| views.len() < 2);
        let addresses = views.iter().map(|view| view.address).chain(of_inventory);
        let nets: BTreeSet<Option<&IpNet>> = addresses.map(around).collect();
        match nets.len() {
            // Nobody can be believed: which one is meant is plain where there is one.
            0 => itself.networks.first().filter(|_| itself.networks.len() == 1),
            1 => nets.first().copied().flatten(),
            _ => None,
        }
    }

    /// Whether all that is known of a host lies in these networks.
    pub(super) fn is_inside(&self, hostname: &str, lans: &BTreeSet<&IpNet>) -> bool {
        let addresses = self.addresses(hostname);
        !addresses.is_empty() && addresses.iter().all(|address| lans.iter().any(|lan| lan.contains(address)))
    }

    /// What hosts see that is not believed, for each of those hosts.
    pub fn notes(&self) -> Vec<(NodeName, String)> {
        let mut notes = Vec::new();
        for (name, views) in &self.views {
            let believed: BTreeSet<IpAddr> = self.believed(name).iter().map(|view| view.address).collect();
            let odd = views.iter().filter(|view| !believed.contains(&view.address));
            let odd: BTreeSet<&NodeName> = odd.map(|view| &view.by).collect();
            if odd.is_empty() {
                continue;
            }
            let own = match self.itself(name) {
                Some(itself) => format!("it has {} itself", some_of(itself.addresses.iter())),
                None => "it could not be asked itself".to_owned(),
            };
            let who = some_of(odd.iter());
            let what = match self.addresses(name).is_empty() {
                true => "rules of pg_hba.conf have its name, and none has such an address",
                false => "no rule of pg_hba.conf is written from what does not fit",
            };
            let text = format!(
                "{name} is seen at {}; {own}: {what}; correct /etc/hosts or DNS of {who}, or give the address as `hostname`",
                self.seen(name)
            );
            notes.extend(odd.into_iter().map(|by| (by.clone(), text.clone())));
        }
        notes
    }

    /// Who sees a name where: `10.0.0.2 by mon, w1 and at 10.9.9.9 by w2`.
    fn seen(&self, name: &str) -> String {
        let mut by: BTreeMap<IpAddr, BTreeSet<&NodeName>> = BTreeMap::new();
        for view in self.views(name) {
            by.entry(view.address).or_default().insert(&view.by);
        }
        let parts = by.iter().map(|(address, by)| format!("{address} by {}", some_of(by.iter())));
        parts.collect::<Vec<_>>().join(" and at ")
    }
}

/// Neither of the host itself nor of a single cable.
fn is_for_others(address: IpAddr) -> bool {
    let is_of_cable = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_loopback() && !is_of_cable
}

/// Whether a word can stand for a host in a rule, and for nothing else: what others have told the monitor becomes no
/// rule of its own. Source of the words: hba.c.
pub fn is_host(word: &str) -> bool {
    !word.is_empty()
        && !["all", "samehost", "samenet"].contains(&word)
        && !word.starts_with('.')
        && word.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c))
}

/// A list that a fleet does not make long.
pub(crate) fn some_of(all: impl ExactSizeIterator<Item = impl std::fmt::Display>) -> String {
    const MOST: usize = 4;
    let count = all.len();
    let mut shown: Vec<String> = all.take(MOST).map(|one| one.to_string()).collect();
    if count > MOST {
        shown.push(format!("{} more", count - MOST));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formation::Formation;
    use crate::resource::host::Resolved;

    const INVENTORY: &str = "\
all:
  vars: {pgdata: /d}
  children:
    monitor: {hosts: {mon: {ansible_host: 10.0.0.1, hostname: mon}}}
    postgres:
      hosts:
        a: {ansible_host: 10.0.0.2, hostname: a}
        b: {ansible_host: 10.0.0.3, hostname: b, secondary: true}
        c: {secondary: true}
";

    fn formation() -> Formation {
        crate::inventory::parse("t.yml", INVENTORY, "".as_ref()).unwrap()
    }

    /// A host: its addresses, its networks, and what it sees (`!`: the address has another name).
    fn host(addresses: &[&str], networks: &[&str], names: &[(&str, &str)]) -> HostFacts {
        let resolved = |(name, at): &(&str, &str)| {
            let (address, reverse) = (at.trim_start_matches('!').parse().ok(), !at.starts_with('!'));
            ((*name).to_owned(), Resolved { address, reverse })
        };
        HostFacts {
            memory: 0,
            cpus: 1,
            systemd: true,
            home: String::new(),
            networks: networks.iter().map(|net| net.parse().unwrap()).collect(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            names: names.iter().map(resolved).collect(),
            listening: BTreeSet::new(),
            lacks_locale: false,
            boot: None,
        }
    }

    fn names(formation: &Formation, hosts: &[(&str, HostFacts)]) -> Names {
        let server = |name: &str| formation.servers().find(|server| server.name.0 == name).unwrap();
        Names::new(hosts.iter().map(|(name, host)| (server(name), host)))
    }

    fn fields(names: &Names, hostname: &str, readers: &[&str]) -> Vec<String> {
        let readers: Vec<NodeName> = readers.iter().map(|name| NodeName::from(*name)).collect();
        names.fields(hostname, &readers.iter().collect())
    }

    fn lan(names: &Names, hostname: &str) -> Option<String> {
        names.lan(hostname).map(ToString::to_string)
    }

    const NET: &[&str] = &["10.0.0.0/24"];

    #[test]
    fn one_host_that_sees_another_elsewhere_decides_nothing() {
        let formation = formation();
        let honest = || ("mon", host(&["10.0.0.1"], NET, &[("a", "10.0.0.2"), ("b", "10.0.0.3")]));
        let itself = || ("b", host(&["10.0.0.3"], NET, &[("a", "10.0.0.2"), ("b", "127.0.1.1")]));
        for lie in ["!10.66.66.66", "10.66.66.66", "!10.0.0.2", "::ffff:6"] {
            let liar = ("a", host(&["10.0.0.2"], NET, &[("a", "127.0.1.1"), ("b", lie)]));
            let names = names(&formation, &[honest(), itself(), liar]);
            assert_eq!(fields(&names, "b", &["a", "b"]), ["b"], "{lie}");
            assert_eq!(fields(&names, "b", &["mon"]), ["b"], "{lie}");
            assert_eq!(lan(&names, "b").as_deref(), Some(NET[0]), "{lie}");
            let notes = names.notes();
            assert_eq!(notes.len(), 1, "{lie}: {notes:?}");
            assert_eq!(notes[0].0.0, "a", "{lie}");
        }
    }

    #[test]
    fn who_is_alone_in_looking_is_not_believed_of_a_host_that_says_otherwise() {
        let formation = formation();
        let b = || ("b", host(&["10.0.0.3"], NET, &[("b", "127.0.1.1")]));
        let liar = || ("a", host(&["10.0.0.2"], NET, &[("b", "!10.66.66.66")]));
        // The inventory has an address that the host has, too.
        assert_eq!(fields(&names(&formation, &[b(), liar()]), "b", &["a", "b"]), ["10.0.0.3/32"]);
        // Where it has none, the name is all that is known.
        let c = || ("c", host(&["10.0.0.4"], NET, &[]));
        let liar = || ("a", host(&["10.0.0.2"], NET, &[("c", "!10.66.66.66")]));
        assert_eq!(fields(&names(&formation, &[c(), liar()]), "c", &["a", "c"]), ["c"]);
        assert!(names(&formation, &[c(), liar()]).addresses("c").is_empty());
    }

    #[test]
    fn of_a_host_that_is_away_all_who_look_have_to_agree() {
        let formation = formation();
        let one = |at| ("a", host(&["10.0.0.2"], NET, &[("c", at)]));
        let other = |at| ("b", host(&["10.0.0.3"], NET, &[("c", at)]));
        let agree = names(&formation, &[one("!10.0.0.4"), other("!10.0.0.4")]);
        assert_eq!(fields(&agree, "c", &["a", "b"]), ["10.0.0.4/32"]);
        assert!(agree.notes().is_empty());
        let differ = names(&formation, &[one("!10.0.0.4"), other("!10.66.66.66")]);
        assert_eq!(fields(&differ, "c", &["a", "b"]), ["c"]);
        let who: Vec<String> = differ.notes().into_iter().map(|(who, _)| who.0).collect();
        assert_eq!(who, ["a", "b"]);
    }

    /// Nodes that see one another by translated addresses, all alike.
    /// PostgreSQL reads `0x1f` as 0.0.0.31.
    #[test]
    fn a_name_of_digits_stands_in_no_rule() {
        let text = INVENTORY.replace("hostname: a}", "hostname: '0x1f'}");
        let formation = crate::inventory::parse("t.yml", &text, "".as_ref()).unwrap();
        let seen = host(&[], &[], &[("0x1f", "10.0.0.2"), ("b", "10.0.0.3")]);
        let names = Names::new(formation.servers().map(|server| (server, &seen)));
        let fields = |name: &str| names.fields(name, &BTreeSet::new());
        assert_eq!((fields("0x1f"), fields("b")), (vec!["10.0.0.2/32".to_owned()], vec!["b".to_owned()]));
    }

    #[test]
    fn a_translated_address_is_believed_where_all_see_it() {
        let formation = formation();
        let viewer = |name, own| (name, host(&[own], NET, &[("c", "!203.0.113.4")]));
        let c = || ("c", host(&["10.0.0.4"], NET, &[]));
        let both = names(&formation, &[viewer("a", "10.0.0.2"), viewer("b", "10.0.0.3"), c()]);
        assert_eq!(fields(&both, "c", &["a", "b", "c"]), ["203.0.113.4/32"]);
        assert_eq!(lan(&both, "c"), None);
    }

    /// A host in two networks is seen at either of its addresses: each file has what its own readers see.
    #[test]
    fn each_sees_the_address_on_its_own_side() {
        let formation = formation();
        let a = host(&["10.0.0.2", "10.99.0.2"], &["10.0.0.0/24", "10.99.0.0/24"], &[("a", "127.0.1.1")]);
        let b = host(&["10.0.0.3"], NET, &[("a", "!10.0.0.2")]);
        let c = host(&["10.99.0.4"], &["10.99.0.0/24"], &[("a", "!10.99.0.2")]);
        let both = names(&formation, &[("a", a.clone()), ("b", b.clone()), ("c", c)]);
        assert_eq!(fields(&both, "a", &["b"]), ["10.0.0.2/32"]);
        assert_eq!(fields(&both, "a", &["c"]), ["10.99.0.2/32"]);
        assert!(both.notes().is_empty());
        assert_eq!(lan(&both, "a"), None, "which of its networks is meant is not theirs to say");
        assert_eq!(lan(&names(&formation, &[("a", a), ("b", b)]), "a").as_deref(), Some(NET[0]));
    }

    /// As on Debian, whose hosts say 127.0.1.1 of themselves; with --limit nobody else may be asked.
    #[test]
    fn a_host_that_is_asked_alone_knows_its_network_if_there_is_one() {
        let formation = formation();
        let alone = |networks: &[&str]| {
            lan(&names(&formation, &[("c", host(&["10.0.0.4"], networks, &[("c", "127.0.1.1")]))]), "c")
        };
        assert_eq!(alone(NET).as_deref(), Some(NET[0]));
        assert_eq!(alone(&["10.88.0.0/24", "10.99.0.0/24"]), None);
        assert_eq!(lan(&names(&formation, &[]), "c"), None);
    }

    #[test]
    fn what_is_no_host_is_no_word_of_a_rule() {
        assert!(is_host("pg1.db.example") && is_host("10.0.0.1") && is_host("fe80::1") && is_host("a_b-c"));
        for word in
            ["", "all", "samenet", ".example", "a b", "a\nhost all all all trust", "a\"", "#", "a,b", "+a/"]
        {
            assert!(!is_host(word), "{word:?}");
        }
    }
}
