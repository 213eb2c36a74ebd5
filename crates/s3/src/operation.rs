//! Which operation a request is. Every request is one of ours, or refused by name: nothing that would change the
//! meaning of a request is ever ignored. So an `x-amz-` header that is not known is refused, and so is, on a write, a
//! parameter without a value, as subresources are, that is not known.

use http::{HeaderMap, Method};

use crate::{
    ChecksumAlgorithm, S3Error, S3ErrorCode,
    headers::{USER_METADATA_PREFIX, single_header},
    params,
    query::Query,
    uri::Target,
};

/// The operations that are served, by S3's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are S3's own")]
pub enum Operation {
    ListBuckets,
    CreateBucket,
    HeadBucket,
    DeleteBucket,
    GetBucketLocation,
    GetBucketVersioning,
    ListObjects,
    ListObjectsV2,
    PutObject,
    GetObject,
    HeadObject,
    DeleteObject,
    DeleteObjects,
    CopyObject,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    ListMultipartUploads,
}

/// Subresources of S3 that are not served, whatever the method.
const SUBRESOURCES_MISSING: &[&str] = &[
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "append",
    "attributes",
    "cors",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "logging",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "versions",
    "website",
];

/// Subresources that are served for some method.
const SUBRESOURCES_SERVED: &[&str] = &["delete", "location", "uploadId", "uploads", "versioning"];

/// Parameters of writes that are no subresources, and may come without a value.
const PARAMETERS_KNOWN: &[&str] = &["partNumber", "versionId", "x-id"];

/// Characters of a refused parameter that an answer repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// The `x-amz-` headers that are served, or that ask for nothing. Every other one is refused by name: what this program
/// does not know may change what a request means.
const HEADERS_KNOWN: &[&str] = &[
    "x-amz-bypass-governance-retention",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-mode",
    "x-amz-checksum-type",
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-range",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-metadata-directive",
    "x-amz-mp-object-size",
    "x-amz-optional-object-attributes",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-security-token",
    "x-amz-storage-class",
    "x-amz-trailer",
    "x-amz-user-agent",
    // Read and refused, or accepted, where the object's headers are read.
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-context",
];

/// Headers that are served only with the values that change nothing.
const HEADERS_LIMITED: &[(&str, &[&str])] = &[
    ("x-amz-acl", &["private", "bucket-owner-full-control"]),
    ("x-amz-bucket-object-lock-enabled", &["false"]),
    ("x-amz-object-ownership", &["BucketOwnerEnforced"]),
    ("x-amz-server-side-encryption-bucket-key-enabled", &["false"]),
    ("x-amz-tagging-directive", &["COPY"]),
];

/// The element of a `MethodNotAllowed` that names the methods which are allowed; the answer's `Allow` says the same.
pub const ALLOWED_METHODS: &str = "AllowedMethods";

impl Operation {
    /// Finds the operation. `headers` are those that take effect, with the ones hoisted into a presigned query
    /// (see [`crate::sigv4::effective_headers`]).
    ///
    /// # Errors
    /// `NotImplemented` for what S3 has and this store does not, `MethodNotAllowed`, `AccessForbidden` for a
    /// cross-origin preflight, `InvalidArgument`, `InvalidRequest` or `NoSuchVersion` for a query that fits nothing.
    pub fn route(method: &Method, target: &Target, query: &Query, headers: &HeaderMap) -> Result<Self, S3Error> {
        if method == Method::OPTIONS {
            return Err(S3ErrorCode::AccessForbidden.into());
        }
        let operation = match target {
            Target::Service => Self::route_service(method, query),
            Target::Bucket(_) => Self::route_bucket(method, query, headers),
            Target::Object(..) => Self::route_object(method, query, headers),
        }?;
        check_headers(headers)?;
        operation.check_copy_headers(headers)?;
        operation.check_conditions(headers)?;
        Ok(operation)
    }

    fn route_service(method: &Method, query: &Query) -> Result<Self, S3Error> {
        if let Some(name) = subresource(method, query)? {
            return Err(S3Error::new(S3ErrorCode::InvalidRequest, format!("{name} needs a bucket in the path")));
        }
        match *method {
            Method::GET => Ok(Self::ListBuckets),
            Method::POST => Err(S3Error::not_implemented("the security token service on this port")),
            _ => Err(method_not_allowed(method, "the service", "GET")),
        }
    }

