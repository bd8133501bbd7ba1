//! Rows under headings, one line each.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Row};

use super::text::clean;

/// How a row stands out on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Tone {
    /// Not at all.
    Plain,
    /// Something is held up: paused, suspended, waiting for another attempt.
    Held,
    /// Something is wrong: a fault, a failure, given up.
    Wrong,
}

impl Tone {
    /// The escape sequence that begins it.
    fn begin(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Held => "\u{1b}[33m",
            Self::Wrong => "\u{1b}[31m",
        }
    }
}

pub(super) const BOLD: &str = "\u{1b}[1m";
pub(super) const RESET: &str = "\u{1b}[0m";

/// A column: its heading, and where its cells stand.
#[derive(Clone, Debug)]
enum Column {
    /// Text.
    Left(String),
    /// Numbers.
    Right(String),
}

/// A table for people.
#[derive(Debug)]
pub(in crate::cli) struct Table {
    columns: Vec<Column>,
    rows: Vec<(Tone, Vec<String>)>,
}

impl Table {
    /// A table without rows. A heading that begins with `>` is that of a column of numbers.
    pub(in crate::cli) fn new(headings: &[&str]) -> Self {
        let column = |heading: &&str| match heading.strip_prefix('>') {
            Some(heading) => Column::Right(heading.to_owned()),
            None => Column::Left((*heading).to_owned()),
        };
        Self { columns: headings.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row; what would break its line is made visible.
    pub(in crate::cli) fn row(&mut self, tone: Tone, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "one cell a column");
        self.rows.push((tone, cells));
    }

    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, each line ended.
    pub(in crate::cli) fn render(&self, color: bool) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        let headings = self.columns.iter().map(|column| match column {
            Column::Left(heading) | Column::Right(heading) => heading,
        });
        table.set_header(Row::from(headings.collect::<Vec<_>>()));
        for (_, cells) in &self.rows {
            table.add_row(Row::from(cells.iter().map(|cell| clean(cell)).collect::<Vec<_>>()));
        }
        for (shown, column) in table.column_iter_mut().zip(&self.columns) {
            shown.set_padding((0, 2));
            if let Column::Right(_) = column {
                shown.set_cell_alignment(CellAlignment::Right);
            }
        }
        // Cells have no line breaks and nothing is wrapped, so that lines and rows go together.
        let tones = std::iter::once(BOLD).chain(self.rows.iter().map(|(tone, _)| tone.begin()));
        let mut text = String::new();
        for (line, begin) in table.lines().zip(tones) {
            let line = line.trim_end();
            match color && !begin.is_empty() {
                true => text.extend([begin, line, RESET, "\n"]),
                false => text.extend([line, "\n"]),
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", ">SIZE", "WHY"]);
        table.row(Tone::Plain, vec!["a".into(), "7".into(), String::new()]);
        table.row(Tone::Wrong, vec!["b\u{1b}[2J\nc".into(), "1234".into(), "日本".into()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_rows_keep_to_their_line() {
        let expected = "NAME           SIZE  WHY\n\
                        a                 7\n\
                        b\\u{1b}[2J\\nc  1234  日本\n";
        assert_eq!(table().render(false), expected);
    }

    #[test]
    fn colour_is_around_whole_lines() {
        let text = table().render(true);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("\u{1b}[1mNAME") && lines[0].ends_with("WHY\u{1b}[0m"), "{text}");
        assert!(!lines[1].contains('\u{1b}'), "{text}");
        assert!(lines[2].starts_with("\u{1b}[31mb") && lines[2].ends_with("日本\u{1b}[0m"), "{text}");
    }
}
