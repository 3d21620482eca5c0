//! What an authority elsewhere has signed: looked at before a host gets it.

use jiff::civil::Date;
use x509_parser::error::X509Error;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::resource::certificate::{self, Certificate, blocks, is_ed25519};

/// Most certificates between that of a server and that of the authority: nobody has more than two.
const MOST_BETWEEN: usize = 8;

/// What was asked for.
pub struct Asked<'a> {
    /// The bits of the public key in the request.
    pub key: &'a [u8],
    /// Host names and addresses, all of them.
    pub names: &'a [String],
    pub today: Date,
    /// Where it ended sooner, every run would ask for another one.
    pub least_end: Date,
}

/// Certificates as PEM: the server's own, then those between it and the first of the trusted ones.
///
/// `answer`: PEM, the server's own certificate first. `trusted`: the first one is the authority.
///
/// # Errors
/// In words, why a server is not to have it.
pub fn checked(answer: &str, asked: &Asked, trusted: &[String]) -> Result<String, String> {
    let mut found = blocks(answer).into_iter();
    let own = found
        .next()
        .ok_or("there is no certificate in what it printed: it is to be PEM, the server's own first")?;
    let read = certificate::read(&own)?;
    if certificate::public_key(&own).as_deref() != Some(asked.key) {
        return Err("the first certificate is not for the key of the request".to_owned());
    }
    let missing: Vec<&str> =
        asked.names.iter().filter(|name| !read.names.contains(name)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(format!(
            "the certificate is for {}, and not for {}",
            if read.names.is_empty() { "nobody".to_owned() } else { read.names.join(", ") },
            missing.join(", ")
        ));
    }
    if read.not_after < asked.today {
        return Err(format!("the certificate ended on {}", read.not_after));
    }
    if read.not_after <= asked.least_end {
        return Err(format!(
            "the certificate ends on {}, so soon that every run would ask for another one: have the authority sign for longer, until after {}",
            read.not_after, asked.least_end
        ));
    }
    if is_ed25519(&own) {
        return Err(
            "the certificate has an Ed25519 signature, with which clients cannot log in by scram".to_owned()
        );
    }
    let between: Vec<String> = found.collect();
    chain(own, read, &between, trusted)
}

/// From a certificate to the first of the trusted ones.
fn chain(own: String, read: Certificate, between: &[String], trusted: &[String]) -> Result<String, String> {
    let (mut pem, mut read, mut placed) = (own.clone(), read, own);
    for _ in 0..=MOST_BETWEEN {
        if read.is_self_signed() {
            return Err(format!("it leads to {}, which is not in ca.crt", read.subject));
        }
        if read.signed_with.is_none() {
            return Err(format!(
                "the certificate of {} does not say which key has signed it (authority key identifier), by which muster knows it again",
                read.subject
            ));
        }
        let is_signed_by = |issuer: &&String| signed(&pem, &read, issuer);
        if let Some(at) = trusted.iter().position(|issuer| is_signed_by(&issuer)) {
            return match at {
                0 => Ok(placed),
                _ => Err(format!(
                    "{} has signed it, which is not the first one in ca.crt: the first one is the authority, others are trusted beside it",
                    read.issuer
                )),
            };
        }
        let Some(issuer) = between.iter().find(is_signed_by) else { break };
        let next = certificate::authority(issuer)
            .map_err(|why| format!("the certificate of {}: {why}", read.issuer))?;
        placed.push_str(issuer);
        (pem, read) = (issuer.clone(), next);
    }
    Err(format!(
        "{} has signed it, whose certificate is neither in ca.crt nor in what it printed",
        read.issuer
    ))
}

/// Whether the key of one certificate has signed another.
fn signed(pem: &str, read: &Certificate, issuer: &str) -> bool {
    let Ok(found) = certificate::read(issuer) else { return false };
    let is_named = found.own_key == read.signed_with && found.subject == read.issuer;
    is_named && pem != issuer && holds(pem, issuer).unwrap_or_default()
}

/// `None`: what cannot be read. A kind of signature that cannot be checked here the host checks.
fn holds(pem: &str, issuer: &str) -> Option<bool> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let (_, issuer) = x509_parser::pem::parse_x509_pem(issuer.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&pem.contents).ok()?;
    let (_, issuer) = X509Certificate::from_der(&issuer.contents).ok()?;
    Some(match certificate.verify_signature(Some(issuer.public_key())) {
        Ok(()) | Err(X509Error::SignatureUnsupportedAlgorithm) => true,
        Err(_) => false,
    })
}
