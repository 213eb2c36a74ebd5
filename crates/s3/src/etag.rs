//! ETags: the MD5 of a body, and S3's form for an object of several parts.

use md5::{Digest, Md5};

/// The ETag of a single body, without quotes.
#[must_use]
pub fn of_body(md5: &[u8; 16]) -> String {
    hex::encode(md5)
}

/// The ETag of a completed upload, without quotes: the MD5 of the parts' MD5s, and their number.
#[must_use]
pub fn of_parts(parts: &[[u8; 16]]) -> String {
    let mut hasher = Md5::new();
    for md5 in parts {
        hasher.update(md5);
    }
    format!("{}-{}", hex::encode(hasher.finalize()), parts.len())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let md5: [u8; 16] = Md5::digest(b"").into();
        assert_eq!(of_body(&md5), "d41d8cd98f00b204e9800998ecf8427e");
        let expected = format!("{}-2", hex::encode(Md5::digest([md5, md5].concat())));
        assert_eq!(of_parts(&[md5, md5]), expected);
        assert_eq!(quoted("x"), "\"x\"");
        for sent in ["x", "\"x\"", "W/\"x\"", " \"x\" "] {
            assert_eq!(unquoted(sent), "x");
        }
        assert_eq!(unquoted("\""), "\"");
    }
}
