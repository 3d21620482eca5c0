//! Every keyword of ssh_config(5), old spellings included: what muster does with it, and how its value is written.

use super::algorithms::Family;
use super::values::{FLAG, Syntax};

/// What a keyword is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Host,
    Match,
    Include,
    /// The first value counts, unless the key says otherwise.
    Kept(Key),
    /// It changes neither who is connected to nor whom muster takes the host for.
    Unused,
}

/// What is kept of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    AddressFamily,
    BatchMode,
    BindAddress,
    BindInterface,
    CaSignatureAlgorithms,
    CanonicalizeHostname,
    CanonicalizePermittedCnames,
    /// All values count.
    CertificateFile,
    Ciphers,
    ConnectTimeout,
    GlobalKnownHostsFile,
    HashKnownHosts,
    HostKeyAlgorithms,
    HostKeyAlias,
    HostName,
    IdentitiesOnly,
    IdentityAgent,
    /// All values count.
    IdentityFile,
    IgnoreUnknown,
    KbdInteractiveAuthentication,
    KexAlgorithms,
    KnownHostsCommand,
    Macs,
    NumberOfPasswordPrompts,
    PasswordAuthentication,
    Pkcs11Provider,
    Port,
    PreferredAuthentications,
    ProxyCommand,
    ProxyJump,
    ProxyUseFdpass,
    PubkeyAcceptedAlgorithms,
    PubkeyAuthentication,
    RefuseConnection,
    RequiredRsaSize,
    RevokedHostKeys,
    ServerAliveCountMax,
    ServerAliveInterval,
    StrictHostKeyChecking,
    Tag,
    User,
    UserKnownHostsFile,
}

/// What would change who is connected to or how, and is not done: refused for a host whose value is not one of these.
pub(super) const REFUSED: &[(Key, &[&str], &str)] = &[
    (Key::BindInterface, &[], "name the address with BindAddress instead"),
    (
        Key::CanonicalizeHostname,
        &["no"],
        "write the whole name as HostName or ansible_host, and CanonicalizeHostname no for this host",
    ),
    (Key::CanonicalizePermittedCnames, &["none"], "write the name that is meant as HostName"),
    (Key::KnownHostsCommand, &["none"], "record the keys in a file, and name it with UserKnownHostsFile"),
    (Key::Pkcs11Provider, &["none"], "load the token into an agent: ssh-add -s PROVIDER"),
    (Key::RefuseConnection, &[], "the configuration forbids to connect to this host"),
];

pub(super) struct Row(pub(super) &'static str, pub(super) Meaning, pub(super) Syntax);

/// The row of a keyword in lower case.
pub(super) fn row(keyword: &str) -> Option<&'static Row> {
    TABLE.iter().find(|Row(name, ..)| *name == keyword)
}

/// The keyword that is most like an unknown one.
pub(super) fn like(keyword: &str) -> Option<&'static str> {
    let near = TABLE.iter().map(|Row(name, ..)| (strsim::damerau_levenshtein(name, keyword), *name));
    near.min().filter(|(distance, _)| *distance <= 2).map(|(_, name)| name)
}

use Family::{CaSignatures, Kex, Keys};
use Meaning::{Kept, Unused};
use Syntax::{Algorithms, Anything, Command, Files, Integer, Jump, OneOf, Port, Time, Word};

const ASK: Syntax = OneOf(&[("true", "yes"), ("false", "no"), ("yes", "yes"), ("no", "no"), ("ask", "ask")]);
const STRICT: Syntax = OneOf(&[
    ("true", "yes"),
    ("false", "no"),
    ("yes", "yes"),
    ("no", "no"),
    ("ask", "ask"),
    ("off", "no"),
    ("accept-new", "accept-new"),
]);
const PUBKEY: Syntax = OneOf(&[
    ("true", "yes"),
    ("false", "no"),
    ("yes", "yes"),
    ("no", "no"),
    ("unbound", "yes"),
    ("host-bound", "yes"),
]);
const CANONICALIZE: Syntax =
    OneOf(&[("true", "yes"), ("false", "no"), ("yes", "yes"), ("no", "no"), ("always", "always")]);
