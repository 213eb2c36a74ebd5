//! The examples of the S3 documentation ("Signature Calculations in the Authorization Header", "Query Parameters",
//! "Chunked Uploads", "Trailers"), checked by both sides.

use http::{HeaderName, HeaderValue};
use time::macros::datetime;

use super::*;

const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const NOW: OffsetDateTime = datetime!(2013-05-24 00:00:00 UTC);
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair =
        |&(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    pairs.iter().map(pair).collect()
}

struct Example<'a> {
    method: Method,
    host: &'a str,
    path: &'a str,
    query: &'a str,
    headers: &'a [(&'static str, &'a str)],
    payload: &'a str,
    signature: &'a str,
}

impl Example<'_> {
    /// Both sides make the published signature, and the check takes it.
    fn check(&self) -> Verified {
        let headers = map(self.headers);
        let request = RequestParts {
            method: &self.method,
            host: self.host,
            path: self.path,
            query: self.query,
            headers: &headers,
        };
        let (signed, _) = Signer::new(ACCESS_KEY, SECRET_KEY, "us-east-1").sign(&request, self.payload, NOW).unwrap();
        let authorization = signed["authorization"].to_str().unwrap();
        assert!(authorization.ends_with(&format!("Signature={}", self.signature)), "{authorization}");
        let sent = RequestParts { headers: &signed, ..request };
        let parsed = Authentication::parse(&sent, NOW, &SigV4Options::default()).unwrap();
        assert_eq!(parsed.access_key(), Some(ACCESS_KEY));
        assert_eq!(
            parsed.signed().unwrap().verify("other secret").unwrap_err().code,
            S3ErrorCode::SignatureDoesNotMatch
        );
        parsed.signed().unwrap().verify(SECRET_KEY).unwrap()
    }
}

const BUCKET_HOST: &str = "examplebucket.s3.amazonaws.com";

#[test]
fn get_object_with_range() {
    let example = Example {
        method: Method::GET,
        host: BUCKET_HOST,
        path: "/test.txt",
        query: "",
        headers: &[("range", "bytes=0-9")],
        payload: EMPTY,
        signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    };
    assert!(matches!(example.check().payload, PayloadKind::Sha256(hash) if hash[0] == 0xe3));
}

#[test]
fn put_object() {
    let example = Example {
        method: Method::PUT,
        host: BUCKET_HOST,
        // The example's key is `test$file.text`; whether the client sends `$` raw or encoded must not matter.
        path: "/test$file.text",
        query: "",
        headers: &[("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
        payload: "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    };
    example.check();
    Example { path: "/test%24file.text", ..example }.check();
}

#[test]
fn get_bucket_lifecycle() {
    let example = Example {
        method: Method::GET,
        host: BUCKET_HOST,
        path: "/",
        query: "lifecycle",
        headers: &[],
        payload: EMPTY,
        signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    };
    example.check();
    Example { query: "lifecycle=", ..example }.check();
}

#[test]
fn list_objects() {
    let example = Example {
        method: Method::GET,
        host: BUCKET_HOST,
        path: "/",
        query: "max-keys=2&prefix=J",
        headers: &[],
        payload: EMPTY,
        signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    };
    example.check();
    Example { query: "prefix=J&max-keys=2", ..example }.check();
}

#[test]
fn presigned_get() {
    let headers = HeaderMap::new();
    let request =
        RequestParts { method: &Method::GET, host: BUCKET_HOST, path: "/test.txt", query: "", headers: &headers };
    let query = Signer::new(ACCESS_KEY, SECRET_KEY, "us-east-1").presign(&request, 86400, NOW).unwrap();
    let published = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    assert_eq!(query, published);
    let sent = RequestParts { query: published, ..request };
    let parsed = Authentication::parse(&sent, NOW, &SigV4Options::default()).unwrap();
    assert!(matches!(parsed, Authentication::Presigned(_)));
    assert_eq!(parsed.signed().unwrap().verify(SECRET_KEY).unwrap().payload, PayloadKind::Unsigned);
    assert_eq!(parsed.signed().unwrap().expires_at, Some(datetime!(2013-05-25 00:00 UTC)));
}

#[test]
fn chunked_upload() {
    let example = Example {
        method: Method::PUT,
        host: "s3.amazonaws.com",
        path: "/examplebucket/chunkObject.txt",
        query: "",
        headers: &[
            ("content-encoding", "aws-chunked"),
            ("content-length", "66824"),
            ("x-amz-decoded-content-length", "66560"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ],
        payload: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        signature: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    };
    let verified = example.check();
    assert_eq!(verified.payload, PayloadKind::StreamingSigned { trailer: false });
    let mut signer = verified.chunk_signer.unwrap();
    assert_eq!(signer.sign_chunk(&[b'a'; 65536]), "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648");
    assert_eq!(signer.sign_chunk(&[b'a'; 1024]), "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497");
    assert_eq!(signer.sign_chunk(b""), "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9");
}

#[test]
fn chunked_upload_with_trailer() {
    let example = Example {
        method: Method::PUT,
        host: "s3.amazonaws.com",
        path: "/examplebucket/chunkObject.txt",
        query: "",
        headers: &[
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-trailer", "x-amz-checksum-crc32c"),
        ],
        payload: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        signature: "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    };
    let mut signer = example.check().chunk_signer.unwrap();
    assert_eq!(signer.sign_chunk(&[b'a'; 65536]), "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2");
    assert_eq!(signer.sign_chunk(&[b'a'; 1024]), "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7");
    assert_eq!(signer.sign_chunk(b""), "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992");
    let trailer = signer.sign_trailer("x-amz-checksum-crc32c:sOO8/Q==\n");
    assert_eq!(trailer, "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435");
}
