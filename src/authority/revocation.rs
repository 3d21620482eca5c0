//! What the authority has signed, and which of it counts no more: `issued`, one line a certificate, and `ca.crl`, the lists (CRL) that every host has
//! beside `ca.crt`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use jiff::ToSpan as _;
use jiff::civil::Date;
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevocationReason, RevokedCertParams,
    SerialNumber,
};

use super::{Means, open, unreadable, unwritable};
use crate::error::Problem;
use crate::formation::{Authority, SigningKey};
use crate::private;
use crate::resource::certificate::{self, Certificate, Revoked};

const LISTS: &str = "ca.crl";
/// Each line is the serial number, the last day and the names of a certificate.
const ISSUED: &str = "issued";

/// The lists of these authorities, in their order; none where one of them has no list: who looks at lists refuses what has none.
pub(super) fn of(certificates: &[String], lists: &[String]) -> Vec<String> {
    let of_one = |pem: &String| {
        let key = certificate::authority(pem).ok()?.own_key;
        let is_its =
            |list: &&String| certificate::revoked(list).is_some_and(|found| found.signed_with == key);
        // The newest, where there are several.
        lists.iter().filter(is_its).max_by_key(|list| certificate::revoked(list).map(|found| found.number))
    };
    certificates.iter().map(|pem| of_one(pem).cloned()).collect::<Option<_>>().unwrap_or_default()
}

