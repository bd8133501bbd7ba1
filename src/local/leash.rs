//! Processes that end when we do, also when we are killed without warning.
//!
//! A child is started through our own program, which asks the kernel to be told when its parent is gone, and
//! then becomes the wanted program. Without it a `kill -9` would leave a Redis and a fleet of workers behind.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use tokio::process::Command as AsyncCommand;

/// How a program is started so that it ends with us.
#[derive(Debug, Clone)]
pub struct Leash {
    /// Our own program.
    pub program: PathBuf,
    /// The words that make it call [`run_leashed`] with the words that follow.
    pub words: Vec<OsString>,
}

impl Leash {
    /// A command for a program that gets SIGTERM when we are gone.
    pub(super) fn command(&self, program: &str) -> AsyncCommand {
        let mut command = AsyncCommand::new(&self.program);
        command.args(&self.words).arg(std::process::id().to_string()).arg(program);
        command
    }
}

/// Becomes another program that is told to end when `parent` is gone. Returns only on failure.
///
/// # Errors
/// When the parent is gone already, the kernel refuses, or the program cannot be run.
pub fn run_leashed(parent: u32, program: &OsString, arguments: &[OsString]) -> io::Error {
    if let Err(error) = hold(parent) {
        return error;
    }
    Command::new(program).args(arguments).exec()
}

#[cfg(target_os = "linux")]
fn hold(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    // It may have gone before the kernel was asked.
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    match now == i32::try_from(parent).ok() {
        true => Ok(()),
        false => Err(io::Error::other("its parent is gone")),
    }
}

#[cfg(not(target_os = "linux"))]
fn hold(_parent: u32) -> io::Result<()> {
    Ok(())
}
