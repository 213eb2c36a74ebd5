//! S3's own error codes with their HTTP status, and the `<Error>` document that carries them.
//!
//! A code's default message is used where the place of the error has nothing better to say. Messages tell the reader
//! what to do, because a runner prints them in the job log.

use std::borrow::Cow;

use http::StatusCode;

use crate::xml::XmlWriter;

macro_rules! codes {
    ($($name:ident $wire:literal $status:literal $message:literal;)*) => {
        /// An error code of S3, by its own name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum S3ErrorCode {
            $(#[doc = $message] $name,)*
        }

        impl S3ErrorCode {
            /// All codes, for tests and metrics.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name as it stands in `<Code>`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $wire,)* }
            }

            const fn status_number(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// What is said when the place of the error says nothing better.
            #[must_use]
            pub const fn default_message(self) -> &'static str {
                match self { $(Self::$name => $message,)* }
            }
        }
    };
}

codes! {
    AccessDenied "AccessDenied" 403 "this key may not do that; use a key whose limits cover the bucket and prefix";
    AccessForbidden "AccessForbidden" 403 "cross-origin requests are not enabled for this bucket";
    AuthorizationHeaderMalformed "AuthorizationHeaderMalformed" 400 "the Authorization header cannot be read; sign with AWS4-HMAC-SHA256";
    AuthorizationQueryParametersError "AuthorizationQueryParametersError" 400 "the signature in the query cannot be read; presign the URL again";
    BadDigest "BadDigest" 400 "the body does not have the checksum or Content-MD5 that was announced; send it again";
    BadRequest "BadRequest" 400 "the request cannot be read: its first line, a header or its Content-Length is malformed";
    BucketAlreadyExists "BucketAlreadyExists" 409 "a bucket of this name exists; choose another name";
    BucketAlreadyOwnedByYou "BucketAlreadyOwnedByYou" 409 "you already own a bucket of this name; nothing was changed";
    BucketNotEmpty "BucketNotEmpty" 409 "the bucket still holds objects; delete them first";
    EntityTooLarge "EntityTooLarge" 400 "the body is larger than this operation allows";
    EntityTooSmall "EntityTooSmall" 400 "every part but the last must be at least 5 MiB";
    ExpiredToken "ExpiredToken" 400 "the session token has expired; ask for a new one";
    IncompleteBody "IncompleteBody" 400 "the body was not as long as its announced length; send it again";
    InternalError "InternalError" 500 "something failed inside the store; try again";
    InvalidAccessKeyId "InvalidAccessKeyId" 403 "this access key does not exist here or is disabled; check the key id";
    InvalidArgument "InvalidArgument" 400 "an argument is not valid";
    InvalidBucketName "InvalidBucketName" 400 "bucket names have 3 to 63 lower-case letters, digits, dots and hyphens, and begin and end with a letter or digit";
    InvalidDigest "InvalidDigest" 400 "Content-MD5 must be 16 bytes in base64";
    InvalidLocationConstraint "InvalidLocationConstraint" 400 "this location is not known";
    InvalidPart "InvalidPart" 400 "a named part was not uploaded, or its ETag or checksum is another";
    InvalidPartNumber "InvalidPartNumber" 416 "the object has no part of this number";
    InvalidPartOrder "InvalidPartOrder" 400 "list the parts in ascending order of their numbers, each once";
    InvalidRange "InvalidRange" 416 "the range begins behind the end of the object";
    InvalidRequest "InvalidRequest" 400 "the request is not valid";
    InvalidStorageClass "InvalidStorageClass" 400 "this storage class is neither S3's nor configured here; leave it out, or configure it with --storage-class";
    InvalidToken "InvalidToken" 400 "the session token is not one of this cluster's";
    InvalidUri "InvalidURI" 400 "the request's path or query cannot be decoded; percent-encode it as UTF-8";
    KeyTooLongError "KeyTooLongError" 400 "keys have at most 1024 bytes in UTF-8";
    MalformedTrailerError "MalformedTrailerError" 400 "the body's trailer is not the announced one";
    MalformedXml "MalformedXML" 400 "the XML is not well formed or not what this operation takes";
    MetadataTooLarge "MetadataTooLarge" 400 "names and values of x-amz-meta-* have at most 2048 bytes together";
    MethodNotAllowed "MethodNotAllowed" 405 "this method is not allowed on this resource";
    MissingContentLength "MissingContentLength" 411 "send Content-Length, or x-amz-decoded-content-length with aws-chunked";
    MissingSecurityHeader "MissingSecurityHeader" 400 "a header that signing needs is missing";
    NoSuchBucket "NoSuchBucket" 404 "the bucket does not exist; create it or check its name";
    NoSuchKey "NoSuchKey" 404 "the key does not exist";
    NoSuchUpload "NoSuchUpload" 404 "the upload does not exist; it was completed, aborted or never begun";
    NoSuchVersion "NoSuchVersion" 404 "the version does not exist; this bucket keeps only the version null";
    NotImplemented "NotImplemented" 501 "this is not implemented; nothing was changed";
    NotModified "NotModified" 304 "not modified";
    OperationAborted "OperationAborted" 409 "another request is changing the same resource; try again";
    PreconditionFailed "PreconditionFailed" 412 "a condition of the request does not hold; nothing was changed";
    RequestHeaderSectionTooLarge "RequestHeaderSectionTooLarge" 400 "the request's target and headers are too large; send less metadata or a shorter URL";
    RequestTimeTooSkewed "RequestTimeTooSkewed" 403 "the clocks differ by more than 15 minutes; set the client's clock";
    RequestTimeout "RequestTimeout" 400 "no bytes came for too long; send the request again";
    ServiceUnavailable "ServiceUnavailable" 503 "the store cannot do this now; try again";
    SignatureDoesNotMatch "SignatureDoesNotMatch" 403 "the signature is not the one this server computes; check the secret key, and that no proxy changes host, path or signed headers";
    SlowDown "SlowDown" 503 "too many requests at once; try again more slowly";
    TooManyBuckets "TooManyBuckets" 400 "no more buckets may be created";
    XAmzContentSha256Mismatch "XAmzContentSHA256Mismatch" 400 "the body does not have the SHA-256 of x-amz-content-sha256; send it again";
}

