//! A structural schema, ready to fill in defaults and to check values, as an API server does before it runs
//! rules.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::{Map, Value};

use super::error::{Fault, FaultKind};
use crate::crd;
use crate::document::{FieldPath, kind_of};
use crate::nearest::nearest;

/// Most characters of a refused value that a message shows.
const SHOWN_MAX: usize = 60;

/// One place of a schema.
#[derive(Debug)]
pub(super) struct Node {
    default: Option<Value>,
    /// Whether messages name it: a field without a description is let pass, but nobody is meant to write it.
    is_described: bool,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// Any value, kept as it is.
    Any,
    Boolean,
    Integer {
        least: i64,
        most: i64,
    },
    Text(Text),
    List {
        items: Box<Node>,
        least: usize,
        most: usize,
        /// The fields whose values together stand only once.
        keys: Vec<String>,
    },
    Object {
        properties: BTreeMap<String, Node>,
        required: Vec<String>,
        /// Whether fields beside the known ones may stand here, unchecked.
        is_open: bool,
    },
    Map {
        values: Box<Node>,
        most: usize,
    },
}

#[derive(Debug)]
struct Text {
    least: usize,
    most: usize,
    pattern: Option<Regex>,
    values: Vec<String>,
    is_date_time: bool,
}

/// The keywords that change nothing about which values pass.
const SILENT: [&str; 3] = ["title", "x-kubernetes-validations", "x-kubernetes-list-type"];

impl Node {
    /// Reads a schema.
    ///
    /// # Errors
    /// Names the first keyword that would not be heeded: half a schema must not pass for a whole one.
    pub(super) fn compile(schema: &Value) -> Result<Self, String> {
        let mut words = Words::new(schema)?;
        let default = words.take("default").cloned();
        let is_open = words.take("x-kubernetes-preserve-unknown-fields").is_some();
        let shape = match words.text("type") {
            None if is_open => Shape::Any,
            Some("boolean") => Shape::Boolean,
            Some("integer") => words.integer(),
            Some("string") => Shape::Text(words.string()?),
            Some("array") => words.list()?,
            Some("object") => words.object(is_open)?,
            other => return Err(format!("type {other:?}")),
        };
        let is_described = words.take("description").is_some();
        words.done()?;
        Ok(Self { default, is_described, shape })
    }

    /// Removes each `null` and fills in what is missing and has a default. A number without a fraction
    /// becomes an integer where one is asked for.
    pub(super) fn fill(&self, value: &mut Value) {
        match (&self.shape, value) {
            (Shape::Object { properties, .. }, Value::Object(map)) => {
                for (name, node) in properties {
                    match map.get_mut(name) {
                        Some(Value::Null) | None => match node.default.clone() {
                            Some(mut default) => {
                                node.fill(&mut default);
                                map.insert(name.clone(), default);
                            }
                            None => drop(map.remove(name)),
                        },
                        Some(value) => node.fill(value),
                    }
                }
            }
            (Shape::Map { values, .. }, Value::Object(map)) => {
                map.retain(|_, value| !value.is_null());
                map.values_mut().for_each(|value| values.fill(value));
            }
            (Shape::List { items, .. }, Value::Array(list)) => {
                list.iter_mut().for_each(|item| items.fill(item))
            }
            (Shape::Integer { .. }, value @ Value::Number(_)) => {
                if let Some(whole) =
                    value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15)
                    && value.is_f64()
                {
                    *value = Value::from(whole as i64);
                }
            }
            _ => {}
        }
    }

    /// Adds to `faults` everything about `value` that the schema refuses.
    pub(super) fn check(&self, value: &Value, path: &FieldPath, faults: &mut Vec<Fault>) {
        let mut refuse = |message: String, allowed: String| {
            faults.push(Fault::new(path.clone(), FaultKind::InvalidValue, message).allowing(allowed));
        };
        match (&self.shape, value) {
            (Shape::Any, _) | (Shape::Boolean, Value::Bool(_)) => {}
            (Shape::Integer { least, most }, Value::Number(number)) => match number.as_i64() {
                Some(number) if (*least..=*most).contains(&number) => {}
                _ => refuse(format!("{number} is not allowed"), self.allowed()),
            },
            (Shape::Text(text), Value::String(value)) => {
                if let Some(message) = text.refusal(value) {
                    refuse(message, self.allowed());
                }
            }
            (Shape::List { items, least, most, keys }, Value::Array(list)) => {
                if list.len() < *least || list.len() > *most {
                    refuse(format!("has {} entries", list.len()), self.allowed());
                }
                for (place, item) in list.iter().enumerate() {
                    items.check(item, &path.index(place), faults);
                }
                check_keys(list, keys, path, faults);
            }
            (Shape::Object { properties, required, is_open }, Value::Object(map)) => {
                check_required(properties, required, map, path, faults);
                for (name, value) in map {
                    match properties.get(name) {
                        Some(node) => node.check(value, &path.key(name), faults),
                        None if *is_open => {}
                        None => faults.push(unknown_field(path, name, &described(properties))),
                    }
                }
            }
            (Shape::Map { values, most }, Value::Object(map)) => {
                if map.len() > *most {
                    refuse(format!("has {} entries", map.len()), self.allowed());
                }
                for (key, value) in map {
                    values.check(value, &path.key(key), faults);
                }
            }
            (Shape::Text(_), Value::Bool(_) | Value::Number(_)) => {
                refuse(format!("is {}; a text needs quotes here", kind_of(value)), self.allowed());
            }
            _ => refuse(format!("is {}", kind_of(value)), self.allowed()),
        }
    }

    /// What may stand here, in words.
    fn allowed(&self) -> String {
        match &self.shape {
            Shape::Any => "any value".to_owned(),
            Shape::Boolean => "true or false".to_owned(),
            Shape::Integer { least, most } => format!("a whole number from {least} to {most}"),
            Shape::Text(text) => text.allowed(),
            Shape::List { least, most: usize::MAX, .. } => format!("a list of at least {least} entries"),
            Shape::List { least, most, .. } => format!("a list of {least} to {most} entries"),
            Shape::Object { is_open: true, .. } => "an object".to_owned(),
            Shape::Object { properties, .. } => {
                format!("an object with {}", described(properties).join(", "))
            }
            Shape::Map { most: usize::MAX, .. } => "an object".to_owned(),
            Shape::Map { most, .. } => format!("an object of at most {most} entries"),
        }
    }
}

