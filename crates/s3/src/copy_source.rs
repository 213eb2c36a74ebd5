//! The header `x-amz-copy-source`.

use http::HeaderMap;

use crate::{S3Error, headers::single_header, uri};

/// Where a copy reads from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
}

impl CopySource {
    /// Reads the header. `None` if it is not there.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no `bucket/key`, `NotImplemented` for ARNs, `NoSuchVersion` for versions.
    pub fn parse(headers: &HeaderMap) -> Result<Option<Self>, S3Error> {
        const NAME: &str = "x-amz-copy-source";
        let Some(value) = single_header(headers, NAME)? else { return Ok(None) };
        if value.trim_start_matches('/').starts_with("arn:") {
            return Err(S3Error::not_implemented("x-amz-copy-source with an ARN"));
        }
        let (path, version) = match value.split_once("?versionId=") {
            Some((path, version)) => (path, Some(version)),
            None => (value, None),
        };
        let malformed =
            || S3Error::invalid_argument(NAME, value, "x-amz-copy-source must be /bucket/key, percent-encoded");
        // Some clients encode the slash between bucket and key too.
        let decoded = uri::decode_path(path).map_err(|_| malformed())?;
        let (bucket, key) = decoded.strip_prefix('/').unwrap_or(&decoded).split_once('/').ok_or_else(malformed)?;
        if key.is_empty() {
            return Err(malformed());
        }
        uri::check_bucket_name(bucket)?;
        uri::check_key(key)?;
        crate::params::check_version_id(version)?;
        Ok(Some(Self { bucket: bucket.to_owned(), key: key.to_owned() }))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parse(value: &str) -> Result<Option<CopySource>, S3Error> {
        CopySource::parse(&HeaderMap::from_iter([(
            http::HeaderName::from_static("x-amz-copy-source"),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        )]))
    }

    #[test]
    fn sources() {
        assert_eq!(CopySource::parse(&HeaderMap::new()).unwrap(), None);
        for (value, key) in [
            ("/bucket/a/b", "a/b"),
            ("bucket/a%20b+c", "a b+c"),
            ("bucket%2Fa%2Fb", "a/b"),
            ("bucket/k?versionId=null", "k"),
            ("bucket//k", "/k"),
            ("bucket/a%3Fb", "a?b"),
        ] {
            assert_eq!(parse(value).unwrap(), Some(CopySource { bucket: "bucket".into(), key: key.into() }), "{value}");
        }
    }

    #[test]
    fn refused() {
        for (value, code) in [
            ("", "InvalidArgument"),
            ("bucket", "InvalidArgument"),
            ("bucket/", "InvalidArgument"),
            ("/bucket/%zz", "InvalidArgument"),
            ("BUCKET/k", "InvalidBucketName"),
            ("arn:aws:s3:eu:1:accesspoint/x/object/k", "NotImplemented"),
            ("bucket/k?versionId=abc", "NoSuchVersion"),
        ] {
            assert_eq!(parse(value).unwrap_err().code.as_str(), code, "{value}");
        }
    }
}
