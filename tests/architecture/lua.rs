//! A script's header tells the truth: it names the script, what it returns, and exactly the keys and arguments
//! the body uses. A script spells no key: the key's text stands in one Rust file.

use std::collections::BTreeSet;
use std::path::Path;

use super::{assert_none, files, read, say};

/// A script with more lines of code is worth splitting; said, not enforced. The header does not count.
const CODE_WISHED: usize = 80;
/// No script has more.
const CODE_MOST: usize = 100;

/// How a script uses `KEYS` or `ARGV`.
#[derive(Debug, Default, PartialEq)]
struct Uses {
    /// The numbers it spells out.
    numbers: BTreeSet<usize>,
    /// The number a list without end starts at, in a header (`ARGV[3..]`).
    open_from: Option<usize>,
    /// Whether it counts or computes a place (`#ARGV`, `ARGV[i]`), in a body.
    computed: bool,
}

/// Every `TABLE[…]` and `#TABLE` in a text.
fn uses(text: &str, table: &str) -> Uses {
    let mut found = Uses { computed: text.contains(&format!("#{table}")), ..Uses::default() };
    for rest in text.split(&format!("{table}[")).skip(1) {
        let place = rest.split(']').next().unwrap_or_default().trim();
        if let Ok(number) = place.parse() {
            found.numbers.insert(number);
        } else if let Some(start) = place.strip_suffix("..").and_then(|start| start.parse().ok()) {
            found.open_from = Some(start);
        } else {
            found.computed = true;
        }
    }
    found
}

/// A script's leading comment and the rest of it, without comments.
fn split(text: &str) -> (String, String) {
    let header: Vec<&str> = text.lines().take_while(|line| line.starts_with("--")).collect();
    let code =
        text.lines().skip(header.len()).map(|line| line.split("--").next().unwrap_or_default().trim_end());
    (header.join("\n"), code.filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n"))
}

/// What is wrong with the header's account of one table.
fn table_complaints(header: &str, body: &str, table: &str) -> Vec<String> {
    let (told, used) = (uses(header, table), uses(body, table));
    let mut wrong = Vec::new();
    let open = told.open_from.unwrap_or(usize::MAX);
    for number in used.numbers.iter().filter(|number| **number < open && !told.numbers.contains(number)) {
        wrong.push(format!("{table}[{number}] is used but not in the header"));
    }
    for number in told.numbers.difference(&used.numbers) {
        wrong.push(format!("{table}[{number}] is in the header but not used"));
    }
    let contiguous: BTreeSet<usize> = (1..=told.numbers.len()).collect();
    if told.numbers != contiguous || told.open_from.is_some_and(|start| start != told.numbers.len() + 1) {
        wrong.push(format!("the header's {table} do not count on from 1"));
    }
    if used.computed != told.open_from.is_some() {
        wrong.push(format!("{table}[n..] stands in the header if and only if the body computes places"));
    }
    wrong
}

/// What is wrong with one script.
fn complaints(path: &Path, text: &str) -> Vec<String> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let piece = path.parent().is_some_and(|folder| folder.ends_with("include"));
    let (header, body) = split(text);
    let mut wrong = Vec::new();
    if !header.starts_with(&format!("-- {name}: ")) {
        wrong.push(format!("the first line is not '-- {name}: what it does'"));
    }
    if !piece && !header.contains("\n-- Returns: ") {
        wrong.push("the header has no line '-- Returns: …'".to_owned());
    }
    // A piece is put in front of scripts whose keys differ, so it takes what it needs as parameters; it has
    // no header for them, and any use is a complaint.
    for table in ["KEYS", "ARGV"] {
        wrong.extend(table_complaints(if piece { "" } else { &header }, &body, table));
    }
    if ["asynq:", "cronmill:"].iter().any(|prefix| body.contains(prefix)) {
        wrong.push("the body spells a key; keys and prefixes come from outside".to_owned());
    }
    let lines = body.lines().count();
    if lines > CODE_MOST {
        wrong.push(format!("{lines} lines of code, at most {CODE_MOST}"));
    } else if lines > CODE_WISHED {
        say(&format!("note: {} has {lines} lines of code, better at most {CODE_WISHED}", path.display()));
    }
    wrong.iter().map(|what| format!("{}: {what}", path.display())).collect()
}

#[test]
fn headers_name_exactly_what_the_body_uses() {
    let scripts = files("src/broker/lua", &["lua"]);
    assert_none(&scripts.iter().flat_map(|path| complaints(path, &read(path))).collect::<Vec<_>>());
}

#[test]
fn scripts_lie_in_one_place() {
    let elsewhere = files("src", &["lua"]).into_iter().filter(|path| !path.starts_with("src/broker/lua"));
    assert_eq!(elsewhere.collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_true_header_passes() {
    let text = "-- a_b: do it.\n-- KEYS[1] list pending\n-- ARGV[1] int n   ARGV[2..] ids\n-- Returns: 1\n\
                local n = ARGV[1] -- KEYS[9]\nfor i = 2, #ARGV do redis.call('X', KEYS[1], ARGV[i]) end\nreturn 1\n";
    assert_eq!(complaints(Path::new("lua/a_b.lua"), text), Vec::<String>::new());
}

#[test]
fn a_false_header_is_found() {
    let good = "-- a_b: do it.\n-- KEYS[1] list   KEYS[2] zset\n-- ARGV[1] int\n-- Returns: 1\n";
    let body = "return redis.call('X', KEYS[1], KEYS[2], ARGV[1])";
    assert_eq!(complaints(Path::new("a_b.lua"), &format!("{good}{body}")), Vec::<String>::new());
    for (header, body) in [
        (good.replace("a_b", "other"), body.to_owned()),
        (good.replace("-- Returns: 1\n", ""), body.to_owned()),
        (good.replace("   KEYS[2] zset", ""), body.to_owned()),
        (good.replace("KEYS[2] zset", "KEYS[2] zset   KEYS[3] set"), body.to_owned()),
        (good.replace("ARGV[1] int", "ARGV[2] int"), body.replace("ARGV[1]", "ARGV[2]")),
        (good.replace("ARGV[1] int", "ARGV[1] int   ARGV[2..] ids"), body.to_owned()),
        (good.to_owned(), format!("local x = ARGV[n]\n{body}")),
        (good.to_owned(), format!("local x = #KEYS\n{body}")),
        (good.to_owned(), format!("local x = 'asynq:{{q}}'\n{body}")),
        (good.to_owned(), format!("{}{body}", "local x = 1\n".repeat(CODE_MOST))),
    ] {
        assert_eq!(complaints(Path::new("a_b.lua"), &format!("{header}{body}")).len(), 1, "{header}{body}");
    }
}

#[test]
fn a_shared_piece_takes_parameters_only() {
    let path = Path::new("lua/include/owned.lua");
    assert_eq!(
        complaints(path, "-- owned: whether.\nlocal function owned(a) return a end\n"),
        Vec::<String>::new()
    );
    assert_eq!(complaints(path, "-- owned: whether.\nlocal x = KEYS[1]\n").len(), 1);
}