impl Text {
    /// What is wrong with a text, if anything is.
    fn refusal(&self, text: &str) -> Option<String> {
        let length = text.chars().count();
        let shown = || format!("{:?}", text.chars().take(SHOWN_MAX).collect::<String>());
        if !self.values.is_empty() {
            let meant = || nearest(text, self.values.iter().map(String::as_str));
            let hint = || meant().map(|value| format!(", did you mean {value}?")).unwrap_or_default();
            return (!self.values.iter().any(|value| value == text))
                .then(|| format!("{} is not allowed{}", shown(), hint()));
        }
        let is_refused = self.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(text))
            || (self.is_date_time && !is_date_time(text));
        if length > self.most || (length < self.least && length > 0) {
            return Some(format!("has {length} characters"));
        }
        (length < self.least || is_refused).then(|| format!("{} is not allowed", shown()))
    }

    fn allowed(&self) -> String {
        if !self.values.is_empty() {
            return self.values.join(", ");
        }
        let meaning = match &self.pattern {
            _ if self.is_date_time => "a time in RFC 3339, like 2027-01-01T00:00:00Z",
            Some(pattern) => crd::pattern_meaning(pattern.as_str()).unwrap_or(pattern.as_str()),
            None => "a text",
        };
        match self.most {
            usize::MAX => meaning.to_owned(),
            most => format!("{meaning}; {} to {most} characters", self.least),
        }
    }
}

/// Each field that has to be there is.
fn check_required(
    properties: &BTreeMap<String, Node>,
    required: &[String],
    map: &Map<String, Value>,
    path: &FieldPath,
    faults: &mut Vec<Fault>,
) {
    for name in required.iter().filter(|name| !map.contains_key(*name)) {
        let allowed = properties[name].allowed();
        faults.push(Fault::new(path.key(name), FaultKind::InvalidValue, "is missing").allowing(allowed));
    }
}

/// The fault of a field nobody knows, with the known one it was probably meant to be.
fn unknown_field(path: &FieldPath, name: &str, known: &[&str]) -> Fault {
    let meant = nearest(name, known.iter().copied()).map(|known| format!(", did you mean {known}?"));
    let message = format!("unknown field{}", meant.unwrap_or_default());
    Fault::new(path.key(name), FaultKind::UnknownField, message).allowing(known.join(", "))
}

/// The names of the fields that people write.
fn described(properties: &BTreeMap<String, Node>) -> Vec<&str> {
    properties.iter().filter(|(_, node)| node.is_described).map(|(name, _)| name.as_str()).collect()
}

