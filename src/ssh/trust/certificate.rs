//! Whether a certificate vouches for a host, once its authority is known to be the right one.

use jiff::Timestamp;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg};

/// Why a certificate does not vouch for a host of this name now (seconds since 1970); `None` if it does. `signatures` is
/// `CASignatureAlgorithms`.
///
/// Each rule is that of the strictest OpenSSH: a certificate without names holds for no host (older versions took it for
/// every one), and wildcards in its names are not followed (newer versions do).
pub(super) fn flaw(
    certificate: &Certificate,
    name: &str,
    now: u64,
    signatures: Option<&[String]>,
) -> Option<String> {
    if certificate.cert_type() != CertType::Host {
        return Some("it is a user's, not a host's".to_owned());
    }
    if now < certificate.valid_after() {
        return Some(format!("it is not valid before {}", date(certificate.valid_after())));
    }
    if now >= certificate.valid_before() {
        return Some(format!("it expired at {}", date(certificate.valid_before())));
    }
    let names = certificate.valid_principals();
    if !names.iter().any(|listed| listed == name) {
        return Some(match names {
            [] => "it names no host".to_owned(),
            names => format!("it is for {}, not for {name}", names.join(", ")),
        });
    }
    // Nothing is defined for hosts, so nothing can be honoured.
    let options: Vec<&str> = certificate.critical_options().keys().map(String::as_str).collect();
    if !options.is_empty() {
        return Some(format!("it asks for what is not known: {}", options.join(", ")));
    }
    let signed = certificate.signature().algorithm();
    if matches!(signed, Algorithm::Rsa { hash: None } | Algorithm::Dsa | Algorithm::Other(_)) {
        return Some(format!("its authority signed it with {}, which is too weak", signed.as_str()));
    }
    if signatures.is_some_and(|allowed| !allowed.iter().any(|name| *name == signed.as_str())) {
        return Some(format!("CASignatureAlgorithms leaves out {}, which signed it", signed.as_str()));
    }
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    certificate.validate_at(now, [&authority]).err().map(|_| "its signature is wrong".to_owned())
}

fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| format!("second {seconds}"), |time| time.to_string())
}
