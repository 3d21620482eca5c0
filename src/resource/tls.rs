//! TLS of one server: a self-signed key pair of its own, or the user's files.

use jiff::ToSpan;
use jiff::civil::Date;
use rcgen::KeyPair;
use serde::Serialize;

use crate::formation::{Secret, Server, Tls};
use crate::probe::{Answer, Answers};
use crate::resource::certificate::{self, Certificate, blocks, is_ed25519, read, read_chain, usual};
use crate::resource::data::node_dir;
use crate::resource::managed::Renew;
use crate::step::{Content, File, Risk, Step};

/// Days a self-signed certificate is valid. pg_autoctl's are for 365 and never renewed; a rerun renews these.
const VALID_DAYS: i64 = 730;
/// A rerun within this many days of the end makes a new pair.
pub const RENEW_DAYS: i32 = 30;

/// The certificate and key files that the server is to use, as they were found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsFacts {
    pub certificate: Option<Certificate>,
    /// Whether the file of muster's own certificate is there, whatever it holds.
    pub file: bool,
    /// Whether the key file is there. Its contents never leave the host.
    pub key: bool,
    /// Paths named in the inventory that the server's user cannot read.
    pub unreadable: Vec<String>,
    /// The certificate of the user's files that the server uses; `None` where it cannot be read.
    pub served: Option<Certificate>,
    /// That of the user's file which the inventory names; `None` where there is none, or it cannot be read.
    pub given: Option<Certificate>,
    /// The certificates that `ssl: managed` has the host trust, as PEM, one text each; `None` where there is no such file.
    #[serde(skip)]
    pub authority: Option<Vec<String>>,
    /// The lists of revoked certificates beside them; `None` where there is no such file.
    #[serde(skip)]
    pub revoked: Option<Vec<String>>,
    /// Those that the server's own configuration has it trust, where that is another file.
    #[serde(skip)]
    pub trusted: Vec<String>,
    /// Those of the file that the inventory names to verify others with; `None` where there is none, or it cannot be read.
    #[serde(skip)]
    pub given_authority: Option<Vec<String>>,
    /// Why PostgreSQL cannot use the files as they are: the user's, else muster's own.
    pub unusable: Vec<String>,
    /// Whether nobody in the user's file of authorities vouches for the user's certificate, though others are to verify it.
    #[serde(skip)]
    pub unvouched: bool,
    /// Whether that certificate is an Ed25519 one.
    pub ed25519: bool,
    /// What a client is shown in a handshake.
    pub shown: Shown,
}

impl TlsFacts {
    /// Whether a host with `ssl: managed` has nothing to verify others with.
    pub fn trusts_nobody(&self) -> bool {
        self.authority.as_ref().is_none_or(Vec::is_empty)
    }
}

/// What a running server shows to who connects with TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// It does not run, or there is no program on its host to look with.
    #[default]
    Unknown,
    /// It answers, and has no TLS.
    Nothing,
    /// Its certificate, and whether that is the one in the file; `None` where the file cannot be read.
    Certificate { certificate: Certificate, of_file: Option<bool> },
}

/// Says the first certificate of the file `$2` as `$1`, or all of them. The file may hold the key as well, which never leaves the host.
pub const CERTIFICATE: &str = r#"
certificates() {
  if [ -f "$2" ] && [ -r "$2" ]; then
    printf '%s:' "$1"
    sed -n '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p' "$2" | head -c 1048576 | base64 -w0
    echo
  else none "$1"; fi
}
# What the server's own configuration says of a file.
set_to() { sed -n "s/^$1 = '\(.*\)'\$/\1/p" "$pgdata/postgresql-auto-failover.conf" 2>/dev/null | tail -n 1; }
certificate() {
  if [ -f "$2" ] && [ -r "$2" ]; then
    printf '%s:' "$1"
    sed -n '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p; /^-----END CERTIFICATE-----/q' "$2" | head -c 65536 | base64 -w0
    echo
  else none "$1"; fi
}
"#;

/// After [`CERTIFICATE`]; `$pgdata`, the user's files in `$tlsfiles`, one path a line, and in `$tlsca` that of them which others are verified with.
pub const PROBE: &str = r#"
file tls.cert "$pgdata.node/server.crt"
file tls.authority "$pgdata.node/ca.crt"
file tls.revoked "$pgdata.node/ca.crl"
if [ -f "$pgdata.node/server.key" ]; then say tls.key 1
elif sees "$pgdata.node/server.key"; then say tls.key 0
else blind tls.key "cannot look into $d"; fi
printf '%s\n' "$tlsfiles" | while IFS= read -r f; do
  if [ -n "$f" ] && ! [ -r "$f" ]; then printf '%s\n' "$f"; fi
