//! The known name that a misspelt one was probably meant to be.

/// The known name closest to `name`, unless even that one is more different than alike.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let measured = known.into_iter().map(|candidate| (distance(name, candidate), candidate));
    let (distance, candidate) = measured.min()?;
    let length = name.chars().count().max(candidate.chars().count());
    (distance * 2 <= length).then_some(candidate)
}

/// How many letters have to be added, removed, replaced or swapped with their neighbour to turn one text into
/// the other, upper and lower case alike.
#[must_use]
pub fn distance(from: &str, to: &str) -> usize {
    strsim::osa_distance(&from.to_lowercase(), &to.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let known = ["schedule", "schedules", "suspend", "timeZone"];
        assert_eq!(nearest("timezone", known), Some("timeZone"));
        assert_eq!(nearest("scedule", known), Some("schedule"));
        assert_eq!(nearest("susepnd", known), Some("suspend"));
    }

    #[test]
    fn a_name_unlike_all_is_left_alone() {
        assert_eq!(nearest("backoffLimit", ["schedule", "suspend", "timeZone"]), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn distances_are_symmetric() {
        for (a, b, d) in [("", "abc", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("abcd", "bd", 2)] {
            assert_eq!((distance(a, b), distance(b, a)), (d, d));
        }
    }
}
