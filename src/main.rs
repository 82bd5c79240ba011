//! `sortd`: the daemon and its commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    sortd::commands::main(std::env::args_os()).into()
}
