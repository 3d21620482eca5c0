//! The table: known hosts, a server, and whether it is trusted.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::oracle::{Case, Expect, Keys, Question, case, has_ssh};
use crate::support::Sshd;
use Expect::{Accept, AsTheStricterSsh, AsksForTheRecorded, Refuse, Stricter};

/// Servers with a certificate: name, its key, who signs it, how.
const CERTIFIED: [(&str, &str, &str, &[&str]); 13] = [
    ("valid", "ed", "ca", &["-h", "-n", "db1,127.0.0.1"]),
    ("expired", "ed", "ca", &["-h", "-n", "db1", "-V", "20200101:20210101"]),
    ("future", "ed", "ca", &["-h", "-n", "db1", "-V", "20900101:20910101"]),
    ("elsewhere", "ed", "ca", &["-h", "-n", "db2"]),
    ("uppercase", "ed", "ca", &["-h", "-n", "DB1"]),
    ("nameless", "ed", "ca", &["-h"]),
    ("wildcard", "ed", "ca", &["-h", "-n", "db*"]),
    ("user", "ed", "ca", &["-n", "db1"]),
    ("critical", "ed", "ca", &["-h", "-n", "db1", "-O", "critical:new@example.org=1"]),
    ("by-sha1", "ed", "rsaca", &["-h", "-n", "db1", "-t", "ssh-rsa"]),
    ("by-rsa", "ed", "rsaca", &["-h", "-n", "db1"]),
    ("by-ecdsa", "ec", "ecca", &["-h", "-n", "db1"]),
    ("of-rsa", "rsa", "ca", &["-h", "-n", "db1"]),
];

