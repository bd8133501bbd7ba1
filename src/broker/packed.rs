//! MessagePack between us and scripts: arrays of strings. One argument of many strings costs Redis less than many
//! arguments. Scripts answer `false` for what is not there.

use super::BrokerError;

/// Walks what a script packed.
pub(super) struct Packed<'a> {
    doing: &'static str,
    rest: &'a [u8],
}

impl<'a> Packed<'a> {
    pub(super) fn new(doing: &'static str, rest: &'a [u8]) -> Self {
        Self { doing, rest }
    }

    /// Enters an array: how many values follow.
    pub(super) fn array(&mut self) -> Result<usize, BrokerError> {
        let length = rmp::decode::read_array_len(&mut self.rest);
        length.map(|length| length as usize).map_err(|_| self.broken("no array"))
    }

    /// The next string; `None` for `false`.
    pub(super) fn string(&mut self) -> Result<Option<&'a [u8]>, BrokerError> {
        if let Some(rest) = self.rest.strip_prefix(&[FALSE]) {
            self.rest = rest;
            return Ok(None);
        }
        let length = rmp::decode::read_str_len(&mut self.rest).map_err(|_| self.broken("no string"))?;
        let (string, rest) =
            self.rest.split_at_checked(length as usize).ok_or_else(|| self.broken("a string cut off"))?;
        self.rest = rest;
        Ok(Some(string))
    }

    /// The next string as a number; `None` for `false` and for what is none.
    pub(super) fn number<T: std::str::FromStr>(&mut self) -> Result<Option<T>, BrokerError> {
        let text = self.string()?.and_then(|text| str::from_utf8(text).ok());
        Ok(text.and_then(|text| text.parse().ok()))
    }

    fn broken(&self, found: &str) -> BrokerError {
        BrokerError::Reply {
            doing: self.doing,
            problem: format!("{found} where MessagePack should have one"),
        }
    }
}

/// Packs what a script unpacks.
#[derive(Default)]
pub(super) struct Packing(Vec<u8>);

impl Packing {
    /// Begins an array of so many values.
    pub(super) fn array(&mut self, len: usize) -> &mut Self {
        rmp::encode::write_array_len(&mut self.0, len_of(len)).expect("memory takes everything");
        self
    }

    /// Adds a string, which may hold any bytes.
    pub(super) fn string(&mut self, string: impl AsRef<[u8]>) -> &mut Self {
        let string = string.as_ref();
        rmp::encode::write_str_len(&mut self.0, len_of(string.len())).expect("memory takes everything");
        self.0.extend_from_slice(string);
        self
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// A length as the format has it; Redis takes no argument of 4 GiB.
fn len_of(len: usize) -> u32 {
    u32::try_from(len).expect("less than 4 GiB")
}

/// MessagePack's `false`.
const FALSE: u8 = 0xc2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_strings_and_what_is_not_there_are_read_in_order() {
        let bytes = b"\x93\xa2ab\xc2\xa3-42rest";
        let mut packed = Packed::new("test", bytes);
        assert_eq!(packed.array().expect("an array"), 3);
        assert_eq!(packed.string().expect("a string"), Some(&b"ab"[..]));
        assert_eq!(packed.string().expect("nothing"), None);
        assert_eq!(packed.number::<i64>().expect("a number"), Some(-42));
        assert_eq!(packed.rest, b"rest");
    }

    #[test]
    fn what_was_packed_is_read() {
        let mut packing = Packing::default();
        packing.array(2).string("ab").string([0xff; 300]);
        let bytes = packing.into_bytes();
        let mut packed = Packed::new("test", &bytes);
        assert_eq!(packed.array().expect("an array"), 2);
        assert_eq!(packed.string().expect("a string"), Some(&b"ab"[..]));
        assert_eq!(packed.string().expect("a string"), Some(&[0xff; 300][..]));
        assert!(packed.rest.is_empty());
    }

    #[test]
    fn what_is_cut_off_or_of_another_type_is_an_error() {
        for bytes in [&b""[..], b"\xa5ab", b"\x01", b"\xda\x00"] {
            assert!(Packed::new("test", bytes).string().is_err(), "{bytes:?}");
        }
        assert!(Packed::new("test", b"\xa1a").array().is_err());
    }
}
