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
            Tls::SelfSigned { mode } | Tls::Files { mode, .. } => *mode,
        }
    }
}
