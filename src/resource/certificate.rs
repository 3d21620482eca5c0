//! An X.509 certificate, as far as servers and their clients care.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use serde::Serialize;
use x509_parser::prelude::{
    CertificateRevocationList, FromDer, GeneralName, ParsedExtension, X509Certificate,
};

/// What matters of an X.509 certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// In UTC, as the end.
    pub not_before: Date,
    pub not_after: Date,
    /// Host names and addresses (SAN).
    pub names: Vec<String>,
    pub subject: String,
    pub issuer: String,
    /// `EC 256`, `RSA 2048`: the algorithm of its key, and the bits where they are known.
    pub key: String,
    /// Its serial number in hexadecimal digits, as openssl says it.
    pub serial: String,
    /// The identifier of the key that signed it, and that of its own key, in hexadecimal digits, where it says them.
    #[serde(skip)]
    pub signed_with: Option<String>,
    #[serde(skip)]
    pub own_key: Option<String>,
}

impl Certificate {
    /// Whether nobody else vouches for it.
    pub fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }

    /// Whether it names a host: `*.db.example` is any name with one word more. An address has to be there itself.
    pub fn is_for(&self, host: &str) -> bool {
        let host = usual(host).to_ascii_lowercase();
        self.names.iter().map(|name| name.to_ascii_lowercase()).any(|name| {
            let rest = || host.split_once('.').map(|(_, rest)| rest);
            name == host || name.strip_prefix("*.").is_some_and(|domain| rest() == Some(domain))
        })
    }
}

/// An address in one spelling.
pub(super) fn usual(name: &str) -> String {
    name.parse().map_or(name.to_owned(), |ip: std::net::IpAddr| ip.to_string())
}

/// The first certificate of a text.
pub fn read(pem: &str) -> Result<Certificate, String> {
    let broken = |why: String| format!("the certificate cannot be read: {why}");
    let (_, block) =
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|why| broken(why.to_string()))?;
    let (_, certificate) =
        X509Certificate::from_der(&block.contents).map_err(|why| broken(why.to_string()))?;
    let day = |second: i64| {
        let moment = Timestamp::from_second(second).map_err(|why| broken(why.to_string()))?;
        Ok::<Date, String>(moment.to_zoned(jiff::tz::TimeZone::UTC).date())
    };
    let mut names = Vec::new();
    if let Ok(Some(extension)) = certificate.subject_alternative_name() {
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => names.extend(ip(bytes)),
                _ => {} // other kinds of names are no host names
            }
        }
    }
    // What has no such names is known by its common name. Source: fe-secure-openssl.c.
    if names.is_empty() {
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names.extend(common.map(str::to_owned));
    }
    Ok(Certificate {
        not_before: day(certificate.validity().not_before.timestamp())?,
        not_after: day(certificate.validity().not_after.timestamp())?,
        names,
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        key: key(certificate.public_key()),
        serial: hex(&certificate.serial.to_bytes_be()),
        signed_with: identifier(&certificate, |extension| match extension {
            ParsedExtension::AuthorityKeyIdentifier(found) => found.key_identifier.as_ref().map(|id| id.0),
            _ => None,
        }),
        own_key: identifier(&certificate, |extension| match extension {
            ParsedExtension::SubjectKeyIdentifier(found) => Some(found.0),
            _ => None,
        }),
    })
}

/// The first certificate of a text; what signed it is what the others of the text lead to.
///
/// # Errors
/// As [`read`].
pub fn read_chain(text: &str) -> Result<Certificate, String> {
    let mut first = read(text)?;
    let others: Vec<Certificate> = blocks(text).iter().skip(1).filter_map(|pem| read(pem).ok()).collect();
    for _ in 0..others.len() {
        let issuer =
            others.iter().find(|other| other.own_key.is_some() && other.own_key == first.signed_with);
        match issuer.and_then(|issuer| issuer.signed_with.clone()) {
            Some(next) => first.signed_with = Some(next),
            None => break,
        }
    }
    Ok(first)
}

fn identifier<'a>(
    certificate: &'a X509Certificate<'a>,
    of: impl Fn(&'a ParsedExtension<'a>) -> Option<&'a [u8]>,
) -> Option<String> {
    let bytes = certificate.extensions().iter().find_map(|extension| of(extension.parsed_extension()))?;
    Some(hex(bytes).to_lowercase())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Every certificate of a text, each as PEM by itself.
pub fn blocks(text: &str) -> Vec<String> {
    all_of(text, "CERTIFICATE")
}

/// Every list of revoked certificates of a text, each as PEM by itself.
pub fn lists(text: &str) -> Vec<String> {
    all_of(text, "X509 CRL")
}

fn all_of(text: &str, what: &str) -> Vec<String> {
    let (begins, ends) = (format!("-----BEGIN {what}-----"), format!("-----END {what}-----"));
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines().map(str::trim) {
        if line == begins {
            block = Some(String::new());
        }
        if let Some(begun) = &mut block {
            begun.push_str(line);
            begun.push('\n');
        }
        if line == ends {
            blocks.extend(block.take());
        }
    }
    blocks
}

/// A list of revoked certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The identifier of the key that signed it, as [`Certificate::own_key`].
    pub signed_with: Option<String>,
    pub number: u64,
    /// Serial numbers as [`Certificate::serial`], and the days on which they were revoked, in UTC.
    pub serials: BTreeMap<String, Date>,
}

