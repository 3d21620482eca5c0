//! A pair whose key is made on its host, and whose certificate an authority elsewhere signs.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::command::{Command, RunAs, Stdin};
use crate::formation::Secret;

/// What a certificate is to say, and where it is to lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// The folder on the host that gets `server.key` and `server.crt`, and has `ca.crt`.
    pub dir: String,
    /// The operating system user that the server runs as.
    pub owner: String,
    /// Host names and addresses; the first one is the common name, too.
    pub names: Vec<String>,
    /// The first and the last day, in UTC.
    pub not_before: Date,
    pub not_after: Date,
}

/// What was signed.
#[derive(Clone, Debug)]
pub struct Issued {
    /// PEM; behind it those between it and the authority.
    pub certificate: String,
    /// Its key, where it was not made on the host.
    pub key: Option<Secret>,
}

/// Longest common name. Source: RFC 5280, ub-common-name.
pub const LONGEST_NAME: usize = 64;

/// `$1` folder, `$2` common name, `$3` names as openssl's configuration has them. Says the request, or `none` where there is
/// no program to make a key with. The key waits beside the one in use.
const REQUEST: &str = r#"mkdir -p -- "$1"
if ! command -v openssl >/dev/null; then echo none; exit 0; fi
k=$1/server.key.next
rm -f -- "$k"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$k" 2>/dev/null || { echo "openssl cannot make a key in $1" >&2; exit 65; }
chmod 600 "$k"
printf '[req]\ndistinguished_name=dn\nreq_extensions=ext\nprompt=no\n[dn]\nCN=%s\n[ext]\nsubjectAltName=%s\n' "$2" "$3" |
openssl req -new -sha256 -key "$k" -config /dev/stdin
"#;

/// `$1` folder, `$2` bytes of the input: the certificate, and its key where that comes with it. Nothing is in use before
/// the two are known to belong together and the host itself takes the signature for a good one.
const PLACE: &str = r#"d=$1 k=$1/server.key.next
c=$(mktemp "$d/.muster.XXXXXX")
trap 'rm -f -- "$c" "$c.all"' EXIT
cat >"$c.all"
[ "$(stat -c %s "$c.all")" = "$2" ] || { echo "the certificate was cut off" >&2; exit 65; }
sed -n '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p' "$c.all" >"$c"
if grep -q 'PRIVATE KEY-----' "$c.all"; then
  rm -f -- "$k"
  sed -n '/^-----BEGIN .*PRIVATE KEY-----/,/^-----END .*PRIVATE KEY-----/p' "$c.all" >"$k"
fi
[ -f "$k" ] || { echo "the key that was made for it is gone from $d" >&2; exit 65; }
if command -v openssl >/dev/null; then
  [ "$(openssl pkey -in "$k" -pubout)" = "$(openssl x509 -in "$c" -noout -pubkey)" ] || { echo "what was signed is not for the key in $d" >&2; exit 65; }
  s=$(openssl verify -CAfile "$d/ca.crt" -untrusted "$c" "$c" 2>&1) || { printf '%s\n' "the certificate does not hold against $d/ca.crt: $s" >&2; exit 65; }
fi
chmod 600 "$k"
chmod 644 "$c"
sync "$k" "$c"
mv -fT -- "$k" "$d/server.key"
mv -fT -- "$c" "$d/server.crt"
sync "$d"
"#;

impl Issue {
    /// The name that stands in the subject.
    pub fn common_name(&self) -> &str {
        let first = self.names.first().map_or("", String::as_str);
        if first.len() > LONGEST_NAME { "muster" } else { first }
    }

    /// Makes the key on the host, and says what is to be signed as a certificate signing request (PKCS #10, PEM); `none` where
    /// the host has no openssl.
    pub fn request(&self) -> Command {
        let kind = |name: &String| if name.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
        let names: Vec<String> = self.names.iter().map(|name| format!("{}:{name}", kind(name))).collect();
        Command::new(RunAs::User(self.owner.clone()), REQUEST).args([
            self.dir.clone(),
            self.common_name().to_owned(),
            names.join(","),
        ])
    }

    /// Puts the certificate, and the key that was made for it, where the server reads them.
    pub fn place(&self, issued: &Issued) -> Command {
        let key = issued.key.as_ref().map_or("", Secret::reveal);
        let text = Secret::new(format!("{}{key}", issued.certificate));
        let length = text.reveal().len().to_string();
        Command::new(RunAs::User(self.owner.clone()), PLACE)
            .args([self.dir.clone(), length])
            .stdin(Stdin::Hidden(text))
    }
}
