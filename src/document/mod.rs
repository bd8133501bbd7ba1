//! YAML and JSON as people write it: files, their documents, their values, and the line a field stands on.
//!
//! Manifests and configuration files are read with this, so both are read alike and both can say where something is
//! wrong. Not here: what any field means.

mod file;
mod path;

pub use file::{BYTES_MAX, Stamp, Unreadable, notation, read};
pub use path::{FieldPath, Step, line_of};

use std::path::Path;

use serde_json::Value;
use serde_saphyr::{MessageFormatter as _, UserMessageFormatter};

/// One document of a file: its text, and the line of the file it begins on, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document<'a> {
    /// Its text.
    pub text: &'a str,
    /// Where it begins.
    pub line: usize,
}

/// How a document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxFault {
    /// The line within the document, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// YAML, of which JSON is a part.
    Yaml,
    /// JSON.
    Json,
}

/// The documents of a file that hold anything, in order.
///
/// A line that begins with `---` or `...` ends a YAML document wherever it stands, within quoted and block
/// scalars too, so the lines alone tell the documents apart and a fault in one leaves the others readable. A
/// JSON file is one document.
pub fn split(text: &str, notation: Notation) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if notation == Notation::Json {
        return if text.trim().is_empty() { Vec::new() } else { vec![Document { text, line: 1 }] };
    }
    let (mut documents, mut start, mut first_line, mut at) = (Vec::new(), 0, 1, 0);
    let mut close = |start: usize, end: usize, line: usize| {
        if text[start..end].lines().any(holds_something) {
            documents.push(Document { text: &text[start..end], line });
        }
    };
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let after = at + line.len();
        if is_marker(line, "---") {
            close(start, at, first_line);
            (start, first_line) = (at, number + 1);
        } else if is_marker(line, "...") {
            close(start, at, first_line);
            (start, first_line) = (after, number + 2);
        }
        at = after;
    }
    close(start, at, first_line);
    documents
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a line is more than a comment, a directive or the marker a document begins with.
fn holds_something(line: &str) -> bool {
    let content = if is_marker(line, "---") { &line[3..] } else { line };
    let content = content.trim();
    !(content.is_empty() || content.starts_with('#') || line.starts_with('%'))
}

/// Reads one document.
///
/// # Errors
/// The first thing that is wrong with its syntax; a key that stands twice is, too.
pub fn parse(text: &str, notation: Notation) -> Result<Value, SyntaxFault> {
    match notation {
        Notation::Json => serde_json::from_str(text).map_err(|error| SyntaxFault {
            line: error.line().max(1),
            message: without_place(&error.to_string()).to_owned(),
        }),
        Notation::Yaml => serde_saphyr::from_str_with_options(text, options()).map_err(|error| SyntaxFault {
            line: error.location().and_then(|at| usize::try_from(at.line()).ok()).unwrap_or(1).max(1),
            message: UserMessageFormatter.format_message(&error).into_owned(),
        }),
    }
}

/// Reading as Kubernetes' own tools do: YAML 1.1's booleans and octal numbers, each key once.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { with_snippet: false, emit_comments: false, legacy_octal_numbers: true }
}

/// A message of serde_json without the place, which is told in another way.
fn without_place(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(before, _)| before)
}

/// Something that is wrong in a file as one line: where, of what, what is wrong and what is allowed instead. Parts that are
/// empty are left out.
#[must_use]
pub fn told(file: &Path, line: Option<usize>, parts: &[&str], allowed: &str) -> String {
    let mut told = file.display().to_string();
    if let Some(number) = line {
        told.push_str(&format!(":{number}"));
    }
    for part in parts.iter().filter(|part| !part.is_empty()) {
        told.push_str(": ");
        told.push_str(part);
    }
    if !allowed.is_empty() {
        told.push_str("; allowed: ");
        told.push_str(allowed);
    }
    // Names and values come from the file: whatever they hold, the message stays one line.
    told.replace(|c: char| c.is_control(), " ")
}

/// What sort of value stands there, in words.
#[must_use]
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(&str, usize)> {
        split(text, Notation::Yaml).into_iter().map(|d| (d.text, d.line)).collect()
    }

    #[test]
    fn documents_begin_where_their_marker_stands() {
        assert_eq!(
            texts("a: 1\n---\nb: 2\n--- # two\nc: 3"),
            [("a: 1\n", 1), ("---\nb: 2\n", 2), ("--- # two\nc: 3", 4)]
        );
    }

    #[test]
    fn documents_that_hold_nothing_are_left_out() {
        assert_eq!(
            texts("# nothing\n---\n\n---\n# comment\n...\n%YAML 1.2\n---\na: 1\n"),
            [("---\na: 1\n", 8)]
        );
        assert_eq!(texts(""), []);
    }

    #[test]
    fn a_longer_dash_is_no_marker() {
        assert_eq!(texts("a: |\n  ---\n----\n"), [("a: |\n  ---\n----\n", 1)]);
    }

    #[test]
    fn a_marker_with_a_carriage_return_counts() {
        assert_eq!(texts("a: 1\r\n---\r\nb: 2\r\n"), [("a: 1\r\n", 1), ("---\r\nb: 2\r\n", 2)]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(texts("\u{feff}a: 1\n"), [("a: 1\n", 1)]);
    }

    #[test]
    fn a_fault_names_its_line() {
        let fault = parse("a: 1\nb: [1\nc: 2\n", Notation::Yaml).unwrap_err();
        assert_eq!((fault.line, fault.message.contains(" at line ")), (3, false));
        let fault = parse("{\"a\": 1,\n}", Notation::Json).unwrap_err();
        assert_eq!((fault.line, fault.message.as_str()), (2, "trailing comma"));
    }
}
