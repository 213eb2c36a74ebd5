//! What the fuzz targets share: a request read from the fuzzer's bytes, and checks that hold for every answer.
//!
//! A request is written like HTTP/1, so that seeds and findings can be read and edited by hand:
//!
//! ```text
//! PUT host.example /bucket/key?query
//! name: value
//!
//! body
//! ```

use std::fmt::Debug;

use cairn_s3::{RequestParts, S3Error, xml};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use time::{OffsetDateTime, macros::datetime};

/// The clock of all targets: that of S3's own examples, so that their signatures are seeds.
pub const NOW: OffsetDateTime = datetime!(2013-05-24 00:00:00 UTC);
/// The secret of S3's own examples.
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// Its key id.
pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";

/// A request as a server would have it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The host.
    pub host: String,
    /// The raw path.
    pub path: String,
    /// The raw query.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// What stands behind the empty line.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads a request. `None` for bytes that no HTTP server would pass on.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (line, mut rest) = split_line(bytes);
        let mut words = std::str::from_utf8(line).ok()?.splitn(3, ' ');
        let (method, host, target) = (words.next()?, words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        while !rest.is_empty() {
            let (line, behind) = split_line(rest);
            rest = behind;
            if line.is_empty() {
                break;
            }
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            headers.append(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
        }
        Some(Self {
            method: Method::from_bytes(method.as_bytes()).ok()?,
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body: rest.to_vec(),
        })
    }

    /// What of it is signed.
    #[must_use]
    pub fn parts(&self) -> RequestParts<'_> {
        RequestParts {
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
        }
    }
}

fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

/// Every error must give a document that can be read, whatever the client sent.
pub fn check<T>(result: Result<T, S3Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            assert!(error.status().as_u16() >= 304, "{error:?}");
            check_document(&error.to_xml("/", "id", "host"));
            None
        }
    }
}

/// Checks a document of ours: no control characters but the line end behind the declaration, and readable.
pub fn check_document(document: &str) -> xml::Element {
    let body = document.split_once("?>\n").expect("the document has a declaration").1;
    let forbidden = |character: char| character < ' ' || matches!(character, '\u{fffe}' | '\u{ffff}');
    assert!(!body.contains(forbidden), "a control character in {document:?}");
    must(xml::parse_document(document.as_bytes(), usize::MAX), "our own document cannot be read")
}

/// The text a reader of our answer sees: all of it, but for NUL, which no document can hold.
#[must_use]
pub fn as_in_xml(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The value, or a finding that says why there is none.
pub fn must<T, E: Debug>(result: Result<T, E>, finding: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{finding}: {error:?}"),
    }
}
