//! Byte ranges of reads and of part copies.

use crate::{S3Error, S3ErrorCode};

/// Bytes `first` to `last` inclusive of an object; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte.
    pub first: u64,
    /// The last byte, inside the object.
    pub last: u64,
}

impl ByteRange {
    /// Number of bytes.
    #[must_use]
    pub fn byte_count(self) -> u64 {
        self.last - self.first + 1
    }

    /// The `Content-Range` header of an object of `total` bytes.
    #[must_use]
    pub fn content_range(self, total: u64) -> String {
        format!("bytes {}-{}/{total}", self.first, self.last)
    }
}

enum Asked {
    FromTo(u64, u64),
    From(u64),
    Suffix(u64),
}

fn parse(header: &str) -> Option<Asked> {
    let ranges = header.trim().strip_prefix("bytes=")?.trim();
    let (first, last) = ranges.split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", last) => number(last).map(Asked::Suffix),
        (first, "") => number(first).map(Asked::From),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Asked::FromTo(first, last))
        }
    }
}

fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A number too large for u64 is behind every object's end.
    Some(text.parse().unwrap_or(u64::MAX))
}

/// Resolves a `Range` header against an object's length. `None` means the whole object: no header, a malformed one,
/// another unit, or several ranges, which S3 does not serve.
///
/// # Errors
/// `InvalidRange` (416) if no byte of the object is meant. Answer with `Content-Range: bytes */length`.
pub fn resolve(header: Option<&str>, length: u64) -> Result<Option<ByteRange>, S3Error> {
    let Some(header) = header else { return Ok(None) };
    let unsatisfiable = || {
        S3Error::from(S3ErrorCode::InvalidRange)
            .with("RangeRequested", header)
            .with("ActualObjectSize", length.to_string())
    };
    let (first, last) = match parse(header) {
        None => return Ok(None),
        Some(Asked::FromTo(first, last)) => (first, last),
        Some(Asked::From(first)) => (first, u64::MAX),
        Some(Asked::Suffix(0)) => return Err(unsatisfiable()),
        Some(Asked::Suffix(count)) => (length.saturating_sub(count), u64::MAX),
    };
    if first >= length {
        return Err(unsatisfiable());
    }
    Ok(Some(ByteRange { first, last: last.min(length - 1) }))
}

/// Resolves `x-amz-copy-source-range`, which must be `bytes=first-last` inside the source.
///
/// # Errors
/// `InvalidArgument` for any other form or a range that leaves the source.
pub fn resolve_copy_source(header: &str, length: u64) -> Result<ByteRange, S3Error> {
    const NAME: &str = "x-amz-copy-source-range";
    match parse(header) {
        Some(Asked::FromTo(first, last)) if last < length => Ok(ByteRange { first, last }),
        Some(Asked::FromTo(..)) => Err(S3Error::invalid_argument(
            NAME,
            header,
            format!("the range leaves the source, which has {length} bytes"),
        )),
        _ => Err(S3Error::invalid_argument(NAME, header, "the range must be bytes=first-last, both given")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(header: &str, length: u64) -> Option<(u64, u64)> {
        resolve(Some(header), length).unwrap().map(|range| (range.first, range.last))
    }

    #[test]
    fn ranges_that_are_served() {
        assert_eq!(resolve(None, 10).unwrap(), None);
        assert_eq!(pair("bytes=0-0", 10), Some((0, 0)));
        assert_eq!(pair("bytes=2-", 10), Some((2, 9)));
        assert_eq!(pair("bytes=2-99999999999999999999999", 10), Some((2, 9)));
        assert_eq!(pair("bytes=-3", 10), Some((7, 9)));
        assert_eq!(pair("bytes=-30", 10), Some((0, 9)));
        let range = resolve(Some("bytes=2-5"), 10).unwrap().unwrap();
        assert_eq!((range.byte_count(), range.content_range(10).as_str()), (4, "bytes 2-5/10"));
    }

    #[test]
    fn malformed_and_multiple_ranges_are_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=a-b",
            "items=0-1",
            "bytes=0-1,3-4",
            "bytes=+1-2",
            "bytes=0-1-2",
        ] {
            assert_eq!(pair(header, 10), None, "{header}");
        }
    }

    #[test]
    fn unsatisfiable() {
        for (header, length) in
            [("bytes=10-", 10), ("bytes=10-12", 10), ("bytes=-0", 10), ("bytes=0-0", 0), ("bytes=-5", 0)]
        {
            let error = resolve(Some(header), length).unwrap_err();
            assert_eq!((error.code, error.status().as_u16()), (S3ErrorCode::InvalidRange, 416), "{header}");
        }
    }

    #[test]
    fn copy_source_range_is_strict() {
        assert_eq!(resolve_copy_source("bytes=0-9", 10).unwrap(), ByteRange { first: 0, last: 9 });
        for header in ["bytes=0-10", "bytes=0-", "bytes=-1", "0-9", "bytes=1-0", ""] {
            assert_eq!(resolve_copy_source(header, 10).unwrap_err().code, S3ErrorCode::InvalidArgument, "{header}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_header_stays_inside(header in "(bytes=)?[0-9,a -]{0,24}", length: u64) {
            if let Ok(Some(range)) = resolve(Some(&header), length) {
                proptest::prop_assert!(range.first <= range.last && range.last < length);
            }
        }
    }
}
