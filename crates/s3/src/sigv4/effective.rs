//! Headers that an SDK moved into a presigned query.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{Query, S3Error};

/// Parameters that are the signature's own, and checksums: SDKs presign the checksum of an empty body, which says
/// nothing about the body that is sent later.
fn is_hoisted(name: &str) -> bool {
    const OWN: [&str; 9] = [
        "x-amz-algorithm",
        "x-amz-content-sha256",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-security-token",
        "x-amz-signature",
        "x-amz-signedheaders",
    ];
    const CHECKSUM_MODES: [&str; 3] = ["x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"];
    name.starts_with("x-amz-")
        && !OWN.contains(&name)
        && (!name.starts_with("x-amz-checksum-") || CHECKSUM_MODES.contains(&name))
}

/// The headers that take effect: those that were sent, and `x-amz-*` parameters of the query, which SDKs put there
/// when they presign. The query is signed, so they are too. Use it for presigned requests only.
///
/// # Errors
/// `InvalidArgument` if a header and a parameter differ, or a parameter cannot be a header.
pub fn effective_headers(headers: &HeaderMap, query: &Query) -> Result<HeaderMap, S3Error> {
    let mut effective = headers.clone();
    for (parameter, value) in query.iter() {
        let name = parameter.to_ascii_lowercase();
        if !is_hoisted(&name) {
            continue;
        }
        let refused = |message: &'static str| S3Error::invalid_argument(parameter, value, message);
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused("this parameter is no header"))?;
        let header_value =
            HeaderValue::from_bytes(value.as_bytes()).map_err(|_| refused("no header can carry this value"))?;
        if headers.get(&header).is_some_and(|sent| sent != header_value) {
            return Err(refused("the query and the header of this name differ"));
        }
        effective.insert(header, header_value);
    }
    Ok(effective)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_headers() {
        let query = Query::parse("X-Amz-Meta-A=b&x-amz-acl=public-read&X-Amz-Date=1&x-amz-checksum-crc32=AAAAAA%3D%3D&x-id=PutObject&X-Amz-Checksum-Mode=ENABLED").unwrap();
        let headers: HeaderMap =
            [(HeaderName::from_static("range"), HeaderValue::from_static("bytes=0-0"))].into_iter().collect();
        let effective = effective_headers(&headers, &query).unwrap();
        let mut names: Vec<_> = effective.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["range", "x-amz-acl", "x-amz-checksum-mode", "x-amz-meta-a"]);
    }

    #[test]
    fn contradictions_are_refused() {
        let headers: HeaderMap =
            [(HeaderName::from_static("x-amz-acl"), HeaderValue::from_static("private"))].into_iter().collect();
        assert!(effective_headers(&headers, &Query::parse("x-amz-acl=private").unwrap()).is_ok());
        assert!(effective_headers(&headers, &Query::parse("x-amz-acl=public-read").unwrap()).is_err());
        assert!(effective_headers(&headers, &Query::parse("x-amz-meta-a=%0a").unwrap()).is_err());
        assert!(effective_headers(&headers, &Query::parse("x-amz-%20=1").unwrap()).is_err());
    }
}
