//! Names of objects.

use std::fmt;
use std::str::FromStr;

/// An object's name, with or without its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// The namespace; `None` matches every one.
    pub namespace: Option<String>,
    /// The name within it.
    pub name: String,
}

/// A name that cannot be an object's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an object's name (allowed: name or namespace/name of lower-case letters, digits, - and ., as in shop/nightly-report)"
)]
pub struct ObjectNameError;

impl ObjectName {
    /// Whether an object of this namespace and name is meant.
    #[must_use]
    pub fn fits(&self, namespace: &str, name: &str) -> bool {
        self.name == name && self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
    }
}

impl FromStr for ObjectName {
    type Err = ObjectNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        match namespace.is_none_or(is_name) && is_name(name) {
            true => Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned() }),
            false => Err(ObjectNameError),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Whether Kubernetes would take it as an object's name.
fn is_name(text: &str) -> bool {
    let is_inner =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let is_edge =
        |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.len() <= 253
        && text.bytes().all(is_inner)
        && is_edge(text.bytes().next())
        && is_edge(text.bytes().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_namespace_or_not() {
        for text in ["report", "shop/report", "a-1.b/c", "5"] {
            assert_eq!(text.parse::<ObjectName>().unwrap().to_string(), text);
        }
        for text in ["", "*/20", "@daily", "a b", "A", "a/", "/a", "a/b/c", "-a", "a.", "*"] {
            assert_eq!(text.parse::<ObjectName>(), Err(ObjectNameError), "{text}");
        }
    }

    #[test]
    fn without_a_namespace_every_one_fits() {
        let fits = |text: &str| text.parse::<ObjectName>().unwrap().fits("shop", "report");
        assert_eq!(["report", "shop/report", "bill/report", "other"].map(fits), [true, true, false, false]);
    }
}
