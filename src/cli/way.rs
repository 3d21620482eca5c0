//! What the command line says of the way to all hosts, as variables of the inventory that is written of it.

use super::Options;
use crate::ssh::settings::{Jump, Jumps};

/// `-J` and `-F`, and who logs in: an inventory is to work without them.
///
/// What is asked for or allowed once, `--ask-pass` and `--accept-new`, is for whoever runs muster to say again.
pub(super) fn connection(options: &Options, user: Option<String>) -> Vec<(&'static str, String)> {
    let mut variables: Vec<_> = user.map(|user| ("ansible_user", user)).into_iter().collect();
    let mut words = Vec::new();
    match &options.bastion {
        None => (),
        // On the command line no jump is no command either.
        Some(Jumps(jumps)) if jumps.is_empty() => {
            words.extend(["-J", "none", "-o", "ProxyCommand=none"].map(str::to_owned));
        }
        Some(Jumps(jumps)) => {
            words.extend(["-J".to_owned(), jumps.iter().map(jump).collect::<Vec<_>>().join(",")]);
        }
    }
    if let Some(file) = &options.ssh_config {
        let path = std::path::absolute(file).map_or_else(|_| file.clone(), |path| path.display().to_string());
        words.extend(["-F".to_owned(), if file == "none" { file.clone() } else { path }]);
    }
    if let (false, Ok(line)) = (words.is_empty(), shlex::try_join(words.iter().map(String::as_str))) {
        variables.push(("ansible_ssh_common_args", line));
    }
    variables
}

fn jump(jump: &Jump) -> String {
    let user = jump.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let host = if jump.host.contains(':') { format!("[{}]", jump.host) } else { jump.host.clone() };
    let port = jump.port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{user}{host}{port}")
}
