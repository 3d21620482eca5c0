//! The certificate that a host shows when it connects, with `auth: cert`: where libpq finds it by itself.
//!
//! Neither the monitor's health check, nor Citus, nor a keeper that copies or rewinds can be told of a file: all of them take
//! `~/.postgresql/postgresql.crt` and `postgresql.key`. Both are links to one file, which holds the server's own certificate and
//! its key, so that both change at one moment. Servers of one operating system user on one host share it.

use serde::Serialize;

use crate::command::{Command, RunAs};
use crate::formation::Server;
use crate::op::Op;
use crate::probe::{Answer, Answers};
use crate::resource::certificate;
use crate::step::{Action, Step};

/// What was found in `~/.postgresql` of the server's user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// `postgresql.crt`.
    pub certificate: Link,
    /// `postgresql.key`.
    pub key: Link,
    pub holds: Holds,
}

/// A file that libpq looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    Absent,
    /// It leads to the file of muster's.
    Ours,
    Others,
}

/// What muster's file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    Nothing,
    /// The certificate and the key of this very server, for its user alone.
    Own,
    /// Another pair; the identifier of the key that has signed it.
    Another {
        signed_with: Option<String>,
    },
}

/// After [`crate::resource::tls::CERTIFICATE`]. What is in a key file never leaves the host.
pub const PROBE: &str = r#"
p=$HOME/.postgresql
for f in crt key; do
  if [ "$(readlink "$p/postgresql.$f" 2>/dev/null)" = muster.pem ]; then say "pair.$f" ours
  elif [ -e "$p/postgresql.$f" ] || [ -L "$p/postgresql.$f" ]; then say "pair.$f" others
  elif sees "$p/postgresql.$f"; then none "pair.$f"
  else blind "pair.$f" "cannot look into $d"; fi
done
if [ -f "$p/muster.pem" ] && [ "$(stat -c %a "$p/muster.pem")" = 600 ] &&
  [ "$(cat "$pgdata.node/server.crt" "$pgdata.node/server.key" 2>/dev/null)" = "$(cat "$p/muster.pem")" ]; then say pair.holds own
elif [ -e "$p/muster.pem" ]; then say pair.holds another
else none pair.holds; fi
certificate pair.cert "$p/muster.pem"
"#;

/// `None` where nobody can say.
pub fn parse(answers: &Answers) -> Option<Pair> {
    let link = |key: &str| match answers.get(key) {
        Answer::Absent => Some(Link::Absent),
        Answer::Text(word) => Some(if word == "ours" { Link::Ours } else { Link::Others }),
        Answer::Blind(_) => None,
    };
    let holds = match answers.get("pair.holds") {
        Answer::Absent => Holds::Nothing,
        Answer::Text(word) if word == "own" => Holds::Own,
        Answer::Text(_) => {
            let found = answers.told("pair.cert").and_then(|pem| certificate::read(&pem).ok());
            Holds::Another { signed_with: found.and_then(|found| found.signed_with) }
        }
        Answer::Blind(_) => return None,
    };
    Some(Pair { certificate: link("pair.crt")?, key: link("pair.key")?, holds })
}

impl Pair {
    /// Whether libpq takes what muster's file holds.
    pub fn is_linked(&self) -> bool {
        (self.certificate, self.key) == (Link::Ours, Link::Ours)
    }

    /// Whether anything there is muster's.
    pub fn is_ours(&self) -> bool {
        self.certificate == Link::Ours || self.key == Link::Ours
    }
}

/// Why a host cannot show its certificate; `None` if it can. `trusted`: identifiers of the keys of the formation's authorities.
pub fn refusal(home: &str, found: Option<&Pair>, trusted: &[String]) -> Option<String> {
    let Some(found) = found else {
        return Some(format!(
            "auth is cert, and nobody can look into {home}/.postgresql, where libpq finds the certificate that it shows: let its \
             owner read that folder"
        ));
    };
    for (name, link) in [("postgresql.crt", found.certificate), ("postgresql.key", found.key)] {
        if link == Link::Others {
            return Some(format!(
                "auth is cert, and libpq would show {home}/.postgresql/{name} to the other servers, which is not muster's: move \
                 postgresql.crt and postgresql.key away from there, or give another auth"
            ));
        }
    }
    let Holds::Another { signed_with: Some(signer) } = &found.holds else { return None };
    (!trusted.contains(signer)).then(|| {
        format!(
            "auth is cert, and {home}/.postgresql/muster.pem is of another formation, whose servers ask for it: run this one's \
             server as another user (become_user), or give another auth; if that formation is gone, remove the file"
        )
    })
}

