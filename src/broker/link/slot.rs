//! Which slot of a Redis Cluster a command belongs to.

use redis::{Arg, Cmd};

/// Slots of a cluster.
pub(super) const SLOTS: usize = 16384;

/// Commands that name no key, or none that decides where they go: any node will do.
const KEYLESS: [&[u8]; 10] =
    [b"CLUSTER", b"CONFIG", b"HELLO", b"INFO", b"PING", b"PUBLISH", b"QUIT", b"SCRIPT", b"SLOWLOG", b"TIME"];

/// The first key of a command, if it has one.
pub(super) fn key_of(command: &Cmd) -> Option<&[u8]> {
    let mut words = command.args_iter().map(|word| match word {
        Arg::Simple(bytes) => bytes,
        Arg::Cursor => b"0",
        _ => b"",
    });
    let name = words.next()?;
    if KEYLESS.iter().any(|keyless| name.eq_ignore_ascii_case(keyless)) {
        return None;
    }
    if is_script(name) {
        return words.nth(1).filter(|count| *count != b"0").and_then(|_| words.next());
    }
    words.next()
}

/// Whether a command runs a script: its name, what to run, how many keys, the keys, the arguments.
pub(super) fn is_script(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"EVALSHA") || name.eq_ignore_ascii_case(b"EVAL")
}

/// The slot of a key.
pub(in crate::broker) fn slot_of(key: &[u8]) -> u16 {
    crc16(tag_of(key).unwrap_or(key)) % SLOTS as u16
}

/// The slot of all keys of a queue.
pub(super) fn slot_of_queue(queue: &str) -> u16 {
    slot_of(&[b"{", queue.as_bytes(), b"}"].concat())
}

/// What stands between the first `{` and the next `}`, if that is anything.
pub(super) fn tag_of(key: &[u8]) -> Option<&[u8]> {
    let start = key.iter().position(|byte| *byte == b'{')? + 1;
    let length = key[start..].iter().position(|byte| *byte == b'}')?;
    (length > 0).then(|| &key[start..start + length])
}

/// CRC-16/XMODEM, which is what Redis takes.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let mut crc = crc ^ (u16::from(*byte) << 8);
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // As CLUSTER KEYSLOT answers.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, slot) in [("foo", 12182), ("bar", 5061), ("", 0), ("{foo}x", 12182), ("x{foo}{bar}", 12182)]
        {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(slot_of(b"{}foo"), crc16(b"{}foo") % 16384, "an empty tag is none");
        assert_eq!(slot_of(b"{foo"), crc16(b"{foo") % 16384, "an open tag is none");
        assert_eq!(slot_of(b"{{foo}"), slot_of(b"{foo"), "what begins with a brace keeps it");
    }

    #[test]
    fn the_first_key_decides() {
        let key = |command: &Cmd| key_of(command).map(|key| String::from_utf8_lossy(key).into_owned());
        assert_eq!(key(redis::cmd("GET").arg("a")).as_deref(), Some("a"));
        assert_eq!(key(redis::cmd("BLMOVE").arg("a").arg("b")).as_deref(), Some("a"));
        assert_eq!(key(redis::cmd("evalsha").arg("hash").arg(2).arg("a").arg("b")).as_deref(), Some("a"));
        assert_eq!(key(redis::cmd("EVALSHA").arg("hash").arg(0).arg("a")), None);
        assert_eq!(key(redis::cmd("publish").arg("a").arg("b")), None);
        assert_eq!(key(&redis::cmd("TIME")), None);
    }
}
