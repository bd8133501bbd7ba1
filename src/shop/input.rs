//! What requests may say. A refusal names the field and what is allowed.

use std::time::Duration;

use tonic::Status;

use crate::rpc::v1::Money;

/// The longest name that a caller may choose.
const NAME_BYTES_MAX: usize = 200;
const PAY_WITHIN_DEFAULT: Duration = Duration::from_secs(30 * 60);
const PAY_WITHIN_MIN: Duration = Duration::from_secs(1);
const PAY_WITHIN_MAX: Duration = Duration::from_secs(30 * 86_400);

/// The number of something.
pub(super) fn number(field: &str, value: i64) -> Result<i64, Status> {
    if value > 0 { Ok(value) } else { Err(invalid(field, value, "1 and more")) }
}

/// The number after which a page begins.
pub(super) fn after(field: &str, value: i64) -> Result<i64, Status> {
    if value >= 0 {
        Ok(value)
    } else {
        Err(invalid(field, value, "0 for the first page, or the last number of the page before"))
    }
}

/// How many are asked for; `default` when nothing is said.
pub(super) fn limit(field: &str, value: i32, default: i64, most: i64) -> Result<i64, Status> {
    match i64::from(value) {
        0 => Ok(default),
        value if (1..=most).contains(&value) => Ok(value),
        value => Err(invalid(field, value, &format!("1 to {most}, or 0 for {default}"))),
    }
}

/// A name that must be there.
pub(super) fn name(field: &str, value: String) -> Result<String, Status> {
    optional_name(field, value)?.ok_or_else(|| invalid(field, "empty", "1 to 200 bytes of text"))
}

/// A name that may be left out.
pub(super) fn optional_name(field: &str, value: String) -> Result<Option<String>, Status> {
    // PostgreSQL cannot store a NUL.
    if value.len() > NAME_BYTES_MAX || value.contains('\0') {
        let is = format!("{} bytes", value.len());
        return Err(invalid(field, is, "at most 200 bytes of text without a NUL"));
    }
    Ok(Some(value).filter(|value| !value.is_empty()))
}

/// An amount that is paid: not negative.
pub(super) fn payment(field: &str, money: Option<Money>) -> Result<(i64, String), Status> {
    let (minor, currency) = amount(field, money)?;
    if minor < 0 {
        return Err(invalid(&format!("{field}.minor"), minor, "0 and more"));
    }
    Ok((minor, currency))
}

/// An amount of money.
pub(super) fn amount(field: &str, money: Option<Money>) -> Result<(i64, String), Status> {
    let Some(Money { minor, currency }) = money else {
        return Err(invalid(field, "absent", "an amount in minor units with its currency"));
    };
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(invalid(
            &format!("{field}.currency"),
            format!("{currency:.20?}"),
            "three upper-case letters as in CNY",
        ));
    }
    Ok((minor, currency))
}

/// How long there is to pay.
pub(super) fn pay_within(value: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let Some(value) = value else { return Ok(PAY_WITHIN_DEFAULT) };
    let allowed = PAY_WITHIN_MIN..=PAY_WITHIN_MAX;
    Duration::try_from(value).ok().filter(|value| allowed.contains(value)).ok_or_else(|| {
        invalid("pay_within", format!("{}.{:09} s", value.seconds, value.nanos), "1 s to 30 days")
    })
}

fn invalid(field: &str, is: impl std::fmt::Display, allowed: &str) -> Status {
    Status::invalid_argument(format!("{field} is {is} (allowed: {allowed})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(minor: i64, currency: &str) -> Option<Money> {
        Some(Money { minor, currency: currency.to_owned() })
    }

    #[test]
    fn a_refusal_names_the_field_and_what_is_allowed() {
        let long = "x".repeat(201);
        for (refused, text) in [
            (number("order_id", 0).err(), "order_id is 0 (allowed: 1 and more)"),
            (
                limit("max", 100_001, 20_000, 100_000).err(),
                "max is 100001 (allowed: 1 to 100000, or 0 for 20000)",
            ),
            (name("run", String::new()).err(), "run is empty (allowed: 1 to 200 bytes of text)"),
            (name("run", long).err(), "run is 201 bytes (allowed: at most 200 bytes of text without a NUL)"),
            (payment("amount", money(-1, "CNY")).err(), "amount.minor is -1 (allowed: 0 and more)"),
            (
                amount("amount", money(1, "cny")).err(),
                "amount.currency is \"cny\" (allowed: three upper-case letters as in CNY)",
            ),
            (
                amount("amount", None).err(),
                "amount is absent (allowed: an amount in minor units with its currency)",
            ),
            (
                pay_within(Some(prost_types::Duration { seconds: 0, nanos: 5 })).err(),
                "pay_within is 0.000000005 s (allowed: 1 s to 30 days)",
            ),
            (
                pay_within(Some(prost_types::Duration { seconds: -9, nanos: 0 })).err(),
                "pay_within is -9.000000000 s (allowed: 1 s to 30 days)",
            ),
        ] {
            let refused = refused.expect(text);
            assert_eq!((refused.code(), refused.message()), (tonic::Code::InvalidArgument, text));
        }
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        assert_eq!(limit("max", 0, 20_000, 100_000).unwrap(), 20_000);
        assert_eq!(pay_within(None).unwrap(), Duration::from_secs(1800));
        assert_eq!(optional_name("request_id", String::new()).unwrap(), None);
    }
}
