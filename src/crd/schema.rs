//! Pieces of schema that the derive macros cannot write, and what the patterns mean in words.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::duration;

/// A DNS label: what Kubernetes calls most things.
pub const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// A DNS subdomain: what Kubernetes calls an object.
pub const DNS_SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// A name from the time zone database.
pub(super) const ZONE: &str = "^[A-Za-z][A-Za-z0-9_+/-]*$";
/// Any text that is not blank.
pub(super) const NOT_BLANK: &str = r"\S";
/// A queue's name in Redis: not blank, and not beginning with `}`, which would make the cluster hash tag
/// empty.
pub(super) const REDIS_NAME: &str = r"^(\s*[^}\s]|\s+\})";

/// The rule that a schedule has the shape of one; what its fields say is beyond CEL.
pub(super) const SCHEDULE_SHAPE: &str = "self.startsWith('@') || \
    self.replace('\\t', ' ').split(' ').filter(field, field != '').size() in [5, 6]";
/// The same of each schedule of a list.
pub(super) const SCHEDULE_SHAPES: &str = "self.all(schedule, schedule.startsWith('@') || \
    schedule.replace('\\t', ' ').split(' ').filter(field, field != '').size() in [5, 6])";
/// What those two ask for.
pub(super) const SCHEDULE_FORMS: &str =
    "must have five fields, or six with seconds, or begin with @ as in @daily";

/// The rule that a duration is not zero. CEL knows no days, and zero days are as much as zero hours. (A regular
/// expression would say it more plainly, and cost a hundred times as much: it is compiled for each object.)
pub(super) const MORE_THAN_ZERO: &str = "duration(self.replace('d', 'h')) > duration('0s')";

/// What a pattern of these types asks for, in words; `None` for a pattern that is not ours.
#[must_use]
pub fn pattern_meaning(pattern: &str) -> Option<&'static str> {
    match pattern {
        duration::PATTERN => Some("a duration like 90s, 5m, 2h, 7d or 1h30m"),
        DNS_LABEL => Some("lower-case letters, digits and '-', with a letter or digit at both ends"),
        DNS_SUBDOMAIN => Some("lower-case letters, digits, '-' and '.', with a letter or digit at both ends"),
        ZONE => Some("a zone of the IANA database, like Asia/Shanghai or UTC"),
        NOT_BLANK => Some("a text that is not blank"),
        REDIS_NAME => Some("a text that is not blank and does not begin with '}'"),
        _ => None,
    }
}

/// Any JSON value, kept as it is.
pub(super) fn any_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// Any JSON object, kept as it is.
pub(super) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// Makes the optional properties of a struct plain: absent or a value, never `null`.
///
/// Without this each `Option` becomes `nullable`, an API server then stores a written `null`, and `has()` in
/// a rule counts it as set. A field that is not nullable loses its `null` on the way in, and means "absent".
pub(super) fn never_null(schema: &mut Schema) {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for property in properties.values_mut().filter_map(Value::as_object_mut) {
        if let Some(Value::Array(types)) = property.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                property.insert("type".into(), only);
            }
        }
        if let Some(Value::Array(values)) = property.get_mut("enum") {
            values.retain(|value| !value.is_null());
        }
        let Some(Value::Array(mut branches)) = property.remove("anyOf") else { continue };
        branches.retain(|branch| branch.get("type").is_none_or(|name| name != "null"));
        match branches.pop() {
            Some(Value::Object(only)) if branches.is_empty() => {
                for (keyword, value) in only {
                    property.entry(keyword).or_insert(value);
                }
            }
            last => {
                branches.extend(last);
                property.insert("anyOf".into(), branches.into());
            }
        }
    }
}
