//! Answers: status, headers and documents.

use std::{future::Future, time::Duration};

use cairn_s3::{ALLOWED_METHODS, Checksum, S3Error, S3ErrorCode, etag};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{
    body::{AnswerBody, Outcome},
    record::Record,
};

/// An answer before its request's id is added.
pub(crate) type Answer = Response<AnswerBody>;

/// Says which server this is.
const SERVER: HeaderValue = HeaderValue::from_static("Cairn");
/// Second name of the place that answered; S3 has one, so clients may look for it.
pub(crate) const HOST_ID: &str = "cairn";

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    with_body(status, AnswerBody::empty())
}

/// An answer with a body.
pub(crate) fn with_body(status: StatusCode, body: AnswerBody) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}

/// A document.
pub(crate) fn xml(document: String) -> Answer {
    let mut answer = with_body(StatusCode::OK, AnswerBody::whole(document));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

/// A page in plain text.
pub(crate) fn text(status: StatusCode, text: impl Into<String>, content_type: &'static str) -> Answer {
    let mut answer = with_body(status, AnswerBody::whole(text.into()));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An error. A HEAD and a 304 have no body.
pub(crate) fn error(error: &S3Error, is_head: bool, resource: &str, request_id: &str) -> Answer {
    let status = error.status();
    let bare = is_head || status == StatusCode::NOT_MODIFIED;
    let mut answer = if bare { empty(status) } else { xml(error.to_xml(resource, request_id, HOST_ID)) };
    *answer.status_mut() = status;
    if error.code == S3ErrorCode::InvalidRange
        && let Some((_, length)) = error.details.iter().find(|(name, _)| *name == "ActualObjectSize")
    {
        set(answer.headers_mut(), "content-range", &format!("bytes */{length}"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = error.details.iter().find(|(name, _)| *name == ALLOWED_METHODS);
        set(answer.headers_mut(), "allow", allowed.map_or("", |(_, methods)| methods));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// An answer of an operation that may take long: begun after `patience`, its outcome follows when it is there. The
/// client finds an error in the document of a 200 then, as S3 has it.
pub(crate) async fn patiently<W>(
    work: W,
    patience: Duration,
    resource: String,
    request_id: String,
) -> Result<Answer, S3Error>
where
    W: Future<Output = Result<Answer, S3Error>> + Send + 'static,
{
    let mut work = Box::pin(work);
    if let Ok(done) = tokio::time::timeout(patience, &mut work).await {
        return done;
    }
    let outcome = async move {
        match work.await {
            Ok(answer) => Outcome { document: answer.into_body().into_whole(), code: None },
            Err(error) => Outcome {
                document: error.to_xml(&resource, &request_id, HOST_ID).into(),
                code: Some(error.code.as_str()),
            },
        }
    };
    let mut answer = with_body(StatusCode::OK, AnswerBody::patient(Box::pin(outcome), patience));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    Ok(answer)
}

/// Adds what every answer carries, and hands the record over to the body.
pub(crate) fn finish(mut answer: Answer, mut record: Record) -> Answer {
    let headers = answer.headers_mut();
    set(headers, "x-amz-request-id", &record.id);
    headers.insert("x-amz-id-2", HeaderValue::from_static(HOST_ID));
    headers.insert(header::SERVER, SERVER);
    record.status = Some(answer.status());
    answer.body_mut().attach(record);
    answer
}

/// Sets a header; a value no header can carry is left out.
pub(crate) fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// Sets the ETag, in quotes.
pub(crate) fn set_etag(headers: &mut HeaderMap, tag: &str) {
    set(headers, "etag", &etag::quoted(tag));
}

/// Sets a checksum and its type.
pub(crate) fn set_checksum(headers: &mut HeaderMap, checksum: Option<&Checksum>) {
    if let Some(checksum) = checksum {
        set(headers, checksum.algorithm.header_name(), &checksum.to_string());
        set(headers, "x-amz-checksum-type", checksum.checksum_type().as_str());
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body;

    use super::*;

    #[test]
    fn a_head_has_no_error_document() {
        let missing = S3Error::from(S3ErrorCode::NoSuchKey);
        assert_eq!(error(&missing, true, "/b/k", "id").body().size_hint().exact(), Some(0));
        assert!(error(&missing, false, "/b/k", "id").body().size_hint().exact() > Some(0));
        let not_modified = S3Error::from(S3ErrorCode::NotModified);
        assert_eq!(error(&not_modified, false, "/b/k", "id").body().size_hint().exact(), Some(0));
    }

    #[test]
    fn a_range_behind_the_end_tells_the_length() {
        let behind = cairn_s3::range::resolve(Some("bytes=10-"), 10).unwrap_err();
        let answer = error(&behind, false, "/b/k", "id");
        assert_eq!(answer.status(), 416);
        assert_eq!(answer.headers()["content-range"], "bytes */10");
    }
}
