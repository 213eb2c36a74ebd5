//! The three ways S3 writes a moment: HTTP dates, ISO 8601 in XML, and the compact form of signing.

use std::fmt;

use time::{
    OffsetDateTime, PrimitiveDateTime,
    format_description::{BorrowedFormatItem, well_known::Rfc2822},
    macros::format_description,
};

const HTTP: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
const AMZ: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

/// `Sun, 06 Nov 1994 08:49:37 GMT`, for headers.
#[must_use]
pub fn format_http(moment: OffsetDateTime) -> String {
    moment.to_offset(time::UtcOffset::UTC).format(HTTP).unwrap_or_default()
}

/// Reads a date of a header. `None` for what is none: HTTP says such conditions are ignored.
#[must_use]
pub fn parse_http(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    if let Ok(moment) = PrimitiveDateTime::parse(text, HTTP) {
        return Some(moment.assume_utc());
    }
    // A moment of another offset may lie behind the last year that UTC can write.
    OffsetDateTime::parse(text, &Rfc2822).ok()?.checked_to_offset(time::UtcOffset::UTC)
}

/// `2009-10-12T17:50:30.000Z`, for XML.
#[must_use]
pub fn format_iso8601(moment: OffsetDateTime) -> String {
    Iso8601(moment).to_string()
}

/// A moment that prints as [`format_iso8601`] writes it.
pub(crate) struct Iso8601(pub(crate) OffsetDateTime);

impl fmt::Display for Iso8601 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = self.0.to_offset(time::UtcOffset::UTC);
        let (year, month, day) = moment.to_calendar_date();
        let (hour, minute, second, milli) = moment.to_hms_milli();
        let month = u8::from(month);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// `20130524T000000Z`, for signing.
#[must_use]
pub fn format_amz(moment: OffsetDateTime) -> String {
    moment.to_offset(time::UtcOffset::UTC).format(AMZ).unwrap_or_default()
}

/// Reads the compact form of signing, and no other.
#[must_use]
pub fn parse_amz(text: &str) -> Option<OffsetDateTime> {
    if text.len() != 16 {
        return None;
    }
    PrimitiveDateTime::parse(text, AMZ).ok().map(PrimitiveDateTime::assume_utc)
}

/// A moment from milliseconds since 1970, cut to what a date can hold.
#[must_use]
pub fn from_unix_ms(milliseconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn known_dates() {
        let moment = datetime!(1994-11-06 08:49:37.250 UTC);
        assert_eq!(format_http(moment), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(format_iso8601(moment), "1994-11-06T08:49:37.250Z");
        assert_eq!(format_amz(moment), "19941106T084937Z");
        assert_eq!(parse_http("Sun, 06 Nov 1994 08:49:37 GMT"), Some(datetime!(1994-11-06 08:49:37 UTC)));
        assert_eq!(parse_http("Sun, 06 Nov 1994 09:49:37 +0100").map(format_amz).as_deref(), Some("19941106T084937Z"));
        assert_eq!(parse_amz("19941106T084937Z"), Some(datetime!(1994-11-06 08:49:37 UTC)));
        assert_eq!(from_unix_ms(784_111_777_250), moment);
    }

    #[test]
    fn a_date_behind_the_last_year_is_no_date() {
        assert_eq!(parse_http("Fri, 31 Dec 9999 23:59:59 -0100"), None);
        assert!(parse_http("Fri, 31 Dec 9999 23:59:59 +0100").is_some());
    }

    #[test]
    fn what_is_no_date() {
        for text in ["", "yesterday", "Sun, 06 Nov 1994", "1994-11-06T08:49:37Z"] {
            assert_eq!(parse_http(text), None, "{text}");
        }
        for text in
            ["", "19941106T084937", "19941106T084937Z ", "19941306T084937Z", "1994-11-06T08:49Z", "+9941106T084937Z"]
        {
            assert_eq!(parse_amz(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(milliseconds: i64, text in "\\PC{0,40}") {
            let _ = (parse_http(&text), parse_amz(&text));
            let moment = from_unix_ms(milliseconds);
            let _ = (format_http(moment), format_iso8601(moment), format_amz(moment));
        }
    }
}