impl S3ErrorCode {
    /// The HTTP status that goes with the code.
    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status_number()).expect("every status of the table is valid")
    }
}

/// An answer that is an error: a code, a message that says what to do, and elements that name the facts.
///
/// Details may repeat what the client signed, so they belong in the answer and not in a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct S3Error {
    /// S3's code.
    pub code: S3ErrorCode,
    /// What happened and what to do.
    pub message: Cow<'static, str>,
    /// Further elements of the document, in order.
    pub details: Vec<(&'static str, String)>,
}

impl S3Error {
    /// An error with a message of its own.
    #[must_use]
    pub fn new(code: S3ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }

    /// Adds an element to the document.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// `InvalidArgument` that names the argument and its value, as S3 does.
    #[must_use]
    pub fn invalid_argument(
        name: impl Into<String>,
        value: impl Into<String>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(S3ErrorCode::InvalidArgument, message).with("ArgumentName", name).with("ArgumentValue", value)
    }

    /// `NotImplemented` that names what is missing.
    #[must_use]
    pub fn not_implemented(what: impl std::fmt::Display) -> Self {
        Self::new(S3ErrorCode::NotImplemented, format!("{what} is not implemented; nothing was changed"))
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// The `<Error>` document. A HEAD request and a 304 send the status without it.
    #[must_use]
    pub fn to_xml(&self, resource: &str, request_id: &str, host_id: &str) -> String {
        let mut xml = XmlWriter::error();
        xml.text("Code", self.code.as_str());
        xml.text("Message", &self.message);
        for (name, value) in &self.details {
            xml.text(name, value);
        }
        xml.text("Resource", resource);
        xml.text("RequestId", request_id);
        xml.text("HostId", host_id);
        xml.finish()
    }
}

impl From<S3ErrorCode> for S3Error {
    fn from(code: S3ErrorCode) -> Self {
        Self::new(code, code.default_message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_and_a_distinct_name() {
        let mut names: Vec<_> = S3ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), S3ErrorCode::ALL.len());
        for code in S3ErrorCode::ALL {
            assert!(code.status().as_u16() >= 304);
            assert!(!code.default_message().is_empty());
        }
    }

    #[test]
    fn document_escapes_what_the_client_sent() {
        let error = S3Error::from(S3ErrorCode::NoSuchKey).with("Key", "a<b>&\u{1}");
        let xml = error.to_xml("/bucket/a<b>", "rid", "hid");
        assert!(xml.contains("<Code>NoSuchKey</Code>"));
        assert!(xml.contains("<Key>a&lt;b&gt;&amp;\u{fffd}</Key>"));
        assert!(xml.contains("<Resource>/bucket/a&lt;b&gt;</Resource><RequestId>rid</RequestId><HostId>hid</HostId>"));
        assert!(!xml.contains("xmlns"));
    }
}