done | { printf 'tls.unreadable:'; base64 -w0; echo; }
c=$(set_to ssl_ca_file)
if [ "$c" = "$pgdata.node/ca.crt" ]; then c=; fi
certificates tls.trusted "$c"
certificates tls.given_authority "$tlsca"
certificate tls.given "$(printf '%s\n' "$tlsfiles" | head -n 1)"
# What PostgreSQL demands of a key (check_ssl_key_file_permissions in be-secure-common.c); the key never leaves the host.
{
  # What is to be done about muster's own is not the user's.
  how() { if [ -n "$tlsfiles" ]; then printf ': %s' "$1"; fi; }
  if [ -n "$tlsfiles" ]; then c=$(printf '%s\n' "$tlsfiles" | sed -n 1p) f=$(printf '%s\n' "$tlsfiles" | sed -n 2p)
  else
    c=$pgdata.node/server.crt f=$pgdata.node/server.key
    if [ -e "$f" ] && ! [ -r "$f" ]; then echo "$(id -un) cannot read $f"; fi
  fi
  if [ -n "$f" ] && [ -r "$f" ]; then
    o=$(stat -L -c %U "$f"); m=$(stat -L -c %04a "$f")
    case $o:$m in
    root:0[0-7][04]0) ;;
    root:*) echo "$f has mode $m$(how "chmod 640 it, as it is root's")" ;;
    "$(id -un)":0[0-7]00) ;;
    "$(id -un)":*) echo "$f has mode $m$(how "chmod 600 it")" ;;
    *) echo "$f belongs to $o$(how "it must be $(id -un)'s, or root's")" ;;
    esac
    # A server that runs has what it read; it does not start again with half a file.
    if ! grep -q 'PRIVATE KEY-----' "$f"; then echo "$f holds no private key"; fi
    if [ -r "$c" ] && ! grep -q 'CERTIFICATE-----' "$c"; then echo "$c holds no certificate"
    elif [ -r "$c" ] && command -v openssl >/dev/null; then
      of_key=$(openssl pkey -in "$f" -passin pass: -pubout 2>/dev/null </dev/null) || of_key=
      if ! of_cert=$(openssl x509 -in "$c" -noout -pubkey 2>/dev/null); then echo "the certificate in $c cannot be read"; fi
      if [ -n "$of_key" ] && [ -n "$of_cert" ] && [ "$of_key" != "$of_cert" ]; then echo "$f is not the key of $c"; fi
    fi
  fi
} | { printf 'tls.unusable:'; base64 -w0; echo; }
# Its end is looked at elsewhere.
c=$(printf '%s\n' "$tlsfiles" | sed -n 1p)
if [ -n "$tlsca" ] && [ -r "$tlsca" ] && command -v openssl >/dev/null && openssl x509 -in "$c" -noout 2>/dev/null \
  && ! openssl verify -no_check_time -no-CApath -CAfile "$tlsca" -untrusted "$c" "$c" >/dev/null 2>&1; then
  say tls.unvouched 1
else none tls.unvouched; fi
"#;

/// Defines `shown`, which prints the certificate that a server shows at `$1`, or `none`, and fails where nobody can say.
pub const SHOWN: &str = r#"
shown() {
  command -v openssl >/dev/null || return 1
  s=$(timeout 5 openssl s_client -starttls postgres -connect "$1" </dev/null 2>&1) || :
  case $s in
  *'-----BEGIN CERTIFICATE-----'*) printf '%s\n' "$s" | sed -n '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p' ;;
  # The one byte is the server's no.
  *CONNECTED*'handshake has read 1 bytes'*) echo none ;;
  *) return 1 ;;
  esac
}
"#;

/// After [`SHOWN`]; `$tlsat` is where to look, empty without TLS.
pub const PROBE_SHOWN: &str = r#"
if [ -n "$tlsat" ] && [ -n "$pid" ] && c=$(shown "$tlsat"); then
  if [ "$c" = none ]; then none tls.shown; else printf 'tls.shown:'; printf '%s\n' "$c" | base64 -w0; echo; fi
else blind tls.shown "nobody can say"; fi
"#;

/// Where a server of this host is met with TLS; empty where it has none.
pub fn at(server: &Server) -> String {
    if server.tls == Tls::Off {
        return String::new();
    }
    let first = server.listen.split(',').next().unwrap_or_default().trim();
    let host = match first {
        "" | "*" | "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        other => other,
    };
    format!("{}:{}", crate::sql::uri_host(host), server.pgport)
}

