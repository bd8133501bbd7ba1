//! `hello`: shows that a task arrives, runs and leaves a result.

use serde::{Deserialize, Serialize};

use super::payload;
use crate::worker::{Context, HandlerError, Task};

/// The task type.
pub const KIND: &str = "hello";

/// Longest name that is greeted, in characters.
const NAME_MAX: usize = 100;

/// What a task of this type may carry; everything is optional.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Payload {
    /// Who is greeted, at most 100 characters; "world" when absent.
    name: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    hello: String,
    attempt: i32,
}

/// Logs a line and writes `{"hello": <name>, "attempt": <n>}` as the task's result.
///
/// # Errors
///
/// Skips retries for a payload that is not as documented; fails when the result cannot be written.
pub async fn hello(context: Context, task: Task) -> Result<(), HandlerError> {
    let answer = Answer {
        hello: greeted(task.payload()).map_err(HandlerError::skip_retry)?,
        attempt: context.attempt(),
    };
    tracing::info!(task.id = context.id(), queue.name = %context.queue(), "hello from task {}", context.id());
    context.result_writer().write(serde_json::to_vec(&answer)?).await?;
    Ok(())
}

fn greeted(bytes: &[u8]) -> Result<String, HandlerError> {
    let Payload { name } = payload::read(KIND, bytes)?;
    let name = name.unwrap_or_else(|| "world".to_owned());
    if name.chars().count() > NAME_MAX {
        return Err(HandlerError::msg(format!(
            "read payload of {KIND}: name is longer than {NAME_MAX} characters"
        )));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_optional_and_bounded() {
        assert_eq!(greeted(b"").unwrap(), "world");
        assert_eq!(greeted(br#"{"name": "Ada"}"#).unwrap(), "Ada");
        let long = format!(r#"{{"name": "{}"}}"#, "x".repeat(NAME_MAX + 1));
        assert!(greeted(long.as_bytes()).is_err());
    }
}
