//! Where in an object a field is, and on which line of the text it stands.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// One step from a value to a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To the value of a key.
    Key(String),
    /// To an entry of a list, counted from 0.
    Index(usize),
}

/// The way from the object to one of its fields; prints as `spec.queues[0].name`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldPath(pub Vec<Step>);

impl FieldPath {
    /// The path of a field named by its keys, from the object down.
    #[must_use]
    pub fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| Step::Key((*key).to_owned())).collect())
    }

    /// This path and one key more.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    /// This path and one index more.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// Whether this is the other path, or that of an entry of the list there.
    #[must_use]
    pub fn is_at(&self, other: &Self) -> bool {
        let list = match self.0.split_last() {
            Some((Step::Index(_), list)) => list,
            _ => &self.0,
        };
        self == other || list == other.0
    }

    fn with(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    /// Reads what prints as `spec.queues[0].name`, with or without a dot in front. Keys that hold a dot or a
    /// bracket themselves come out in pieces; no field with a rule lies below such a key.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pieces = text.split(['.', '[']).filter(|piece| !piece.is_empty());
        let step = |piece: &str| match piece.strip_suffix(']').map(str::parse) {
            Some(Ok(index)) => Step::Index(index),
            _ => Step::Key(piece.to_owned()),
        };
        Self(pieces.map(step).collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if key.contains(['.', '[', ' ', '"']) => write!(f, "[{key:?}]")?,
                Step::Key(key) if place == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// The line of `text` on which the field stands, from 1; that of the closest part around it which is there.
#[must_use]
pub fn line_of(text: &str, path: &FieldPath) -> usize {
    let Ok(mut node) = serde_saphyr::from_str_with_options::<Node>(text, super::options()) else {
        return 1;
    };
    let mut line = node.line;
    for step in &path.0 {
        let part = match (step, node.parts) {
            (Step::Key(key), Parts::Map(entries)) => entries.into_iter().find(|(name, _)| name.value == *key),
            (Step::Index(index), Parts::List(mut items)) if *index < items.len() => {
                let item = items.swap_remove(*index);
                line = item.line;
                node = item;
                continue;
            }
            _ => None,
        };
        let Some((name, value)) = part else { break };
        line = usize::try_from(name.referenced.line()).unwrap_or(line);
        node = value;
    }
    line.max(1)
}

/// A value that knows the line it begins on. Scalars are not kept.
struct Node {
    line: usize,
    parts: Parts,
}

enum Parts {
    Map(Vec<(Spanned<String>, Node)>),
    List(Vec<Node>),
    Scalar,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Parts>::deserialize(deserializer)?;
        Ok(Self { line: usize::try_from(spanned.referenced.line()).unwrap_or(0), parts: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartsVisitor)
    }
}

struct PartsVisitor;

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = Parts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Parts::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Parts, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Parts::List(items))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Parts, E> {
        Ok(Parts::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Parts, E> {
        Ok(Parts::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Parts, E> {
        Ok(Parts::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Parts, E> {
        Ok(Parts::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Parts, E> {
        Ok(Parts::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Parts, E> {
        Ok(Parts::Scalar)
    }
}
