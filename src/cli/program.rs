//! `cronmill`: the commands, and the way from what was typed to an exit code.

use std::future::Future;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::args::Given;
#[cfg(feature = "local")]
use super::check::CheckArgs;
use super::completion::CompletionArgs;
use super::cron::CronCommand;
#[cfg(feature = "local")]
use super::dev::{self, DevArgs};
use super::exit::{Failure, exit_code};
#[cfg(feature = "operator")]
use super::operator::OperatorArgs;
use super::queue::QueueCommand;
use super::scheduler::SchedulerArgs;
use super::server::ServerCommand;
#[cfg(feature = "shop")]
use super::shop::ShopCommand;
use super::stats::StatsArgs;
use super::task::TaskCommand;
use super::version::VersionArgs;

/// Schedules and task queues on Redis, in asynq's wire format.
///
/// Exit codes: 0 done, 1 the answer is no, 2 wrong flag, name, URL, password or Redis, 3 failure. Data goes to
/// stdout, everything else to stderr.
#[derive(Debug, Parser)]
#[command(name = "cronmill", version, max_term_width = 110, disable_help_subcommand = true)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "local")]
    Dev(DevArgs),
    #[cfg(feature = "local")]
    Check(CheckArgs),
    #[cfg(feature = "operator")]
    Operator(OperatorArgs),
    Scheduler(SchedulerArgs),
    #[command(subcommand)]
    Cron(CronCommand),
    #[command(subcommand)]
    Task(TaskCommand),
    #[command(subcommand)]
    Queue(QueueCommand),
    #[command(subcommand)]
    Server(ServerCommand),
    /// Print totals over all queues, and what matters of Redis itself.
    Stats(StatsArgs),
    #[cfg(feature = "shop")]
    #[command(subcommand)]
    Shop(ShopCommand),
    /// Print what a shell needs to complete command lines of this program.
    Completion(CompletionArgs),
    /// Print what this program is built of.
    Version(VersionArgs),
    /// End what another process of this program started, once that one is gone; for this program's own use.
    #[cfg(feature = "local")]
    #[command(name = dev::GUARD_WORD, hide = true)]
    Guard,
}

/// Runs the program: flags and environment in, exit code out.
#[must_use]
pub fn main() -> ExitCode {
    let parsed = Program::command().try_get_matches();
    match parsed.and_then(|matches| Ok((Program::from_arg_matches(&matches)?, matches))) {
        Ok((program, matches)) => exit_code(program.command.run(&matches)),
        Err(error) => {
            // Where stdout or stderr is closed there is nobody to tell.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { 2 } else { 0 })
        }
    }
}

impl Command {
    fn run(self, matches: &ArgMatches) -> Result<(), Failure> {
        // Those of the command.
        let given = Given::of(matches.subcommand().map_or(matches, |(_, matches)| matches));
        match self {
            #[cfg(feature = "local")]
            Self::Dev(args) => args.run(),
            #[cfg(feature = "local")]
            Self::Check(args) => args.run(),
            #[cfg(feature = "operator")]
            Self::Operator(args) => args.run(),
            Self::Scheduler(args) => args.run(given),
            Self::Cron(command) => once(command.run()),
            Self::Task(command) => once(command.run()),
            Self::Queue(command) => once(command.run()),
            Self::Server(command) => once(command.run()),
            Self::Stats(args) => once(args.run()),
            #[cfg(feature = "shop")]
            Self::Shop(command) => command.run(),
            Self::Completion(args) => args.run(Program::command()),
            Self::Version(args) => args.run(),
            #[cfg(feature = "local")]
            Self::Guard => dev::run_guard(),
        }
    }
}

/// Runs a command that asks and ends: one thread is enough for it.
pub(super) fn once(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(error).context("start the runtime"))?;
    runtime.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Program::command().debug_assert();
    }

    #[test]
    fn every_environment_variable_is_ours() {
        fn check(command: &clap::Command) {
            for flag in command.get_arguments() {
                let name = flag.get_env().map(|name| name.to_string_lossy().into_owned());
                assert!(name.is_none_or(|name| name.starts_with("CRONMILL_")), "{flag}");
            }
            command.get_subcommands().for_each(check);
        }
        check(&Program::command());
    }

    #[test]
    fn every_flag_of_every_command_is_explained() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for flag in command.get_arguments() {
                assert!(flag.get_help().is_some(), "{} {flag}", command.get_name());
            }
            command.get_subcommands().filter(|command| !command.is_hide_set()).for_each(check);
        }
        check(&Program::command());
    }
}
