//! JSON payloads of the bundled handlers.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

/// A payload that is not what its task type takes. Its text quotes no values.
#[derive(Debug, thiserror::Error)]
#[error("read payload of {kind}: {problem}")]
pub struct PayloadError {
    kind: &'static str,
    problem: String,
}

impl PayloadError {
    /// A fixed word for metrics and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        "InvalidPayload"
    }

    /// Never: the payload stays what it is.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}

/// The version of a payload's form: 1, which may be left out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Version;

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = serde_json::Value::deserialize(deserializer)?;
        if found == 1 { Ok(Self) } else { Err(D::Error::custom(OTHER_VERSION)) }
    }
}

const OTHER_VERSION: &str = "its version is not 1, the only one known here";

/// [`read`] for a type with a field of [`Version`]. A payload of another version is told by that, whatever else is
/// strange in it.
pub(super) fn read_versioned<T: DeserializeOwned>(
    kind: &'static str,
    bytes: &[u8],
) -> Result<T, PayloadError> {
    #[derive(Deserialize)]
    struct Head {
        version: Option<serde_json::Value>,
    }
    let head = serde_json::from_slice::<Head>(bytes).ok();
    if head.and_then(|head| head.version).is_some_and(|version| version != 1) {
        return Err(PayloadError { kind, problem: OTHER_VERSION.to_owned() });
    }
    read(kind, bytes)
}

/// Reads the payload of a task of type `kind`; no bytes at all mean an empty object.
pub(super) fn read<T: DeserializeOwned>(kind: &'static str, bytes: &[u8]) -> Result<T, PayloadError> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    let problem = match serde_json::from_slice(bytes) {
        // Serde takes an array too, and gives its items to the fields in their order.
        Ok(_) if bytes.trim_ascii_start().first() != Some(&b'{') => "it is not an object".to_owned(),
        Ok(read) => return Ok(read),
        Err(error) => format!("{} at line {} column {}", problem(&error), error.line(), error.column()),
    };
    Err(PayloadError { kind, problem })
}

/// What serde_json says, without the values it quotes: they may be confidential, and this text is stored.
///
/// Names of fields, which are quoted in backquotes, stay: they are what the sender needs to see.
fn problem(error: &serde_json::Error) -> String {
    if error.is_syntax() || error.is_eof() {
        return "it is not JSON".to_owned();
    }
    let text = error.to_string();
    match text.split_once(" at line ").map_or(text.as_str(), |(said, _)| said) {
        said if said.starts_with("unknown field") || said.starts_with("missing field") => said.to_owned(),
        said => said.rsplit_once(", expected ").map_or_else(
            || "it has the wrong shape".to_owned(),
            |(_, expected)| format!("a value is not {expected}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Sample {
        count: u32,
    }

    fn told(bytes: &str) -> String {
        read::<Sample>("sample", bytes.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn nothing_and_an_empty_object_mean_defaults() {
        assert_eq!(read::<Sample>("sample", b"").unwrap(), Sample { count: 0 });
        assert_eq!(read::<Sample>("sample", b"{}").unwrap(), Sample { count: 0 });
        assert_eq!(read::<Sample>("sample", br#"{"count": 3}"#).unwrap(), Sample { count: 3 });
    }

    #[test]
    fn an_unknown_field_is_named_with_the_known_ones() {
        let told = told(r#"{"cout": 3}"#);
        assert!(told.contains("unknown field `cout`, expected `count`"), "{told}");
    }

    #[test]
    fn only_an_object_is_taken() {
        assert_eq!(told("[]"), "read payload of sample: it is not an object");
        assert!(told("null").starts_with("read payload of sample: "));
    }

    #[test]
    fn values_are_never_quoted() {
        for bytes in
            [r#"{"count": "s3cret"}"#, r#""s3cret""#, "s3cret", r#"{"count": 1} s3cret"#, r#"{"count"#]
        {
            let told = told(bytes);
            assert!(told.starts_with("read payload of sample: ") && !told.contains("s3cret"), "{told}");
        }
        assert!(told(r#"{"count": "s3cret"}"#).contains("a value is not u32 at line 1"));
    }
}
