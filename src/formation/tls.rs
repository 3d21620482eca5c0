//! How connections to one server are encrypted.

use serde::Serialize;

/// Network encryption of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// `--no-ssl`.
    Off,
    /// `--ssl-self-signed`: muster makes a key pair for this node alone.
    SelfSigned { mode: SslMode },
    /// `ssl: managed`: the formation's own certificate authority signs what the host makes. `dir` is where the pair lies on
    /// the target, `ca` the file of certificates that are trusted there, `crl` that of revoked ones where the authority keeps a list.
    Managed { dir: String, ca: String, crl: Option<String>, mode: SslMode },
    /// `--server-cert`, `--server-key`, `--ssl-ca-file`, `--ssl-crl-file`: paths on the target.
    Files { cert: String, key: String, ca: Option<String>, crl: Option<String>, mode: SslMode },
}

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    const ALL: [SslMode; 6] = [
        SslMode::Disable,
        SslMode::Allow,
        SslMode::Prefer,
        SslMode::Require,
        SslMode::VerifyCa,
        SslMode::VerifyFull,
    ];

    /// By its word; `None` for any other.
    pub fn parse(word: &str) -> Option<SslMode> {
        SslMode::ALL.into_iter().find(|mode| mode.as_str() == word)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Allow => "allow",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }
}

impl Tls {
    /// `sslmode` of the connection strings: `prefer` without TLS, as pg_autoctl writes it.
    pub fn mode(&self) -> SslMode {
        match self {
            Tls::Off => SslMode::Prefer,
            Tls::SelfSigned { mode } | Tls::Managed { mode, .. } | Tls::Files { mode, .. } => *mode,
        }
    }

    /// Signed by the formation's own authority, in this folder of the target.
    pub fn managed(dir: String, mode: SslMode) -> Tls {
        Tls::Managed { ca: format!("{dir}/ca.crt"), dir, crl: None, mode }
    }

    /// The same where certificates are looked for in a list of revoked ones, or not.
    pub fn with_list(&mut self, has_list: bool) {
        if let Tls::Managed { dir, crl, .. } = self {
            *crl = has_list.then(|| format!("{dir}/ca.crl"));
        }
    }

    /// The path of the certificates that others are verified with.
    pub fn ca(&self) -> Option<&str> {
        match self {
            Tls::Off | Tls::SelfSigned { .. } => None,
            Tls::Managed { ca, .. } => Some(ca),
            Tls::Files { ca, .. } => ca.as_deref(),
        }
    }

    /// The path of the list of revoked certificates.
    pub fn crl(&self) -> Option<&str> {
        match self {
            Tls::Off | Tls::SelfSigned { .. } => None,
            Tls::Managed { crl, .. } | Tls::Files { crl, .. } => crl.as_deref(),
        }
    }

    /// What who connects verifies others with, as (libpq's keyword, path): nothing where the mode does not verify.
    pub fn verified_with(&self) -> Vec<(&'static str, &str)> {
        if self.mode() < SslMode::VerifyCa {
            return Vec::new();
        }
        let files = [("sslrootcert", self.ca()), ("sslcrl", self.crl())];
        files.into_iter().filter_map(|(key, path)| Some((key, path?))).collect()
    }
}
