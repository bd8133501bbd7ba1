//! Reading what scripts answer.

use bytes::Bytes;
use jiff::Timestamp;
use redis::Value;

use super::BrokerError;

/// Walks the flat array a script returned.
pub(super) struct Reply {
    doing: &'static str,
    items: std::vec::IntoIter<Value>,
}

impl Reply {
    pub(super) fn new(doing: &'static str, value: Value) -> Result<Self, BrokerError> {
        match value {
            Value::Array(items) => Ok(Self { doing, items: items.into_iter() }),
            other => Err(unexpected(doing, &other)),
        }
    }

    /// Whether everything was read.
    pub(super) fn is_empty(&self) -> bool {
        self.items.len() == 0
    }

    fn next(&mut self) -> Result<Value, BrokerError> {
        let short = || BrokerError::Reply { doing: self.doing, problem: "the answer is too short".into() };
        self.items.next().ok_or_else(short)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, BrokerError> {
        let value = self.next()?;
        self.as_bytes(value)
    }

    fn as_bytes(&self, value: Value) -> Result<Bytes, BrokerError> {
        match value {
            Value::BulkString(bytes) => Ok(Bytes::from(bytes)),
            Value::SimpleString(text) => Ok(Bytes::from(text)),
            Value::Int(number) => Ok(Bytes::from(number.to_string())),
            Value::Nil => Ok(Bytes::new()),
            other => Err(unexpected(self.doing, &other)),
        }
    }

    /// Text; bytes that are not UTF-8 are replaced, since ids we did not make may hold any.
    pub(super) fn text(&mut self) -> Result<String, BrokerError> {
        let bytes = match self.next()? {
            Value::BulkString(bytes) => bytes,
            other => self.as_bytes(other)?.into(),
        };
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    pub(super) fn int(&mut self) -> Result<i64, BrokerError> {
        let text = match self.next()? {
            Value::Int(number) => return Ok(number),
            other => String::from_utf8_lossy(&self.as_bytes(other)?).into_owned(),
        };
        // Scores come back as floats when they are huge or fractional.
        let parsed = text.parse().ok().or_else(|| text.parse().ok().map(|score: f64| score as i64));
        parsed.ok_or_else(|| BrokerError::Reply {
            doing: self.doing,
            problem: format!("{text:?} is no number"),
        })
    }

    /// A number, or nothing where the text is empty.
    pub(super) fn maybe_int(&mut self) -> Result<Option<i64>, BrokerError> {
        let text = self.text()?;
        Ok(text.parse().ok().or_else(|| text.parse().ok().map(|score: f64| score as i64)))
    }

    /// A nested array.
    pub(super) fn nested(&mut self) -> Result<Reply, BrokerError> {
        let doing = self.doing;
        Self::new(doing, self.next()?)
    }
}

fn unexpected(doing: &'static str, value: &Value) -> BrokerError {
    let shape = match value {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) => "text",
        Value::Array(_) => "an array",
        _ => "another type",
    };
    BrokerError::Reply { doing, problem: shape.to_owned() }
}

/// A moment from Unix seconds; what no calendar holds becomes the nearest it does.
pub(super) fn from_s(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// A moment from Unix milliseconds.
pub(super) fn from_ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// Unix seconds, rounded up: nothing we write is due before its moment, whoever moves it.
pub(super) fn ceil_s(at: Timestamp) -> i64 {
    at.as_second() + i64::from(at.subsec_nanosecond() > 0)
}
