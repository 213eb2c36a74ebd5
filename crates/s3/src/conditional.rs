//! Conditions on reads, in the order of RFC 9110, and on writes.

use http::HeaderMap;
use time::OffsetDateTime;

use crate::{S3Error, S3ErrorCode, dates, etag, headers::single_header};

/// A list of ETags, or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ETagCondition {
    /// `*`: whatever exists.
    Any,
    /// One of these, without quotes.
    OneOf(Vec<String>),
}

impl ETagCondition {
    /// `If-None-Match`, whose ETags may be weak.
    fn parse(text: &str) -> Self {
        Self::parse_if(text, |_| true)
    }

    /// `If-Match`: weak ETags fit nothing.
    fn parse_strong(text: &str) -> Self {
        Self::parse_if(text, |tag| !etag::is_weak(tag))
    }

    fn parse_if(text: &str, fits: fn(&str) -> bool) -> Self {
        if text.trim() == "*" {
            return Self::Any;
        }
        Self::OneOf(text.split(',').filter(|tag| fits(tag)).map(|tag| etag::unquoted(tag).to_owned()).collect())
    }

    /// Whether an ETag (without quotes) is meant.
    #[must_use]
    pub fn matches(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags.iter().any(|tag| tag == etag),
        }
    }
}

/// Conditions of a GET, HEAD or copy source.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ReadConditions {
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
    if_modified_since: Option<OffsetDateTime>,
    if_unmodified_since: Option<OffsetDateTime>,
    copy_source: bool,
}

impl ReadConditions {
    /// Reads `If-*`. A date that is none is ignored, as HTTP says.
    ///
    /// # Errors
    /// `InvalidArgument` for a header sent twice or not in text.
    pub fn parse(headers: &HeaderMap) -> Result<Self, S3Error> {
        Self::parse_prefixed(headers, ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"], false)
    }

    /// Reads `x-amz-copy-source-if-*`.
    ///
    /// # Errors
    /// `InvalidArgument` for a header sent twice or not in text.
    pub fn parse_copy_source(headers: &HeaderMap) -> Result<Self, S3Error> {
        let names = [
            "x-amz-copy-source-if-match",
            "x-amz-copy-source-if-none-match",
            "x-amz-copy-source-if-modified-since",
            "x-amz-copy-source-if-unmodified-since",
        ];
        Self::parse_prefixed(headers, names, true)
    }

    fn parse_prefixed(headers: &HeaderMap, names: [&'static str; 4], copy_source: bool) -> Result<Self, S3Error> {
        Ok(Self {
            if_match: single_header(headers, names[0])?.map(ETagCondition::parse_strong),
            if_none_match: single_header(headers, names[1])?.map(ETagCondition::parse),
            if_modified_since: single_header(headers, names[2])?.and_then(dates::parse_http),
            if_unmodified_since: single_header(headers, names[3])?.and_then(dates::parse_http),
            copy_source,
        })
    }

    /// Checks an object that exists; `etag` without quotes.
    ///
    /// # Errors
    /// `PreconditionFailed`, or `NotModified` for reads (a copy answers 412 there too).
    pub fn check(&self, etag: &str, last_modified: OffsetDateTime) -> Result<(), S3Error> {
        // Headers carry whole seconds, so the object's time is cut to them.
        let modified = last_modified.unix_timestamp();
        if let Some(condition) = &self.if_match {
            if !condition.matches(etag) {
                return Err(self.failed("If-Match"));
            }
        } else if self.if_unmodified_since.is_some_and(|since| modified > since.unix_timestamp()) {
            return Err(self.failed("If-Unmodified-Since"));
        }
        if let Some(condition) = &self.if_none_match {
            if condition.matches(etag) {
                return Err(self.not_modified("If-None-Match"));
            }
        } else if self.if_modified_since.is_some_and(|since| modified <= since.unix_timestamp()) {
            return Err(self.not_modified("If-Modified-Since"));
        }
        Ok(())
    }

    fn not_modified(&self, condition: &str) -> S3Error {
        if self.copy_source { self.failed(condition) } else { S3ErrorCode::NotModified.into() }
    }

    fn failed(&self, condition: &str) -> S3Error {
        let message = if self.copy_source {
            format!("the source of the copy does not meet {condition}; nothing was copied")
        } else {
            format!("the object does not meet {condition}; ask for its ETag and time with a HEAD without conditions")
        };
        S3Error::new(S3ErrorCode::PreconditionFailed, message).with("Condition", condition)
    }
}

fn failed(condition: &str) -> S3Error {
    S3Error::from(S3ErrorCode::PreconditionFailed).with("Condition", condition)
}

/// Conditions of a PUT, complete or delete. The metadata group evaluates them; [`Self::check`] is the rule.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct WriteConditions {
    /// `If-None-Match: *`: only if the key does not exist.
    pub if_none_match_any: bool,
    /// `If-Match`: only if the key exists with this ETag.
    pub if_match: Option<ETagCondition>,
}

impl WriteConditions {
    /// Reads the conditions of a write.
    ///
    /// # Errors
    /// `NotImplemented` for conditions S3 does not know on writes, `InvalidRequest` for both at once.
    pub fn parse(headers: &HeaderMap) -> Result<Self, S3Error> {
        for name in ["if-modified-since", "if-unmodified-since"] {
            if headers.contains_key(name) {
                return Err(S3Error::not_implemented(format_args!("{name} on a write")));
            }
        }
        let if_match = single_header(headers, "if-match")?.map(ETagCondition::parse_strong);
        let if_none_match_any = match single_header(headers, "if-none-match")?.map(str::trim) {
            None => false,
            Some("*") => true,
            Some(_) => return Err(S3Error::not_implemented("If-None-Match with an ETag on a write")),
        };
        if if_none_match_any && if_match.is_some() {
            return Err(S3Error::new(S3ErrorCode::InvalidRequest, "send If-Match or If-None-Match, not both"));
        }
        Ok(Self { if_none_match_any, if_match })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.if_none_match_any && self.if_match.is_none()
    }

