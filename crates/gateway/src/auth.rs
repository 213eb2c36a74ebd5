//! Who sent this request: the signature compared with the secret of its access key.

use std::{sync::Arc, time::Duration};

use cairn_s3::{
    Authentication, PayloadKind, Query, RequestParts, S3Error, S3ErrorCode, SigV4Options, SignedRequest, Verified,
    headers::single_header,
    sigv4::{ChunkSigner, effective_headers},
};
use http::{HeaderMap, request::Parts};
use time::OffsetDateTime;

use crate::identities::{Identities, Identity};

/// A request whose sender is known.
pub(crate) struct Authenticated {
    /// The sender.
    pub(crate) identity: Arc<Identity>,
    /// The host the signature is for: the target is read from it.
    pub(crate) host: String,
    /// How the body comes.
    pub(crate) payload: PayloadKind,
    /// The URL, if the request was signed by its query.
    pub(crate) presigned: Option<PresignedUrl>,
    /// Checks signed chunks.
    pub(crate) chunk_signer: Option<ChunkSigner>,
    /// The headers that take effect.
    pub(crate) headers: HeaderMap,
}

/// A presigned URL, which may be used many times.
#[derive(Clone, Copy)]
pub(crate) struct PresignedUrl {
    /// Its signature, which names it.
    pub(crate) signature: [u8; 32],
    /// When it was signed, to the second, by its signer's clock.
    pub(crate) signed_at: OffsetDateTime,
    /// How far that clock may go ahead of ours at most.
    pub(crate) ahead_max: Duration,
}

/// The options of the signature check.
pub(crate) fn sigv4_options(expires_max: Duration) -> SigV4Options {
    SigV4Options { presigned_expires_max: expires_max, ..SigV4Options::default() }
}

/// Checks the signature. A proxy may have changed the host: where the `Host` does not fit the signature, the
/// forwarded one is tried. It proves as much: only who has the secret can sign it.
///
/// # Errors
/// S3's own, by what is wrong.
pub(crate) async fn authenticate(
    parts: &Parts,
    query: &Query,
    identities: &Identities,
    now: OffsetDateTime,
    options: &SigV4Options,
) -> Result<Authenticated, S3Error> {
    let host = own_host(parts)?;
    let read = |host: &str| Authentication::parse(&request_parts(parts, host), now, options);
    let authentication = read(&host)?;
    let signed = authentication.signed().ok_or_else(anonymous_refused)?;
    if signed.security_token.is_some() {
        // This store gives out no session tokens yet, so none is known.
        return Err(S3ErrorCode::InvalidToken.into());
    }
    let identity = identities.find(&signed.access_key).await.map_err(|error| match error.code {
        S3ErrorCode::InvalidAccessKeyId => error.with("AWSAccessKeyId", signed.access_key.clone()),
        _ => error,
    })?;
    let (host, verified) = verify_host(signed, host, forwarded_hosts(parts), &identity, read)?;
    let (headers, presigned) = match authentication {
        Authentication::Presigned(url) => {
            let (signature, signed_at) = (url.signature(), url.signed_at);
            let url = PresignedUrl { signature, signed_at, ahead_max: options.clock_skew_max };
            (effective_headers(&parts.headers, query)?, Some(url))
        }
        _ => (parts.headers.clone(), None),
    };
    let Verified { payload, chunk_signer } = verified;
    Ok(Authenticated { identity, host, payload, presigned, chunk_signer, headers })
}

fn verify_host(
    signed: &SignedRequest,
    host: String,
    forwarded: Vec<String>,
    identity: &Identity,
    read: impl Fn(&str) -> Result<Authentication, S3Error>,
) -> Result<(String, Verified), S3Error> {
    let refused = match signed.verify(identity.secret.expose()) {
        Ok(verified) => return Ok((host, verified)),
        Err(error) if error.code == S3ErrorCode::SignatureDoesNotMatch => error,
        Err(error) => return Err(error),
    };
    for candidate in forwarded {
        if let Ok(authentication) = read(&candidate)
            && let Some(signed) = authentication.signed()
            && let Ok(verified) = signed.verify(identity.secret.expose())
        {
            return Ok((candidate, verified));
        }
    }
    Err(refused)
}

