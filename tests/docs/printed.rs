//! Whether what a command printed is what its document shows.

/// Stands for anything; on a line of its own for any number of lines.
const ANYTHING: char = '…';

/// How close the two must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// Every character, but for what `…` stands for.
    Exact,
    /// Numbers, random ids and the width of columns may differ too.
    Sample,
}

/// Whether all the printed lines are those shown.
pub(crate) fn fits(shown: &[String], printed: &[String], likeness: Likeness) -> bool {
    match shown {
        [] => printed.is_empty(),
        [any, rest @ ..] if any.trim() == ANYTHING.to_string() => {
            (0..=printed.len()).any(|skipped| fits(rest, &printed[skipped..], likeness))
        }
        [first, rest @ ..] => printed
            .split_first()
            .is_some_and(|(line, left)| line_fits(first, line, likeness) && fits(rest, left, likeness)),
    }
}

/// Whether one printed line is the one shown.
pub(crate) fn line_fits(shown: &str, printed: &str, likeness: Likeness) -> bool {
    let (shown, printed) = match likeness {
        Likeness::Exact => (shown.trim_end().to_owned(), printed.trim_end().to_owned()),
        Likeness::Sample => (leveled(shown), leveled(printed)),
    };
    let pieces: Vec<&str> = shown.split(ANYTHING).collect();
    let [first, .., last] = pieces[..] else { return shown == printed };
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    for piece in &pieces[1..pieces.len() - 1] {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// The line with every random id, every number and every run of spaces as one sign.
fn leveled(line: &str) -> String {
    let words: Vec<String> =
        line.split_whitespace().map(|word| numbers_leveled(&ids_leveled(word))).collect();
    words.join(" ")
}

/// UUIDs as `U`.
fn ids_leveled(word: &str) -> String {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let is_id = |text: &str| {
        let parts: Vec<&str> = text.split('-').collect();
        let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
        parts.iter().map(|part| part.len()).eq(GROUPS) && parts.iter().all(|part| is_hex(part))
    };
    let mut leveled = String::new();
    let mut rest = word;
    while let Some(next) = rest.chars().next() {
        match rest.get(..36).filter(|text| is_id(text)) {
            Some(id) => {
                leveled.push('U');
                rest = &rest[id.len()..];
            }
            None => {
                leveled.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    leveled
}

/// Runs of digits as `0`, durations such as `4m59s` as `0s`.
fn numbers_leveled(word: &str) -> String {
    let mut leveled = String::new();
    for c in word.chars() {
        if !c.is_ascii_digit() {
            leveled.push(c);
        } else if !leveled.ends_with('0') {
            leveled.push('0');
        }
    }
    let amount = leveled.trim_end_matches([')', ',', ':']);
    let is_duration =
        amount.len() > 1 && amount.starts_with('0') && amount.chars().all(|c| "0dhms".contains(c));
    if is_duration { leveled.replacen(amount, "0s", 1) } else { leveled }
}

#[test]
fn the_sign_for_anything_stands_for_anything_and_nothing_else_does() {
    let exact = |shown, printed| line_fits(shown, printed, Likeness::Exact);
    assert!(exact("a … c", "a b b c") && exact("…", "") && exact("a", "a  ") && exact("x… y…", "x1 y2"));
    assert!(!exact("a … c", "a b d") && !exact("a", "b") && !exact("a…b…c", "a c") && !exact("a 1", "a 2"));
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let all = |shown, printed| fits(&lines(shown), &lines(printed), Likeness::Exact);
    assert!(all("a\n…\nc", "a\nb\nb\nc") && all("…\nc", "c") && all("", ""));
    assert!(!all("a\n…\nc", "a\nb") && !all("a", "a\nb") && !all("a\nb", "a") && !all("", "a"));
}

#[test]
fn in_a_sample_numbers_ids_and_widths_may_differ_but_no_word() {
    let sample = |shown: &str, printed: &str| line_fits(shown, printed, Likeness::Sample);
    let id = "b865a288-d95b-5dde-a6ca-4afd8679e54b";
    assert!(sample("at 10:31.5  ran 3", "at 09:02.417 ran   12"));
    assert!(sample(&format!("task {id}-12"), "task 0ef3c8d4-0db1-4f7c-a9c8-0b0a1e1c7a35-7"));
    assert!(sample("1s ago, ends in 5m: x", "1m30s ago, ends in 4m59s: x"));
    assert!(!sample("ran 3 tasks", "ran 3 ticks") && !sample(&format!("task {id}"), "task later"));
}