    /// Checks the current object, whose ETag has no quotes.
    ///
    /// # Errors
    /// `PreconditionFailed`, or `NoSuchKey` for `If-Match` on a key that does not exist.
    pub fn check(&self, current_etag: Option<&str>) -> Result<(), S3Error> {
        match (current_etag, &self.if_match) {
            (Some(_), _) if self.if_none_match_any => Err(failed("If-None-Match")),
            (None, Some(_)) => Err(S3ErrorCode::NoSuchKey.into()),
            (Some(etag), Some(condition)) if !condition.matches(etag) => Err(failed("If-Match")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use time::macros::datetime;

    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn read(pairs: &[(&'static str, &str)]) -> u16 {
        let modified = datetime!(1994-11-06 08:49:37.9 UTC);
        match ReadConditions::parse(&map(pairs)).unwrap().check("abc", modified) {
            Ok(()) => 200,
            Err(error) => error.status().as_u16(),
        }
    }

    #[test]
    fn reads_follow_rfc_9110() {
        assert_eq!(read(&[]), 200);
        assert_eq!(read(&[("if-match", "\"abc\"")]), 200);
        assert_eq!(read(&[("if-match", "\"x\", \"abc\"")]), 200);
        assert_eq!(read(&[("if-match", "*")]), 200);
        assert_eq!(read(&[("if-match", "x")]), 412);
        // Strong comparison here, weak comparison there.
        assert_eq!(read(&[("if-match", "W/\"abc\"")]), 412);
        assert_eq!(read(&[("if-match", "W/\"abc\", \"abc\"")]), 200);
        assert_eq!(read(&[("if-none-match", "W/\"abc\"")]), 304);
        assert_eq!(read(&[("if-none-match", "*")]), 304);
        assert_eq!(read(&[("if-none-match", "x")]), 200);
        assert_eq!(read(&[("if-modified-since", SAME)]), 304);
        assert_eq!(read(&[("if-modified-since", BEFORE)]), 200);
        assert_eq!(read(&[("if-unmodified-since", SAME)]), 200);
        assert_eq!(read(&[("if-unmodified-since", BEFORE)]), 412);
        assert_eq!(read(&[("if-modified-since", "nonsense")]), 200);
        // A matching ETag makes the date moot, on both sides.
        assert_eq!(read(&[("if-match", "abc"), ("if-unmodified-since", BEFORE)]), 200);
        assert_eq!(read(&[("if-none-match", "x"), ("if-modified-since", SAME)]), 200);
        assert_eq!(read(&[("if-none-match", "abc"), ("if-match", "x")]), 412);
    }

    #[test]
    fn copy_sources_answer_412() {
        let headers = map(&[("x-amz-copy-source-if-none-match", "abc")]);
        let error =
            ReadConditions::parse_copy_source(&headers).unwrap().check("abc", OffsetDateTime::UNIX_EPOCH).unwrap_err();
        assert_eq!(error.code, S3ErrorCode::PreconditionFailed);
        assert!(error.message.contains("the source of the copy does not meet If-None-Match"), "{error}");
    }

    #[test]
    fn a_failed_read_says_nothing_of_changes() {
        for (name, value, condition) in
            [("if-match", "x", "If-Match"), ("if-unmodified-since", BEFORE, "If-Unmodified-Since")]
        {
            let conditions = ReadConditions::parse(&map(&[(name, value)])).unwrap();
            let error = conditions.check("abc", datetime!(1994-11-06 08:49:37 UTC)).unwrap_err();
            let is_right = error.message.starts_with(&format!("the object does not meet {condition};"));
            assert!(is_right && !error.message.contains("changed"), "{error}");
        }
    }

    #[test]
    fn writes() {
        let check = |pairs: &[(&'static str, &str)], current: Option<&str>| {
            WriteConditions::parse(&map(pairs))
                .and_then(|conditions| conditions.check(current))
                .map_err(|error| error.code)
        };
        assert_eq!(check(&[], Some("a")), Ok(()));
        assert_eq!(check(&[("if-none-match", "*")], None), Ok(()));
        assert_eq!(check(&[("if-none-match", "*")], Some("a")), Err(S3ErrorCode::PreconditionFailed));
        assert_eq!(check(&[("if-match", "\"a\"")], Some("a")), Ok(()));
        assert_eq!(check(&[("if-match", "\"b\"")], Some("a")), Err(S3ErrorCode::PreconditionFailed));
        assert_eq!(check(&[("if-match", "W/\"a\"")], Some("a")), Err(S3ErrorCode::PreconditionFailed));
        assert_eq!(check(&[("if-match", "\"a\"")], None), Err(S3ErrorCode::NoSuchKey));
        assert_eq!(check(&[("if-match", "*")], None), Err(S3ErrorCode::NoSuchKey));
        assert_eq!(check(&[("if-none-match", "\"a\"")], None), Err(S3ErrorCode::NotImplemented));
        assert_eq!(check(&[("if-none-match", "*"), ("if-match", "a")], None), Err(S3ErrorCode::InvalidRequest));
        assert_eq!(check(&[("if-unmodified-since", SAME)], None), Err(S3ErrorCode::NotImplemented));
    }
}
