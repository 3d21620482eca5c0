//! What stands for a host on the command line of `muster create`, as the names of an inventory.

use crate::error::Problem;

/// A host of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The name in the inventory, and of the node.
    pub name: String,
    /// Where that cannot be the address itself.
    pub address: Option<String>,
    pub user: Option<String>,
    pub port: Option<u16>,
}

impl Host {
    /// What was read as ssh reads it: a host with the user and the port that it may have.
    ///
    /// # Errors
    /// A name that can be in no inventory.
    pub fn new(host: &str, user: Option<String>, port: Option<u16>) -> Result<Host, Problem> {
        let is_word = |text: &str| text.chars().all(|c| c.is_ascii_graphic() && !"'\"\\{}[]#,%".contains(c));
        if host.is_empty() || host.starts_with('-') || !is_word(host) {
            let problem = Problem::new(format!("HOST `{}` is no name of a host", host.escape_debug()));
            return Err(problem.hint("write a name that ssh knows, or an address"));
        }
        let has_colon = host.contains(':');
        Ok(Host {
            // A node's name has no colons.
            name: if has_colon { format!("v6-{}", host.replace(':', "-")) } else { host.to_owned() },
            address: has_colon.then(|| host.to_owned()),
            user,
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_colons_has_a_name_without() {
        let host = Host::new("fe80::1", None, Some(2222)).unwrap();
        assert_eq!((host.name.as_str(), host.address.as_deref()), ("v6-fe80--1", Some("fe80::1")));
        assert_eq!(Host::new("db1", None, None).unwrap().address, None);
        for wrong in ["", "-oProxyCommand=x", "a b", "a'b", "a{b}"] {
            assert!(Host::new(wrong, None, None).is_err(), "{wrong}");
        }
    }
}
