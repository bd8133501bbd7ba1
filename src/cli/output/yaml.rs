//! Data as YAML: what JSON holds, in block style.

use serde_json::Value;

/// A value as a YAML document. Every text that could be read as something else is quoted.
pub(in crate::cli) fn yaml(value: &Value) -> String {
    let mut text = String::new();
    node(value, 0, &mut text);
    text
}

/// Writes a value that begins on a line of its own.
fn node(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                text.extend(std::iter::repeat_n(' ', indent));
                text.push('-');
                within(item, indent, text);
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                text.extend(std::iter::repeat_n(' ', indent));
                text.push_str(&scalar_text(name));
                text.push(':');
                within(field, indent, text);
            }
        }
        plain => {
            text.push_str(&scalar(plain));
            text.push('\n');
        }
    }
}

/// Writes a value behind a dash or a name: on the same line, or further in below it.
fn within(value: &Value, indent: usize, text: &mut String) {
    let is_block = match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => false,
    };
    text.push(if is_block { '\n' } else { ' ' });
    node(value, indent + 2, text);
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(value) => scalar_text(value),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
        other => other.to_string(),
    }
}

/// Text that begins with a letter and holds nothing special stands as it is, unless YAML has a meaning for it.
fn scalar_text(text: &str) -> String {
    const MEANT: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_plain = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && !MEANT.contains(&text.to_ascii_lowercase().as_str());
    if is_plain {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_and_objects_are_blocks_and_odd_texts_are_quoted() {
        let value = json!([
            {"id": "a-1", "empty": [], "none": null, "n": 1.5, "texts": ["yes", "12", "a: b", "x\u{1b}\n\"\\ü"]},
            {},
        ]);
        let expected = r#"-
  empty: []
  id: a-1
  "n": 1.5
  none: null
  texts:
    - "yes"
    - "12"
    - "a: b"
    - "x\u001b\n\"\\ü"
- {}
"#;
        assert_eq!(yaml(&value), expected);
        assert_eq!((yaml(&json!([])), yaml(&json!("a"))), ("[]\n".to_owned(), "a\n".to_owned()));
    }
}
