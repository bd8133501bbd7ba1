//! Every source file is compiled: a `mod` line leads to it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::source::{Kind, Token, tokens};
use super::{assert_none, files, read};

/// A file that a `mod` line asks for: the places where it may be.
type Candidates = Vec<PathBuf>;

/// The files that the `mod` lines of a file ask for. `is_root` says that its own folder is where they lie.
fn declared(path: &Path, source: &str, is_root: bool) -> Vec<Candidates> {
    let folder = path.parent().expect("a file lies in a folder");
    let home = if is_root || path.ends_with("mod.rs") { folder.to_owned() } else { path.with_extension("") };
    let tokens = tokens(source);
    let mut found = Vec::new();
    let mut inside: Vec<(String, usize)> = Vec::new();
    let mut braces = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        if token.is('{') {
            braces += 1;
        } else if token.is('}') {
            braces = braces.saturating_sub(1);
            inside.retain(|(_, opened)| *opened <= braces);
        } else if token.is_word("mod") {
            let (Some(name), Some(next)) = (tokens.get(at + 1).and_then(Token::word), tokens.get(at + 2))
            else {
                continue;
            };
            if next.is('{') {
                inside.push((name.to_owned(), braces + 1));
            } else if next.is(';') {
                let at_home = inside.iter().fold(home.clone(), |folder, (name, _)| folder.join(name));
                found.push(match path_attribute(&tokens[..at]) {
                    Some(given) => vec![folder.join(given)],
                    None => vec![at_home.join(format!("{name}.rs")), at_home.join(name).join("mod.rs")],
                });
            }
        }
    }
    found
}

/// The file that `#[path = "…"]` names, when the attributes right before this point have it.
fn path_attribute(before: &[Token]) -> Option<&str> {
    // Attributes and visibility end where the item before them does.
    let start = before
        .iter()
        .rposition(|token| token.is(';') || token.is('}') || token.is('{'))
        .map_or(0, |at| at + 1);
    let item = &before[start..];
    let at = item.windows(2).position(|pair| pair[0].is_word("path") && pair[1].is('='))?;
    if let Some(Kind::Text(text)) = item.get(at + 2).map(|token| &token.kind) { Some(text) } else { None }
}

/// `a/../b` as `b`.
fn plain(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for part in path.components() {
        if part.as_os_str() == ".." {
            result.pop();
        } else {
            result.push(part);
        }
    }
    result
}

/// Cargo's own entry points.
fn is_root(path: &Path) -> bool {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let parts = parts.iter().map(AsRef::as_ref).collect::<Vec<&str>>();
    matches!(
        parts[..],
        ["src", "lib.rs" | "main.rs"]
            | ["src", "bin", _]
            | ["src", "bin", _, "main.rs"]
            | ["tests" | "examples" | "benches", _]
            | ["tests" | "examples" | "benches", _, "main.rs"]
    )
}

/// Those of these files that no root leads to.
fn orphans(all: &[PathBuf], read: impl Fn(&Path) -> String) -> Vec<PathBuf> {
    let all: BTreeSet<&PathBuf> = all.iter().collect();
    let mut reached: BTreeSet<PathBuf> = BTreeSet::new();
    let mut waiting: Vec<PathBuf> = all.iter().copied().filter(|path| is_root(path)).cloned().collect();
    while let Some(path) = waiting.pop() {
        let wanted = declared(&path, &read(&path), is_root(&path)).into_iter().flatten();
        waiting.extend(
            wanted.map(|path| plain(&path)).filter(|path| all.contains(path) && !reached.contains(path)),
        );
        reached.insert(path);
    }
    all.into_iter().filter(|path| !reached.contains(*path)).cloned().collect()
}

#[test]
fn a_mod_line_leads_to_every_file() {
    let all: Vec<PathBuf> =
        ["src", "tests", "examples", "benches"].iter().flat_map(|at| files(at, &["rs"])).collect();
    let lost = orphans(&all, read);
    assert_none(
        &lost.iter().map(|path| format!("{}: no mod line leads here", path.display())).collect::<Vec<_>>(),
    );
}

#[test]
fn a_file_without_a_mod_line_is_found() {
    let tree = [
        ("src/lib.rs", "pub mod a; mod inline { mod deep; }"),
        ("src/a/mod.rs", "mod b; // mod lost;"),
        ("src/a/b.rs", "#[cfg(test)] mod tests;"),
        ("src/a/b/tests.rs", ""),
        ("src/inline/deep.rs", ""),
        ("src/a/lost.rs", ""),
        ("tests/t/main.rs", "#[path = \"../s/mod.rs\"] pub mod s; mod c;"),
        ("tests/t/c.rs", ""),
        ("tests/s/mod.rs", ""),
        ("tests/t/lost.rs", ""),
    ];
    let all: Vec<PathBuf> = tree.iter().map(|(path, _)| PathBuf::from(path)).collect();
    let source =
        |path: &Path| tree.iter().find(|(at, _)| Path::new(at) == path).expect("in the tree").1.to_owned();
    assert_eq!(orphans(&all, source), ["src/a/lost.rs", "tests/t/lost.rs"].map(PathBuf::from));
}
