//! Log set-up: to stderr, as text for people or as JSON lines for collectors.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::TelemetryError;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line per event, coloured on a terminal. The default.
    #[default]
    Text,
    /// One JSON object per line, the event's fields at its top level.
    Json,
}

/// Sends the process's logs to stderr from here on.
///
/// `filter` is `level` or a list of `target=level`; an empty one means `info`. Colour is used on a terminal
/// only, and not when `NO_COLOR` is set. Lines are written as they occur, so nothing needs flushing at exit.
///
/// # Errors
///
/// [`TelemetryError::Filter`] for a filter that does not parse, [`TelemetryError::AlreadySetUp`] for a second
/// call.
pub fn init_tracing(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let color = io::stderr().is_terminal();
    subscriber(format, filter, color, io::stderr)?.try_init().map_err(TelemetryError::AlreadySetUp)
}

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    color: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = if filter.trim().is_empty() { "info" } else { filter };
    let parsed = EnvFilter::try_new(filter)
        .map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    let lines = fmt::layer().with_writer(writer);
    let layer = match format {
        // Left alone on a terminal, the layer itself heeds NO_COLOR.
        LogFormat::Text if color => lines.boxed(),
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.with_ansi(false).json().flatten_event(true).boxed(),
    };
    Ok(Box::new(tracing_subscriber::registry().with(parsed).with(layer)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str, color: bool) -> String {
        let sink = Sink::default();
        let to = sink.clone();
        let subscriber = subscriber(format, filter, color, move || to.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(task.id = "a1", "task {} done", "a1");
            tracing::debug!("not asked for");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_carry_message_and_dotted_fields_at_the_top() {
        let line = logged(LogFormat::Json, "", false);
        let value: serde_json::Value = serde_json::from_str(line.trim_end()).unwrap();
        assert_eq!(value["message"], "task a1 done");
        assert_eq!(value["task.id"], "a1");
        assert_eq!(value["level"], "INFO");
    }

    #[test]
    fn an_empty_filter_means_info() {
        assert_eq!(logged(LogFormat::Text, "", false).lines().count(), 1);
        assert_eq!(logged(LogFormat::Text, "debug", false).lines().count(), 2);
        assert_eq!(logged(LogFormat::Text, "off", false), "");
    }

    #[test]
    fn text_has_no_escape_codes_off_a_terminal() {
        assert!(!logged(LogFormat::Text, "info", false).contains('\u{1b}'));
    }

    #[test]
    fn a_bad_filter_is_named_with_what_is_allowed() {
        let Err(error) = subscriber(LogFormat::Text, "cronmill=loud", false, io::sink) else {
            panic!("the filter was taken");
        };
        assert!(error.to_string().contains("cronmill=loud"), "{error}");
        assert!(error.to_string().contains("debug"), "{error}");
        assert_eq!(error.reason(), "InvalidLogFilter");
    }
}
