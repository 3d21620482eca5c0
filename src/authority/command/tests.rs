use std::fs;
use std::path::PathBuf;
use std::process::Command as Process;

use super::super::tests::{means_of, run, without_openssl};
use super::super::{Authority, Signer, find};
use super::*;
use crate::formation::{Formation, SigningKey};
use crate::resource::certificate;
use crate::resource::managed::{Renew, Trust};
use crate::resource::tls::{Shown, TlsFacts};
use crate::secrets::Keyring;

const TODAY: jiff::civil::Date = jiff::civil::date(2026, 11, 28);

/// An authority of openssl's with one between it and servers, and a node that has its root.
const SCENE: &str = r#"
mkdir ca pg.node
dn() { printf '[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=%s\n' "$1"; }
for who in root stranger; do
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $who.key 2>/dev/null
  { dn root; printf '[ca]\nbasicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash\n'; } >cnf
  openssl req -x509 -new -key $who.key -days 36500 -config cnf -extensions ca -out $who.crt
done
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out between.key 2>/dev/null
dn between >cnf
openssl req -new -key between.key -config cnf -out between.csr
printf 'basicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' >ext
openssl x509 -req -in between.csr -CA root.crt -CAkey root.key -CAcreateserial -days 36500 -extfile ext -out between.crt 2>/dev/null
cp root.crt ca/ca.crt
cp root.crt pg.node/ca.crt
cat >sign <<'EOF'
set -eu
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
cat >"$t/csr"
echo "$MUSTER_NODE $MUSTER_COMMON_NAME $MUSTER_NAMES $MUSTER_DAYS" >>log
echo "signing by $by" >&2
printf 'subjectKeyIdentifier=hash\n%s\n' "${says:-authorityKeyIdentifier=keyid}" >"$t/ext"
openssl x509 -req -in "${of:-$t/csr}" -CA $by.crt -CAkey $by.key -CAcreateserial -days "${days:-36500}" \
  ${names--copy_extensions copy} -extfile "$t/ext" 2>/dev/null
[ -z "${with-}" ] || cat $with.crt
EOF
"#;

struct Scene(tempfile::TempDir);

