//! One object of a file: its keys are taken one by one, and whatever nobody took is an error.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::ConfigFault;
use super::findings::Findings;
use crate::document::{FieldPath, kind_of};
use crate::nearest::nearest;
use crate::schedule::period_s;

/// Most characters of a refused value that a message shows.
const SHOWN_MAX: usize = 60;

/// An object whose keys are being taken. Upper and lower case are alike.
pub(super) struct Section<'v> {
    path: FieldPath,
    /// By their names in lower case, with their names as written.
    left: BTreeMap<String, (&'v str, &'v Value)>,
    known: Vec<&'static str>,
}

impl<'v> Section<'v> {
    /// The keys of an object; `None` when the value is none, which is noted.
    pub(super) fn open(value: &'v Value, path: FieldPath, found: &mut Findings<'_>) -> Option<Self> {
        let Value::Object(map) = value else {
            found.refuse(
                &path,
                ConfigFault::InvalidValue,
                format!("is {}", kind_of(value)),
                "an object of keys",
            );
            return None;
        };
        let mut left = BTreeMap::new();
        for (name, value) in map {
            if let Some((other, _)) = left.insert(name.to_lowercase(), (name.as_str(), value)) {
                let message = format!("stands there twice, as {other} too");
                found.refuse(
                    &path.key(name),
                    ConfigFault::Duplicate,
                    message,
                    "each key once, in upper or lower case",
                );
            }
        }
        Some(Self { path, left, known: Vec::new() })
    }

    /// Takes a key; `None` when it is not there or empty.
    pub(super) fn take(&mut self, name: &'static str) -> Option<(FieldPath, &'v Value)> {
        self.known.push(name);
        let (written, value) = self.left.remove(&name.to_lowercase())?;
        (!value.is_null()).then(|| (self.path.key(written), value))
    }

    /// Takes every key of which the name in lower case fits; `known` is what messages call them.
    pub(super) fn take_all(
        &mut self,
        known: &'static str,
        fits: impl Fn(&str) -> bool,
    ) -> Vec<(FieldPath, &'v Value)> {
        self.known.push(known);
        let taken = self.left.extract_if(.., |name, _| fits(name));
        taken.map(|(_, (written, value))| (self.path.key(written), value)).collect()
    }

    /// Where a key would stand.
    pub(super) fn place(&self, name: &str) -> FieldPath {
        self.path.key(name)
    }

    /// Where this object stands.
    pub(super) fn path(&self) -> &FieldPath {
        &self.path
    }

    /// Takes an object below a key.
    pub(super) fn section(&mut self, name: &'static str, found: &mut Findings<'_>) -> Option<Self> {
        let (path, value) = self.take(name)?;
        Self::open(value, path, found)
    }

    /// Takes a text.
    pub(super) fn text(
        &mut self,
        name: &'static str,
        found: &mut Findings<'_>,
    ) -> Option<(FieldPath, &'v str)> {
        let (path, value) = self.take(name)?;
        let text = text(value, &path, found)?;
        Some((path, text))
    }

    /// Takes a list of texts, or one.
    pub(super) fn texts(
        &mut self,
        name: &'static str,
        found: &mut Findings<'_>,
    ) -> Vec<(FieldPath, &'v str)> {
        let Some((path, value)) = self.take(name) else { return Vec::new() };
        let items: Vec<_> = match value {
            Value::Array(items) => {
                items.iter().enumerate().map(|(at, item)| (path.index(at), item)).collect()
            }
            one => vec![(path, one)],
        };
        items.into_iter().filter_map(|(path, item)| Some((path.clone(), text(item, &path, found)?))).collect()
    }

