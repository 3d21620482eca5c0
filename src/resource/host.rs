//! The host: what the operating system offers before PostgreSQL is there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;

use crate::probe::Answers;

/// What was seen of the host itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostFacts {
    /// Bytes of memory, as sysinfo(2) counts them: keepers compute their tuning from it.
    pub memory: u64,
    pub cpus: u32,
    /// Whether systemd is the init process.
    pub systemd: bool,
    /// Home of the operating system user that owns PGDATA.
    pub home: String,
    /// Directly connected networks.
    pub networks: BTreeSet<IpNet>,
    /// The addresses of its interfaces; none at all where the kernel does not tell.
    pub addresses: BTreeSet<IpAddr>,
    /// Names of the formation as this host resolves them.
    pub names: BTreeMap<String, Resolved>,
    /// TCP ports something listens on.
    pub listening: BTreeSet<u16>,
    /// Whether the locale for a new data directory is not there.
    pub lacks_locale: bool,
    /// `None` where the kernel does not tell.
    pub boot: Option<Boot>,
}

/// Since when a host is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// The kernel's word for this boot: another one after the next.
    pub id: String,
    /// Seconds.
    pub up: u64,
}

/// A name's first address, and whether that address resolves back to the very name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resolved {
    pub address: Option<IpAddr>,
    pub reverse: bool,
}

/// `$names` is the list of names to resolve, `$locale` that of a new data directory. /proc is read where a tool might not be installed.
pub const PROBE: &str = r#"
say memory_kb "$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
say cpus "$(getconf _NPROCESSORS_ONLN 2>/dev/null || grep -c '^processor' /proc/cpuinfo)"
if [ -d /run/systemd/system ]; then say systemd 1; else say systemd 0; fi
say home "$HOME"
file routes /proc/net/route
{
  sed -n -e '/|-- /{s/.*|-- //;h;}' -e '/\/32 host LOCAL/{x;p;x;}' /proc/net/fib_trie
  sed -n 's/^\([0-9a-f]\{32\}\) .*/\1/p' /proc/net/if_inet6
} 2>/dev/null | sort -u | tr '\n' ' ' | { read -r l || :; say addresses "${l:-}"; }
listening() {
  { cat /proc/net/tcp; cat /proc/net/tcp6 2>/dev/null; } |
    sed -n 's/^ *[0-9]*: [0-9A-F]*:\([0-9A-F]*\) [0-9A-F:]* 0A .*/\1/p' | sort -u | tr '\n' ' '
}
ports=$(listening)
say listening "$ports"
# Where there is no such program nobody can say.
if command -v locale >/dev/null && LC_ALL=$locale locale charmap 2>&1 | grep -q 'Cannot set'; then say locale 0; else say locale 1; fi
# The first process is as old as the boot; /proc/uptime is the machine's, of which a container is but a part.
boot= u= s=
{ read -r boot </proc/sys/kernel/random/boot_id && read -r u s </proc/uptime; } 2>/dev/null || boot=
u=${u%%.*}
if [ -n "$boot" ] && { read -r s </proc/1/stat; } 2>/dev/null; then
  set -- ${s##*")"}
  u=$((u - ${20:-0} / $(getconf CLK_TCK 2>/dev/null || echo 100)))
fi
if [ -n "$boot" ]; then say boot "$boot $u"; else none boot; fi
for n in $names; do
  a=$(getent ahosts "$n" 2>/dev/null) || a=
  a=${a%%[!0-9a-fA-F.:]*}
  r=
  if [ -n "$a" ]; then r=$(getent hosts "$a" 2>/dev/null) || r=; fi
  # "ADDRESS   NAME ALIAS…": the first name is what PostgreSQL compares.
  set -- $r
  if [ "${2:-}" = "$n" ]; then say "name.$n" "$a back"; else say "name.$n" "$a"; fi
done
"#;

pub fn parse(answers: &Answers, names: &BTreeSet<String>) -> Result<HostFacts, String> {
    let listening = answers.need("listening")?;
    let resolve = |name: &String| -> Result<(String, Resolved), String> {
        let answer = answers.need(&format!("name.{name}"))?;
        let (address, reverse) = match answer.strip_suffix(" back") {
            Some(address) => (address, true),
            None => (answer.as_str(), false),
        };
        Ok((name.clone(), Resolved { address: address.parse().ok(), reverse }))
    };
    let port = |hex| u16::from_str_radix(hex, 16).map_err(|_| format!("listening: no port: {hex:.40}"));
    let own = answers.need("addresses")?;
    let memory = answers.number::<u64>("memory_kb")?.checked_mul(1024);
    Ok(HostFacts {
        memory: memory.ok_or("memory_kb is more than there can be")?,
        cpus: answers.number("cpus")?,
        systemd: answers.flag("systemd")?,
        home: answers.need("home")?,
        networks: networks(&answers.need("routes")?),
        addresses: own.split_whitespace().map(address).collect::<Result<_, _>>()?,
        names: names.iter().map(resolve).collect::<Result<_, _>>()?,
        listening: listening.split_whitespace().map(port).collect::<Result<_, _>>()?,
        lacks_locale: answers.text("locale").is_ok_and(|is_there| is_there.as_deref() == Some("0")),
        boot: answers.text("boot").ok().flatten().as_deref().and_then(boot),
    })
}

fn boot(answer: &str) -> Option<Boot> {
    let (id, up) = answer.split_once(' ')?;
    let is_one = id.len() == 36 && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    Some(Boot { id: id.to_owned(), up: up.parse().ok()? }).filter(|_| is_one)
}

/// Routes without a gateway, except the default route and host routes.
fn networks(routes: &str) -> BTreeSet<IpNet> {
    let address = |hex: &str| u32::from_str_radix(hex, 16).ok().map(|raw| Ipv4Addr::from(raw.swap_bytes()));
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, gateway, mask] = [1, 2, 7].map(|at| fields.get(at).and_then(|hex| address(hex)));
        let net = Ipv4Net::with_netmask(destination?, mask?).ok()?;
        let local = gateway?.is_unspecified() && (1..32).contains(&net.prefix_len());
        local.then_some(IpNet::V4(net))
    };
    routes.lines().skip(1).filter_map(route).collect()
}

