//! What opens the passwords of an inventory, as the command line and the environment name it.

use std::sync::{Arc, OnceLock};

use clap::Args;

use crate::console::Asker;
use crate::secrets::{Keyring, Named};

#[derive(Args, Debug)]
pub(super) struct Keys {
    /// A file with a password of ansible-vault, or a program that prints it. Several: each is tried.
    #[arg(long, alias = "vault-pass-file", global = true, value_name = "FILE")]
    vault_password_file: Vec<String>,
    /// The same with a label, which is tried first where a value has it; `prompt` for FILE asks.
    #[arg(long, global = true, value_name = "LABEL@FILE")]
    vault_id: Vec<String>,
    /// Ask for the password of ansible-vault, when something encrypted is met.
    #[arg(long, alias = "ask-vault-password", global = true)]
    ask_vault_pass: bool,
    /// Keys for age files: age's own, or a private key of ssh. Default: ~/.ssh/id_ed25519 and ~/.ssh/id_rsa.
    #[arg(long, global = true, env = "MUSTER_AGE_IDENTITY", value_name = "FILE")]
    age_identity: Vec<String>,
    /// Made when it is first needed.
    #[arg(skip)]
    keyring: Once,
}

#[derive(Default)]
struct Once(OnceLock<Arc<Keyring>>);

impl std::fmt::Debug for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Keys {
    pub(super) fn keyring(&self) -> &Arc<Keyring> {
        self.keyring.0.get_or_init(|| Arc::new(Keyring::new(&self.named(), Asker::from_environment())))
    }

    /// In Ansible's order.
    fn named(&self) -> Named {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let list = set("ANSIBLE_VAULT_IDENTITY_LIST").unwrap_or_default();
        let listed = list.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned);
        let file = set("ANSIBLE_VAULT_PASSWORD_FILE");
        Named {
            vault_ids: listed.chain(self.vault_id.iter().cloned()).collect(),
            vault_password_files: self.vault_password_file.iter().cloned().chain(file).collect(),
            ask_vault_password: self.ask_vault_pass,
            age_identities: self.age_identity.clone(),
        }
    }
}