const FAMILY: Syntax = OneOf(&[("inet", "inet"), ("inet6", "inet6"), ("any", "any")]);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row("host", Meaning::Host, Anything),
    Row("match", Meaning::Match, Anything),
    Row("include", Meaning::Include, Anything),

    Row("addressfamily", Kept(Key::AddressFamily), FAMILY),
    Row("batchmode", Kept(Key::BatchMode), FLAG),
    Row("bindaddress", Kept(Key::BindAddress), Word),
    Row("bindinterface", Kept(Key::BindInterface), Word),
    Row("canonicalizehostname", Kept(Key::CanonicalizeHostname), CANONICALIZE),
    Row("canonicalizepermittedcnames", Kept(Key::CanonicalizePermittedCnames), Files),
    Row("casignaturealgorithms", Kept(Key::CaSignatureAlgorithms), Algorithms(CaSignatures)),
    Row("certificatefile", Kept(Key::CertificateFile), Word),
    Row("challengeresponseauthentication", Kept(Key::KbdInteractiveAuthentication), FLAG),
    Row("ciphers", Kept(Key::Ciphers), Algorithms(Family::Ciphers)),
    Row("connecttimeout", Kept(Key::ConnectTimeout), Time),
    Row("dsaauthentication", Kept(Key::PubkeyAuthentication), PUBKEY),
    Row("globalknownhostsfile", Kept(Key::GlobalKnownHostsFile), Files),
    Row("hashknownhosts", Kept(Key::HashKnownHosts), FLAG),
    Row("hostbasedacceptedalgorithms", Unused, Algorithms(Keys)),
    Row("hostbasedkeytypes", Unused, Algorithms(Keys)),
    Row("hostkeyalgorithms", Kept(Key::HostKeyAlgorithms), Algorithms(Keys)),
    Row("hostkeyalias", Kept(Key::HostKeyAlias), Word),
    Row("hostname", Kept(Key::HostName), Word),
    Row("identitiesonly", Kept(Key::IdentitiesOnly), FLAG),
    Row("identityagent", Kept(Key::IdentityAgent), Syntax::Agent),
    Row("identityfile", Kept(Key::IdentityFile), Word),
    Row("identityfile2", Kept(Key::IdentityFile), Word),
    Row("ignoreunknown", Kept(Key::IgnoreUnknown), Word),
    Row("kbdinteractiveauthentication", Kept(Key::KbdInteractiveAuthentication), FLAG),
    Row("kexalgorithms", Kept(Key::KexAlgorithms), Algorithms(Kex)),
    Row("knownhostscommand", Kept(Key::KnownHostsCommand), Command),
    Row("macs", Kept(Key::Macs), Algorithms(Family::Macs)),
    Row("numberofpasswordprompts", Kept(Key::NumberOfPasswordPrompts), Integer),
    Row("passwordauthentication", Kept(Key::PasswordAuthentication), FLAG),
    Row("pkcs11provider", Kept(Key::Pkcs11Provider), Word),
    Row("port", Kept(Key::Port), Port),
    Row("preferredauthentications", Kept(Key::PreferredAuthentications), Word),
    Row("protocolkeepalives", Kept(Key::ServerAliveInterval), Time), // Debian's old name
    Row("proxycommand", Kept(Key::ProxyCommand), Command),
    Row("proxyjump", Kept(Key::ProxyJump), Jump),
    Row("proxyusefdpass", Kept(Key::ProxyUseFdpass), FLAG),
    Row("pubkeyacceptedalgorithms", Kept(Key::PubkeyAcceptedAlgorithms), Algorithms(Keys)),
    Row("pubkeyacceptedkeytypes", Kept(Key::PubkeyAcceptedAlgorithms), Algorithms(Keys)),
    Row("pubkeyauthentication", Kept(Key::PubkeyAuthentication), PUBKEY),
    Row("refuseconnection", Kept(Key::RefuseConnection), Word),
    Row("requiredrsasize", Kept(Key::RequiredRsaSize), Integer),
    Row("revokedhostkeys", Kept(Key::RevokedHostKeys), Word),
    Row("rsaminsize", Kept(Key::RequiredRsaSize), Integer), // Red Hat's old name
    Row("serveralivecountmax", Kept(Key::ServerAliveCountMax), Integer),
    Row("serveraliveinterval", Kept(Key::ServerAliveInterval), Time),
    Row("setuptimeout", Kept(Key::ServerAliveInterval), Time), // Debian's old name
    Row("skeyauthentication", Kept(Key::KbdInteractiveAuthentication), FLAG),
    Row("smartcarddevice", Kept(Key::Pkcs11Provider), Word),
    Row("stricthostkeychecking", Kept(Key::StrictHostKeyChecking), STRICT),
    Row("tag", Kept(Key::Tag), Word),
    Row("tisauthentication", Kept(Key::KbdInteractiveAuthentication), FLAG),
    Row("user", Kept(Key::User), Word),
    Row("userknownhostsfile", Kept(Key::UserKnownHostsFile), Files),

    // Ways to log in that muster does not have: not trying one lets nobody in.
    Row("enablesshkeysign", Unused, FLAG),
    Row("gssapiauthentication", Unused, FLAG),
    Row("gssapiclientidentity", Unused, Word),
    Row("gssapidelegatecredentials", Unused, FLAG),
    Row("gssapikexalgorithms", Unused, Anything),
    Row("gssapikeyexchange", Unused, FLAG),
    Row("gssapirenewalforcesrekey", Unused, FLAG),
    Row("gssapiserveridentity", Unused, Word),
    Row("gssapitrustdns", Unused, FLAG),
    Row("hostbasedauthentication", Unused, FLAG),
    Row("kbdinteractivedevices", Unused, Word),
    // Signing with a FIDO key is the agent's.
    Row("securitykeyprovider", Unused, Word),
    // Would believe more, or ask for more than muster's own check of keys does.
    Row("checkhostip", Unused, FLAG),
    Row("fingerprinthash", Unused, Anything),
    Row("nohostauthenticationforlocalhost", Unused, FLAG),
    Row("updatehostkeys", Unused, ASK),
    Row("verifyhostkeydns", Unused, ASK),
    Row("visualhostkey", Unused, FLAG),
    Row("warnweakcrypto", Unused, Anything),
    // Without CanonicalizeHostname they do nothing.
    Row("canonicaldomains", Unused, Anything),
    Row("canonicalizefallbacklocal", Unused, FLAG),
    Row("canonicalizemaxdots", Unused, Integer),
    // muster's sessions: one command each, no terminal, nothing forwarded, nothing shared with ssh.
    Row("addkeystoagent", Unused, Anything),
    Row("channeltimeout", Unused, Anything),
    Row("clearallforwardings", Unused, FLAG),
    Row("compression", Unused, OneOf(&[("yes", "yes"), ("no", "no")])),
    Row("connectionattempts", Unused, Integer),
    Row("controlmaster", Unused, OneOf(&[
        ("true", ""), ("yes", ""), ("false", ""), ("no", ""), ("auto", ""), ("ask", ""), ("autoask", ""),
    ])),
    Row("controlpath", Unused, Word),
    Row("controlpersist", Unused, Anything),
    Row("dynamicforward", Unused, Anything),
    Row("enableescapecommandline", Unused, FLAG),
    Row("escapechar", Unused, Anything),
    Row("exitonforwardfailure", Unused, FLAG),
    Row("forkafterauthentication", Unused, FLAG),
    Row("forwardagent", Unused, Anything),
    Row("forwardx11", Unused, FLAG),
    Row("forwardx11timeout", Unused, Time),
    Row("forwardx11trusted", Unused, FLAG),
    Row("gatewayports", Unused, FLAG),
    Row("ipqos", Unused, Anything),
    Row("keepalive", Unused, FLAG),
    Row("localcommand", Unused, Command),
    Row("localforward", Unused, Anything),
    Row("loglevel", Unused, Anything),
    Row("logverbose", Unused, Anything),
    Row("obscurekeystroketiming", Unused, Anything),
    Row("permitlocalcommand", Unused, FLAG),
    Row("permitremoteopen", Unused, Anything),
    Row("rekeylimit", Unused, Anything),
    Row("remotecommand", Unused, Command),
    Row("remoteforward", Unused, Anything),
    Row("requesttty", Unused, OneOf(&[
        ("true", ""), ("yes", ""), ("false", ""), ("no", ""), ("force", ""), ("auto", ""),
    ])),
    Row("sendenv", Unused, Anything),
    Row("sessiontype", Unused, OneOf(&[("none", ""), ("subsystem", ""), ("default", "")])),
    Row("setenv", Unused, Anything),
    Row("stdinnull", Unused, FLAG),
    Row("streamlocalbindmask", Unused, Anything),
    Row("streamlocalbindunlink", Unused, FLAG),
    Row("syslogfacility", Unused, Anything),
    Row("tcpkeepalive", Unused, FLAG),
    Row("tunnel", Unused, OneOf(&[
        ("ethernet", ""), ("point-to-point", ""), ("true", ""), ("yes", ""), ("false", ""), ("no", ""),
    ])),
    Row("tunneldevice", Unused, Anything),
    Row("versionaddendum", Unused, Anything),
    Row("xauthlocation", Unused, Word),
    // Apple's: a passphrase is the agent's.
    Row("usekeychain", Unused, FLAG),
    // OpenSSH has forgotten what they did, and reads on.
    Row("afstokenpassing", Unused, Anything),
    Row("cipher", Unused, Anything),
    Row("compressionlevel", Unused, Anything),
    Row("fallbacktorsh", Unused, Anything),
    Row("globalknownhostsfile2", Unused, Anything),
    Row("kerberosauthentication", Unused, Anything),
    Row("kerberostgtpassing", Unused, Anything),
    Row("protocol", Unused, Anything),
    Row("rhostsauthentication", Unused, Anything),
    Row("rhostsrsaauthentication", Unused, Anything),
    Row("rsaauthentication", Unused, Anything),
    Row("useprivilegedport", Unused, Anything),
    Row("userknownhostsfile2", Unused, Anything),
    Row("useroaming", Unused, Anything),
    Row("usersh", Unused, Anything),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_stand_once_and_in_lower_case() {
        for (number, Row(name, ..)) in TABLE.iter().enumerate() {
            assert_eq!(*name, name.to_lowercase());
            assert!(TABLE[..number].iter().all(|Row(other, ..)| other != name), "{name} twice");
        }
        assert_eq!(like("hostnam"), Some("hostname"));
        assert_eq!(like("nonsensical"), None);
    }
}
