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

/// A column.
#[derive(Clone, Debug)]
struct Column {
    heading: String,
    /// Whether its cells are numbers, which stand on the right.
    is_number: bool,
    /// Whether only the wide form has it.
    is_wide: bool,
}

/// A table for people.
#[derive(Debug)]
pub(in crate::cli) struct Table {
    columns: Vec<Column>,
    rows: Vec<(Tone, Vec<String>)>,
}

impl Table {
    /// A table without rows. A heading that begins with `>` is that of a column of numbers, one that begins with `+`
    /// that of a column which only the wide form has.
    pub(in crate::cli) fn new(headings: &[&str]) -> Self {
        let column = |heading: &&str| {
            let (heading, is_wide) = heading.strip_prefix('+').map_or((*heading, false), |rest| (rest, true));
            let (heading, is_number) =
                heading.strip_prefix('>').map_or((heading, false), |rest| (rest, true));
            Column { heading: heading.to_owned(), is_number, is_wide }
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
    pub(in crate::cli) fn render(&self, color: bool, wide: bool) -> String {
        let is_shown: Vec<bool> = self.columns.iter().map(|column| wide || !column.is_wide).collect();
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        table
            .set_header(Row::from(shown(&self.columns, &is_shown).map(|it| &it.heading).collect::<Vec<_>>()));
        for (_, cells) in &self.rows {
            let cells = shown(cells, &is_shown).map(|cell| clean(cell));
            table.add_row(Row::from(cells.collect::<Vec<_>>()));
        }
        for (drawn, column) in table.column_iter_mut().zip(shown(&self.columns, &is_shown)) {
            drawn.set_padding((0, 2));
            if column.is_number {
                drawn.set_cell_alignment(CellAlignment::Right);
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

/// The columns, or the cells of a row, that are shown.
fn shown<'a, T>(all: &'a [T], is_shown: &'a [bool]) -> impl Iterator<Item = &'a T> {
    all.iter().zip(is_shown).filter(|(_, is_shown)| **is_shown).map(|(one, _)| one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "+>ID", ">SIZE", "WHY"]);
        table.row(Tone::Plain, vec!["a".into(), "1".into(), "7".into(), String::new()]);
        table.row(Tone::Wrong, vec!["b\u{1b}[2J\nc".into(), "22".into(), "1234".into(), "日本".into()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_rows_keep_to_their_line() {
        let expected = "NAME           SIZE  WHY\n\
                        a                 7\n\
                        b\\u{1b}[2J\\nc  1234  日本\n";
        assert_eq!(table().render(false, false), expected);
    }

    #[test]
    fn the_wide_form_has_more_columns() {
        let text = table().render(false, true);
        assert!(text.starts_with("NAME           ID  SIZE  WHY\na               1     7\n"), "{text}");
    }

    #[test]
    fn colour_is_around_whole_lines() {
        let text = table().render(true, false);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("\u{1b}[1mNAME") && lines[0].ends_with("WHY\u{1b}[0m"), "{text}");
        assert!(!lines[1].contains('\u{1b}'), "{text}");
        assert!(lines[2].starts_with("\u{1b}[31mb") && lines[2].ends_with("日本\u{1b}[0m"), "{text}");
    }
}