/// Each entry of a list that is told apart by keys stands once.
fn check_keys(list: &[Value], keys: &[String], path: &FieldPath, faults: &mut Vec<Fault>) {
    let [key] = keys else { return };
    let mut seen = BTreeSet::new();
    for (place, item) in list.iter().enumerate() {
        let Some(name) = item.get(key).and_then(Value::as_str) else { continue };
        if !seen.insert(name) {
            let shown: String = name.chars().take(SHOWN_MAX).collect();
            let fault = Fault::new(
                path.index(place).key(key),
                FaultKind::InvalidValue,
                format!("{shown:?} stands twice"),
            );
            faults.push(fault.allowing(format!("each {key} once")));
        }
    }
}

/// Whether an API server takes a text for a date and time: jiff alone reads more than RFC 3339.
fn is_date_time(text: &str) -> bool {
    let shape = |c: char| match c {
        '0'..='9' => '0',
        't' => 'T',
        'z' => 'Z',
        other => other,
    };
    let shape: String = text.chars().map(shape).collect();
    let Some(rest) = shape.strip_prefix("0000-00-00T00:00:00") else { return false };
    let fraction = rest.strip_prefix('.').map(|digits| digits.trim_start_matches('0'));
    let zone = fraction.filter(|zone| zone.len() + 1 < rest.len()).unwrap_or(rest);
    matches!(zone, "Z" | "+00:00" | "-00:00") && text.parse::<jiff::Timestamp>().is_ok()
}

/// The keywords of one place of a schema that nobody has taken yet.
struct Words<'a>(BTreeMap<&'a str, &'a Value>);

impl<'a> Words<'a> {
    fn new(schema: &'a Value) -> Result<Self, String> {
        let words = schema.as_object().ok_or("a schema that is no object")?;
        Ok(Self(words.iter().map(|(word, value)| (word.as_str(), value)).collect()))
    }

    fn take(&mut self, word: &str) -> Option<&'a Value> {
        self.0.remove(word)
    }

    fn text(&mut self, word: &str) -> Option<&'a str> {
        self.take(word).and_then(Value::as_str)
    }

    fn texts(&mut self, word: &str) -> Vec<String> {
        let list = self.take(word).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn count(&mut self, word: &str) -> Option<usize> {
        self.take(word).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok())
    }

    fn integer(&mut self) -> Shape {
        self.take("format");
        let mut bound = |word| self.take(word).and_then(Value::as_f64).map(|bound| bound as i64);
        Shape::Integer {
            least: bound("minimum").unwrap_or(i64::MIN),
            most: bound("maximum").unwrap_or(i64::MAX),
        }
    }

    fn string(&mut self) -> Result<Text, String> {
        let pattern = self.text("pattern").map(Regex::new).transpose().map_err(|error| error.to_string())?;
        let is_date_time = match self.text("format") {
            None => false,
            Some("date-time") => true,
            Some(other) => return Err(format!("format {other:?}")),
        };
        Ok(Text {
            least: self.count("minLength").unwrap_or(0),
            most: self.count("maxLength").unwrap_or(usize::MAX),
            pattern,
            values: self.texts("enum"),
            is_date_time,
        })
    }

    fn list(&mut self) -> Result<Shape, String> {
        let keys = self.texts("x-kubernetes-list-map-keys");
        if keys.len() > 1 {
            return Err("x-kubernetes-list-map-keys of more than one key".to_owned());
        }
        Ok(Shape::List {
            items: Box::new(Node::compile(self.take("items").ok_or("an array without items")?)?),
            least: self.count("minItems").unwrap_or(0),
            most: self.count("maxItems").unwrap_or(usize::MAX),
            keys,
        })
    }

    fn object(&mut self, is_open: bool) -> Result<Shape, String> {
        if let Some(values) = self.take("additionalProperties") {
            let most = self.count("maxProperties").unwrap_or(usize::MAX);
            return Ok(Shape::Map { values: Box::new(Node::compile(values)?), most });
        }
        let properties = self.take("properties").and_then(Value::as_object);
        let compiled =
            properties.into_iter().flatten().map(|(name, node)| Ok((name.clone(), Node::compile(node)?)));
        let properties = compiled.collect::<Result<BTreeMap<_, _>, String>>()?;
        let required = self.texts("required");
        match required.iter().find(|name| !properties.contains_key(*name)) {
            Some(name) => Err(format!("required {name}, which is no property")),
            None => Ok(Shape::Object { properties, required, is_open }),
        }
    }

    fn done(self) -> Result<(), String> {
        match self.0.keys().find(|word| !SILENT.contains(word)) {
            Some(word) => Err(format!("keyword {word}")),
            None => Ok(()),
        }
    }
}
