//! Why a host key is refused, and what the operator can do: both fingerprints, the line that speaks, the commands.

use russh::keys::{Algorithm, PublicKey};

use super::describe;
use super::known_hosts::Entry;
use super::pin::Pin;
use crate::command::Failure;
use crate::ssh::settings::{Checking, Jump, Proxy, Settings};

const VERIFY: &str =
    "compare it with what `ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub` prints on the host itself";

pub(super) fn unknown(settings: &Settings, key: &PublicKey) -> Failure {
    let reason = format!("the host key of {} is not known: it shows {}", settings.key_name(), describe(key));
    let record = record(settings, key);
    let hint = match settings.host_keys.checking {
        Checking::Strict | Checking::AcceptNew => format!("{VERIFY}; if it is the same, record it: {record}"),
        Checking::Off => format!(
            "muster trusts no answer for being the first, whatever StrictHostKeyChecking says; {VERIFY}, and record it: \
             {record}; or set StrictHostKeyChecking accept-new"
        ),
    };
    Failure::Unreachable { reason, hint }
}

/// Not known, and known too well to be taken for new.
pub(super) fn not_new(settings: &Settings, key: &PublicKey, place: &str, says: &str) -> Failure {
    Failure::Unreachable {
        reason: format!(
            "the host key of {} is not known: it shows {}; it is not new either: {place} {says}",
            settings.key_name(),
            describe(key)
        ),
        hint: format!("{VERIFY}; if it is the same, record it: {}", record(settings, key)),
    }
}

pub(super) fn other_type(settings: &Settings, key: &PublicKey, entry: &Entry) -> Failure {
    Failure::Unreachable {
        reason: format!(
            "the host key of {} is not known: it shows {}, {} records {}",
            settings.key_name(),
            describe(key),
            entry.place,
            describe(&entry.key)
        ),
        hint: format!("{VERIFY}; if it is the same, record it: {}", record(settings, key)),
    }
}

pub(super) fn changed(settings: &Settings, key: &PublicKey, entry: &Entry) -> Failure {
    let name = settings.key_name();
    let file = entry.place.rsplit_once(':').map_or(entry.place.as_str(), |(file, _)| file);
    Failure::Unreachable {
        reason: format!(
            "the host key of {name} has changed: it shows {}, {} records {}",
            describe(key),
            entry.place,
            describe(&entry.key)
        ),
        hint: format!(
            "another machine may be answering; if the host was reinstalled, {VERIFY}, then remove the old line: \
             ssh-keygen -R '{name}' -f {file} and record the new one: {}",
            record(settings, key)
        ),
    }
}

/// `what` is revoked: the host's key or its authority's.
pub(super) fn revoked(settings: &Settings, what: &str, key: &PublicKey, place: &str) -> Failure {
    Failure::Unreachable {
        reason: format!("{what} of {} is revoked: {}, by {place}", settings.key_name(), describe(key)),
        hint: "whoever holds this key may pose as the host; give the host a new key before it is used"
            .to_owned(),
    }
}

pub(super) fn not_pinned(settings: &Settings, key: &PublicKey, pins: &[Pin]) -> Failure {
    let pinned: Vec<String> = pins.iter().map(Pin::describe).collect();
    let (by_fingerprint, by_key): (Vec<&Pin>, Vec<&Pin>) =
        pins.iter().partition(|pin| matches!(pin, Pin::Fingerprint(_)));
    // A fingerprint does not say its type, so the host may have been asked for another of its keys.
    let types = match by_key.is_empty() && !by_fingerprint.is_empty() {
        true => "; if the host has keys of several types, pin the whole key, so that it is asked for",
        false => "",
    };
    Failure::Unreachable {
        reason: format!(
            "the host key of {} is not the one pinned in the inventory: it shows {}, pinned is {}",
            settings.key_name(),
            describe(key),
            pinned.join(" or ")
        ),
        hint: format!(
            "another machine may be answering; if the host was reinstalled, {VERIFY}, and then set host_key to what \
             the host has{types}"
        ),
    }
}

/// The key inside a certificate, which `HostKeyAlgorithms` does not allow by itself.
pub(super) fn not_allowed(settings: &Settings, key: &PublicKey) -> Failure {
    Failure::Unreachable {
        reason: format!(
            "HostKeyAlgorithms does not allow the plain key of {}, {}",
            settings.key_name(),
            describe(key)
        ),
        hint: "allow its type there".to_owned(),
    }
}

/// An RSA key shorter than `RequiredRSASize`.
pub(super) fn too_short(settings: &Settings, key: &PublicKey, bits: u32, least: u32) -> Failure {
    Failure::Unreachable {
        reason: format!(
            "the host key of {} has {bits} bits, RequiredRSASize wants {least}: {}",
            settings.key_name(),
            describe(key)
        ),
        hint: "give the host an ed25519 key, or a longer one".to_owned(),
    }
}

