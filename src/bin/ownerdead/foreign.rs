//! `ownerdead foreign`: the package in `chaos/foreign`, built and started.

use crate::check::EXIT_NOT_STARTED;
use crate::checkout::Checkout;
use clap::Args;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// What is passed on.
#[derive(Args)]
pub struct Options {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Becomes cargo, which becomes the program: so signals and the exit code are its own.
pub fn run(options: &Options) -> ExitCode {
    let error = match Checkout::find() {
        Ok(checkout) => Command::new(&checkout.cargo)
            .args(["run", "--quiet", "--release", "--"])
            .args(&options.arguments)
            .current_dir(checkout.root.join("chaos/foreign"))
            .exec()
            .to_string(),
        Err(text) => text,
    };
    eprintln!("error: {error}");
    ExitCode::from(EXIT_NOT_STARTED)
}