/// `$1` folder of the server's pair. The key's link goes first: a certificate without a key lets libpq connect to nobody.
const LINK: &str = r#"p=$HOME/.postgresql
mkdir -p -- "$p"
for f in key crt; do
  l=$p/postgresql.$f
  if [ "$(readlink "$l" 2>/dev/null)" = muster.pem ]; then continue; fi
  if [ -e "$l" ] || [ -L "$l" ]; then echo "$l is there, and not muster's" >&2; exit 65; fi
done
t=$(mktemp "$p/.muster.XXXXXX")
trap 'rm -f -- "$t"' EXIT
cat "$1/server.crt" "$1/server.key" >"$t"
chmod 600 "$t"
sync "$t"
mv -fT -- "$t" "$p/muster.pem"
for f in key crt; do
  if ! [ -L "$p/postgresql.$f" ]; then ln -sT muster.pem "$p/postgresql.$f"; fi
done
sync "$p"
"#;

/// Links of others stay; a file that a link leads to goes last.
const UNLINK: &str = r#"p=$HOME/.postgresql
for f in crt key; do
  if [ "$(readlink "$p/postgresql.$f" 2>/dev/null)" = muster.pem ]; then rm -f -- "$p/postgresql.$f"; fi
done
rm -f -- "$p/muster.pem"
"#;

/// From here on its connections show the server's own certificate.
pub fn show(server: &Server, dir: &str, because: &str) -> Step {
    let command = Command::new(RunAs::User(server.os_user.clone()), LINK).args([dir.to_owned()]);
    Step::new(&server.name, Op::ShowCertificate, because, Action::Run(command))
}

/// They show none any more.
pub fn show_none(server: &Server, because: &str) -> Step {
    let command = Command::new(RunAs::User(server.os_user.clone()), UNLINK);
    Step::new(&server.name, Op::ShowNoCertificate, because, Action::Run(command))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command as Process;

    /// Runs a script with a home of its own; whether it went well, and what it said.
    fn run(home: &Path, script: &str, dir: &str) -> (bool, String) {
        let script = format!("set -eu\numask 077\n{script}");
        let said =
            Process::new("sh").args(["-c", &script, "muster", dir]).env("HOME", home).output().unwrap();
        let words =
            String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
        (said.status.success(), words)
    }

    fn found(home: &Path, pgdata: &str) -> Pair {
        let functions = [crate::probe::FUNCTIONS, crate::resource::tls::CERTIFICATE].concat();
        let script = format!("set +eu\npgdata={pgdata}\n{functions}{PROBE}say end ''\n");
        let (_, said) = run(home, &script, "");
        assert!(!said.contains("KEY"), "{said}");
        parse(&Answers::parse(&said).unwrap()).unwrap()
    }

    #[test]
    fn a_pair_is_shown_from_one_file_and_what_others_have_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (home, pgdata) = (folder.path().join("home"), folder.path().join("pg").display().to_string());
        let node = format!("{pgdata}.node");
        for dir in [home.display().to_string(), node.clone()] {
            std::fs::create_dir(dir).unwrap();
        }
        let put = |number: u32| {
            std::fs::write(format!("{node}/server.crt"), format!("certificate {number}\n")).unwrap();
            std::fs::write(format!("{node}/server.key"), format!("key {number}\n")).unwrap();
        };
        put(1);
        let nothing = Pair { certificate: Link::Absent, key: Link::Absent, holds: Holds::Nothing };
        assert_eq!(found(&home, &pgdata), nothing);
        let own = Pair { certificate: Link::Ours, key: Link::Ours, holds: Holds::Own };
        for number in [1, 1, 2] {
            put(number);
            assert_eq!(run(&home, LINK, &node), (true, String::new()));
            assert_eq!(found(&home, &pgdata), own);
            for name in ["crt", "key"] {
                let text = std::fs::read_to_string(home.join(format!(".postgresql/postgresql.{name}")));
                assert_eq!(text.unwrap(), format!("certificate {number}\nkey {number}\n"));
            }
        }
        put(3);
        assert_eq!(found(&home, &pgdata).holds, Holds::Another { signed_with: None });
        assert_eq!(run(&home, UNLINK, ""), (true, String::new()));
        assert_eq!(found(&home, &pgdata), nothing);
        std::fs::write(home.join(".postgresql/postgresql.key"), "theirs").unwrap();
        let (ok, said) = run(&home, LINK, &node);
        assert!(!ok && said.contains("not muster's"), "{said}");
        run(&home, UNLINK, "");
        let there = found(&home, &pgdata);
        assert_eq!(there, Pair { key: Link::Others, ..nothing });
        assert!(refusal("/h", Some(&there), &[]).unwrap().contains("/h/.postgresql/postgresql.key"));
        assert!(refusal("/h", Some(&own), &[]).is_none() && refusal("/h", None, &[]).is_some());
    }
}