/// A certificate that does not vouch for the host, whose key is not trusted either.
pub(super) fn uncertified(settings: &Settings, why: &str, plain: Failure) -> Failure {
    let Failure::Unreachable { reason, hint } = plain else { return plain };
    Failure::Unreachable {
        reason: format!("the certificate of {} does not hold: {why}; and {reason}", settings.key_name()),
        hint: format!(
            "have its authority sign a new one: ssh-keygen -h -s AUTHORITY -I ID -n {} -V +52w KEY.pub; or {hint}",
            certified_name(settings)
        ),
    }
}

/// The name a certificate has to be for.
pub(super) fn certified_name(settings: &Settings) -> String {
    settings.host_key_alias.as_ref().unwrap_or(&settings.hostname).to_lowercase()
}

/// The command that records what the host shows, run where the host can be reached.
fn record(settings: &Settings, key: &PublicKey) -> String {
    let kind = match key.algorithm() {
        Algorithm::Ecdsa { .. } => "ecdsa",
        Algorithm::Rsa { .. } => "rsa",
        _ => "ed25519",
    };
    let scan = format!("ssh-keyscan -t {kind} -p {} {}", settings.port, settings.hostname);
    let file = settings.host_keys.user_files.first();
    let file = file.map_or("~/.ssh/known_hosts".to_owned(), |path| path.display().to_string());
    // ssh-keyscan knows the address only.
    let rename = match &settings.host_key_alias {
        Some(alias) => format!(" | sed 's/^[^ ]*/{}/'", alias.to_lowercase()),
        None => String::new(),
    };
    match &settings.proxy {
        Proxy::Direct => format!("{scan}{rename} >> {file}"),
        Proxy::Jump(hops) => match hops.split_last() {
            Some((last, before)) => format!("{}{scan}{rename} >> {file}", login(last, before)),
            None => format!("{scan}{rename} >> {file}"),
        },
        Proxy::Command(_) => {
            format!("{scan}{rename}, run where the host can be reached, its output added to {file} here")
        }
    }
}

/// `ssh [-J …] [-p PORT] [USER@]HOST `, to the last hop before the host.
fn login(last: &Jump, before: &[Jump]) -> String {
    let at = |jump: &Jump| match &jump.user {
        Some(user) => format!("{user}@{}", jump.host),
        None => jump.host.clone(),
    };
    let hop = |jump: &Jump| match jump.port {
        Some(port) => format!("{}:{port}", at(jump)),
        None => at(jump),
    };
    let through = match before {
        [] => String::new(),
        hops => format!("-J {} ", hops.iter().map(hop).collect::<Vec<_>>().join(",")),
    };
    let port = last.port.map(|port| format!("-p {port} ")).unwrap_or_default();
    format!("ssh {through}{port}{} ", at(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formation::Host;
    use crate::ssh::Credentials;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn settings(proxy: Proxy) -> Settings {
        let host = Host { known_hosts: Some("/known".into()), ..Host::named("10.0.0.1") };
        let settings = Settings::of(&host, &Credentials::new("ana", None, None)).unwrap();
        Settings { proxy, ..settings }
    }

    #[test]
    fn keys_are_scanned_where_the_host_can_be_reached() {
        let hop = |user: Option<&str>, host: &str, port| Jump {
            user: user.map(str::to_owned),
            host: host.into(),
            port,
        };
        let scan = "ssh-keyscan -t ed25519 -p 22 10.0.0.1";
        for (proxy, alias, command) in [
            (Proxy::Direct, None, format!("{scan} >> /known")),
            (Proxy::Direct, Some("DB1"), format!("{scan} | sed 's/^[^ ]*/db1/' >> /known")),
            (Proxy::Jump(vec![hop(None, "bastion", None)]), None, format!("ssh bastion {scan} >> /known")),
            (
                Proxy::Jump(vec![
                    hop(Some("a"), "one", Some(1)),
                    hop(None, "b", None),
                    hop(Some("c"), "two", Some(2)),
                ]),
                None,
                format!("ssh -J a@one:1,b -p 2 c@two {scan} >> /known"),
            ),
            (
                Proxy::Command("nc".into()),
                None,
                format!("{scan}, run where the host can be reached, its output added to /known here"),
            ),
        ] {
            let settings = Settings { host_key_alias: alias.map(str::to_owned), ..settings(proxy) };
            let Failure::Unreachable { hint, .. } = unknown(&settings, &KEY.parse().unwrap()) else {
                panic!()
            };
            assert!(hint.ends_with(&format!("record it: {command}")), "{hint}");
        }
    }
}
