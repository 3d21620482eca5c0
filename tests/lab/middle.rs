//! A man in the middle: names lead to a proxy that shows a certificate of its own, reads everything, and hands it on. Whoever
//! does not verify is read and notices nothing.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme, version,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::fleet::{Lab, head};

/// What the two sides of the proxy said.
#[derive(Default)]
struct Heard {
    /// Connections that a client began.
    begun: usize,
    /// Clear text of clients, all of it one after the other.
    said: Vec<u8>,
}

struct Proxy {
    heard: Arc<Mutex<Heard>>,
    target: Arc<Mutex<SocketAddr>>,
    _runtime: tokio::runtime::Runtime,
}

/// It looks at nothing: the real server's certificate is not the proxy's matter.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Source: PostgreSQL's protocol, "SSLRequest".
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

impl Proxy {
    /// At an address of this machine; its certificate is for these names.
    fn start(address: &str, names: &[&str]) -> Proxy {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
        let heard = Arc::new(Mutex::new(Heard::default()));
        let target = Arc::new(Mutex::new("127.0.0.1:1".parse().expect("an address")));
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(ring::default_provider());
        let versions = [&version::TLS13, &version::TLS12];
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .expect("both are there")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("they belong together");
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .expect("both are there")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        let (acceptor, connector) =
            (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)));
        let listener = runtime.block_on(TcpListener::bind((address, 5432))).expect("the address is free");
        let (known, way) = (Arc::clone(&heard), Arc::clone(&target));
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, connector, known) = (acceptor.clone(), connector.clone(), Arc::clone(&known));
                let target = *way.lock().expect("nobody panics with it");
                tokio::spawn(async move {
                    // Who refuses ends it here.
                    let _ = between(socket, target, (&acceptor, &connector), &known).await;
                });
            }
        });
        Proxy { heard, target, _runtime: runtime }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("nobody panics with it")
    }

    /// From now on it stands before this address, and has heard nothing.
    fn stand_before(&self, address: &str) {
        *self.target.lock().expect("nobody panics with it") =
            format!("{address}:5432").parse().expect("an address");
        *self.heard() = Heard::default();
    }

    /// Whether a client has begun to speak with it, and whether it has said something in clear text.
    fn met(&self) -> (bool, bool) {
        let heard = self.heard();
        (heard.begun > 0, !heard.said.is_empty())
    }
}

async fn between(
    mut socket: TcpStream,
    target: SocketAddr,
    (acceptor, connector): (&TlsAcceptor, &TlsConnector),
    known: &Mutex<Heard>,
) -> std::io::Result<()> {
    let mut first = [0; 8];
    socket.read_exact(&mut first).await?;
    if first != SSL_REQUEST {
        return Ok(());
    }
    known.lock().expect("nobody panics with it").begun += 1;
    socket.write_all(b"S").await?;
    let client = acceptor.accept(socket).await?;
    let mut socket = TcpStream::connect(target).await?;
    socket.write_all(&SSL_REQUEST).await?;
    let mut answer = [0];
    socket.read_exact(&mut answer).await?;
    let name = ServerName::from(target.ip());
    let server = connector.connect(name, socket).await?;
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let up = async {
        let mut buffer = [0; 8192];
        loop {
            let count = from_client.read(&mut buffer).await?;
            if count == 0 {
                return to_server.shutdown().await;
            }
            known.lock().expect("nobody panics with it").said.extend_from_slice(&buffer[..count]);
            to_server.write_all(&buffer[..count]).await?;
            to_server.flush().await?;
        }
    };
    let down = async {
        tokio::io::copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::select! { ended = up => ended, ended = down => ended }
}

const INVENTORY: &str = concat!(
    head!(),
    "
    pgdata: /var/lib/postgresql/15/citus
    dbname: app
    auth: trust
    HOW
    hba: ['hostssl all all 10.88.0.1/32 trust', 'hostssl replication all 10.88.0.1/32 trust']
  children:
    monitor:
      hosts: {mon: {ansible_host: 10.88.0.11, hostname: mon, pgdata: /var/lib/postgresql/15/monitor}}
    coordinator:
      hosts: {coord1: {ansible_host: 10.88.0.12, hostname: coord1}}
    workers:
      vars: {group: 1}
      hosts:
        w1a: {ansible_host: 10.88.0.14, hostname: w1a}
        w1b: {ansible_host: 10.88.0.15, hostname: w1b, secondary: true}
"
);

/// A lab with somebody in the middle of it.
struct Scene<'l> {
    lab: &'l Lab,
    proxy: &'l Proxy,
    /// The proxy's address.
    at: String,
}

