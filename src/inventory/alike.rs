//! Words that were probably meant: what a mistake of typing makes of a known one.

/// The known word that was probably meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this, words share letters by chance.
    const ALIKE: f64 = 0.6;
    closest(word, known, ALIKE)
}

/// The same for a word that may well be another's: a letter or two make the difference, of a short one just one.
pub(super) fn alike<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    const ALIKE: f64 = 0.82;
    /// Shorter than this, a letter makes another word.
    const SHORT: usize = 4;
    let plain = plain(word);
    if OTHERS.contains(&plain.as_str()) {
        return None;
    }
    let of_one_letter =
        |name: &&str| plain.len().max(name.len()) >= SHORT && strsim::damerau_levenshtein(&plain, name) == 1;
    // More than one of a thing is a list, and another's.
    let is_list = |name: &str| plain.strip_suffix('s') == Some(name);
    let near = closest(word, known.clone(), ALIKE);
    near.or_else(|| known.into_iter().find(of_one_letter)).filter(|name| !is_list(name))
}

/// Words in their own right that are a letter away from one of ours.
const OTHERS: [&str; 11] =
    ["auto", "oauth", "local", "dname", "fname", "lname", "uname", "named", "rule", "db_name", "proxy_port"];

/// The same for the name of a group: `worker`, `postgresql`, but not `monitoring`.
pub(super) fn alike_group<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const ALIKE: f64 = 0.8;
    closest(word, known, ALIKE)
}

fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, alike: f64) -> Option<&'a str> {
    let word = plain(word);
    known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(&word, name), name))
        .filter(|(found, _)| *found >= alike)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn plain(word: &str) -> String {
    word.to_ascii_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::super::variables::VARIABLES;
    use super::*;

    fn meant(word: &str) -> Option<&'static str> {
        alike(word, VARIABLES.iter().flat_map(|v| v.other_names.iter().copied().chain([v.name])))
    }

    #[test]
    fn a_letter_of_a_short_name_is_a_mistake() {
        for (word, name) in [
            ("grup", "group"),
            ("gruop", "group"),
            ("rol", "role"),
            ("roel", "role"),
            ("nmae", "name"),
            ("auht", "auth"),
            ("aut", "auth"),
            ("Role", "role"),
            ("hbaa", "hba"),
            ("lisen", "listen"),
            ("pgdta", "pgdata"),
            ("pgprot", "pgport"),
            ("dbnam", "dbname"),
            ("pgport_", "pgport"),
            ("candidate-priorty", "candidate_priority"),
        ] {
            assert_eq!(meant(word), Some(name), "{word}");
        }
        let of_ansible = ["host", "port", "user", "password"];
        for (word, name) in [("prot", "port"), ("prt", "port"), ("hots", "host"), ("usr", "user")] {
            assert_eq!(alike(word, of_ansible), Some(name), "{word}");
        }
    }

    /// Variables of roles that many inventories have: of the projects' own documentation, and words for themselves.
    #[test]
    fn names_of_others_are_theirs() {
        let flagged: Vec<_> = [
            "roles",
            "rule",
            "rules",
            "groups",
            "grp",
            "names",
            "named",
            "uname",
            "fname",
            "lname",
            "auto",
            "oauth",
            "hosts",
            "host",
            "user",
            "users",
            "port",
            "ports",
            "local",
            "locales",
            "timezone",
            "env",
            "environment",
            "stage",
            "region",
            "zone",
            "datacenter",
            "rack",
            "domain",
            "domain_name",
            "domains",
            "fqdn",
            "path",
            "paths",
            "state",
            "version",
            "arch",
            "packages",
            "services",
            "swap",
            "swap_size",
            "ntp_servers",
            "dns_servers",
            "proxy",
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "proxy_port",
            "proxy_env",
            "backup",
            "backup_dir",
            "data_dir",
            "log_dir",
            "listen_address",
            "listen_port",
            "bind_address",
            "bind_port",
            "server_name",
            "server_names",
            "ssl_cert",
            "ssl_key",
            "ssl_cert_path",
            "ssl_certificate",
            "tls_enabled",
            "cluster",
            "cluster_name",
            "master",
            "primary",
            "replica",
            "replicas",
            "monitoring",
            "monitors",
            "monitor_port",
            "keepers",
            "keepalived",
            "keep_alive",
            "passwords",
            "passwd",
            "db",
            "db_name",
            "db_user",
            "db_password",
            "db_host",
            "db_port",
            "dbs",
            "database",
            "databases",
            "postgres_version",
            "postgresql_version",
            "postgresql_port",
            "postgresql_users",
            "postgresql_databases",
            "patroni_scope",
            "pgbouncer_port",
            "pg_hba",
            "pgbackrest",
            "redis_port",
            "nginx_port",
            "nginx_user",
            "mysql_port",
            "docker_users",
            "java_home",
            "etcd_peers",
            "consul_token",
            "vault_token",
            "haproxy_stats",
            "prom_targets",
            "node_exporter_version",
            "become",
            "username_prefix",
            "hostnames",
            "secondaries",
            "formations",
            "firewall_rules",
            "sysctl",
            "ssh_port",
            "ssh_user",
            "sshd_port",
            "authorized_keys",
            "listeners",
            "limits",
            "encodings",
            "settings_file",
            "tags",
            "type",
            "kind",
            "size",
            "mode",
            "auth_type",
            "auth_key",
        ]
        .into_iter()
        .filter_map(|word| Some((word, meant(word)?)))
        .collect();
        assert_eq!(flagged, []);
    }
}