fn anonymous_refused() -> S3Error {
    S3Error::new(S3ErrorCode::AccessDenied, "this store serves no anonymous requests; sign the request")
}

fn request_parts<'a>(parts: &'a Parts, host: &'a str) -> RequestParts<'a> {
    RequestParts {
        method: &parts.method,
        host,
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
    }
}

/// The host of the request: the header of HTTP/1.1, the authority of HTTP/2.
///
/// # Errors
/// There is none.
pub(crate) fn own_host(parts: &Parts) -> Result<String, S3Error> {
    if let Some(host) = single_header(&parts.headers, "host")? {
        return Ok(host.trim().to_owned());
    }
    let authority = parts.uri.authority().ok_or(S3ErrorCode::MissingSecurityHeader)?;
    Ok(authority.as_str().to_owned())
}

/// Hosts a proxy says the client used, at most two: as it stands, and with the port it names.
fn forwarded_hosts(parts: &Parts) -> Vec<String> {
    let first = |name: &str| {
        let value = parts.headers.get(name)?.to_str().ok()?;
        let value = value.split(',').next()?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    };
    let Some(host) = first("x-forwarded-host") else { return Vec::new() };
    let with_port = first("x-forwarded-port").map(|port| format!("{host}:{port}"));
    std::iter::once(host).chain(with_port).collect()
}

#[cfg(test)]
mod tests {
    use cairn_meta::Scope;
    use cairn_s3::sigv4::Signer;
    use http::{Method, Request};

    use super::*;
    use crate::secret::Secret;

    const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn identity(secret: &str) -> Identity {
        Identity { access_key: "AK".to_owned(), secret: Secret::new(secret.to_owned()), scope: Scope::Root }
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_790_000_000).unwrap()
    }

    /// A request signed for one host that arrives under another.
    fn arrived(signed_host: &str, host: &str, forwarded: Option<&str>) -> Parts {
        let headers = HeaderMap::new();
        let request =
            RequestParts { method: &Method::GET, host: signed_host, path: "/bucket/key", query: "", headers: &headers };
        let (headers, _) = Signer::new("AK", "secret", "us-east-1").sign(&request, EMPTY_SHA256, now()).unwrap();
        let (mut parts, ()) = Request::get("/bucket/key").body(()).unwrap().into_parts();
        parts.headers = headers;
        parts.headers.insert("host", host.parse().unwrap());
        if let Some(forwarded) = forwarded {
            parts.headers.insert("x-forwarded-host", forwarded.parse().unwrap());
        }
        parts
    }

    fn check(parts: &Parts, secret: &str) -> Result<String, S3Error> {
        let options = SigV4Options::default();
        let host = own_host(parts)?;
        let read = |host: &str| Authentication::parse(&request_parts(parts, host), now(), &options);
        let authentication = read(&host)?;
        let signed = authentication.signed().unwrap();
        verify_host(signed, host, forwarded_hosts(parts), &identity(secret), |host| read(host)).map(|(host, _)| host)
    }

    #[test]
    fn the_forwarded_host_counts_only_where_it_fits_the_signature() {
        assert_eq!(check(&arrived("s3.test", "s3.test", None), "secret").unwrap(), "s3.test");
        assert_eq!(check(&arrived("s3.test", "s3.test", Some("other")), "secret").unwrap(), "s3.test");
        assert_eq!(check(&arrived("s3.test", "inner:9000", Some("s3.test")), "secret").unwrap(), "s3.test");
        assert_eq!(check(&arrived("s3.test", "inner:9000", Some("s3.test, proxy")), "secret").unwrap(), "s3.test");
        for (parts, secret) in [
            (arrived("s3.test", "inner:9000", None), "secret"),
            (arrived("s3.test", "inner:9000", Some("other")), "secret"),
            (arrived("s3.test", "inner:9000", Some("s3.test")), "wrong"),
        ] {
            assert_eq!(check(&parts, secret).unwrap_err().code, S3ErrorCode::SignatureDoesNotMatch);
        }
    }
}
