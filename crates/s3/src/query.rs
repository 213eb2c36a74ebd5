//! The query of a request, decoded once and kept in order.

use crate::{S3Error, uri};

/// The most parameters a query may have.
pub const QUERY_PARAMETERS_MAX: usize = 256;

/// Decoded parameters in the order they were sent. A parameter without `=` has an empty value.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes a raw query (what stands behind `?`). A `+` is a space, as S3 and every SDK read it.
    ///
    /// # Errors
    /// `InvalidURI` for broken percent signs or bytes that are not UTF-8, `InvalidRequest` for too many parameters.
    pub fn parse(raw: &str) -> Result<Self, S3Error> {
        let mut pairs = Vec::new();
        for piece in raw.split('&').filter(|piece| !piece.is_empty()) {
            if pairs.len() == QUERY_PARAMETERS_MAX {
                return Err(S3Error::new(
                    crate::S3ErrorCode::InvalidRequest,
                    "the query has too many parameters; at most 256 are read",
                ));
            }
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            pairs.push((uri::decode_query_component(name)?, uri::decode_query_component(value)?));
        }
        Ok(Self { pairs })
    }

    /// The first value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that can only be meant once.
    ///
    /// # Errors
    /// `InvalidArgument` where it stands there again.
    pub fn only(&self, name: &str) -> Result<Option<&str>, S3Error> {
        let mut values = self.pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(again)) => Err(S3Error::invalid_argument(name, again, format!("{name} is there more than once"))),
        }
    }

    /// The first value of a parameter whose name may be in any case.
    #[must_use]
    pub fn get_ignore_case(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is there, with or without a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All parameters in the order they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_and_keeps_order() {
        let query = Query::parse("uploads&prefix=a%2Fb+c&&x==&prefix=2").unwrap();
        let pairs: Vec<_> = query.iter().collect();
        assert_eq!(pairs, [("uploads", ""), ("prefix", "a/b c"), ("x", "="), ("prefix", "2")]);
        assert_eq!(query.get("prefix"), Some("a/b c"));
        assert_eq!((query.only("x").unwrap(), query.only("none").unwrap()), (Some("="), None));
        assert_eq!(query.only("prefix").unwrap_err().code.as_str(), "InvalidArgument");
        assert!(query.has("uploads") && !query.has("Uploads"));
        assert_eq!(query.get_ignore_case("UPLOADS"), Some(""));
    }

    #[test]
    fn refuses_broken_encoding_and_floods() {
        for raw in ["a=%", "a=%z1", "%f", "a=%ff"] {
            assert_eq!(Query::parse(raw).unwrap_err().code.as_str(), "InvalidURI", "{raw}");
        }
        assert!(Query::parse(&"a&".repeat(QUERY_PARAMETERS_MAX)).is_ok());
        assert!(Query::parse(&"a&".repeat(QUERY_PARAMETERS_MAX + 1)).is_err());
    }
}
