//! `exec`: starts a program on the worker's own machine, so that its work may be a script or any other program.
//!
//! A task of the type `exec:<name>`, or `exec:<name>:<anything>`, starts the program that the worker's configuration
//! gives this name, with the arguments that stand there. A task chooses among those and nothing else: there is no
//! shell, and nothing of a task becomes an argument. The payload comes on standard input, which task it is in the
//! environment, beside `PATH` and the variables of the worker that the configuration names.
//!
//! | The program | Then |
//! | --- | --- |
//! | exits with 0 | done; what it wrote to standard output is the task's result, 64 KiB at most |
//! | exits with 75 (`EX_TEMPFAIL`) | put off at no attempt: by the seconds that standard output says, else 1 min; between 1 s and 1 h |
//! | exits with 65 (`EX_DATAERR`) | archived: there is nothing to gain from another attempt |
//! | exits otherwise, dies of a signal, or cannot be started | retried, with the last lines of standard error |
//! | has not ended when the attempt is told to stop | SIGTERM, SIGKILL a little later; whatever it exits with then, it has not done its work |
//!
//! A program is the first process of its own group. When it has ended, what is left of the group is killed.

mod error;
mod guard;
mod meaning;
mod process;
mod program;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

pub use error::{ExecConfigError, ExecError};
pub use guard::{ExecGuard, guard};
pub use program::ExecPrograms;

use self::guard::Guard;
use self::meaning::{Meaning, last_lines};
use self::process::Running;
use self::program::Program;
use crate::worker::{CancelReason, Context, Handler, HandlerError, Task};

/// What the types of its tasks begin with.
pub const KIND: &str = "exec:";

/// How long a program may take to end after SIGTERM. The worker waits two seconds longer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same where the worker waits for a second only, or another one may run the task already.
const LITTLE_PATIENCE: Duration = Duration::from_millis(500);

/// Which programs tasks may start, and what those see of the worker's environment.
#[derive(Clone, Debug, Default)]
pub struct ExecConfig {
    /// Programs by name.
    pub programs: ExecPrograms,
    /// Their environment, before the variables that say which task it is.
    pub environment: Vec<(OsString, OsString)>,
    /// What ends running programs when this process is killed. Without it they run on then, unless they are in a
    /// container of which this process is the first.
    pub guard: Option<ExecGuard>,
}

/// Starts programs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ExecHandler {
    config: Arc<ExecConfig>,
    guard: Option<Guard>,
}

impl ExecHandler {
    /// A handler for these programs.
    ///
    /// # Errors
    /// [`ExecConfigError::NoProgram`] when one of them is not there or cannot be executed, [`ExecConfigError::Guard`]
    /// when the guard cannot be started.
    pub fn new(config: ExecConfig) -> Result<Self, ExecConfigError> {
        config.programs.check()?;
        let guard = config.guard.as_ref().map(Guard::start).transpose()?;
        Ok(Self { config: Arc::new(config), guard })
    }

    /// The types to register it for: one for each program.
    pub fn kinds(&self) -> impl Iterator<Item = String> {
        self.config.programs.names().map(|name| format!("{KIND}{name}"))
    }

    /// The program of a task, with its name.
    fn choose(&self, kind: &str) -> Result<(&str, &Program), HandlerError> {
        let name = kind.strip_prefix(KIND).unwrap_or_default().split(':').next().unwrap_or_default();
        // Another worker may have it.
        self.config.programs.get(name).ok_or_else(|| HandlerError::unserved(kind))
    }
}

impl Handler for ExecHandler {
    async fn run(&self, context: Context, task: Task) -> Result<(), HandlerError> {
        let (name, program) = self.choose(task.kind())?;
        let start = |source| ExecError::start(name, program.path(), source);
        let mut command = program.command();
        command.env_clear().envs(self.config.environment.iter().map(|(name, value)| (name, value)));
        command.envs(told(&context));
        let running = Running::start(command, self.guard.clone()).map_err(start)?;
        let stop = async { patience(context.cancelled().await) };
        let ended = running.attend(task.payload(), stop).await.map_err(start)?;
        let said = last_lines(&ended.stderr);
        if let Some(how) = ended.stopped {
            let reason = context.cancel_reason().map_or("unknown", CancelReason::as_str);
            return Err(ExecError::Stopped { name: name.to_owned(), reason, how, said }.into());
        }
        let meaning = Meaning::of(ended.status, &ended.stdout);
        if meaning == Meaning::Done
            && task.retention_s > 0
            && !ended.stdout.is_empty()
            && let Err(error) = context.result_writer().write(&ended.stdout).await
        {
            // The program has done its part: starting it again would not change that.
            warn!(
                task.id = context.id(),
                reason = error.reason(),
                "what a program wrote is not kept as the task's result: {error}"
            );
        }
        meaning.into_outcome(name, said)
    }
}

/// The variables that say which task it is.
fn told(context: &Context) -> [(&'static str, String); 7] {
    let headers = serde_json::to_string(&context.headers()).expect("texts by texts are JSON");
    [
        ("CRONMILL_TASK_ID", context.id().to_owned()),
        ("CRONMILL_TASK_TYPE", context.kind().to_owned()),
        ("CRONMILL_QUEUE", context.queue().to_string()),
        ("CRONMILL_ATTEMPT", context.attempt().to_string()),
        ("CRONMILL_MAX_RETRY", context.max_retry().to_string()),
        ("CRONMILL_DEADLINE", context.deadline().to_string()),
        ("CRONMILL_HEADERS", headers),
    ]
}

fn patience(reason: CancelReason) -> Duration {
    match reason {
        CancelReason::Timeout | CancelReason::Requested => PATIENCE,
        CancelReason::Shutdown | CancelReason::LeaseLost => LITTLE_PATIENCE,
    }
}