/// The lists of a folder.
pub(super) fn read(dir: &Path, certificates: &[String]) -> Result<Vec<String>, Problem> {
    let path = dir.join(LISTS);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(of(certificates, &certificate::lists(&text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

pub(super) fn put(dir: &Path, lists: &[String]) -> Result<(), Problem> {
    let path = dir.join(LISTS);
    private::write_for_all(&path, lists.concat().as_bytes()).map_err(|error| unwritable(&path, &error))
}

/// A list that is signed with this key; it holds as long as its certificate does.
pub(super) fn list(pem: &str, key: KeyPair, revoked: &Revoked, today: Date) -> Result<String, String> {
    let of = certificate::authority(pem)?;
    let failed = |error: rcgen::Error| format!("the list of revoked certificates cannot be signed: {error}");
    let moment =
        |date: Date| rcgen::date_time_ymd(i32::from(date.year()), date.month() as u8, date.day() as u8);
    let entry = |(serial, day): (&String, &Date)| RevokedCertParams {
        serial_number: SerialNumber::from(bytes(serial)),
        revocation_time: moment(*day),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        // A day back: a host's clock may be behind.
        this_update: moment(today.saturating_sub(1.days())),
        next_update: moment(of.not_after),
        crl_number: SerialNumber::from(revoked.number),
        issuing_distribution_point: None,
        revoked_certs: revoked.serials.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::PreSpecified(bytes(&of.own_key.unwrap_or_default())),
    };
    let issuer = Issuer::from_ca_cert_pem(pem, key).map_err(failed)?;
    params.signed_by(&issuer).and_then(|list| list.pem()).map_err(failed)
}

/// The bytes of hexadecimal digits.
fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The same authority with these certificates on its list, too; nothing is written.
///
/// # Errors
/// Its key is not on this machine, or cannot be opened.
pub fn revoke(
    authority: &Authority,
    serials: &BTreeSet<String>,
    today: Date,
    means: Means,
) -> Result<Authority, Problem> {
    let dir = Path::new(&authority.dir);
    let pem = authority.certificates.first().map_or("", String::as_str);
    let key = match &authority.key {
        SigningKey::Here => open(dir, pem, means)?.pair,
        SigningKey::Elsewhere => {
            let problem = Problem::new(
                "`ca_command` asks an authority elsewhere to sign, and muster keeps no list of what that has revoked",
            );
            return Err(problem.hint("revoke it there; certificates that live for days, as such an authority can sign, end by themselves"));
        }
        SigningKey::Made { .. } | SigningKey::Missing | SigningKey::Unusable(_) => {
            let problem = Problem::new(format!(
                "{} on this machine cannot sign a list of revoked certificates",
                authority.dir
            ));
            return Err(
                problem.hint("`muster cert status` and `muster plan` say what is in the way of a signature")
            );
        }
    };
    if authority.certificates.len() > 1 && authority.revoked.is_empty() {
        let problem = Problem::new(
            "the authority is being replaced, and the one before it has no list of revoked certificates",
        );
        return Err(
            problem.hint("end that first: `muster ca rotate`; what was signed before counts no more then")
        );
    }
    let mut revoked = authority
        .revoked
        .first()
        .and_then(|list| certificate::revoked(list))
        .unwrap_or(Revoked { signed_with: None, number: 0, serials: [].into() });
    for serial in serials {
        revoked.serials.entry(serial.clone()).or_insert(today);
    }
    revoked.number += 1;
    let own = list(pem, key, &revoked, today).map_err(Problem::new)?;
    let others = authority.revoked.iter().skip(1).cloned();
    Ok(Authority { revoked: std::iter::once(own).chain(others).collect(), ..authority.clone() })
}

/// Keeps the lists on this machine before any host has them.
///
/// # Errors
/// A folder that cannot be written, or another run that has revoked something in the meantime.
pub fn keep_lists(authority: &Authority) -> Result<(), Problem> {
    // A new one is kept with its key.
    if let SigningKey::Made { .. } | SigningKey::Elsewhere | SigningKey::Unusable(_) = authority.key {
        return Ok(());
    }
    let dir = Path::new(&authority.dir);
    let (has, wanted) = (read(dir, &authority.certificates)?, &authority.revoked);
    if wanted.is_empty() || has == *wanted {
        return Ok(());
    }
    // Nothing that was revoked is good again.
    if !certificate::revoked_by(&has).is_subset(&certificate::revoked_by(wanted)) {
        let problem = Problem::new(format!(
            "{} was changed in the meantime, by another run",
            dir.join(LISTS).display()
        ));
        return Err(problem.hint("run the same command again: it goes on from that list"));
    }
    put(dir, wanted)
}

/// Writes down what was signed.
pub(super) fn record(dir: &Path, signed: &Certificate) -> std::io::Result<()> {
    let line = format!("{} {} {}\n", signed.serial, signed.not_after, signed.names.join(","));
    let mut file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(dir.join(ISSUED))?;
    file.write_all(line.as_bytes())?;
    file.sync_data()
}

/// The serial numbers of what was signed for a name, and has not ended.
///
/// # Errors
/// A file that cannot be read.
pub fn issued(authority: &Authority, name: &str, today: Date) -> Result<BTreeSet<String>, Problem> {
    let path = Path::new(&authority.dir).join(ISSUED);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(unreadable(&path, &error)),
    };
    let of_name = |line: &str| {
        let mut words = line.split(' ');
        let (serial, end, names) = (words.next()?, words.next()?.parse::<Date>().ok()?, words.next()?);
        (end >= today && names.split(',').any(|known| known == name)).then(|| serial.to_owned())
    };
    Ok(text.lines().filter_map(of_name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::tests::{found, ready};
    use crate::formation::Ca;
    use crate::secrets::Keyring;
    use std::process::Command;

    const TODAY: Date = jiff::civil::date(2026, 11, 28);

    fn revoked(authority: &Authority, serials: &[String]) -> Result<Authority, Problem> {
        let means = Means { ca: &Ca::default(), keyring: &Keyring::empty() };
        revoke(authority, &serials.iter().cloned().collect(), TODAY, means)
    }

    #[test]
    fn openssl_refuses_what_is_on_the_list_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("ca");
        let made = found(&dir);
        let signer = ready(&made).unwrap();
        let sign = |name: &str| {
            let issue = crate::issue::Issue {
                dir: "/n".to_owned(),
                owner: "postgres".to_owned(),
                names: vec![name.to_owned(), "localhost".to_owned()],
                not_before: TODAY.saturating_sub(1.days()),
                not_after: TODAY.saturating_add(300.days()),
            };
            let pem = signer.sign(&issue, "none").unwrap().certificate;
            fs::write(dir.join(name), &pem).unwrap();
            certificate::read(&pem).unwrap().serial
        };
        let (bad, good) = (sign("bad"), sign("good"));
        let known = found(&dir);
        assert_eq!(known.revoked.len(), 1, "a new authority has a list");
        assert_eq!(issued(&known, "bad", TODAY).unwrap(), [bad.clone()].into());
        assert_eq!(issued(&known, "good", TODAY).unwrap(), [good].into());
        assert!(issued(&known, "bad", TODAY.saturating_add(301.days())).unwrap().is_empty());
        let verified = |name: &str| {
            let said = Command::new("openssl")
                .args(["verify", "-crl_check_all", "-attime", "1795900000", "-CAfile", "ca.crt"])
                .args(["-CRLfile", "ca.crl", name])
                .current_dir(&dir)
                .output()
                .expect("openssl is installed");
            let text =
                format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
            (said.status.success(), text)
        };
        assert!(verified("bad").0 && verified("good").0, "{:?}", verified("good"));
        let listed = revoked(&known, std::slice::from_ref(&bad)).unwrap();
        assert_eq!(found(&dir).revoked, known.revoked, "nothing is written yet");
        keep_lists(&listed).unwrap();
        keep_lists(&listed).unwrap();
        let (is_good, said) = verified("bad");
        assert!(!is_good && said.contains("certificate revoked"), "{said}");
        assert!(verified("good").0, "{:?}", verified("good"));
        // It stays so, and an older list does not come back.
        let again = revoked(&found(&dir), &["AB01".to_owned()]).unwrap();
        keep_lists(&again).unwrap();
        let list = certificate::revoked(&found(&dir).revoked[0]).unwrap();
        assert_eq!((list.number, list.serials.len()), (3, 2));
        assert!(list.serials.contains_key(&bad));
        assert!(keep_lists(&listed).unwrap_err().to_string().contains("in the meantime"));
    }

    #[test]
    fn each_authority_has_its_own_list_while_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("ca");
        ready(&found(&dir)).unwrap();
        let first = found(&dir);
        let both =
            crate::authority::successor(&first, &crate::authority::tests::formation(&dir), (&[], &[]), TODAY);
        assert_eq!((both.certificates.len(), both.revoked.len()), (2, 2));
        assert_eq!(both.revoked[1], first.revoked[0]);
        ready(&both).unwrap();
        assert_eq!(found(&dir).revoked, both.revoked);
        crate::authority::forget_others(&found(&dir)).unwrap();
        assert_eq!(found(&dir).revoked, both.revoked[..1]);
        // An authority that was made elsewhere has none: nobody looks for one then.
        fs::remove_file(dir.join(LISTS)).unwrap();
        assert!(found(&dir).revoked.is_empty());
        let made = revoked(&found(&dir), &["0A".to_owned()]).unwrap();
        keep_lists(&made).unwrap();
        assert_eq!(found(&dir).revoked, made.revoked);
    }

    #[test]
    fn the_file_of_certificates_is_no_list() {
        assert!(of(&["x".to_owned()], &["y".to_owned()]).is_empty());
        assert_eq!(bytes("0AFF"), [10, 255]);
    }
}