/// The first list of a text; `None` where it is none.
pub fn revoked(pem: &str) -> Option<Revoked> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let (_, list) = CertificateRevocationList::from_der(&block.contents).ok()?;
    let by = list.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(found) => found.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    });
    let day =
        |second: i64| Some(Timestamp::from_second(second).ok()?.to_zoned(jiff::tz::TimeZone::UTC).date());
    let entries = list.iter_revoked_certificates();
    let entry = |found: &x509_parser::revocation_list::RevokedCertificate| {
        Some((hex(&found.user_certificate.to_bytes_be()), day(found.revocation_date.timestamp())?))
    };
    Some(Revoked {
        signed_with: by.map(|bytes| hex(bytes).to_lowercase()),
        number: list.crl_number().and_then(|number| u64::try_from(number).ok()).unwrap_or_default(),
        serials: entries.map(entry).collect::<Option<_>>()?,
    })
}

/// The serial numbers on these lists.
pub fn revoked_by(lists: &[String]) -> BTreeSet<String> {
    let found = lists.iter().filter_map(|list| revoked(list));
    found.flat_map(|found| found.serials.into_keys()).collect()
}

/// The certificate of an authority.
///
/// # Errors
/// In words, where it is none, or cannot be known again in what it signs.
pub fn authority(pem: &str) -> Result<Certificate, String> {
    let found = read(pem)?;
    let is_authority = with(pem, |certificate| {
        certificate.basic_constraints().ok().flatten().is_some_and(|found| found.value.ca)
    });
    if is_authority != Some(true) {
        return Err("it is not the certificate of an authority (basic constraints: CA)".to_owned());
    }
    if found.own_key.is_none() {
        return Err("it has no subject key identifier, by which what it signs is known".to_owned());
    }
    Ok(found)
}

/// What a server's certificate is to say: its names and addresses, the one that stands in its subject, and its first and last
/// day in UTC. Servers are clients of one another, too.
///
/// # Errors
/// Names that no certificate can hold.
pub fn of_server(
    names: &[String],
    common_name: &str,
    days: (Date, Date),
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    is_for(&mut params, common_name, days);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// The subject of a certificate, and its first and last day in UTC.
pub fn is_for(params: &mut CertificateParams, common_name: &str, (first, last): (Date, Date)) {
    let day = |date: Date| rcgen::date_time_ymd(i32::from(date.year()), date.month() as u8, date.day() as u8);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = day(first);
    params.not_after = day(last);
}

/// The bits of a certificate's public key.
pub fn public_key(pem: &str) -> Option<Vec<u8>> {
    with(pem, |certificate| certificate.public_key().subject_public_key.data.to_vec())
}

fn with<T>(pem: &str, of: impl Fn(&X509Certificate) -> T) -> Option<T> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
    Some(of(&certificate))
}

fn key(public: &x509_parser::x509::SubjectPublicKeyInfo) -> String {
    use x509_parser::public_key::PublicKey;
    match public.parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(key)) => format!("EC {}", key.key_size()),
        Ok(_) if public.algorithm.algorithm.to_id_string() == ED25519 => "Ed25519".to_owned(),
        Ok(_) | Err(_) => public.algorithm.algorithm.to_id_string(),
    }
}

/// Source: RFC 8410.
const ED25519: &str = "1.3.101.112";

/// libpq finds no digest for its channel binding with such a signature.
pub(super) fn is_ed25519(pem: &str) -> bool {
    with(pem, |found| found.signature_algorithm.algorithm.to_id_string() == ED25519) == Some(true)
}

fn ip(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|b| std::net::IpAddr::from(b).to_string());
    let v6 = <[u8; 16]>::try_from(bytes).map(|b| std::net::IpAddr::from(b).to_string());
    v4.or(v6).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_says_who_it_is_for() {
        let (pem, _) = crate::resource::tls::make(
            &["*.db.example", "pg1.example", "fd00::1"].map(str::to_owned),
            jiff::civil::date(2026, 11, 22),
        );
        let found = read(&pem).unwrap();
        assert_eq!((found.not_before.to_string(), found.key.as_str()), ("2026-11-21".to_owned(), "EC 256"));
        assert!(found.is_self_signed() && found.subject == "CN=*.db.example");
        for (name, is) in [
            ("PG1.example", true),
            ("a.db.example", true),
            ("a.b.db.example", false),
            ("db.example", false),
            ("fd00:0::1", true),
            ("10.0.0.1", false),
        ] {
            assert_eq!(found.is_for(name), is, "{name}");
        }
    }
}