impl Scene {
    /// `None` where there is no openssl.
    fn new() -> Option<Scene> {
        let folder = tempfile::tempdir().unwrap();
        Process::new("openssl").arg("version").output().ok()?;
        let made = Process::new("sh").args(["-ceu", SCENE]).current_dir(folder.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(Scene(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn formation(&self, command: &str) -> Formation {
        let text = format!(
            "all:\n  vars:\n    pgdata: /pg\n    ca_dir: ca\n    ca_command: '{command}'\n  children:\n    monitor: {{hosts: {{m: }}}}\n    postgres: {{hosts: {{a: }}}}\n"
        );
        crate::inventory::parse("t.yml", &text, self.0.path()).unwrap()
    }

    fn authority(&self) -> Authority {
        find(&self.formation("false"), TODAY).unwrap().unwrap()
    }

    async fn signs(&self, command: &str, request: &str) -> Result<Issued, String> {
        let formation = self.formation(command);
        let authority = find(&formation, TODAY).unwrap().unwrap();
        assert_eq!(authority.key, SigningKey::Elsewhere);
        let signer = Signer::of(&authority, means_of(&formation.ca, &Keyring::empty())).unwrap();
        signer.keep().unwrap();
        signer.signed(&"a".into(), &self.issue(), request).await
    }

    fn issue(&self) -> Issue {
        Issue {
            dir: self.path("pg.node").display().to_string(),
            owner: "postgres".to_owned(),
            names: ["db1.example", "192.0.2.7", "fd00::1", "localhost"].map(str::to_owned).to_vec(),
            not_before: TODAY.yesterday().unwrap(),
            not_after: jiff::civil::date(2027, 12, 30),
        }
    }
}

#[tokio::test]
async fn a_program_signs_and_what_is_between_is_placed_with_it() {
    let Some(scene) = Scene::new() else { return };
    let (there, bare) = (std::env::var("PATH").unwrap(), without_openssl(&scene.path("bin")));
    let root = certificate::authority(&fs::read_to_string(scene.path("root.crt")).unwrap()).unwrap();
    for (by, placed) in [("root", 1), ("between", 2)] {
        for path in [&there, &bare] {
            let (ok, request) = run(&scene.issue().request(), path);
            assert!(ok, "{request}");
            let line = format!("by={by} with={by} days=$((MUSTER_DAYS + 1000)) sh ./sign");
            let issued = scene.signs(&line, &request).await.unwrap();
            assert_eq!(issued.key.is_some(), *path == bare);
            // What the hosts trust anyway is not sent along.
            assert_eq!(certificate::blocks(&issued.certificate).len(), placed, "{by}");
            let (ok, said) = run(&scene.issue().place(&issued), path);
            assert!(ok, "{by}: {said}");
            let text = fs::read_to_string(scene.path("pg.node/server.crt")).unwrap();
            assert_eq!(text, issued.certificate);
            let read = certificate::read_chain(&text).unwrap();
            assert_eq!((&read.signed_with, &read.names), (&root.own_key, &scene.issue().names));
        }
    }
    let log = fs::read_to_string(scene.path("log")).unwrap();
    assert_eq!(log.lines().next(), Some("a db1.example db1.example,192.0.2.7,fd00::1,localhost 397"));
    assert!(!scene.path("ca/ca.key").exists());
}

#[tokio::test]
async fn what_does_not_hold_is_not_taken() {
    let Some(scene) = Scene::new() else { return };
    let path = std::env::var("PATH").unwrap();
    let (_, request) = run(&scene.issue().request(), &path);
    for (line, why) in [
        ("echo no such role >&2; exit 3", "`ca_command` failed: exit status: 3; it said: no such role"),
        ("./nowhere", "`ca_command` failed: exit status: 127"),
        ("cat >/dev/null", "there is no certificate in what it printed"),
        ("printf \"\\377\"", "not UTF-8"),
        ("by=between sh ./sign", "CN=between has signed it, whose certificate is neither in ca.crt nor"),
        ("by=stranger with=stranger sh ./sign", "it leads to CN=root, which is not in ca.crt"),
        ("by=stranger sh ./sign", "CN=root has signed it, whose certificate is neither"),
        (
            "by=root names= sh ./sign",
            "is for db1.example, and not for 192.0.2.7, fd00::1, localhost; it said: signing by root",
        ),
        ("by=root says=authorityKeyIdentifier=none sh ./sign", "authority key identifier"),
        ("by=root of=between.csr sh ./sign", "not for the key of the request"),
        ("cat root.crt", "not for the key of the request"),
    ] {
        let said = scene.signs(line, &request).await.err().unwrap_or_else(|| panic!("{line} is taken"));
        assert!(said.contains(why), "{line}: {said}");
    }
    // What ends soon would be asked for again by every run.
    let issued = scene.signs("by=root sh ./sign", &request).await.unwrap();
    let (read, key) = (
        certificate::read(&issued.certificate).unwrap(),
        certificate::public_key(&issued.certificate).unwrap(),
    );
    let before = |days: i64| {
        let today = read.not_after.saturating_sub(days.days());
        let least_end = today.saturating_add(RENEW_DAYS.days());
        let asked = Asked { key: &key, names: &scene.issue().names, today, least_end };
        checked(&issued.certificate, &asked, &scene.authority().certificates)
    };
    assert!(before(31).is_ok());
    assert!(before(30).unwrap_err().contains("so soon"));
    assert!(before(-1).unwrap_err().contains("ended on"));
    // Two authorities: the first one signs, the other is trusted beside it.
    let both = ["stranger.crt", "root.crt"].map(|name| fs::read_to_string(scene.path(name)).unwrap());
    fs::write(scene.path("ca/ca.crt"), both.concat()).unwrap();
    let said = scene.signs("by=root sh ./sign", &request).await.unwrap_err();
    assert!(said.contains("not the first one in ca.crt"), "{said}");
    assert!(scene.signs("by=stranger sh ./sign", &request).await.is_ok());
}

#[test]
fn a_certificate_of_the_authority_has_to_be_there() {
    let Some(scene) = Scene::new() else { return };
    let unusable = || match scene.authority().key {
        SigningKey::Unusable(why) => why,
        other => panic!("{other:?}"),
    };
    fs::copy(scene.path("between.crt"), scene.path("ca/ca.crt")).unwrap();
    let said = unusable();
    assert!(said.contains("CN=root") && said.contains("root"), "{said}");
    fs::write(scene.path("ca/ca.crt"), "nothing").unwrap();
    assert!(unusable().contains("holds no certificate"));
    fs::remove_file(scene.path("ca/ca.crt")).unwrap();
    let said = unusable();
    assert!(said.contains("no ca.crt") && said.contains("ca_command"), "{said}");
    assert_eq!(fs::read_dir(scene.path("ca")).unwrap().count(), 0, "nothing is made");
}

#[tokio::test]
async fn names_that_a_program_adds_are_not_asked_away() {
    let Some(scene) = Scene::new() else { return };
    let names = ["m", "localhost", "added.example"].map(str::to_owned).to_vec();
    let issue = Issue { names, ..scene.issue() };
    let (_, request) = run(&issue.request(), &std::env::var("PATH").unwrap());
    let formation = scene.formation("by=root sh ./sign");
    let signer = Signer::of(&scene.authority(), means_of(&formation.ca, &Keyring::empty())).unwrap();
    let signed = signer.signed(&"m".into(), &issue, &request).await.unwrap().certificate;
    let authority = scene.authority();
    let facts = TlsFacts {
        certificate: certificate::read_chain(&signed).ok(),
        file: true,
        key: true,
        unreadable: Vec::new(),
        served: None,
        given: None,
        authority: Some(authority.certificates.clone()),
        revoked: None,
        trusted: Vec::new(),
        given_authority: None,
        unusable: Vec::new(),
        unvouched: false,
        ed25519: false,
        shown: Shown::Unknown,
    };
    let formation = formation.with_authority(Some(authority));
    let server = formation.servers().find(|server| server.name.0 == "m").unwrap();
    let trust = Trust::of(&formation, |_| Some(&facts)).unwrap();
    let steps = trust.steps(server, &facts, TODAY, Renew::WhereNeeded);
    assert!(steps.now.is_empty() && steps.later.is_empty(), "{:?} {:?}", steps.now, steps.later);
    let again = trust.steps(server, &facts, TODAY, Renew::Always);
    assert_eq!(again.now.len(), 1);
}
