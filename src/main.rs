//! `muster`: parse the arguments, run, exit with the code.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let exit = match muster::cli::Arguments::try_parse() {
        Ok(arguments) => muster::cli::run(&arguments),
        Err(error) => muster::cli::refuse(&error),
    };
    ExitCode::from(exit as u8)
}
