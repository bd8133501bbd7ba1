//! How long files and functions may be.

use std::path::Path;

use super::source::tokens;
use super::{assert_none, files, read, say};

/// A file longer than this is worth splitting; said, not enforced.
const FILE_WISHED: usize = 400;
/// No file is longer.
const FILE_MOST: usize = 600;
/// A function longer than this is worth splitting; said, not enforced.
const FUNCTION_WISHED: usize = 60;

/// Name and length in lines of each function that has a body.
fn functions(source: &str) -> Vec<(String, usize)> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some(name) = tokens.get(at + 1).and_then(|next| next.word()).filter(|_| token.is_word("fn"))
        else {
            continue;
        };
        let mut depth = 0;
        for after in &tokens[at..] {
            match (after.is('{'), after.is('}'), after.is(';')) {
                (true, ..) => depth += 1,
                (_, true, _) => depth -= 1,
                // A signature without a body, as in a trait. Array types have a semicolon too, in brackets.
                (_, _, true) if depth == 0 && !in_brackets(&tokens[at..], after.line) => break,
                _ => continue,
            }
            if depth == 0 {
                found.push((name.to_owned(), after.line - token.line + 1));
                break;
            }
        }
    }
    found
}

/// Whether a semicolon on this line stands in an array type such as `[u8; 4]`.
fn in_brackets(tokens: &[super::source::Token], line: usize) -> bool {
    let on_line = |sign| tokens.iter().filter(|token| token.line == line && token.is(sign)).count();
    on_line('[') > 0 && on_line('[') == on_line(']')
}

#[test]
fn no_file_is_too_long() {
    let mut wrong = Vec::new();
    for path in ["src", "tests", "deploy"].iter().flat_map(|at| files(at, &["rs", "go", "py", "lua", "sh"])) {
        let text = read(&path);
        if text.starts_with("// GENERATED") {
            continue;
        }
        let lines = text.lines().count();
        if lines > FILE_MOST {
            wrong.push(format!("{}: {lines} lines, at most {FILE_MOST}", path.display()));
        } else if lines > FILE_WISHED {
            say(&format!("note: {} has {lines} lines, better at most {FILE_WISHED}", path.display()));
        }
    }
    assert_none(&wrong);
}

#[test]
fn long_functions_are_named() {
    for path in files("src", &["rs"]) {
        for (name, lines) in functions(&read(&path)) {
            if lines > FUNCTION_WISHED {
                say(&format!(
                    "note: {}: fn {name} has {lines} lines, better at most {FUNCTION_WISHED}",
                    path.display()
                ));
            }
        }
    }
}

#[test]
fn functions_are_measured() {
    let source = "trait T { fn none(&self); }\nfn one() {}\nfn four(a: [u8; 2])\n{\n    if true { 1; }\n}\n";
    assert_eq!(functions(source), [("one".to_owned(), 1), ("four".to_owned(), 4)]);
}

#[test]
fn the_walk_finds_this_very_file() {
    let here = Path::new("tests/architecture/tree.rs");
    assert!(files("tests", &["rs"]).iter().any(|path| path == here));
}