    fn route_bucket(method: &Method, query: &Query, headers: &HeaderMap) -> Result<Self, S3Error> {
        // A DELETE that names a version of an object, and lost its key on the way, must not remove the bucket.
        for name in ["versionId", "partNumber"] {
            if let Some(value) = query.get(name) {
                return Err(S3Error::invalid_argument(name, value, format!("{name} needs a key in the path")));
            }
        }
        match (method.as_str(), subresource(method, query)?) {
            ("GET", None) => match query.get("list-type") {
                None | Some("1") => Ok(Self::ListObjects),
                Some("2") => Ok(Self::ListObjectsV2),
                Some(other) => Err(S3Error::invalid_argument("list-type", other, "list-type must be 1 or 2")),
            },
            ("GET", Some("location")) => Ok(Self::GetBucketLocation),
            ("GET", Some("versioning")) => Ok(Self::GetBucketVersioning),
            ("GET", Some("uploads")) => Ok(Self::ListMultipartUploads),
            ("POST", Some("delete")) => Ok(Self::DeleteObjects),
            ("PUT", Some("versioning")) => Err(S3Error::not_implemented("bucket versioning")),
            (_, Some("uploadId")) => Err(S3Error::new(S3ErrorCode::InvalidRequest, "uploadId needs a key in the path")),
            ("PUT", None) => Ok(Self::CreateBucket),
            ("HEAD", None) => Ok(Self::HeadBucket),
            ("DELETE", None) => Ok(Self::DeleteBucket),
            ("POST", None) if is_form(headers) => Err(S3Error::not_implemented("uploading by a browser form")),
            (_, named) => Err(method_not_allowed(method, "this bucket resource", methods_of_bucket(named))),
        }
    }

    fn route_object(method: &Method, query: &Query, headers: &HeaderMap) -> Result<Self, S3Error> {
        let subresource = subresource(method, query)?;
        params::check_version_id(query.only("versionId")?)?;
        let is_copy = headers.contains_key("x-amz-copy-source");
        let has_part_number = params::parse_part_number(query)?.is_some();
        if subresource == Some("uploadId") && query.only("uploadId")? == Some("") {
            return Err(S3Error::invalid_argument("uploadId", "", "the upload id may not be empty"));
        }
        if has_part_number && matches!(*method, Method::GET | Method::HEAD) && headers.contains_key("range") {
            return Err(S3Error::new(S3ErrorCode::InvalidRequest, "send Range or partNumber, not both"));
        }
        match (method.as_str(), subresource) {
            ("PUT", Some("uploadId")) if has_part_number && is_copy => Ok(Self::UploadPartCopy),
            ("PUT", Some("uploadId")) if has_part_number => Ok(Self::UploadPart),
            ("PUT", Some("uploadId")) => {
                Err(S3Error::new(S3ErrorCode::InvalidRequest, "a part needs both partNumber and uploadId"))
            }
            ("PUT" | "POST" | "DELETE", None) if has_part_number => {
                Err(S3Error::new(S3ErrorCode::InvalidRequest, "a part needs both partNumber and uploadId"))
            }
            ("PUT", None) if is_copy => Ok(Self::CopyObject),
            ("PUT", None) => Ok(Self::PutObject),
            ("GET", None) => Ok(Self::GetObject),
            ("GET", Some("uploadId")) => Ok(Self::ListParts),
            ("HEAD", None) => Ok(Self::HeadObject),
            ("POST", Some("uploads")) => Ok(Self::CreateMultipartUpload),
            ("POST", Some("uploadId")) => Ok(Self::CompleteMultipartUpload),
            ("DELETE", None) => Ok(Self::DeleteObject),
            ("DELETE", Some("uploadId")) => Ok(Self::AbortMultipartUpload),
            (_, named) => Err(method_not_allowed(method, "this object resource", methods_of_object(named))),
        }
    }

    /// What names the source of a copy, or a part of it, is refused where it would be ignored.
    fn check_copy_headers(self, headers: &HeaderMap) -> Result<(), S3Error> {
        const RANGE: &str = "x-amz-copy-source-range";
        let mut names = headers.keys().map(http::HeaderName::as_str);
        let message = match self {
            Self::UploadPartCopy => return Ok(()),
            Self::CopyObject if !headers.contains_key(RANGE) => return Ok(()),
            Self::CopyObject => format!("{RANGE} belongs to UploadPartCopy: CopyObject copies the whole object"),
            _ => match names.find(|name| name.starts_with("x-amz-copy-source")) {
                None => return Ok(()),
                Some(name) => {
                    format!("{name} belongs to a copy, which is a PUT of a key with x-amz-copy-source: leave it out")
                }
            },
        };
        Err(S3Error::new(S3ErrorCode::InvalidRequest, message))
    }

