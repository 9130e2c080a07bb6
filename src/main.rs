//! The program: parse arguments, run a command, turn an error into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidelog::cli::main()
}
