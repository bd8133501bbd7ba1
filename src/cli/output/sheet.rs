//! One thing and its fields, a line each.

use super::table::{BOLD, RESET};
use super::text::clean_lines;

/// Fields of one thing, for people.
#[derive(Debug, Default)]
pub(in crate::cli) struct Sheet(Vec<(&'static str, String)>);

impl Sheet {
    /// Adds a field.
    pub(in crate::cli) fn field(&mut self, label: &'static str, value: impl ToString) {
        self.0.push((label, value.to_string()));
    }

    /// Adds a field that there may be none of.
    pub(in crate::cli) fn maybe(&mut self, label: &'static str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.field(label, value);
        }
    }

    /// The sheet as text; values of several lines begin below their label.
    pub(in crate::cli) fn render(&self, color: bool) -> String {
        let width = self.0.iter().map(|(label, _)| label.len()).max().unwrap_or(0) + 1;
        let (begin, end) = if color { (BOLD, RESET) } else { ("", "") };
        let mut text = String::new();
        for (label, value) in &self.0 {
            let value = clean_lines(value);
            text.extend([begin, label, ":", end]);
            if value.contains('\n') {
                value.lines().for_each(|line| text.extend(["\n  ", line]));
            } else if !value.is_empty() {
                text.extend([" ".repeat(width - label.len()).as_str(), &value]);
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_in_one_column_and_long_ones_below() {
        let mut sheet = Sheet::default();
        sheet.field("Id", 7);
        sheet.maybe("Owner", None::<String>);
        sheet.field("Payload", "{\n  \"a\": \u{7}1\n}");
        sheet.field("Last error", "");
        assert_eq!(
            sheet.render(false),
            "Id:         7\nPayload:\n  {\n    \"a\": \\u{7}1\n  }\nLast error:\n"
        );
        assert!(sheet.render(true).starts_with("\u{1b}[1mId:\u{1b}[0m         7\n"));
    }
}