/// Once `ask` is there, after [`CERTIFICATE`]: the user's certificate, from where the running server has it, else the inventory.
pub const PROBE_SERVED: &str = r#"
if [ -n "$tlsfiles" ]; then
  c=
  if [ -n "$pid" ]; then q='show ssl_cert_file'; ask postgres; if [ "$rc" = 0 ]; then c=$out; fi; fi
  case $c in
  '') c=$(printf '%s\n' "$tlsfiles" | head -n 1) ;;
  /*) ;;
  *) c=$pgdata/$c ;;
  esac
  certificate tls.served "$c"
else
  # On the way from the user's files to muster's own the server has the user's still.
  c=$(set_to ssl_cert_file)
  if [ "$c" = "$pgdata.node/server.crt" ]; then c=; fi
  certificate tls.served "$c"
fi
"#;

pub fn parse(answers: &Answers) -> Result<TlsFacts, String> {
    let own = answers.text("tls.cert")?;
    // What is no certificate is made anew.
    let certificate = own.as_deref().and_then(|pem| read_chain(pem).ok());
    let users = answers.told("tls.served");
    let shown = match answers.get("tls.shown") {
        Answer::Absent => Shown::Nothing,
        Answer::Blind(_) => Shown::Unknown,
        Answer::Text(pem) => match read(&pem) {
            Ok(certificate) => {
                // Whatever differs in how it is written.
                let first = |text: &str| blocks(text).into_iter().next();
                let of_file = users.as_ref().or(own.as_ref()).map(|file| first(file) == first(&pem));
                Shown::Certificate { certificate, of_file }
            }
            Err(_) => Shown::Unknown,
        },
    };
    Ok(TlsFacts {
        certificate,
        file: own.is_some(),
        key: answers.flag("tls.key")?,
        unreadable: answers.need("tls.unreadable")?.lines().map(str::to_owned).collect(),
        // Nothing is decided by it: what is no certificate is not known.
        served: users.as_deref().and_then(|pem| read(pem).ok()),
        given: answers.told("tls.given").and_then(|pem| read(&pem).ok()),
        authority: answers.told("tls.authority").map(|text| blocks(&text)),
        revoked: answers.told("tls.revoked").map(|text| certificate::lists(&text)),
        trusted: answers.told("tls.trusted").map(|text| blocks(&text)).unwrap_or_default(),
        given_authority: answers.told("tls.given_authority").map(|text| blocks(&text)),
        unusable: answers.told_lines("tls.unusable"),
        unvouched: answers.told("tls.unvouched").is_some(),
        ed25519: users.as_deref().is_some_and(is_ed25519),
        shown,
    })
}

/// The paths `ssl_cert_file` and `ssl_key_file` are set to.
pub fn paths(server: &Server) -> Option<(String, String)> {
    match &server.tls {
        Tls::Off => None,
        Tls::SelfSigned { .. } => {
            let dir = node_dir(server);
            Some((format!("{dir}/server.crt"), format!("{dir}/server.key")))
        }
        Tls::Managed { dir, .. } => Some((format!("{dir}/server.crt"), format!("{dir}/server.key"))),
        Tls::Files { cert, key, .. } => Some((cert.clone(), key.clone())),
    }
}

/// A new pair where there is none, or where the one there is ends soon, is for another name, or keeps PostgreSQL from its next start.
///
/// `renew`: a new one though the one there is good.
pub fn steps(server: &Server, facts: &TlsFacts, today: Date, renew: Renew) -> Vec<Step> {
    let Tls::SelfSigned { .. } = server.tls else { return Vec::new() };
    let names = names(server);
    let because = match &facts.certificate {
        None if facts.file => "ssl_self_signed, and what is in its file is no certificate".to_owned(),
        None => "ssl_self_signed, and there is no certificate".to_owned(),
        Some(_) if !facts.key => "the certificate has lost its key".to_owned(),
        Some(found) if found.not_after <= today.saturating_add(RENEW_DAYS.days()) => {
            format!("the certificate ends on {}", found.not_after)
        }
        Some(found) if names.iter().any(|name| !found.names.contains(name)) => {
            format!("the certificate is for {}, not for {}", found.names.join(", "), names.join(", "))
        }
        // Who could read a key may have it: another mode alone would not mend that.
        Some(_) if !facts.unusable.is_empty() => {
            format!("PostgreSQL does not start with the pair as it is: {}", facts.unusable.join("; "))
        }
        Some(_) if renew == Renew::Always => "a new one is asked for".to_owned(),
        Some(_) => return Vec::new(),
    };
    let risk = if facts.file { Risk::Reload } else { Risk::Safe };
    let (certificate, key) = make(&names, today);
    let dir = node_dir(server);
    let put = |name: &str, mode, content, is_there: bool| {
        let before = is_there.then(String::new);
        let file = File::new(format!("{dir}/{name}"), &server.os_user, content).mode(mode).before(before);
        Step::write(&server.name, file, risk, because.clone())
    };
    // The key first: a certificate that is there with its key is what the next run takes for done.
    vec![
        put("server.key", 0o600, Content::PrivateKey(key), facts.key),
        put("server.crt", 0o644, Content::Certificate(certificate), facts.file),
    ]
}

/// Of a server that is there: it runs and starts with a certificate that has ended, and nobody who looks takes it.
pub fn note(server: &Server, facts: &TlsFacts, today: Date) -> Option<String> {
    let Tls::Files { cert, .. } = &server.tls else { return None };
    let ended = facts.served.as_ref().filter(|found| found.not_after < today)?;
    Some(format!(
        "the certificate {cert} ended on {}: whoever verifies it is not connected; put a new one there, and apply \
         has the server read it",
        ended.not_after
    ))
}

/// Every name a client may know the server by; addresses as a certificate has them, in one spelling.
pub(super) fn names(server: &Server) -> Vec<String> {
    let mut names = vec![usual(&server.hostname)];
    for name in [&server.host.address, &server.name.0].into_iter().chain(&server.sans) {
        let name = usual(name);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The name in the subject of the certificate that the formation's authority signs.
pub fn common_name(server: &Server) -> String {
    usual(&server.hostname)
}

pub(super) fn make(names: &[String], today: Date) -> (String, Secret) {
    // ECDSA P-256, rcgen's default: PostgreSQL with OpenSSL 3.0 refuses rcgen's Ed25519 key files.
    let pair = KeyPair::generate().expect("the operating system gives random numbers");
    // A day back: the target's clock may be behind.
    let days = (today.saturating_sub(1.days()), today.saturating_add(VALID_DAYS.days()));
    let params = certificate::of_server(names, &names[0], days)
        .expect("host names are ASCII, the inventory sees to it");
    let certificate = params.self_signed(&pair).expect("the parameters are complete");
    (certificate.pem(), Secret::new(pair.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_read_where_the_server_has_it_and_no_key_is() {
        let today = jiff::civil::date(2026, 11, 22);
        let [(one, key), (other, _)] = ["one", "other"].map(|name| make(&[format!("{name}.example")], today));
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let whole = format!("{}Bag Attributes\n{one}{other}{}", key.reveal(), key.reveal());
        std::fs::write(at("whole.pem"), whole).unwrap();
        std::fs::write(at("other.crt"), &other).unwrap();
        std::fs::write(at("broken.crt"), "-----BEGIN CERTIFICATE-----\nx\n").unwrap();
        let read = |server: &str, file: &str| {
            let ask = "ask() { out=$says rc=${says:+0}; rc=${rc:-2}; }\n";
            let script = format!("{}{CERTIFICATE}{ask}{PROBE_SERVED}say end ''\n", crate::probe::FUNCTIONS);
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &script]).env("says", server).env("pgdata", dir.path());
            shell.env("pid", if server.is_empty() { "" } else { "1" }).env("tlsfiles", file);
            let said = String::from_utf8(shell.output().unwrap().stdout).unwrap();
            let answers = Answers::parse(&said).unwrap();
            let text = answers.text("tls.served").unwrap().unwrap_or_default();
            assert!(!text.contains("KEY"), "{text}");
            let all = format!("{said}tls.cert~\ntls.key=0\ntls.unreadable:\n");
            let names = parse(&Answers::parse(&all).unwrap()).unwrap().served.map(|found| found.names);
            names.unwrap_or_default().join(" ")
        };
        let files = format!("{}\n/a/key", at("other.crt"));
        assert_eq!(read("", &files), "other.example");
        assert_eq!(read("whole.pem", &files), "one.example", "relative to the data directory");
        assert_eq!(read(&at("whole.pem"), &files), "one.example");
        for unknown in ["broken.crt", "lost.crt", "psql: error: it has just stopped"] {
            assert_eq!(read(unknown, &files), "", "{unknown}");
        }
        assert_eq!(read("whole.pem", ""), "", "where muster makes its own nobody asks");
    }

    /// What the probe says of a certificate and a key, by the user who runs the test.
    fn unusable(certificate: &str, key: &str, mode: u32) -> Vec<String> {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("c.crt"), certificate).unwrap();
        std::fs::write(at("c.key"), key).unwrap();
        std::fs::set_permissions(at("c.key"), std::fs::Permissions::from_mode(mode)).unwrap();
        let script = format!("{}{PROBE}say end ''\n", crate::probe::FUNCTIONS);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &script]).env("pgdata", at("pgdata"));
        shell.env("tlsfiles", format!("{}\n{}", at("c.crt"), at("c.key")));
        let said = String::from_utf8(shell.output().unwrap().stdout).unwrap();
        let folder = format!("{}/", dir.path().display());
        let found = parse(&Answers::parse(&said).unwrap()).unwrap().unusable;
        found.iter().map(|line| line.replace(&folder, "")).collect()
    }

    #[test]
    fn a_key_that_postgresql_would_not_take_is_told() {
        let today = jiff::civil::date(2026, 11, 22);
        let [(one, key), (_, other)] = ["one", "other"].map(|name| make(&[format!("{name}.example")], today));
        let none: [&str; 0] = [];
        assert_eq!(unusable(&one, key.reveal(), 0o600), none);
        assert_eq!(unusable(&one, key.reveal(), 0o400), none);
        let [said] = unusable(&one, key.reveal(), 0o644).try_into().unwrap();
        assert!(said.starts_with("c.key has mode 0644: chmod 6"), "{said}");
        assert_eq!(unusable(&one, "", 0o600), ["c.key holds no private key"]);
        assert_eq!(unusable("", key.reveal(), 0o600), ["c.crt holds no certificate"]);
        let is_there = std::process::Command::new("openssl").arg("version").output().is_ok();
        let wanted: &[&str] = if is_there { &["c.key is not the key of c.crt"] } else { &[] };
        assert_eq!(unusable(&one, other.reveal(), 0o600), wanted);
        let wanted: &[&str] = if is_there { &["the certificate in c.crt cannot be read"] } else { &[] };
        assert_eq!(unusable(&one[..one.len() / 2], key.reveal(), 0o600), wanted);
    }

    #[test]
    fn what_is_shown_is_compared_with_the_file() {
        use base64::Engine as _;
        let today = jiff::civil::date(2026, 11, 22);
        let [(one, _), (other, _)] = ["one", "other"].map(|name| make(&[format!("{name}.example")], today));
        let shown = |answer: &str| {
            let text = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
            let (one, other) = (text(&one), text(&other.replace('\n', "\r\n")));
            let answer = answer.replace("ONE", &one).replace("OTHER", &other);
            let all = format!("tls.cert:{one}\ntls.key=1\ntls.unreadable:\n{answer}\nend=\n");
            parse(&Answers::parse(&all).unwrap()).unwrap().shown
        };
        let is = |shown: Shown| match shown {
            Shown::Certificate { of_file, .. } => of_file,
            Shown::Nothing | Shown::Unknown => None,
        };
        assert_eq!(is(shown("tls.shown:ONE")), Some(true));
        assert_eq!(is(shown("tls.shown:OTHER")), Some(false));
        assert_eq!(is(shown("tls.shown:OTHER\ntls.served:OTHER")), Some(true), "the user's file goes first");
        assert_eq!(shown("tls.shown~"), Shown::Nothing);
        assert_eq!(shown("tls.shown!nobody can say"), Shown::Unknown);
        assert_eq!(shown(""), Shown::Unknown);
    }

    #[test]
    fn ed25519_is_known_by_its_signature() {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let params = rcgen::CertificateParams::new(vec!["one.example".to_owned()]).unwrap();
        assert!(is_ed25519(&params.self_signed(&pair).unwrap().pem()));
        assert!(!is_ed25519(&make(&["one.example".to_owned()], jiff::civil::date(2026, 11, 22)).0));
    }

    #[test]
    fn what_is_made_reads_back() {
        let today = jiff::civil::date(2026, 11, 22);
        let (pem, key) = make(&["db1.example".to_owned(), "192.0.2.7".to_owned()], today);
        let found = read(&pem).unwrap();
        assert_eq!(found.names, ["db1.example", "192.0.2.7"]);
        assert_eq!(found.not_after, jiff::civil::date(2028, 11, 21));
        assert!(key.reveal().starts_with("-----BEGIN PRIVATE KEY-----"));
    }
}
