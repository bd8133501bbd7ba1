//! An error with all that is behind it, as one line.

use std::error::Error;

/// The error's text and those of its causes, joined by colons; a cause whose text stands there already is left
/// out, since many errors quote theirs.
#[must_use]
pub fn on_one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    fn chain(texts: &[&'static str]) -> Link {
        let (text, rest) = texts.split_first().expect("a chain has links");
        Link { text, source: (!rest.is_empty()).then(|| Box::new(chain(rest))) }
    }

    #[test]
    fn causes_follow_on_one_line_and_are_not_repeated() {
        let quoted = chain(&["start", "connect to Redis (refused)", "refused"]);
        assert_eq!(on_one_line(&quoted), "start: connect to Redis (refused)");
        assert_eq!(on_one_line(&chain(&["claim", "read", "closed"])), "claim: read: closed");
    }
}
