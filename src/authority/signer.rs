//! What signs: the key on this machine, or a program of the operator's.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateSigningRequestParams, Issuer, KeyPair};
use zeroize::Zeroizing;

use super::command::Asking;
use super::{CERTIFICATES, KEY, Means, anew, keep, open, parsed, revocation, unwritable};
use crate::error::Problem;
use crate::formation::{Authority, NodeName, Secret, SigningKey};
use crate::issue::{Issue, Issued};
use crate::private;
use crate::resource::certificate;

/// What signs on this machine in a run.
pub enum Signer {
    /// Nothing that is planned needs a signature.
    Nobody,
    Key(Box<Held>),
    /// A program, which asks an authority elsewhere.
    Command(Asking),
}

/// A key that is open, and how it is to be kept.
pub struct Held {
    issuer: Issuer<'static, KeyPair>,
    /// The folder in which is written down what it has signed; nowhere where that is of no use.
    dir: Option<PathBuf>,
    /// An authority that was made for this run, and what is to be the file of its key.
    new: Option<(Authority, Zeroizing<String>)>,
    anew: Vec<Anew>,
}

/// A file that is not as the inventory asks.
pub(super) struct Anew {
    pub(super) path: PathBuf,
    /// What it held when it was read.
    pub(super) found: Zeroizing<Vec<u8>>,
    pub(super) file: Zeroizing<String>,
}

impl Signer {
    /// The authority's key, opened: this may ask the operator, and writes nothing.
    ///
    /// # Errors
    /// A key that cannot be read or opened, that others may read, or that is another certificate's.
    pub fn of(authority: &Authority, means: Means) -> Result<Signer, Problem> {
        let dir = Path::new(&authority.dir);
        let certificate = authority.certificates.first().map_or("", String::as_str);
        let (pair, new, anew) = match &authority.key {
            SigningKey::Made { key } => {
                let path = dir.join(KEY);
                let file = means.seal(&path, key)?;
                (parsed(&path, key)?, Some((authority.clone(), file)), anew(dir, None, means)?)
            }
            SigningKey::Here => {
                let opened = open(dir, certificate, means)?;
                let anew = anew(dir, Some(&opened), means)?;
                (opened.pair, None, anew)
            }
            SigningKey::Elsewhere => {
                let asking =
                    means.ca.command.as_ref().map(|command| Asking::new(command, &authority.certificates));
                return Ok(asking.map_or(Signer::Nobody, Signer::Command));
            }
            SigningKey::Missing | SigningKey::Unusable(_) => return Ok(Signer::Nobody),
        };
        let issuer = Issuer::from_ca_cert_pem(certificate, pair).map_err(|error| {
            let path = dir.join(CERTIFICATES);
            Problem::new(format!("{}: it cannot sign: {error}", path.display()))
        })?;
        Ok(Signer::Key(Box::new(Held { issuer, dir: Some(dir.to_owned()), new, anew })))
    }

    /// Writes the key as the inventory asks; one that was made for this run is kept before anybody trusts it.
    ///
    /// # Errors
    /// A folder that cannot be written, or another run that made an authority there in the meantime.
    pub fn keep(&self) -> Result<(), Problem> {
        let Signer::Key(held) = self else { return Ok(()) };
        for Anew { path, found, file } in &held.anew {
            // Another run may have been faster.
            if fs::read(path).map(Zeroizing::new).is_ok_and(|now| now == *found) {
                private::write(path, file.as_bytes()).map_err(|error| unwritable(path, &error))?;
            }
        }
        held.new.as_ref().map_or(Ok(()), |(authority, file)| keep(authority, file))
    }

    /// A certificate as PEM, and its key.
    ///
    /// # Errors
    /// What cannot be read as such.
    pub fn with(certificate: &str, key: KeyPair) -> Result<Signer, rcgen::Error> {
        let issuer = Issuer::from_ca_cert_pem(certificate, key)?;
        Ok(Signer::Key(Box::new(Held { issuer, dir: None, new: None, anew: Vec::new() })))
    }

    /// Signs what a node's host asks for, or has it signed.
    ///
    /// # Errors
    /// As [`Signer::sign`], and what a program says or has signed wrongly.
    pub async fn signed(&self, node: &NodeName, issue: &Issue, request: &str) -> Result<Issued, String> {
        match self {
            Signer::Command(asking) => asking.sign(node, issue, request).await,
            Signer::Nobody | Signer::Key(_) => self.sign(issue, request),
        }
    }

    /// Signs what a host asks for, for the names that were planned: what the request itself says of names counts for nothing.
    ///
    /// `request`: a certificate signing request as PEM, or `none` where the host cannot make a key; then it is made here.
    ///
    /// # Errors
    /// In words, where the request is none, or is not signed by its own key.
    pub fn sign(&self, issue: &Issue, request: &str) -> Result<Issued, String> {
        let Signer::Key(held) = self else {
            return Err("the key of the formation's certificate authority is not on this machine".to_owned());
        };
        let days = (issue.not_before, issue.not_after);
        let mut params = certificate::of_server(&issue.names, issue.common_name(), days)
            .map_err(|error| format!("a certificate cannot hold its names: {error}"))?;
        params.use_authority_key_identifier_extension = true;
        let failed = |error: rcgen::Error| format!("the certificate cannot be signed: {error}");
        // What was signed can be revoked, also where its host is lost.
        let written_down = |pem: &str| match &held.dir {
            Some(dir) => certificate::read(pem).and_then(|signed| {
                let cannot =
                    |error| format!("what is signed cannot be written down in {}: {error}", dir.display());
                revocation::record(dir, &signed).map_err(cannot)
            }),
            None => Ok(()),
        };
        if request.trim() == "none" {
            let pair = KeyPair::generate().map_err(failed)?;
            let certificate = params.signed_by(&pair, &held.issuer).map_err(failed)?.pem();
            written_down(&certificate)?;
            return Ok(Issued { certificate, key: Some(Secret::new(pair.serialize_pem())) });
        }
        let asked = CertificateSigningRequestParams::from_pem(request)
            .map_err(|error| format!("what the host asks to be signed cannot be read: {error}"))?;
        let certificate = params.signed_by(&asked.public_key, &held.issuer).map_err(failed)?.pem();
        written_down(&certificate)?;
        Ok(Issued { certificate, key: None })
    }
}
