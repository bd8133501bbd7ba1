//! Events of local mode as lines.

use std::io::Write as _;
use std::sync::Mutex;

use jiff::Zoned;
use serde_json::{Value, json};

use super::Output;
use crate::local::Event;
use crate::scheduler::Tick;

/// Prints events to standard output.
pub(super) struct Show {
    output: Output,
    // One line at a time: events come from several threads.
    line: Mutex<()>,
}

impl Show {
    pub(super) fn new(output: Output) -> Self {
        Self { output, line: Mutex::new(()) }
    }

    /// Tells which Redis is used.
    pub(super) fn redis(&self, address: &str, private: bool) {
        let text = format!(
            "redis  {address}{}",
            if private { " (private, forgets everything at the end)" } else { "" }
        );
        self.print(&text, json!({"event": "redis", "address": address, "private": private}));
    }

    pub(super) fn event(&self, event: &Event) {
        match event {
            // What is wrong is for people, whatever is printed for programs.
            Event::Wrong(error) => eprintln!("error: {error}"),
            Event::Refused(error) => eprintln!("error: {}", chain(error.as_ref())),
            Event::Note(note) => eprintln!("note: {note}"),
            Event::InForce { tasks, queues } => self.print(
                &format!("ready  {tasks} CronTasks and {queues} TaskQueues in force"),
                json!({"event": "inForce", "cronTasks": tasks, "taskQueues": queues}),
            ),
            Event::Tick(tick) => self.print(&tick_line(tick), tick_json(tick)),
            Event::Fleet { name, from, to, why } => self.print(
                &format!("fleet  {name:<28} {from} → {to} workers ({why})"),
                json!({"event": "fleet", "name": name, "from": from, "to": to, "why": why}),
            ),
        }
    }

    fn print(&self, text: &str, json: Value) {
        let line = match self.output {
            Output::Text => format!("{}  {text}\n", Zoned::now().strftime("%H:%M:%S%.3f")),
            Output::Json => format!("{json}\n"),
        };
        let _one = self.line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Nobody reads any more: schedules go on all the same.
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
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

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
