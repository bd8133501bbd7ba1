//! What is found while a file is read: what is wrong, and what does nothing here.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::error::{ConfigError, ConfigFault};
use crate::document::{self, Document, FieldPath, Stamp, line_of};

/// A key of go-zero's that does nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idle {
    /// The key, such as `Telemetry`.
    pub key: String,
    /// Its line in the file, from 1.
    pub line: usize,
    /// Why it does nothing, where that needs saying; else empty.
    pub why: &'static str,
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, line, why } = self;
        let separator = if why.is_empty() { "" } else { ": " };
        write!(f, "{key} (line {line}{separator}{why})")
    }
}

/// Reads a file's text.
///
/// # Errors
/// The one reason why not.
pub fn read_text(file: &Path) -> Result<(String, Stamp), Vec<ConfigError>> {
    let unreadable = |line: Option<usize>, message, allowed| {
        let fault = if line.is_some() { ConfigFault::Syntax } else { ConfigFault::Unreadable };
        vec![ConfigError { file: file.to_owned(), line, key: String::new(), fault, message, allowed }]
    };
    let metadata =
        std::fs::metadata(file).map_err(|error| unreadable(None, error.to_string(), String::new()))?;
    let stamp = Stamp::of(&metadata);
    let text = document::read(file, stamp);
    Ok((text.map_err(|error| unreadable(error.line, error.message, error.allowed))?, stamp))
}

/// A file that is being read, and what was found so far.
pub(super) struct Findings<'a> {
    file: &'a Path,
    document: Document<'a>,
    pub(super) errors: Vec<ConfigError>,
    pub(super) idle: Vec<Idle>,
}

impl<'a> Findings<'a> {
    /// The one object that the text holds.
    pub(super) fn open(file: &'a Path, text: &'a str) -> Result<(Self, Value), Vec<ConfigError>> {
        let whole = |line, fault, message: &str, allowed: &str| {
            let (key, message, allowed) = (String::new(), message.to_owned(), allowed.to_owned());
            vec![ConfigError { file: file.to_owned(), line, key, fault, message, allowed }]
        };
        let notation = document::notation(file);
        let documents = document::split(text, notation);
        let &[document] = &documents[..] else {
            let (line, message) = match documents.get(1) {
                Some(second) => (Some(second.line), "a second document begins here"),
                None => (None, "holds nothing"),
            };
            return Err(whole(line, ConfigFault::Syntax, message, "one object of keys"));
        };
        let value = document::parse(document.text, notation).map_err(|fault| {
            let line = Some(document.line + fault.line - 1);
            whole(line, ConfigFault::Syntax, &fault.message, "")
        })?;
        if !value.is_object() {
            let message = format!("is {}", document::kind_of(&value));
            return Err(whole(Some(document.line), ConfigFault::Syntax, &message, "one object of keys"));
        }
        Ok((Self { file, document, errors: Vec::new(), idle: Vec::new() }, value))
    }

    /// The line on which a key stands.
    pub(super) fn line(&self, path: &FieldPath) -> usize {
        self.document.line + line_of(self.document.text, path) - 1
    }

    /// Notes that something is wrong.
    pub(super) fn refuse(
        &mut self,
        path: &FieldPath,
        fault: ConfigFault,
        message: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        self.errors.push(ConfigError {
            file: self.file.to_owned(),
            line: Some(self.line(path)),
            key: path.to_string(),
            fault,
            message: message.into(),
            allowed: allowed.into(),
        });
    }

    /// Notes that a key does nothing here.
    pub(super) fn idle(&mut self, path: &FieldPath, why: &'static str) {
        let (key, line) = (path.to_string(), self.line(path));
        self.idle.push(Idle { key, line, why });
    }

    /// What was read, unless something is wrong; what is idle in the order of the lines.
    pub(super) fn conclude<T>(mut self, read: impl FnOnce(Vec<Idle>) -> T) -> Result<T, Vec<ConfigError>> {
        if self.errors.is_empty() {
            self.idle.sort_by_key(|idle| idle.line);
            return Ok(read(self.idle));
        }
        self.errors.sort_by_key(|error| error.line);
        Err(self.errors)
    }
}
