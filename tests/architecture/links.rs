//! Every link between our documents leads somewhere, down to the heading.

use std::path::Path;

use super::{assert_none, files, read, root};

/// The targets of the links in a document, without those in code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        // What stands between backticks is code.
        let outside: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
        for rest in outside.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            found.push(target.split_whitespace().next().unwrap_or_default().to_owned());
        }
    }
    found
}

/// The lines of a document that are not in a fenced block.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    })
}

/// The names by which headings are linked: lower case, spaces as hyphens, other signs dropped.
fn anchors(text: &str) -> Vec<String> {
    let heading = |line: &&str| line.starts_with('#');
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    prose(text).filter(heading).map(anchor).collect()
}

/// What is wrong with the links of one document.
fn complaints(path: &Path, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for link in links(text) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let target = if file.is_empty() { path.to_owned() } else { path.with_file_name("").join(file) };
        if !file.is_empty() && !root().join(&target).exists() {
            wrong.push(format!("{}: no file {link}", path.display()));
        } else if !anchor.is_empty() && target.extension().is_some_and(|kind| kind == "md") {
            let there = if file.is_empty() { text.to_owned() } else { read(&target) };
            if !anchors(&there).iter().any(|known| known == anchor) {
                wrong.push(format!("{}: no heading {link}", path.display()));
            }
        }
    }
    wrong
}

#[test]
fn links_between_documents_resolve() {
    let documents = files("", &["md"]);
    assert_none(&documents.iter().flat_map(|path| complaints(path, &read(path))).collect::<Vec<_>>());
}

#[test]
fn a_broken_link_is_found() {
    let text = "# One *two*, 3\n[a](#one-two-3) [b](Cargo.toml) `[c](no)` [d](https://example.org/no)\n```\n[e](no)\n```\n";
    let path = Path::new("README.md");
    assert_eq!(complaints(path, text), Vec::<String>::new());
    for broken in ["[x](no.md)", "[x](#no)", "[x](no/such/file \"title\")"] {
        assert_eq!(complaints(path, broken).len(), 1, "{broken}");
    }
}