fn plain() -> Vec<Case> {
    vec![
        // Names.
        case("one", "{name} {ed}\n").expect(Accept),
        case("one", "{name} {ed}").expect(Accept),
        case("one", "{name} {ed} a comment # and more\n").expect(Accept),
        case("one", "{name} {other}\n"),
        case("one", ""),
        case("one", "# {name} {ed}\n"),
        case("one", "{host} {ed}\n").expect(Accept),
        case("one", "[{host}]:22 {ed}\n"),
        case("one", "[{host}]:1 {ed}\n"),
        case("one", "{host}:{port} {ed}\n"),
        case("one", "[{host}]:* {ed}\n").expect(Accept),
        case("one", "127.0.0.? {ed}\n").expect(Accept),
        case("one", "* {ed}\n").expect(Accept),
        case("one", "*,!{name} {ed}\n").expect(Accept),
        case("one", "*,!{name},!{host} {ed}\n"),
        case("one", "!{name},* {ed}\n").alias("db1").expect(Accept),
        case("one", "!db1 {ed}\n").alias("db2"),
        case("one", "web,{name},db {ed}\n").expect(Accept),
        case("one", "web, {name} {ed}\n"),
        case("one", "{name},,{ed}\n"),
        case("one", "[LOCALHOST]:{port} {ed}\n").host("localhost").expect(Accept),
        case("one", "[localhost]:{port} {ed}\n").host("LocalHost").expect(Accept),
        case("one", "[127.0.0.1]:{port} {ed}\n").host("localhost"),
        // HostKeyAlias: a name without a port, whatever the port.
        case("one", "db1 {ed}\n").alias("db1").expect(Accept),
        case("one", "DB1 {ed}\n").alias("db1").expect(Accept),
        case("one", "db1 {ed}\n").alias("DB1").expect(Accept),
        case("one", "{name} {ed}\n").alias("db1"),
        case("one", "[db1]:{port} {ed}\n").alias("db1"),
        case("one", "db1 {other}\n{name} {ed}\n").alias("db1"),
        case("one", "db? {ed}\n").alias("db1").expect(Accept),
        case("one", "*.example.org,!db1.example.org {ed}\n").alias("db1.example.org"),
        case("one", "*.example.org,!db2.example.org {ed}\n").alias("db1.example.org").expect(Accept),
        // Hashed by ssh-keygen.
        case("one", "{name} {ed}\n").hashed().expect(Accept),
        case("one", "{host} {ed}\n").hashed().expect(Accept),
        case("one", "db1 {ed}\n").alias("db1").hashed().expect(Accept),
        case("one", "db1 {ed}\n").alias("DB1").hashed().expect(Accept),
        case("one", "db1 {ed}\n").alias("db2").hashed(),
        case("one", "{name} {other}\n").hashed(),
        case("one", "web,{name} {ed}\n").hashed().expect(Accept),
        case("one", "@revoked {name} {ed}\n{name} {ed}\n").hashed(),
        case("one", "|1|AAAA|AAAA {ed}\n|1| {ed}\n|2|x {ed}\n"),
        // Lines as people leave them.
        case("one", "  \t{name}\t {ed}\r\n").expect(Accept),
        case("one", "\n\n{name} {ed}\r\n\r\n").expect(Accept),
        case("one", "{name} ssh-ed25519 AAAA\n{name} ssh-new AAAA\n{name}\n{name} {ed}\n").expect(Accept),
        case("one", "garbage \u{fffd}\u{1}\n{name} {ed}\n").expect(Accept),
        case("one", "@later {name} {ed}\n"),
        case("one", "@revoked @cert-authority {name} {ed}\n{name} {ed}\n").expect(Accept),
        case("one", "{name} 256 {ed}\n"),
        case("three", "{name} rsa-sha2-512 {rsa:blob}\n").expect(Accept),
        case("three", "{name} ssh-ed25519 {ec:blob}\n"),
        case("three", "{name} ecdsa-sha2-nistp384 {ec:blob}\n"),
        case("three", "{name} ecdsa-sha2-nistp256 {ec:blob}=\n"),
        case("three", "{name} ecdsa-sha2-nistp256 {ec:blob}AAAA\n"),
        case("three", "{name} ecdsa-sha2-nistp256 {ec:blob}#mine\n"),
        case("three", "{name} ecdsa-sha2-nistp256 {ec:blob}\u{c}\n").expect(Accept),
        case("one", "\u{feff}{name} {ed}\n"),
        case("one", "\u{c}{name} {ed}\n"),
        // Several lines and several files.
        case("one", "{name} {other}\n{name} {ed}\n").expect(Accept),
        case("one", "{name} {other}\n").file("{name} {ed}\n").expect(Accept),
        case("one", "").file("").file("{name} {ed}\n").expect(Accept),
        case("one", "{name} {other}\n").file("").file("{name} {ed}\n").expect(Accept),
        case("one", "{name} {ed}\n").file("").file("@revoked * {ed}\n"),
        // The name with its port goes before the one without.
        case("one", "{host} {ed}\n{name} {other}\n"),
        case("one", "{host} {other}\n{name} {ed}\n").expect(Accept),
        case("one", "{host} {other}\n"),
        // Revoked.
        case("one", "{name} {ed}\n@revoked {name} {ed}\n"),
        case("one", "@revoked * {ed}\n{name} {ed}\n"),
        case("one", "@revoked * {ed}\n"),
        case("one", "@revoked * {other}\n{name} {ed}\n").expect(Accept),
        case("one", "@revoked db9 {ed}\n{name} {ed}\n").expect(Accept),
        // ssh reads over a marker with a tab behind it; a revocation counts all the same.
        case("one", "@revoked\t* {ed}\n{name} {ed}\n").expect(Stricter),
        // ssh asks for the name without a port only where the one with it is unknown; revoked is revoked.
        case("one", "@revoked {host} {ed}\n{name} {ed}\n").expect(Stricter),
        // RevokedHostKeys.
        case("one", "{name} {ed}\n").revoked("{ed}\n"),
        case("one", "{name} {ed}\n").revoked("# gone\n\n  {other} db9\n").expect(Accept),
        case("one", "{name} {ed}\n").revoked("{other}\n{ed} db9\n"),
        case("one", "{name} {ed}\n").revoked("").expect(Accept),
        case("one", "{name} {ed}\n").revoked("{name} {other}\n"),
        // Types: what is recorded is asked for.
        case("three", "{name} {ed}\n").expect(Accept),
        case("three", "{name} {ec}\n").expect(Accept),
        case("three", "{name} {rsa}\n").expect(Accept),
        case("three", "{name} {rsa}\n{name} {otherec}\n"),
        // Short RSA keys: those of the tests have 2048 bits.
        case("three", "{name} {rsa}\n").option("RequiredRSASize=2048").expect(Accept),
        case("three", "{name} {rsa}\n").option("RequiredRSASize=2049"),
        case("three", "{name} {ed}\n").option("RequiredRSASize=16384").expect(Accept),
        case("three", "{name} {otherec}\n{name} {ed}\n").expect(Accept),
        case("one", "{name} {ec}\n"),
        case("one", "{name} {rsa}\n"),
        // The line without a port is good enough for ssh, too, but does not tell it which key to ask for.
        case("three", "{host} {rsa}\n").expect(AsksForTheRecorded),
        case("three", "{name} {rsa}\n@revoked * {ed}\n").expect(Accept),
        // ssh takes a list of one's own as it stands; muster moves what is recorded to its front.
        case("three", "{name} {rsa}\n").algorithms("ssh-ed25519,rsa-sha2-256").expect(AsksForTheRecorded),
        case("three", "{name} {rsa}\n").algorithms("rsa-sha2-256,ssh-ed25519").expect(Accept),
        case("three", "{name} {rsa}\n").algorithms("ssh-ed25519,ecdsa-sha2-nistp256"),
        case("three", "{name} {ed}\n").algorithms("rsa-sha2-512"),
        case("three", "{name} {ed}\n{name} {ec}\n").algorithms("ecdsa-sha2-nistp256").expect(Accept),
        case("one", "{name} {ed}\n").algorithms("rsa-sha2-512"),
        // An authority is no host, and a host is no authority.
        case("one", "@cert-authority {name} {ed}\n"),
        case("one", "@cert-authority * {ca}\n{name} {ed}\n").expect(Accept),
    ]
}

