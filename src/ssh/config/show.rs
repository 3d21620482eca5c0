//! [`Settings`] as `ssh -G` shows them: a keyword and a value a line.

use std::path::PathBuf;

use super::jump;
use crate::ssh::settings::{AddressFamily, Checking, Method, Proxy, RSA_BITS, Settings};

impl Settings {
    /// What muster goes by, in ssh's words. Files are shown as they are opened; lists of algorithms only where somebody
    /// says one; `hostkey` is the inventory's own, and passwords are not shown.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let flag = |is_on: bool| if is_on { "yes" } else { "no" }.to_owned();
        let mut rows = vec![
            ("host", self.original.clone()),
            ("user", self.user.clone()),
            ("hostname", self.hostname.clone()),
            ("port", self.port.to_string()),
            ("addressfamily", family(self.address_family).to_owned()),
            ("batchmode", flag(self.batch)),
            ("hashknownhosts", flag(self.host_keys.hash)),
            ("identitiesonly", flag(self.identities_only)),
            ("stricthostkeychecking", checking(self.host_keys.checking).to_owned()),
            ("numberofpasswordprompts", self.prompts.to_string()),
            ("serveralivecountmax", self.alive_count_max.to_string()),
            ("serveraliveinterval", self.alive_interval.to_string()),
            ("connecttimeout", self.connect_timeout.to_string()),
            ("requiredrsasize", self.algorithms.rsa_bits.unwrap_or(RSA_BITS).to_string()),
            (
                "preferredauthentications",
                self.methods.iter().map(|m| method(*m)).collect::<Vec<_>>().join(","),
            ),
        ];
        let mut some =
            |keyword, value: &Option<String>| rows.extend(value.clone().map(|value| (keyword, value)));
        some("bindaddress", &self.bind_address);
        some("hostkeyalias", &self.host_key_alias);
        let algorithms = &self.algorithms;
        for (keyword, names) in [
            ("ciphers", &algorithms.ciphers),
            ("hostkeyalgorithms", &algorithms.host_keys),
            ("kexalgorithms", &algorithms.kex),
            ("casignaturealgorithms", &algorithms.ca_signatures),
            ("macs", &algorithms.macs),
            ("pubkeyacceptedalgorithms", &algorithms.public_keys),
        ] {
            some(keyword, &names.as_ref().map(|names| names.join(",")));
        }
        let agent = self.identity_agent.as_ref().map(|path| path.display().to_string());
        rows.push(("identityagent", agent.unwrap_or_else(|| "none".to_owned())));
        rows.extend(self.identity_files.iter().map(|file| ("identityfile", file.path.display().to_string())));
        rows.extend(
            self.certificate_files.iter().map(|file| ("certificatefile", file.display().to_string())),
        );
        rows.push(("globalknownhostsfile", files(&self.host_keys.global_files)));
        rows.push(("userknownhostsfile", files(&self.host_keys.user_files)));
        rows.extend(
            self.host_keys.revoked.iter().map(|file| ("revokedhostkeys", file.display().to_string())),
        );
        rows.extend(self.host_keys.pinned.iter().map(|key| ("hostkey", key.clone())));
        match &self.proxy {
            Proxy::Direct => {}
            Proxy::Jump(hops) => {
                rows.push(("proxyjump", hops.iter().map(jump::show).collect::<Vec<_>>().join(",")));
            }
            Proxy::Command(command) => rows.push(("proxycommand", command.clone())),
        }
        rows
    }
}

fn files(files: &[PathBuf]) -> String {
    if files.is_empty() {
        return "none".to_owned();
    }
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" ")
}

fn family(family: AddressFamily) -> &'static str {
    match family {
        AddressFamily::Any => "any",
        AddressFamily::Inet => "inet",
        AddressFamily::Inet6 => "inet6",
    }
}

fn checking(checking: Checking) -> &'static str {
    match checking {
        Checking::Strict => "true",
        Checking::AcceptNew => "accept-new",
        Checking::Off => "false",
    }
}

fn method(method: Method) -> &'static str {
    match method {
        Method::PublicKey => "publickey",
        Method::KeyboardInteractive => "keyboard-interactive",
        Method::Password => "password",
    }
}