    /// Conditions are refused where they would be ignored: what was to be done under one must not be done without.
    fn check_conditions(self, headers: &HeaderMap) -> Result<(), S3Error> {
        const CONDITIONS: [&str; 4] = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];
        let are_met =
            matches!(self, Self::PutObject | Self::CopyObject | Self::CompleteMultipartUpload | Self::DeleteObject);
        if !self.is_write() || are_met {
            return Ok(());
        }
        let Some(name) = CONDITIONS.iter().find(|name| headers.contains_key(**name)) else { return Ok(()) };
        Err(S3Error::not_implemented(format_args!("the header {name} with {}", self.name())).with("Header", *name))
    }

    /// S3's name, for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ListBuckets => "ListBuckets",
            Self::CreateBucket => "CreateBucket",
            Self::HeadBucket => "HeadBucket",
            Self::DeleteBucket => "DeleteBucket",
            Self::GetBucketLocation => "GetBucketLocation",
            Self::GetBucketVersioning => "GetBucketVersioning",
            Self::ListObjects => "ListObjects",
            Self::ListObjectsV2 => "ListObjectsV2",
            Self::PutObject => "PutObject",
            Self::GetObject => "GetObject",
            Self::HeadObject => "HeadObject",
            Self::DeleteObject => "DeleteObject",
            Self::DeleteObjects => "DeleteObjects",
            Self::CopyObject => "CopyObject",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::UploadPart => "UploadPart",
            Self::UploadPartCopy => "UploadPartCopy",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::ListParts => "ListParts",
            Self::ListMultipartUploads => "ListMultipartUploads",
        }
    }

    /// Whether it changes something.
    #[must_use]
    pub const fn is_write(self) -> bool {
        !matches!(
            self,
            Self::ListBuckets
                | Self::HeadBucket
                | Self::GetBucketLocation
                | Self::GetBucketVersioning
                | Self::ListObjects
                | Self::ListObjectsV2
                | Self::GetObject
                | Self::HeadObject
                | Self::ListParts
                | Self::ListMultipartUploads
        )
    }
}

/// The one subresource a query names. Names are case-sensitive, as S3's are.
fn subresource(method: &Method, query: &Query) -> Result<Option<&'static str>, S3Error> {
    if let Some(missing) = SUBRESOURCES_MISSING.iter().find(|name| query.has(name)) {
        return Err(S3Error::not_implemented(format_args!("the subresource {missing}")));
    }
    let is_write = matches!(*method, Method::PUT | Method::POST | Method::DELETE);
    if is_write && let Some((unknown, _)) = query.iter().find(|(name, value)| value.is_empty() && !is_known(name)) {
        let shown: String = unknown.chars().take(SHOWN_CHARS_MAX).collect();
        return Err(S3Error::not_implemented(format_args!("the subresource {shown}")));
    }
    let mut served = SUBRESOURCES_SERVED.iter().copied().filter(|name| query.has(name));
    let first = served.next();
    match (first, served.next()) {
        (Some(first), Some(second)) => Err(S3Error::invalid_argument(
            "ResourceType",
            second,
            format!("the query names two subresources, {first} and {second}; send one"),
        )),
        _ => Ok(first),
    }
}

/// Whether a parameter of a write is known. Without a value an unknown one is taken for a subresource of S3 that came
/// after this program: ignored, `DELETE /bucket?of-tomorrow` would delete the bucket.
fn is_known(name: &str) -> bool {
    // A presigned query is in any case, and carries headers.
    let is_signing = name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"));
    is_signing || SUBRESOURCES_SERVED.contains(&name) || PARAMETERS_KNOWN.contains(&name)
}

fn check_headers(headers: &HeaderMap) -> Result<(), S3Error> {
    if let Some(name) = headers.keys().map(http::HeaderName::as_str).find(|name| !is_known_header(name)) {
        return Err(S3Error::not_implemented(format_args!("the header {name}")).with("Header", name));
    }
    for (name, allowed) in HEADERS_LIMITED {
        if let Some(value) = single_header(headers, name)?
            && !allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(value.trim()))
        {
            let error = S3Error::not_implemented(format_args!("the header {name} with this value"));
            return Err(error.with("Header", *name));
        }
    }
    Ok(())
}

fn is_known_header(name: &str) -> bool {
    !name.starts_with("x-amz-")
        || name.starts_with(USER_METADATA_PREFIX)
        || HEADERS_KNOWN.contains(&name)
        || HEADERS_LIMITED.iter().any(|(limited, _)| *limited == name)
        || ChecksumAlgorithm::by_header_name(name).is_some()
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get("content-type").map(http::HeaderValue::as_bytes).unwrap_or_default();
    content_type.to_ascii_lowercase().starts_with(b"multipart/form-data")
}

/// The methods that are served for a bucket, or for a subresource of it; for a 405.
fn methods_of_bucket(subresource: Option<&str>) -> &'static str {
    match subresource {
        Some("delete") => "POST",
        Some(_) => "GET",
        None => "GET, HEAD, PUT, DELETE",
    }
}

/// The same for an object.
fn methods_of_object(subresource: Option<&str>) -> &'static str {
    match subresource {
        Some("uploadId") => "GET, PUT, POST, DELETE",
        Some("uploads") => "POST",
        Some(_) => "",
        None => "GET, HEAD, PUT, DELETE",
    }
}

fn method_not_allowed(method: &Method, resource: &str, allowed: &'static str) -> S3Error {
    S3Error::new(S3ErrorCode::MethodNotAllowed, format!("{method} is not allowed on {resource}"))
        .with("Method", method.as_str())
        .with(ALLOWED_METHODS, allowed)
}

#[cfg(test)]
#[path = "operation_test.rs"]
mod operation_test;
