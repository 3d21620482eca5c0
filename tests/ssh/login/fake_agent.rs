//! An agent with one FIDO token that is none: it signs in software what a token would.

use std::path::PathBuf;

use russh::keys::signature::Signer as _;
use russh::keys::ssh_key::private::{EcdsaKeypair, Ed25519Keypair};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::rand_core::UnwrapErr;
use russh::keys::{EcdsaCurve, PublicKey};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::setup::wait_for;

const APPLICATION: &str = "ssh:";
/// Somebody touched it.
const PRESENT: u8 = 1;

pub(crate) enum Token {
    Ed25519(Ed25519Keypair),
    Ecdsa(EcdsaKeypair),
}

impl Token {
    pub(crate) fn ed25519() -> Token {
        Token::Ed25519(Ed25519Keypair::from_seed(&rand::random()))
    }

    pub(crate) fn ecdsa() -> Token {
        let mut rng = UnwrapErr(rand::rngs::SysRng);
        Token::Ecdsa(EcdsaKeypair::random(&mut rng, EcdsaCurve::NistP256).unwrap())
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Token::Ed25519(_) => "sk-ssh-ed25519@openssh.com",
            Token::Ecdsa(_) => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::from_bytes(&self.blob()).unwrap()
    }

    pub(crate) fn public_line(&self) -> String {
        format!("{}\n", self.public().to_openssh().unwrap())
    }

    fn blob(&self) -> Vec<u8> {
        let mut blob = string(self.kind().as_bytes());
        match self {
            Token::Ed25519(key) => blob.extend(string(&key.public.0)),
            Token::Ecdsa(key) => {
                let point = match key_of(key).public_key().key_data() {
                    KeyData::Ecdsa(key) => key.as_sec1_bytes().to_vec(),
                    _ => panic!("it is ECDSA"),
                };
                blob.extend(string(b"nistp256"));
                blob.extend(string(&point));
            }
        }
        blob.extend(string(APPLICATION.as_bytes()));
        blob
    }

    fn sign(&self, data: &[u8]) -> Vec<u8> {
        let counter = 42u32.to_be_bytes();
        let mut signed = Sha256::digest(APPLICATION).to_vec();
        signed.push(PRESENT);
        signed.extend(counter);
        signed.extend(Sha256::digest(data));
        let signature = match self {
            Token::Ed25519(key) => key.try_sign(&signed).unwrap(),
            Token::Ecdsa(key) => key.try_sign(&signed).unwrap(),
        };
        let mut blob = string(self.kind().as_bytes());
        blob.extend(string(signature.as_bytes()));
        blob.push(PRESENT);
        blob.extend(counter);
        blob
    }
}

fn key_of(key: &EcdsaKeypair) -> russh::keys::PrivateKey {
    russh::keys::PrivateKey::from(key.clone())
}

pub(crate) struct FakeAgent {
    pub(crate) socket: PathBuf,
    task: JoinHandle<()>,
}

impl FakeAgent {
    pub(crate) fn start(socket: PathBuf, token: Token) -> FakeAgent {
        let listener = UnixListener::bind(&socket).unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serve(stream, &token).await;
            }
        });
        wait_for(&socket);
        FakeAgent { socket, task }
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until the other side leaves.
async fn serve(mut stream: UnixStream, token: &Token) {
    while let Ok(length) = stream.read_u32().await {
        let mut request = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut request).await.unwrap();
        let answer = match request.split_first() {
            Some((11, _)) => {
                let count = 1u32.to_be_bytes();
                [&[12], count.as_slice(), &string(&token.blob()), &string(b"a token")].concat()
            }
            Some((13, rest)) => {
                let (key, rest) = take(rest);
                assert_eq!(key, token.blob());
                [&[14], string(&token.sign(take(rest).0)).as_slice()].concat()
            }
            Some(_) | None => vec![5],
        };
        stream.write_all(&string(&answer)).await.unwrap();
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [length.to_be_bytes().as_slice(), bytes].concat()
}

fn take(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = bytes.split_first_chunk::<4>().unwrap();
    rest.split_at(usize::try_from(u32::from_be_bytes(*length)).unwrap())
}
