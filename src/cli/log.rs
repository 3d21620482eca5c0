//! The log on stderr, for `-v`.

use tracing_subscriber::EnvFilter;

/// `-v` says what happens, `-vv` each command; russh speaks of more than an operator can use, so it only warns.
pub(super) fn start(verbose: u8, ansi: bool) {
    let filter = match verbose {
        0 => "off",
        1 => "warn,muster=info,russh=warn",
        2 => "warn,muster=debug,russh=warn",
        _ => "warn,muster=trace,russh=warn",
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(ansi);
    // Only tests run more than one command in a process; the first log serves them all.
    let _ = log.with_target(false).try_init();
}
