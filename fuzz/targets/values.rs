//! Values of headers with a grammar of their own: dates, ranges, ETags, checksums. The input is the value alone; four
//! bytes also choose a date.
#![no_main]

use cairn_fuzz::{check, must};
use cairn_s3::{Checksum, ChecksumAlgorithm, PayloadKind, dates, etag, range};
use libfuzzer_sys::fuzz_target;

/// Ends and middles of what a date's fields can hold: single bytes reach their combinations, texts hardly ever do.
const DAYS: [&str; 4] = ["01 Jan", "29 Feb", "06 Nov", "31 Dec"];
const YEARS: [&str; 6] = ["0000", "1900", "1969", "1970", "2000", "9999"];
const TIMES: [&str; 4] = ["00:00:00", "00:00", "23:59:59", "23:59:60"];
const ZONES: [&str; 8] = ["GMT", "Z", "EST", "+0000", "+0100", "-0100", "+2359", "-2359"];

fuzz_target!(|bytes: &[u8]| {
    if let [day, year, time, zone] = bytes.iter().map(|byte| usize::from(*byte)).collect::<Vec<_>>()[..] {
        let (day, year) = (DAYS[day % DAYS.len()], YEARS[year % YEARS.len()]);
        let (time, zone) = (TIMES[time % TIMES.len()], ZONES[zone % ZONES.len()]);
        check_date(&format!("{day} {year} {time} {zone}"));
        check_date(&format!("Fri, {day} {year} {time} {zone}"));
    }
    let Ok(value) = std::str::from_utf8(bytes) else { return };
    check_date(value);
    check_range(value);
    assert_eq!(etag::unquoted(&etag::quoted(value)), value);
    check(PayloadKind::parse(value));
    for algorithm in ChecksumAlgorithm::ALL {
        let Some(checksum) = check(Checksum::parse(algorithm, value)) else { continue };
        assert_eq!(checksum.digest.len(), algorithm.digest_bytes());
        let again = must(Checksum::parse(algorithm, &checksum.to_string()), "our own checksum cannot be read");
        assert_eq!(again, checksum);
    }
});

fn check_date(text: &str) {
    if let Some(moment) = dates::parse_http(text) {
        let written = dates::format_http(moment);
        let again = dates::parse_http(&written).map(|again| again.unix_timestamp());
        assert_eq!(again, Some(moment.unix_timestamp()), "{text} is written {written}");
        assert!(!dates::format_iso8601(moment).is_empty());
    }
    if let Some(moment) = dates::parse_amz(text) {
        assert_eq!(dates::format_amz(moment), text);
    }
}

fn check_range(text: &str) {
    for length in [0, 1, 10, 5 << 20, u64::MAX] {
        if let Some(Some(range)) = check(range::resolve(Some(text), length)) {
            assert!(range.first <= range.last && range.last < length, "{text} of {length} is {range:?}");
            assert!((1..=length).contains(&range.byte_count()));
            // What we answer is what we would serve again.
            let again = range::resolve(Some(&format!("bytes={}-{}", range.first, range.last)), length);
            assert_eq!(again, Ok(Some(range)));
            assert_eq!(range.content_range(length), format!("bytes {}-{}/{length}", range.first, range.last));
        }
        if let Some(range) = check(range::resolve_copy_source(text, length)) {
            assert!(range.first <= range.last && range.last < length, "{text} of {length} is {range:?}");
        }
    }
}
