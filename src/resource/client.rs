//! What libpq takes in on a host beside the connection that it is given: files in the home directory. Its variables never
//! reach it: every script of muster begins without them, and so does a unit of systemd.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::formation::{Server, SslMode, Tls};
use crate::probe::Answers;
use crate::resource::data::Pgdata;
use crate::resource::pair::{self, Pair};

/// What was found for the server's user. `~/.psqlrc` is none of it: muster's psql reads none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientFacts {
    /// Names in `~/.postgresql`.
    pub files: BTreeSet<String>,
    /// The certificate that is shown to servers; `None` where nobody can say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<Pair>,
}

pub const PROBE: &str = r#"
c=
for f in root.crt root.crl postgresql.crt postgresql.key; do if [ -e "$HOME/.postgresql/$f" ]; then c="$c$f "; fi; done
say client.files "$c"
"#;

pub fn parse(answers: &Answers) -> Result<ClientFacts, String> {
    let files = answers.need("client.files")?;
    let files = files.split_whitespace().map(str::to_owned).collect();
    Ok(ClientFacts { files, pair: pair::parse(answers) })
}

/// Why connections from this host would fail once there is something to connect to; `None` if nothing is known against it.
///
/// With `root.crt` libpq verifies whatever `sslmode` says (`initialize_SSL`), and nobody has signed what servers sign themselves.
pub fn refusal(server: &Server, home: &str, facts: &ClientFacts, found: &Pgdata) -> Option<String> {
    let is_new = match found {
        Pgdata::Empty => true,
        Pgdata::Foreign(_) | Pgdata::Present(_) => false,
    };
    let signs_itself = match &server.tls {
        Tls::SelfSigned { .. } => true,
        // With `sslrootcert` that file is not read.
        Tls::Off | Tls::Managed { .. } | Tls::Files { .. } => false,
    };
    (is_new && signs_itself && facts.files.contains("root.crt")).then(|| {
        format!(
            "{home}/.postgresql/root.crt makes libpq verify every server, and self-signed certificates do not pass: move \
             that file away, or give the servers certificates of that authority (ssl_ca_file, server_cert, server_key)"
        )
    })
}

/// What an operator should know before connections fail.
pub fn notes(server: &Server, home: &str, facts: &ClientFacts) -> Vec<String> {
    let has = |name: &str| facts.files.contains(name);
    let (mode, has_ca) = match &server.tls {
        Tls::Off => (None, false),
        Tls::SelfSigned { mode } => (Some(*mode), false),
        Tls::Managed { mode, .. } => (Some(*mode), true),
        Tls::Files { ca, mode, .. } => (Some(*mode), ca.is_some()),
    };
    let mut notes = Vec::new();
    if let Some(mode) = mode {
        if has("root.crt") && mode < SslMode::VerifyCa {
            notes.push(format!(
                "{home}/.postgresql/root.crt makes libpq verify every server, though sslmode is {}: certificates that it \
                 does not vouch for fail",
                mode.as_str()
            ));
        }
        if has("root.crl") && has("root.crt") {
            notes.push(format!(
                "{home}/.postgresql/root.crl is read by libpq: certificates that it revokes fail"
            ));
        }
        if has("postgresql.crt") != has("postgresql.key") {
            notes.push(format!(
                "{home}/.postgresql has only one of postgresql.crt and postgresql.key: libpq connects to no server with TLS"
            ));
        } else if has("postgresql.crt") && has_ca && !facts.pair.as_ref().is_some_and(Pair::is_linked) {
            notes.push(format!(
                "{home}/.postgresql/postgresql.crt is shown to every server: those that do not know its authority refuse \
                 the connection"
            ));
        }
    }
    notes
}
