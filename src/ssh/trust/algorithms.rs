//! Which host key a host is asked for, of those it has.

use std::borrow::Cow;

use russh::Preferred;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};

use super::Evidence;
use crate::command::Failure;
use crate::ssh::settings::Settings;

/// What muster verifies, in OpenSSH's order of preference. There is no `ssh-rsa`: it signs with SHA-1.
const ALL: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// Puts in what `HostKeyAlgorithms` allows: certificates where an authority is known for the host, then pinned or
/// recorded types, so that a host with several keys shows one that can be checked, then the others.
pub(super) fn prefer(
    evidence: &Evidence,
    settings: &Settings,
    preferred: Preferred,
) -> Result<Preferred, Failure> {
    let wanted = settings.algorithms.host_keys.as_deref();
    let certified = evidence.pins.is_empty() && evidence.known.authorities().next().is_some();
    let certificates = match certified {
        true => allowed(wanted, Algorithm::to_certificate_type),
        false => Vec::new(),
    };
    let key = ordered(allowed(wanted, Algorithm::to_string), &evidence.types());
    if key.is_empty() && certificates.is_empty() {
        return Err(none_left(settings, wanted.unwrap_or_default()));
    }
    Ok(Preferred { key: Cow::Owned(key), host_key_certificates: Cow::Owned(certificates), ..preferred })
}

/// `recorded` first; otherwise as it was.
///
/// OpenSSH leaves a list of the operator's own as it is, and then refuses the unrecorded key that it is shown.
fn ordered(plain: Vec<Algorithm>, recorded: &[Algorithm]) -> Vec<Algorithm> {
    let is_recorded = |kind: &Algorithm| recorded.iter().any(|of| is_same_key(of, kind));
    let (mut all, last): (Vec<Algorithm>, Vec<Algorithm>) = plain.into_iter().partition(is_recorded);
    all.extend(last);
    all
}

/// Whether `HostKeyAlgorithms` allows a plain key of this type.
pub(super) fn allows(settings: &Settings, kind: &Algorithm) -> bool {
    let allowed = allowed(settings.algorithms.host_keys.as_deref(), Algorithm::to_string);
    allowed.iter().any(|of| is_same_key(of, kind))
}

/// An RSA key signs with any of its hashes.
fn is_same_key(one: &Algorithm, other: &Algorithm) -> bool {
    matches!((one, other), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. })) || one == other
}

fn allowed(wanted: Option<&[String]>, name: fn(&Algorithm) -> String) -> Vec<Algorithm> {
    match wanted {
        None => ALL.to_vec(),
        Some(wanted) => {
            let find = |text: &String| ALL.iter().find(|kind| name(kind) == *text).cloned();
            wanted.iter().filter_map(find).collect()
        }
    }
}

fn none_left(settings: &Settings, wanted: &[String]) -> Failure {
    let name = settings.key_name();
    match wanted.iter().any(|text| ALL.iter().any(|kind| kind.to_certificate_type() == *text)) {
        true => Failure::Unreachable {
            reason: format!("only certificates are allowed as host keys of {name}, and no authority is known"),
            hint: "record the authority's key as `@cert-authority NAME TYPE KEY` in known_hosts, or allow plain keys in \
                   HostKeyAlgorithms"
                .to_owned(),
        },
        false => Failure::Unreachable {
            reason: format!(
                "of the host key algorithms allowed for {name}, {}, muster verifies none",
                wanted.join(", ")
            ),
            hint: "ssh-rsa is a signature by SHA-1: an RSA key can do rsa-sha2-512 as well; add it, or ssh-ed25519, to \
                   HostKeyAlgorithms"
                .to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_types_come_first_and_sha1_never() {
        let rsa = Algorithm::Rsa { hash: None };
        for (wanted, recorded, first, many) in [
            (None, vec![], "ssh-ed25519", 6),
            (None, vec![rsa.clone()], "rsa-sha2-512", 6),
            (
                None,
                vec![Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 }, rsa.clone()],
                "ecdsa-sha2-nistp384",
                6,
            ),
            (Some("ssh-rsa,rsa-sha2-256,ssh-ed25519"), vec![], "rsa-sha2-256", 2),
            (Some("ssh-rsa,rsa-sha2-256,ssh-ed25519"), vec![Algorithm::Ed25519], "ssh-ed25519", 2),
            (Some("ssh-ed25519-cert-v01@openssh.com,ssh-ed25519"), vec![rsa], "ssh-ed25519", 1),
        ] {
            let wanted: Option<Vec<String>> = wanted.map(|list| list.split(',').map(str::to_owned).collect());
            let names: Vec<String> = ordered(allowed(wanted.as_deref(), Algorithm::to_string), &recorded)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!((names[0].as_str(), names.len()), (first, many), "{wanted:?} {recorded:?}");
        }
    }
}
