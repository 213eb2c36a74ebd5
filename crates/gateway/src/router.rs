//! From a request to its operation: who, what, is there room, then the operation itself.
//!
//! ```text
//! answer ── pages (/-/…)
//!   └ serve: OPTIONS? → authenticate → target → route → admit → ops::*  (which authorizes, and alone reads the body)
//! ```

use std::{net::SocketAddr, sync::Arc};

use cairn_s3::{Operation, Query, S3Error, S3ErrorCode, SigV4Options, Target, parse_target};
use http::{Method, Request, Response, request::Parts};
use hyper::body::Incoming;

use crate::{
    activity::RunningRequest,
    auth::{Authenticated, authenticate, own_host, sigv4_options},
    body::{AnswerBody, HASHED_BYTES, Inbound},
    call::{Call, Shared, names_bucket},
    ops, pages,
    record::Record,
    respond::{self, Answer},
    server::HTTP2_STREAM_WINDOW,
};

/// What may have been received of a body before the operation takes it: HTTP/2's window is the larger one.
const RECEIVED_BYTES: u64 = HTTP2_STREAM_WINDOW as u64;

/// Answers requests; cheap to clone.
#[derive(Clone)]
pub(crate) struct Router {
    shared: Arc<Shared>,
    sigv4: Arc<SigV4Options>,
}

impl Router {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let sigv4 = Arc::new(sigv4_options(shared.options.expires_max));
        Self { shared, sigv4 }
    }

    /// Answers one request. Whatever goes wrong is an answer too.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        running: RunningRequest,
    ) -> Response<AnswerBody> {
        let (parts, body) = request.into_parts();
        let mut record = Record::new(parts.method.clone(), peer, running, Arc::clone(&self.shared.metrics));
        let inbound = Inbound::new(
            body,
            &parts.headers,
            self.shared.options.idle_max,
            Arc::clone(&record.received),
            self.shared.tasks.clone(),
        );
        let answer = match self.serve(&parts, inbound, &mut record).await {
            Ok(answer) => answer,
            Err(error) => {
                record.code = Some(error.code.as_str());
                respond::error(&error, parts.method == Method::HEAD, parts.uri.path(), &record.id)
            }
        };
        respond::finish(answer, record)
    }

    async fn serve(&self, parts: &Parts, inbound: Inbound, record: &mut Record) -> Result<Answer, S3Error> {
        let path = parts.uri.path();
        if path.starts_with(pages::PAGES) && !self.is_virtual_hosted(parts) {
            record.operation = pages::name(path);
            return pages::answer(&self.shared, &parts.method, path).await;
        }
        if parts.method == Method::OPTIONS {
            return Err(S3ErrorCode::AccessForbidden.into());
        }
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        let sender = authenticate(parts, &query, &self.shared.identities, self.shared.now(), &self.sigv4).await?;
        record.access_key.clone_from(&sender.identity.access_key);
        let target = parse_target(&sender.host, path, &self.shared.options.domains)?;
        record.bucket = target.bucket().unwrap_or_default().to_owned();
        record.key = target.key().unwrap_or_default().to_owned();
        let operation = Operation::route(&parts.method, &target, &query, &sender.headers)?;
        record.operation = operation.name();
        let mut call = self.call(sender, target, query, inbound);
        let bytes = buffered_bytes(operation, &call);
        let slot = Arc::new(self.shared.admission.admit(&call.identity.access_key, bytes)?);
        record.slot = Some(Arc::clone(&slot));
        call.slot = Some(slot);
        let work = dispatch(operation, call);
        match operation {
            Operation::CopyObject | Operation::UploadPartCopy => {
                respond::patiently(work, self.shared.options.patience, path.to_owned(), record.id.clone()).await
            }
            _ => work.await,
        }
    }

    fn call(&self, sender: Authenticated, target: Target, query: Query, inbound: Inbound) -> Call {
        Call {
            shared: Arc::clone(&self.shared),
            identity: sender.identity,
            target,
            query,
            headers: sender.headers,
            host: sender.host,
            payload: sender.payload,
            presigned: sender.presigned,
            chunk_signer: sender.chunk_signer,
            inbound: Some(inbound),
            slot: None,
        }
    }

    fn is_virtual_hosted(&self, parts: &Parts) -> bool {
        own_host(parts).is_ok_and(|host| names_bucket(&host, &self.shared.options.domains))
    }
}

/// What an operation may hold in memory at most, as far as its headers tell. What the engine takes is added once the
/// object to be read, or the profile to be written, is known: before a body is asked for.
fn buffered_bytes(operation: Operation, call: &Call) -> u64 {
    const MIB: u64 = 1 << 20;
    let body_bytes = || {
        let length =
            call.headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        length.unwrap_or(u64::MAX)
    };
    match operation {
        Operation::PutObject | Operation::UploadPart => body_bytes().min(HASHED_BYTES + RECEIVED_BYTES),
        Operation::DeleteObjects | Operation::CompleteMultipartUpload => body_bytes().saturating_mul(4).min(16 * MIB),
        Operation::ListObjects
        | Operation::ListObjectsV2
        | Operation::ListParts
        | Operation::ListMultipartUploads
        | Operation::ListBuckets => 4 * MIB,
        _ => MIB / 16,
    }
}

async fn dispatch(operation: Operation, call: Call) -> Result<Answer, S3Error> {
    match operation {
        Operation::ListBuckets => ops::list_buckets(call).await,
        Operation::CreateBucket => ops::create_bucket(call).await,
        Operation::HeadBucket => ops::head_bucket(call).await,
        Operation::DeleteBucket => ops::delete_bucket(call).await,
        Operation::GetBucketLocation => ops::get_bucket_location(call).await,
        Operation::GetBucketVersioning => ops::get_bucket_versioning(call).await,
        Operation::ListObjects => ops::list_objects(call).await,
        Operation::ListObjectsV2 => ops::list_objects_v2(call).await,
        Operation::PutObject => ops::put_object(call).await,
        Operation::GetObject => ops::get_object(call).await,
        Operation::HeadObject => ops::head_object(call).await,
        Operation::DeleteObject => ops::delete_object(call).await,
        Operation::DeleteObjects => ops::delete_objects(call).await,
        Operation::CopyObject => ops::copy_object(call).await,
        Operation::CreateMultipartUpload => ops::create_multipart_upload(call).await,
        Operation::UploadPart => ops::upload_part(call).await,
        Operation::UploadPartCopy => ops::upload_part_copy(call).await,
        Operation::CompleteMultipartUpload => ops::complete_multipart_upload(call).await,
        Operation::AbortMultipartUpload => ops::abort_multipart_upload(call).await,
        Operation::ListParts => ops::list_parts(call).await,
        Operation::ListMultipartUploads => ops::list_multipart_uploads(call).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::GatewayOptions;

    #[test]
    fn the_least_memory_takes_a_write_of_the_widest_profile_beside_others() {
        let write = cairn_cluster::held_by_widest_write() + HASHED_BYTES + RECEIVED_BYTES;
        let least = GatewayOptions::MEMORY_BYTES_MIN;
        assert!(write <= least - least / 4, "{write} bytes of {least}");
    }
}