fn certified() -> Vec<Case> {
    let of = |server, known: &str| case(server, known).alias("db1");
    vec![
        of("valid", "@cert-authority db1 {ca}\n").expect(Accept),
        of("valid", "@cert-authority * {ca}\n").expect(Accept),
        of("valid", "@cert-authority d*,!db1 {ca}\n"),
        of("valid", "@cert-authority *,!db2 {ca}\n").expect(Accept),
        of("valid", "@cert-authority db1 {ca}\n").hashed().expect(Accept),
        of("valid", "@cert-authority db1 {ca}\r\n").expect(Accept),
        of("valid", "@cert-authority\tdb1 {ca}\n"),
        of("valid", "@cert-authority db1 {ca2}\n"),
        of("valid", "@cert-authority db1 {ca2}\n@cert-authority db1 {ca}\n").expect(Accept),
        of("valid", "@cert-authority db1 {ca2}\n").file("").file("@cert-authority db1 {ca}\n").expect(Accept),
        of("valid", "db1 {ca}\n"),
        of("valid", "db1 {ed}\n").expect(Accept),
        of("valid", "db1 {other}\n"),
        of("valid", "db1 {other}\n@cert-authority db1 {ca}\n").expect(Accept),
        of("valid", "db1 {ed}\n@cert-authority db1 {ca2}\n").expect(Accept),
        of("valid", "db1 {rsa}\n@cert-authority db1 {ca2}\n"),
        case("valid", "@cert-authority {name} {ca}\n").expect(Accept),
        case("valid", "@cert-authority {host} {ca}\n").expect(Accept),
        case("valid", "@cert-authority {name} {ca2}\n@cert-authority {host} {ca}\n").expect(Accept),
        case("valid", "@cert-authority localhost {ca}\n").host("localhost"),
        of("valid", "@cert-authority DB1 {ca}\n").alias("DB1").expect(Accept),
        // Revoked: the authority, or the key inside.
        of("valid", "@cert-authority db1 {ca}\n@revoked * {ca}\n"),
        of("valid", "@cert-authority db1 {ca}\n@revoked * {ed}\n"),
        of("valid", "@cert-authority db1 {ca}\ndb1 {ed}\n@revoked * {ca}\n"),
        of("valid", "@cert-authority db1 {ca}\n@revoked * {ca2}\n").expect(Accept),
        of("valid", "@cert-authority db1 {ca}\n").revoked("{ca}\n"),
        of("valid", "@cert-authority db1 {ca}\n").revoked("{ed}\n"),
        of("valid", "@cert-authority db1 {ca}\n").revoked("{ca2}\n").expect(Accept),
        // HostKeyAlgorithms with and without certificates.
        of("valid", "@cert-authority db1 {ca}\n").algorithms("ssh-ed25519"),
        of("valid", "@cert-authority db1 {ca}\n")
            .algorithms("ssh-ed25519-cert-v01@openssh.com")
            .expect(Accept),
        // Newer versions look at the list again for the plain key inside.
        of("valid", "db1 {ed}\n").algorithms("ssh-ed25519-cert-v01@openssh.com").expect(AsTheStricterSsh),
        of("expired", "@cert-authority db1 {ca}\ndb1 {ed}\n")
            .algorithms("ssh-ed25519-cert-v01@openssh.com")
            .expect(AsTheStricterSsh),
        // Certificates that do not hold; the plain key inside may.
        of("expired", "@cert-authority db1 {ca}\n"),
        of("expired", "@cert-authority db1 {ca}\ndb1 {ed}\n").expect(Accept),
        of("expired", "@cert-authority db1 {ca}\ndb1 {other}\n"),
        of("future", "@cert-authority db1 {ca}\n"),
        of("elsewhere", "@cert-authority db1 {ca}\n"),
        of("elsewhere", "@cert-authority db1 {ca}\ndb1 {ed}\n").expect(Accept),
        of("elsewhere", "@cert-authority * {ca}\n").alias("db2").expect(Accept),
        of("uppercase", "@cert-authority db1 {ca}\n"),
        of("uppercase", "@cert-authority * {ca}\n").alias("DB1"),
        // Newer versions refuse a certificate that names no host: muster as well.
        of("nameless", "@cert-authority db1 {ca}\n").expect(AsTheStricterSsh),
        // Newer versions follow wildcards in a certificate, older ones and muster do not.
        of("wildcard", "@cert-authority db1 {ca}\n").expect(AsTheStricterSsh),
        of("user", "@cert-authority db1 {ca}\n"),
        of("user", "@cert-authority db1 {ca}\ndb1 {ed}\n").expect(Accept),
        of("critical", "@cert-authority db1 {ca}\n"),
        of("by-sha1", "@cert-authority db1 {rsaca}\n"),
        of("by-rsa", "@cert-authority db1 {rsaca}\n").expect(Accept),
        of("by-rsa", "@cert-authority db1 {rsaca}\n")
            .option("CASignatureAlgorithms=rsa-sha2-512")
            .expect(Accept),
        of("by-rsa", "@cert-authority db1 {rsaca}\n").option("CASignatureAlgorithms=ssh-ed25519"),
        of("valid", "@cert-authority db1 {ca}\n").option("CASignatureAlgorithms=ssh-ed25519").expect(Accept),
        of("valid", "@cert-authority db1 {ca}\n").option("CASignatureAlgorithms=-ssh-ed25519"),
        of("of-rsa", "@cert-authority db1 {ca}\n").option("RequiredRSASize=4096"),
        of("by-ecdsa", "@cert-authority db1 {ecca}\n").expect(Accept),
        of("of-rsa", "@cert-authority db1 {ca}\n").expect(Accept),
        of("of-rsa", "@cert-authority db1 {ca2}\ndb1 {rsa}\n").expect(Accept),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn muster_trusts_whom_ssh_trusts() {
    let Some(keys) = Keys::new().map(Arc::new) else { return };
    let Some(servers) = servers(&keys).filter(|_| has_ssh()) else { return };
    let servers = Arc::new(servers);
    // ssh and sshd take a core each.
    let turns = Arc::new(Semaphore::new(3));
    let cases: Vec<Case> = plain().into_iter().chain(certified()).collect();
    assert!(cases.len() >= 60);
    let asked: Vec<_> = cases
        .into_iter()
        .map(|case| {
            let (keys, servers, turns) = (keys.clone(), servers.clone(), turns.clone());
            tokio::spawn(async move {
                let _turn = turns.acquire().await;
                ask(&case, &keys, &servers[case.server]).await
            })
        })
        .collect();
    let mut wrong = Vec::new();
    for answer in asked {
        wrong.extend(answer.await.unwrap());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What is not as expected.
async fn ask(case: &Case, keys: &Keys, sshd: &Sshd) -> Option<String> {
    let question = Question::new(case, keys, sshd);
    let (ssh, (muster, said)) =
        tokio::join!(async { tokio::task::block_in_place(|| question.ssh()) }, async {
            match question.muster().await {
                Ok(_) => (true, String::new()),
                Err(said) => (false, said),
            }
        });
    // A refusal is about the host's key, and says what to do.
    let is_about_keys =
        muster || ["key", "revoked"].iter().any(|word| said.contains(word)) && said.contains('\n');
    let (should_ssh, should_muster) = match case.expect {
        Accept => (Some(true), true),
        Refuse => (Some(false), false),
        Stricter => (Some(true), false),
        AsTheStricterSsh => (None, false),
        AsksForTheRecorded => (Some(false), true),
    };
    let is_right =
        should_ssh.is_none_or(|should| should == ssh.0) && should_muster == muster && is_about_keys;
    (!is_right).then(|| format!("{case:?}\n  ssh: {ssh:?}\n  muster: {muster} {said}"))
}

fn servers(keys: &Keys) -> Option<BTreeMap<&'static str, Sshd>> {
    let mut servers =
        BTreeMap::from([("one", keys.sshd(&["ed"], "")?), ("three", keys.sshd(&["ed", "ec", "rsa"], "")?)]);
    for (name, key, ca, sign) in CERTIFIED {
        servers.insert(name, keys.certified(name, key, ca, sign)?);
    }
    Some(servers)
}
