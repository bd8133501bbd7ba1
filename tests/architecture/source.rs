//! Just enough of Rust's grammar to find paths: tokens without comments, and the trees of `use`.

/// One token. Numbers, lifetimes and characters are of no interest and are left out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Word(String),
    Text(String),
    Sign(char),
    /// `::`
    Of,
}

impl Token {
    pub(crate) fn word(&self) -> Option<&str> {
        if let Kind::Word(word) = &self.kind { Some(word) } else { None }
    }

    pub(crate) fn is(&self, sign: char) -> bool {
        self.kind == Kind::Sign(sign)
    }

    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.word() == Some(word)
    }
}

/// The tokens of a source file.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source, line: 1, tokens: Vec::new() };
    while !lexer.rest.is_empty() {
        lexer.step();
    }
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn step(&mut self) {
        let rest = self.rest;
        let first = rest.chars().next().expect("asked only while something is left");
        if rest.starts_with("//") {
            self.skip(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.skip(block_comment(rest));
        } else if let Some(hashes) = raw_string(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let open = rest.find('"').expect("a raw string has a quote") + 1;
            let length = rest[open..].find(&end).unwrap_or(rest.len() - open);
            self.push(Kind::Text(rest[open..open + length].to_owned()));
            self.skip((open + length + end.len()).min(rest.len()));
        } else if first == '"' {
            let length = string(rest);
            self.push(Kind::Text(rest[1..length - 1].to_owned()));
            self.skip(length);
        } else if first == '\'' {
            self.skip(character(rest));
        } else if first.is_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.push(Kind::Word(rest[..length].to_owned()));
            self.skip(length);
        } else if rest.starts_with("::") {
            self.push(Kind::Of);
            self.skip(2);
        } else {
            if !first.is_whitespace() && !first.is_ascii_digit() {
                self.push(Kind::Sign(first));
            }
            self.skip(first.len_utf8());
        }
    }

    fn push(&mut self, kind: Kind) {
        self.tokens.push(Token { kind, line: self.line });
    }

    fn skip(&mut self, bytes: usize) {
        let (gone, rest) = self.rest.split_at(bytes);
        self.line += gone.matches('\n').count();
        self.rest = rest;
    }
}

/// Length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The number of hashes when a raw string starts here.
fn raw_string(text: &str) -> Option<usize> {
    let after = ["br", "cr", "r"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let quote = after.trim_start_matches('#');
    quote.starts_with('"').then(|| after.len() - quote.len())
}

/// Length of a string with its quotes.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of a character with its quotes, or of a lifetime's quote.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        // A quote after a backslash belongs to the character: '\''.
        Some((_, '\\')) => text[3..].find('\'').map_or(text.len(), |at| at + 4),
        Some((_, _)) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

/// A path that a file names: its segments, and the line.
#[derive(Debug, PartialEq)]
pub(crate) struct Named {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    /// How many modules written in the file itself stand around it.
    pub(crate) inside: usize,
}

/// All paths in `use` trees, and elsewhere those of at least two segments.
pub(crate) fn paths(tokens: &[Token]) -> Vec<Named> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut braces = 0_usize;
    let mut modules: Vec<usize> = Vec::new();
    while at < tokens.len() {
        let token = &tokens[at];
        if token.is('{') {
            braces += 1;
        } else if token.is('}') {
            braces = braces.saturating_sub(1);
            modules.retain(|opened| *opened <= braces);
        } else if token.is_word("mod") && tokens.get(at + 2).is_some_and(|next| next.is('{')) {
            modules.push(braces + 1);
        } else if token.is_word("use") {
            let mut leaves = Vec::new();
            at = use_tree(tokens, at + 1, &mut Vec::new(), &mut leaves);
            let named = |segments| Named { segments, line: token.line, inside: modules.len() };
            found.extend(leaves.into_iter().map(named));
            continue;
        } else if token.word().is_some() && !continues(tokens, at) {
            let segments = segments(tokens, at);
            at += 2 * (segments.len() - 1);
            if segments.len() > 1 {
                found.push(Named { segments, line: token.line, inside: modules.len() });
            }
        }
        at += 1;
    }
    found
}

/// Whether the word here goes on a path begun before it. A leading `::` begins one.
fn continues(tokens: &[Token], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|at| &tokens[at].kind);
    before(1) == Some(&Kind::Of) && matches!(before(2), Some(Kind::Word(_) | Kind::Sign('>')))
}

fn segments(tokens: &[Token], mut at: usize) -> Vec<String> {
    let mut segments = Vec::new();
    while let Some(word) = tokens.get(at).and_then(Token::word) {
        segments.push(word.to_owned());
        if tokens.get(at + 1).map(|token| &token.kind) != Some(&Kind::Of) {
            break;
        }
        at += 2;
    }
    segments
}

/// Reads one tree from `at` on, adds a full path for each of its leaves, and returns where it ends.
fn use_tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &mut Vec<String>,
    leaves: &mut Vec<Vec<String>>,
) -> usize {
    let kept = prefix.len();
    while let Some(token) = tokens.get(at) {
        match &token.kind {
            Kind::Word(word) if word == "as" => at += 1,
            Kind::Word(word) => prefix.push(word.clone()),
            Kind::Sign('*') => prefix.push("*".to_owned()),
            Kind::Of => {}
            Kind::Sign('{') => {
                loop {
                    at = use_tree(tokens, at + 1, prefix, leaves);
                    if tokens.get(at).is_none_or(|token| !token.is(',')) {
                        break;
                    }
                }
                prefix.truncate(kept);
                return at + 1;
            }
            _ => break,
        }
        at += 1;
    }
    if prefix.len() > kept {
        leaves.push(prefix.clone());
    }
    prefix.truncate(kept);
    at
}

#[test]
fn comments_texts_and_characters_are_no_code() {
    let source = "// crate::a\n/* crate::b /* */ crate::c */ \"crate::d\" r#\"crate::e \" \"# 'x' '\\'' 'a: b'\\n';\ncrate::f";
    let found = paths(&tokens(source));
    assert_eq!(found, [Named { segments: vec!["crate".into(), "f".into()], line: 3, inside: 0 }]);
}

#[test]
fn every_leaf_of_a_use_tree_is_a_path() {
    let source = "use crate::{a::{self, B}, c as d, e::*}; pub(crate) use ::redis; fn f() { x::z() }";
    let found: Vec<String> = paths(&tokens(source)).iter().map(|named| named.segments.join("::")).collect();
    assert_eq!(found, ["crate::a::self", "crate::a::B", "crate::c", "crate::e::*", "redis", "x::z"]);
}

#[test]
fn modules_within_a_file_are_counted() {
    let found = paths(&tokens("mod tests { mod deep { use super::super::a; } super::b::c } super::d"));
    let inside: Vec<usize> = found.iter().map(|named| named.inside).collect();
    assert_eq!(inside, [2, 1, 0]);
}
