//! What a document consists of: fenced blocks, tables, and code within its text.

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// The first word after the fence, such as `console`.
    pub(crate) language: String,
    /// What follows it, such as a file's name.
    pub(crate) about: String,
    pub(crate) text: String,
    /// Where the fence stands, from 1.
    pub(crate) line: usize,
}

/// A table: its cells as they are written, without the row of dashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// The fenced blocks of a document.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (line, content) in (1..).zip(text.lines()) {
        match (open.take(), content.strip_prefix("```")) {
            (Some(block), Some(_)) => found.push(block),
            (Some(mut block), None) => {
                block.text.push_str(content);
                block.text.push('\n');
                open = Some(block);
            }
            (None, Some(info)) => {
                let (language, about) = info.trim().split_once(' ').unwrap_or((info.trim(), ""));
                let (language, about) = (language.to_owned(), about.to_owned());
                open = Some(Block { language, about, text: String::new(), line });
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed: {open:?}");
    found
}

/// The lines outside of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_fenced = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        is_fenced ^= is_fence;
        !is_fence && !is_fenced
    })
}

/// The tables of a document.
pub(crate) fn tables(text: &str) -> Vec<Table> {
    let mut found: Vec<Table> = Vec::new();
    let mut is_within = false;
    for line in prose(text) {
        let Some(inner) = line.strip_prefix('|').and_then(|line| line.trim_end().strip_suffix('|')) else {
            is_within = false;
            continue;
        };
        let cells: Vec<String> = inner.split('|').map(|cell| cell.trim().to_owned()).collect();
        match found.last_mut().filter(|_| is_within) {
            None => found.push(Table { header: cells, rows: Vec::new() }),
            Some(_) if cells.iter().all(|cell| cell.chars().all(|c| c == '-')) => {}
            Some(table) => table.rows.push(cells),
        }
        is_within = true;
    }
    found
}

/// The one table of a document whose header begins with these cells.
pub(crate) fn table(text: &str, header: &[&str]) -> Table {
    let mut fitting: Vec<Table> = tables(text)
        .into_iter()
        .filter(|table| table.header.iter().zip(header).all(|(cell, wanted)| cell == wanted))
        .collect();
    assert_eq!(fitting.len(), 1, "tables with the header {header:?}");
    fitting.remove(0)
}

/// What stands between backticks outside of fenced blocks.
pub(crate) fn code(text: &str) -> Vec<String> {
    prose(text).flat_map(code_of).collect()
}

/// What stands between backticks in one line or cell.
pub(crate) fn code_of(line: &str) -> Vec<String> {
    line.split('`').skip(1).step_by(2).map(|code| code.trim().to_owned()).collect()
}

#[test]
fn blocks_tables_and_code_are_found() {
    let text = "a `b`\n```yaml f.yaml\nx: 1\n```\n| A | B |\n| --- | --- |\n| `c` d | e |\n\n| F |\n```sh\n| no |\n```\n";
    let found = blocks(text);
    let block = Block { language: "yaml".into(), about: "f.yaml".into(), text: "x: 1\n".into(), line: 2 };
    assert_eq!((&found[0], found[1].language.as_str()), (&block, "sh"));
    let cells = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
    let first = Table { header: cells(&["A", "B"]), rows: vec![cells(&["`c` d", "e"])] };
    assert_eq!(tables(text), [first, Table { header: cells(&["F"]), rows: vec![] }]);
    assert_eq!(code(text), ["b", "c"]);
}
