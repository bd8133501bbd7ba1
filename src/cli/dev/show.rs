//! Events of local mode as lines.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use jiff::Zoned;
use serde_json::{Value, json};

use super::Output;
use crate::causes;
use crate::cli::output::{clean_lines, count_of};
use crate::local::Event;
use crate::scheduler::Tick;

/// Lines that may wait for a reader that takes none, as a paused terminal does.
const LINES_WAITING: usize = 10_000;
/// How long such a reader can keep this program from ending.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

/// Prints events, from a thread of its own: schedules fire on whether anybody reads or not.
pub(super) struct Show {
    output: Output,
    lines: SyncSender<Line>,
    /// Lines nobody took in time.
    lost: AtomicU64,
}

enum Line {
    /// An event.
    Out(String),
    /// What people are to know, whatever is printed for programs.
    Err(String),
    /// Answered once everything before it is written.
    Flush(Sender<()>),
}

impl Show {
    pub(super) fn start(output: Output) -> Self {
        let (lines, waiting) = sync_channel(LINES_WAITING);
        std::thread::spawn(move || write(&waiting));
        Self { output, lines, lost: AtomicU64::new(0) }
    }

    pub(super) fn event(&self, event: &Event) {
        match event {
            Event::Wrong(error) => self.tell(format!("error: {error}")),
            Event::Refused(error) => self.tell(format!("error: {}", causes::on_one_line(error.as_ref()))),
            Event::Note(note) => self.tell(format!("note: {note}")),
            Event::Redis { address, is_private } => self.redis(address, *is_private),
            Event::InForce { tasks, queues, written, removed } => {
                let (cron_tasks, task_queues) =
                    (count_of(*tasks as u64, "CronTask"), count_of(*queues as u64, "TaskQueue"));
                let done = format!("{written} written, {removed} removed");
                self.print(
                    &format!("ready  {cron_tasks} and {task_queues} in force ({done})"),
                    json!({
                        "event": "inForce",
                        "cronTasks": tasks,
                        "taskQueues": queues,
                        "written": written,
                        "removed": removed,
                    }),
                );
            }
            Event::Tick(tick) => self.print(&tick_line(tick), tick_json(tick)),
            Event::Dropped { queue, age, number } => self.print(
                &format!(
                    "drop   {queue:<28} {} from the archive, {age} too old, {number} too many",
                    count_of(age + number, "task")
                ),
                json!({"event": "dropped", "queue": queue, "age": age, "number": number}),
            ),
            Event::Fleet { name, from, to, why } => self.print(
                &format!("fleet  {name:<28} {from} → {} ({why})", count_of(u64::from(*to), "worker")),
                json!({"event": "fleet", "name": name, "from": from, "to": to, "why": why}),
            ),
        }
    }

    fn redis(&self, address: &str, is_private: bool) {
        // The URL of another Redis may hold a password.
        let url = is_private.then(|| format!("redis://{address}/0"));
        let note = if is_private { " (private, forgets everything at the end)" } else { "" };
        self.print(
            &format!("redis  {address}{note}"),
            json!({"event": "redis", "address": address, "private": is_private, "url": url}),
        );
        if let (Some(url), Output::Text) = (url, self.output) {
            self.tell(format!(
                "note: look into it from another terminal after: export CRONMILL_REDIS_URL={url}"
            ));
        }
    }

    /// Waits until everything is written, but not long.
    pub(super) fn flush(&self) {
        let (done, written) = channel();
        if self.lines.try_send(Line::Flush(done)).is_ok() {
            // Nobody reads: there is nothing more to do for them.
            let _ = written.recv_timeout(FLUSH_LIMIT);
        }
    }

    fn print(&self, text: &str, json: Value) {
        let lost = self.lost.load(Ordering::Relaxed);
        let line = match self.output {
            Output::Text => format!("{}  {text}\n", Zoned::now().strftime("%H:%M:%S%.3f")),
            Output::Json => format!("{json}\n"),
        };
        if self.queue(Line::Out(line)) && lost > 0 {
            self.lost.fetch_sub(lost, Ordering::Relaxed);
            self.tell(format!("note: {lost} events were not printed: nobody read them in time"));
        }
    }

    fn tell(&self, text: String) {
        self.queue(Line::Err(text));
    }

    /// Whether a line will be written.
    fn queue(&self, line: Line) -> bool {
        let is_queued = self.lines.try_send(line).is_ok();
        if !is_queued {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        is_queued
    }
}

/// Writes lines until there will be no more.
fn write(waiting: &Receiver<Line>) {
    for line in waiting {
        // Where stdout or stderr is closed there is nobody to tell, and schedules fire all the same.
        match line {
            Line::Out(line) => drop(std::io::stdout().write_all(line.as_bytes())),
            Line::Err(line) => drop(writeln!(std::io::stderr(), "{}", clean_lines(&line))),
            Line::Flush(done) => drop(done.send(())),
        }
    }
}

fn tick_line(tick: &Tick) -> String {
    let Tick { schedule, outcome, count, lateness, nominal, .. } = tick;
    let many = if *count > 1 { format!(", {count} ticks up to then") } else { String::new() };
    let late = format!("{} ms late", lateness.as_millis());
    format!("tick   {schedule:<28} {outcome:<16} {late:>10}   for {nominal}{many}")
}

fn tick_json(tick: &Tick) -> Value {
    json!({
        "event": "tick",
        "schedule": tick.schedule,
        "queue": tick.queue.as_str(),
        "nominal": tick.nominal.to_string(),
        "count": tick.count,
        "outcome": tick.outcome.as_str(),
        "latenessMs": u64::try_from(tick.lateness.as_millis()).unwrap_or(u64::MAX),
        "taskId": tick.task_id,
    })
}