    /// Takes one of these words.
    pub(super) fn choice(
        &mut self,
        name: &'static str,
        allowed: &[&'static str],
        found: &mut Findings<'_>,
    ) -> Option<&'static str> {
        let (path, text) = self.text(name, found)?;
        let choice = allowed.iter().find(|choice| **choice == text);
        if choice.is_none() {
            let meant = nearest(text, allowed.iter().copied());
            let meant = meant.map(|meant| format!(", did you mean {meant}?")).unwrap_or_default();
            let message = format!("{} is not allowed{meant}", shown(text));
            found.refuse(&path, ConfigFault::InvalidValue, message, allowed.join(", "));
        }
        choice.copied()
    }

    /// Takes true or false.
    pub(super) fn switch(&mut self, name: &'static str, found: &mut Findings<'_>) -> Option<bool> {
        let (path, value) = self.take(name)?;
        if !value.is_boolean() {
            found.refuse(&path, ConfigFault::InvalidValue, format!("is {}", kind_of(value)), "true or false");
        }
        value.as_bool()
    }

    /// Takes a whole number within bounds.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        least: i64,
        most: i64,
        found: &mut Findings<'_>,
    ) -> Option<i64> {
        let (path, value) = self.take(name)?;
        number(value, &path, least, most, found)
    }

    /// Takes a length of time, in whole seconds.
    pub(super) fn seconds(&mut self, name: &'static str, found: &mut Findings<'_>) -> Option<i64> {
        let (path, text) = self.text(name, found)?;
        match period_s(text) {
            Ok(seconds) => Some(seconds),
            Err(error) => {
                found.refuse(&path, ConfigFault::InvalidValue, error.problem, error.allowed);
                None
            }
        }
    }

    /// Takes keys that mean nothing here; those that are there are noted.
    pub(super) fn idle(&mut self, names: &[&'static str], why: &'static str, found: &mut Findings<'_>) {
        for name in names {
            if let Some((path, _)) = self.take(name) {
                found.idle(&path, why);
            }
        }
    }

    /// Takes keys that are known, of a part that was noted as a whole.
    pub(super) fn ignore(&mut self, names: &[&'static str]) {
        for name in names {
            let _ = self.take(name);
        }
    }

    /// Notes what nobody took. `elsewhere` are keys of another program's file, called `whose`.
    pub(super) fn close(self, elsewhere: &[&str], whose: &str, found: &mut Findings<'_>) {
        for (name, (written, _)) in &self.left {
            let path = self.path.key(written);
            let is_elsewhere = elsewhere.iter().any(|key| key.to_lowercase() == *name);
            let message = match nearest(written, self.known.iter().copied()) {
                _ if is_elsewhere => format!("is a key of {whose}, not of this program"),
                Some(meant) => format!("unknown key, did you mean {meant}?"),
                None => "unknown key".to_owned(),
            };
            found.refuse(&path, ConfigFault::UnknownKey, message, self.known.join(", "));
        }
    }
}

/// A text, which is noted when the value is none.
pub(super) fn text<'v>(value: &'v Value, path: &FieldPath, found: &mut Findings<'_>) -> Option<&'v str> {
    if !value.is_string() {
        let quotes = if value.is_number() || value.is_boolean() { "; a text needs quotes here" } else { "" };
        found.refuse(path, ConfigFault::InvalidValue, format!("is {}{quotes}", kind_of(value)), "a text");
    }
    value.as_str()
}

/// A whole number within bounds; what is none is noted.
pub(super) fn number(
    value: &Value,
    path: &FieldPath,
    least: i64,
    most: i64,
    found: &mut Findings<'_>,
) -> Option<i64> {
    let read = value.as_i64().filter(|number| (least..=most).contains(number));
    if read.is_none() {
        let message = match value {
            Value::Number(number) => format!("{number} is not allowed"),
            other => format!("is {}", kind_of(other)),
        };
        found.refuse(
            path,
            ConfigFault::InvalidValue,
            message,
            format!("a whole number from {least} to {most}"),
        );
    }
    read
}

/// A value as messages show it.
pub(super) fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(SHOWN_MAX).collect::<String>())
}
