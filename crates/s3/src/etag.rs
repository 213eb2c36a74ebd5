//! ETags: the MD5 of a body or a cheaper digest, and S3's form for an object of several parts.

use cairn_digest::Md5;

use crate::BodyTag;

/// Makes a cheap digest look like the ETag of an upload of one part: clients take an ETag for an MD5 unless it has a
/// hyphen in it.
const FAST_SUFFIX: &str = "-1";

/// The ETag of a single body, without quotes.
#[must_use]
pub fn of_body(tag: BodyTag) -> String {
    match tag {
        BodyTag::Md5(md5) => hex::encode(md5),
        BodyTag::Fast(digest) => hex::encode(digest) + FAST_SUFFIX,
    }
}

/// The digest in a part's ETag.
#[must_use]
pub fn part_digest(etag: &str) -> Option<[u8; 16]> {
    let mut digest = [0; 16];
    hex::decode_to_slice(etag.strip_suffix(FAST_SUFFIX).unwrap_or(etag), &mut digest).ok()?;
    Some(digest)
}

/// The ETag of a completed upload, without quotes: the MD5 of the parts' digests, and their number.
#[must_use]
pub fn of_parts(parts: &[[u8; 16]]) -> String {
    let mut hasher = Md5::default();
    for md5 in parts {
        hasher.update(md5);
    }
    format!("{}-{}", hex::encode(hasher.finish()), parts.len())
}

/// The ETag as headers and XML carry it.
#[must_use]
pub fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// An ETag as a client sent it, without quotes and weakness mark.
#[must_use]
pub fn unquoted(etag: &str) -> &str {
    let etag = etag.trim();
    let etag = etag.strip_prefix("W/").unwrap_or(etag);
    etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(etag)
}

/// Whether a client marked an ETag as weak. Where the bytes must be the same such a one fits nothing, as HTTP says.
#[must_use]
pub fn is_weak(etag: &str) -> bool {
    etag.trim_start().starts_with("W/")
}

#[cfg(test)]
mod tests {
    use md5::Digest;

    use super::*;

    #[test]
    fn forms() {
        let md5: [u8; 16] = md5::Md5::digest(b"").into();
        assert_eq!(of_body(BodyTag::Md5(md5)), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(of_body(BodyTag::Fast([1; 16])), format!("{}-1", "01".repeat(16)));
        assert_eq!(part_digest(&of_body(BodyTag::Fast(md5))), Some(md5));
        assert_eq!(part_digest(&of_body(BodyTag::Md5(md5))), Some(md5));
        assert_eq!(part_digest("d41d8cd98f00b204e9800998ecf8427e-2"), None);
        let expected = format!("{}-2", hex::encode(md5::Md5::digest([md5, md5].concat())));
        assert_eq!(of_parts(&[md5, md5]), expected);
        assert_eq!(quoted("x"), "\"x\"");
        for sent in ["x", "\"x\"", "W/\"x\"", " \"x\" "] {
            assert_eq!(unquoted(sent), "x");
        }
        assert_eq!(unquoted("\""), "\"");
        assert!(is_weak(" W/\"x\"") && !is_weak("\"W/\"") && !is_weak("x"));
    }
}
