//! `cronmill completion`: what a shell needs to complete our command lines.

use clap::{Args, Command};
use clap_complete::Shell;

use super::exit::Failure;
use super::output::print_data;

const EXAMPLES: &str = "\
Examples:
  source <(cronmill completion bash)
  cronmill completion fish > ~/.config/fish/completions/cronmill.fish";

/// Flags of `cronmill completion`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct CompletionArgs {
    /// The shell.
    shell: Shell,
}

impl CompletionArgs {
    /// Prints the script for a program with these commands.
    pub(super) fn run(self, mut program: Command) -> Result<(), Failure> {
        let name = program.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, name, &mut script);
        print_data(&String::from_utf8_lossy(&script))
    }
}
