//! The certificates of all servers as one table.

use jiff::civil::Date;
use serde::Serialize;

use crate::facts::Seen;
use crate::formation::{Formation, NodeName, Server, SslMode, Tls};
use crate::report::paint::Paint;
use crate::report::text::{alike, count, plain, table};
use crate::resource::certificate::{self, Certificate};
use crate::resource::tls::{RENEW_DAYS, Shown};

/// How a server's certificate stands; the later ones count more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There is no TLS.
    Off,
    Ok,
    /// Nobody could look.
    Unknown,
    /// It ends within the days that were asked for.
    EndsSoon,
    /// It has ended, PostgreSQL cannot use it, or clients are shown another one.
    Wrong,
}

/// A server and its certificate.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub name: NodeName,
    pub state: State,
    /// `self-signed` by muster, the path of the user's file, or `off`.
    pub from: String,
    /// That of the file; `None` where there is none, or nobody could look.
    pub certificate: Option<Certificate>,
    /// Until its end, from today.
    pub days: Option<i32>,
    /// Whether clients are shown that one; `None` where nobody can say.
    pub shown: Option<bool>,
    /// What keeps clients or the server from it.
    pub wrong: Vec<String>,
    /// What is near, or not known.
    pub notes: Vec<String>,
}

impl Line {
    /// Of what was seen. `within`: in how many days an end is near.
    pub fn new(
        formation: &Formation,
        server: &Server,
        seen: Option<&Seen>,
        today: Date,
        within: i32,
    ) -> Line {
        let mut line = Line {
            name: server.name.clone(),
            state: State::Unknown,
            from: match &server.tls {
                Tls::Off => "off".to_owned(),
                Tls::SelfSigned { .. } => "self-signed".to_owned(),
                Tls::Managed { .. } => "managed".to_owned(),
                Tls::Files { cert, .. } => cert.clone(),
            },
            certificate: None,
            days: None,
            shown: None,
            wrong: Vec::new(),
            notes: Vec::new(),
        };
        if server.tls == Tls::Off {
            line.state = State::Off;
            return line;
        }
        let Some(seen) = seen else {
            line.notes.push("its host could not be looked at".to_owned());
            return line;
        };
        let tls = &seen.tls;
        let found = match &server.tls {
            Tls::Files { .. } => &tls.served,
            Tls::Off | Tls::SelfSigned { .. } | Tls::Managed { .. } => &tls.certificate,
        };
        let renews = |days: i32| match &server.tls {
            Tls::Files { .. } => "put a new one there: `apply` has the server read it".to_owned(),
            Tls::Off | Tls::SelfSigned { .. } | Tls::Managed { .. } if days <= RENEW_DAYS => {
                "`apply` makes a new one".to_owned()
            }
            Tls::Off | Tls::SelfSigned { .. } | Tls::Managed { .. } => {
                format!("`apply` makes a new one in the last {RENEW_DAYS} days")
            }
        };
        let mut wrong: Vec<String> =
            tls.unreadable.iter().map(|path| format!("{path} cannot be read")).collect();
        wrong.extend(tls.unusable.iter().cloned());
        let is_made = matches!(server.tls, Tls::SelfSigned { .. } | Tls::Managed { .. });
        if is_made && tls.file && !tls.key {
            wrong.push("its key is gone: `apply` makes a new pair".to_owned());
        }
        if let (Tls::Managed { ca, .. }, true) = (&server.tls, tls.file && tls.trusts_nobody()) {
            wrong.push(format!("the host trusts nobody, as {ca} holds no certificate: `apply` puts it back"));
        }
        line.shown = match &tls.shown {
            Shown::Certificate { of_file, .. } => *of_file,
            Shown::Nothing => Some(false),
            Shown::Unknown => None,
        };
        match &tls.shown {
            Shown::Certificate { certificate, of_file: Some(false) } => wrong.push(format!(
                "clients are shown another one, which ends on {}: the server was not reloaded",
                certificate.not_after
            )),
            Shown::Nothing => wrong.push("the server runs without TLS".to_owned()),
            Shown::Certificate { .. } | Shown::Unknown => {}
        }
        if let (Tls::Managed { .. }, Some(found), Some(authority)) =
            (&server.tls, found, &formation.authority)
            && certificate::revoked_by(&authority.revoked).contains(&found.serial)
        {
            wrong.push(
                "it is revoked, and whoever verifies it is not connected: `apply` makes a new one".to_owned(),
            );
        }
        if let Some(found) = found {
            let days = (found.not_after - today).get_days();
            line.days = Some(days);
            if days < 0 {
                wrong.push(format!(
                    "it ended on {}: whoever verifies it is not connected; {}",
                    found.not_after,
                    renews(days)
                ));
            } else if found.not_before > today {
                wrong.push(format!("it begins on {}", found.not_before));
            } else if days <= within {
                line.notes.push(format!("it ends on {}: {}", found.not_after, renews(days)));
                line.state = State::EndsSoon;
            }
            // Who verifies names is said by the nodes and by the clients alike.
            if !found.is_for(&server.hostname) {
                let verified = formation.servers().any(|other| other.tls.mode() == SslMode::VerifyFull);
                let what = format!("it is not for {}, by which others connect", server.hostname);
                match verified {
                    true => wrong.push(format!("{what} and verify (`ssl_mode: verify-full`)")),
                    false => line.notes.push(format!("{what}: `sslmode=verify-full` refuses it")),
                }
            }
            if line.state == State::Unknown {
                line.state = State::Ok;
            }
        } else if seen.database.is_some() || tls.file {
            wrong.push("there is no certificate that can be read".to_owned());
        } else {
            line.notes.push("there is none yet".to_owned());
        }
        if !wrong.is_empty() {
            line.state = State::Wrong;
            line.wrong = wrong;
        }
        line.certificate.clone_from(found);
        line
    }
}