/// As the kernel writes them: `10.88.0.12`, or 32 digits.
fn address(word: &str) -> Result<IpAddr, String> {
    let digits = |word: &str| {
        let is_whole = word.len() == 32;
        is_whole.then(|| u128::from_str_radix(word, 16).ok().map(|raw| IpAddr::V6(raw.into())))?
    };
    let read = word.parse().ok().or_else(|| digits(word));
    read.ok_or_else(|| format!("addresses: no address: {word:.40}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n\
        eth0\t00000000\t0100580A\t0003\t0\t0\t0\t00000000\t0\n\
        eth0\t0000580A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n";

    #[test]
    fn an_address_is_read_as_the_kernel_writes_it() {
        assert_eq!(address("10.88.0.12"), Ok("10.88.0.12".parse().unwrap()));
        assert_eq!(
            address("fe800000000000002819f6fffeaafbc5"),
            Ok("fe80::2819:f6ff:feaa:fbc5".parse().unwrap())
        );
        assert!(address("fe80").is_err() && address("+e800000000000002819f6fffeaafbc5x").is_err());
    }

    #[test]
    fn a_boot_is_told_from_the_next() {
        let id = "9ef52ef2-b88f-4330-834b-a2ad11060109";
        assert_eq!(boot(&format!("{id} 46")), Some(Boot { id: id.to_owned(), up: 46 }));
        for answer in ["", id, "x 46", &format!("{id} ?"), &format!("{id} -1")] {
            assert_eq!(boot(answer), None, "{answer}");
        }
    }

    #[test]
    fn the_connected_network_is_the_local_one() {
        let found = networks(ROUTES);
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.88.0.0/24"]);
    }
}
