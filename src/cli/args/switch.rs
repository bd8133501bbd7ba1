//! Flags that are on or off, as environment variables say it.

/// A word that is neither on nor off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither on nor off (allowed: true, yes, on, 1, false, no, off, 0)")]
pub struct SwitchError;

/// Reads the value of a switch's environment variable; nothing means off.
///
/// # Errors
///
/// [`SwitchError`] for any other word.
pub fn parse_switch(text: &str) -> Result<bool, SwitchError> {
    match text {
        "true" | "yes" | "on" | "1" => Ok(true),
        "" | "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(SwitchError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_on_and_off_are_read() {
        for (text, on) in
            [("true", true), ("1", true), ("on", true), ("", false), ("no", false), ("0", false)]
        {
            assert_eq!(parse_switch(text), Ok(on), "{text}");
        }
        assert_eq!(parse_switch("perhaps"), Err(SwitchError));
    }
}