/// A line a server; below it what is wrong, and what is near.
pub fn text(lines: &[Line], within: i32, paint: Paint) -> String {
    let heading = ["Name", "From", "Issuer", "Names", "Key", "Ends", "Days", "Shown"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for line in lines {
        let of =
            |cell: &dyn Fn(&Certificate) -> String| line.certificate.as_ref().map_or("-".to_owned(), cell);
        let issuer = |found: &Certificate| match found.is_self_signed() {
            true => "itself".to_owned(),
            false => found.issuer.clone(),
        };
        let shown = match (line.state, line.shown) {
            (State::Off, _) => "-",
            (_, Some(true)) => "yes",
            (_, Some(false)) => "no",
            (_, None) => "unknown",
        };
        let cells = [
            line.name.0.clone(),
            line.from.clone(),
            of(&issuer),
            of(&|found| if found.names.is_empty() { "-".to_owned() } else { found.names.join(", ") }),
            of(&|found| found.key.clone()),
            of(&|found| found.not_after.to_string()),
            line.days.map_or("-".to_owned(), |days| days.to_string()),
            shown.to_owned(),
        ];
        rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }
    let told = |of: fn(&Line) -> &Vec<String>| {
        let said = lines.iter().flat_map(|line| of(line).iter().map(|note| (&line.name, plain(note))));
        alike(said.collect::<Vec<_>>())
    };
    let mut text = table(&rows);
    for (names, what) in told(|line| &line.wrong) {
        text += &format!("{} {names}: {what}\n", paint.red("FAILED"));
    }
    for (names, what) in told(|line| &line.notes) {
        text += &format!("{} {names}: {what}\n", paint.yellow("note:"));
    }
    let with = |state: State| lines.iter().filter(|line| line.state == state).count();
    let certificates = count(lines.len() - with(State::Off), "certificate");
    let window = count(usize::try_from(within).unwrap_or_default(), "day");
    let last = match (with(State::Wrong), with(State::EndsSoon), with(State::Unknown)) {
        (0, 0, 0) => paint.green(&format!("{certificates}, none ends within {window}")),
        (0, 0, unknown) => paint.yellow(&format!("{certificates}, {unknown} not seen")),
        (0, near, _) => paint.yellow(&format!("{certificates}, {near} of them within {window} of the end")),
        (wrong, _, _) => paint.red(&format!("{certificates}, {wrong} not in order")),
    };
    format!("{text}{last}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_apart_from_what_is_near() {
        let line = |name: &str, state, wrong: &[&str], notes: &[&str]| Line {
            name: NodeName::from(name),
            state,
            from: "/etc/ssl/db.crt".to_owned(),
            certificate: Some(Certificate {
                not_before: jiff::civil::date(2026, 1, 1),
                not_after: jiff::civil::date(2026, 12, 1),
                names: vec![name.to_owned(), "10.0.0.7".to_owned()],
                subject: format!("CN={name}"),
                issuer: "CN=Some CA".to_owned(),
                key: "EC 256".to_owned(),
                serial: "0A".to_owned(),
                signed_with: None,
                own_key: None,
            }),
            days: Some(3),
            shown: Some(state != State::Wrong),
            wrong: wrong.iter().map(|what| (*what).to_owned()).collect(),
            notes: notes.iter().map(|what| (*what).to_owned()).collect(),
        };
        let near = line("a", State::EndsSoon, &[], &["it ends"]);
        let bad = line("b", State::Wrong, &["another one"], &["it ends"]);
        assert_eq!(
            text(&[near.clone(), bad], 30, Paint::Plain),
            "\
Name  From             Issuer      Names        Key     Ends        Days  Shown
a     /etc/ssl/db.crt  CN=Some CA  a, 10.0.0.7  EC 256  2026-12-01  3     yes
b     /etc/ssl/db.crt  CN=Some CA  b, 10.0.0.7  EC 256  2026-12-01  3     no
FAILED b: another one
note: a, b: it ends
2 certificates, 1 not in order
"
        );
        assert!(
            text(&[near], 30, Paint::Plain).ends_with("1 certificate, 1 of them within 30 days of the end\n")
        );
    }
}