impl Scene<'_> {
    /// On `host` the name of `peer` leads to the proxy while something is done.
    fn misled<T>(&self, host: &str, peer: &str, doing: impl FnOnce() -> T) -> T {
        let real = self.lab.root("mon", &format!("getent ahostsv4 {peer} | awk '{{print $1; exit}}'"));
        self.proxy.stand_before(real.trim());
        let other = format!("sed '/ {peer}$/d' /tmp/hosts; echo '{} {peer}'", self.at);
        let hosts = format!(
            "cp -a /etc/hosts /tmp/hosts; {{ {other}; }} >/tmp/hosts.new; cat /tmp/hosts.new >/etc/hosts"
        );
        self.lab.root(host, &hosts);
        let done = doing();
        self.lab.root(host, "cat /tmp/hosts >/etc/hosts");
        done
    }

    /// What a query of the coordinator's says that has to ask a worker, from a new session.
    fn asked_of_worker(&self) -> String {
        self.misled("coord1", "w1a", || {
            let query = "su postgres -c \"psql -XAtqc 'select count(*) from t' app\" 2>&1 || :";
            self.lab.root("coord1", query)
        })
    }

    /// What the standby says of its primary after its connection was cut: whether it streams, and its log.
    fn streamed(&self) -> (bool, String) {
        self.misled("w1b", "w1a", || {
            self.lab.root("w1b", "truncate -s 0 /var/lib/postgresql/15/citus/log/*.log");
            self.lab.root("w1b", "pkill -f 'postgres: walreceiver' || :");
            let by_proxy =
                format!("select count(*) from pg_stat_replication where client_addr = '{}'", self.at);
            let streams = || self.lab.psql("w1a", &by_proxy) == "1";
            let log = || self.lab.root("w1b", "cat /var/lib/postgresql/15/citus/log/*.log");
            let is_over = || streams() || log().contains("certificate verify failed");
            within(60, &is_over);
            (streams(), log())
        })
    }

    /// Whether a keeper whose sessions were cut is on the monitor by way of the proxy, and what it says.
    fn kept(&self) -> (bool, String) {
        let since = self.lab.root("w1b", "date '+%F %T'").trim().to_owned();
        self.misled("w1b", "mon", || {
            let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'autoctl_node'";
            self.lab.psql("mon", cut);
            let said = || self.lab.root("w1b", &format!("journalctl --since '{since}' -o cat | tail -n 400"));
            let is_over = || self.proxy.met().1 || said().contains("certificate verify failed");
            within(60, &is_over);
            (self.proxy.met().1, said())
        })
    }
}

fn within(seconds: u64, is_over: &dyn Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !is_over() {
        assert!(Instant::now() < end, "nothing has happened for {seconds} s");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
#[ignore = "minutes: make test-long"]
fn who_is_in_the_middle_reads_nothing_where_everybody_verifies() {
    let Some(lab) = Lab::first(5) else { return };
    let _ = std::fs::remove_dir_all(lab.beside_keys("ca-middle"));
    let ca = format!("ca_dir: {}", lab.beside_keys("ca-middle").display());
    let inventory = |name: &str, how: &str| {
        lab.inventory_of(name, &INVENTORY.replace("HOW", &format!("{how}\n    {ca}")))
    };
    let (open, managed) =
        (inventory("middle-self", "ssl_self_signed: true"), inventory("middle", "ssl: managed"));
    lab.muster(&open, &["apply", "--yes"]).exits(0);
    let has_citus = lab.has_citus();
    if has_citus {
        lab.sql("coord1", "create table t (k int); select create_distributed_table('t', 'k', shard_count => 4); insert into t select generate_series(1, 100);");
    }
    let at = lab.bridge();
    let proxy = Proxy::start(&at, &["w1a", "mon"]);
    let scene = Scene { lab: &lab, proxy: &proxy, at };

    // Nobody verifies, so that it can be seen that the proxy works.
    if has_citus {
        let said = scene.asked_of_worker();
        assert_eq!(said.trim(), "100");
        let heard = String::from_utf8_lossy(&scene.proxy.heard().said).into_owned();
        assert!(heard.contains("SELECT count(*)"), "{heard:.400}");
    }
    let (streams, log) = scene.streamed();
    assert!(streams && proxy.met().1, "{:?}: {log}", proxy.met());
    let (is_kept, said) = scene.kept();
    assert!(is_kept, "{said}");
    assert!(
        String::from_utf8_lossy(&proxy.heard().said).contains("node_active"),
        "the keeper's words were read"
    );

    lab.muster(&managed, &["apply", "--yes"]).exits(0);
    if has_citus {
        let said = scene.asked_of_worker();
        assert!(said.contains("certificate verify failed"), "{said}");
        assert_eq!(proxy.met(), (true, false), "Citus said something to it");
    }
    let (streams, log) = scene.streamed();
    assert!(!streams && log.contains("certificate verify failed"), "{log}");
    assert_eq!(proxy.met(), (true, false), "the standby said something to it");
    let (is_kept, said) = scene.kept();
    assert!(!is_kept && said.contains("certificate verify failed"), "{said}");
    assert_eq!(proxy.met(), (true, false), "the keeper said something to it");

    // Without it everything is as before.
    within(90, &|| lab.quietly(&managed, &["verify"]).code == Some(0));
    lab.muster(&managed, &["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
}
