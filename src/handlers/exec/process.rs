//! A program from its start to its end, with everything it starts itself.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::error::Stop;
use super::guard::Guard;

/// Bytes of standard output that are kept, the first.
const STDOUT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of standard error that are kept, the last.
const STDERR_BYTES_MAX: usize = 4 * 1024;
/// Bytes read at a time.
const READ_BYTES: usize = 16 * 1024;
/// How long the output of a program that has ended is read on. All of it has been written; only what left its group
/// can still hold the pipes open.
const LINGER: Duration = Duration::from_millis(500);

/// A running program, the first process of its own group. Dropped, all of the group is killed.
pub(super) struct Running {
    child: Child,
    group: Pid,
    guard: Option<Guard>,
    /// Awoken when any process of ours ends.
    endings: unix::Signal,
}

/// How a program ended, and what it said.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// When it was told to stop before it ended.
    pub(super) stopped: Option<Stop>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// What is kept of a program's output.
#[derive(Default)]
struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Running {
    pub(super) fn start(mut command: Command, guard: Option<Guard>) -> io::Result<Self> {
        // Listening begins before there is anything to hear.
        let endings = signal(SignalKind::child())?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = command.spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let group = group.expect("not waited for yet, it has an id");
        if let Some(guard) = &guard {
            guard.watch(group);
        }
        Ok(Self { child, group, guard, endings })
    }

    /// Gives it its input and takes its output until it has ended. Once `stop` resolves it is told to stop, and is
    /// killed when it has not ended within that time.
    ///
    /// What is left of its group when it has ended is killed, as in a container whose first process ends.
    pub(super) async fn attend(
        mut self,
        input: &[u8],
        stop: impl Future<Output = Duration>,
    ) -> io::Result<Ended> {
        let stdin = self.child.stdin.take().expect("piped");
        let (stdout, stderr) =
            (self.child.stdout.take().expect("piped"), self.child.stderr.take().expect("piped"));
        let mut output = Output::default();
        let has_ended = CancellationToken::new();
        let talk = async {
            let feed = async {
                let mut stdin = stdin;
                // A program need not read what it is given.
                let _read_in_part_or_whole = stdin.write_all(input).await;
            };
            let all = async {
                let keep_first = keep_first(stdout, &mut output.stdout);
                tokio::join!(feed, keep_first, keep_last(stderr, &mut output.stderr));
            };
            let limit = async {
                has_ended.cancelled().await;
                tokio::time::sleep(LINGER).await;
            };
            tokio::select! {
                biased;
                () = all => {}
                () = limit => {}
            }
        };
        let end = async {
            let ended = self.end(stop).await;
            has_ended.cancel();
            ended
        };
        let (ended, ()) = tokio::join!(end, talk);
        let (status, stopped) = ended?;
        Ok(Ended { status, stopped, stdout: output.stdout, stderr: output.stderr })
    }

    /// Waits for the end of the first process, then ends the others.
    async fn end(&mut self, stop: impl Future<Output = Duration>) -> io::Result<(ExitStatus, Option<Stop>)> {
        let patience = tokio::select! {
            biased;
            () = self.first_ended() => None,
            patience = stop => Some(patience),
        };
        let stopped = match patience {
            None => None,
            Some(patience) => {
                self.signal(Signal::TERM);
                let heard = timeout(patience, self.first_ended()).await.is_ok();
                Some(if heard { Stop::Heard } else { Stop::Killed(patience) })
            }
        };
        self.kill();
        let status = self.child.wait().await?;
        let _ended_or_late = timeout(LINGER, self.bury()).await;
        Ok((status, stopped))
    }

    /// Resolves when the first process has ended. Its number stays taken. Cancel-safe.
    async fn first_ended(&mut self) {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while let Ok(None) | Err(Errno::INTR) = waitid(WaitId::Pid(self.group), look) {
            self.endings.recv().await;
        }
    }

    /// Waits for the rest of the group where it has become ours: the first process of a container gets whatever has
    /// lost its parent, and would keep it as a zombie.
    async fn bury(&mut self) {
        let take = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        loop {
            match waitid(WaitId::Pgid(Some(self.group)), take) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => {
                    self.endings.recv().await;
                }
                Err(_nothing_is_ours) => return,
            }
        }
    }

    /// Kills all of them. To be called before the first process is waited for: until then no other group can have its
    /// number.
    fn kill(&self) {
        self.signal(Signal::KILL);
        if let Some(guard) = &self.guard {
            guard.forget(self.group);
        }
    }

    fn signal(&self, signal: Signal) {
        // It fails only when nothing is left of the group, or nothing that would let us.
        if let Err(error) = kill_process_group(self.group, signal)
            && error != Errno::SRCH
        {
            let error = io::Error::from(error);
            tracing::warn!(%error, "a program could not be told to end");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Once it has been waited for, its number may be another's.
        if self.child.id().is_some() {
            self.kill();
        }
    }
}

/// Reads to the end, and keeps the beginning.
async fn keep_first(mut pipe: impl AsyncRead + Unpin, kept: &mut Vec<u8>) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        let room = STDOUT_BYTES_MAX - kept.len();
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
}

/// Reads to the end, and keeps that.
async fn keep_last(mut pipe: impl AsyncRead + Unpin, kept: &mut Vec<u8>) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        let surplus = kept.len().saturating_sub(STDERR_BYTES_MAX);
        kept.drain(..surplus);
    }
}
