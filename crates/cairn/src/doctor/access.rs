//! Whether the key is taken, the bucket there and allowed, and where the bucket says it is.

use bytes::Bytes;
use cairn_s3::xml::{XML_BODY_BYTES_MAX, parse_document};
use http::Method;

use super::{
    client::{Call, Refusal, S3Client, refusal_of},
    report::{Report, Stop, Trouble},
};
use crate::http_client::Answer;

/// What the runner takes where the server does not tell.
const USUAL_REGION: &str = "us-east-1";

/// What the answer to the first signed request says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// Key and bucket are good.
    Granted,
    /// The key is good; the bucket, or this question about it, is refused.
    Denied(Refusal),
    /// The key is good, the bucket is not.
    NoBucket(Trouble),
    /// The key is not taken.
    BadKey(Trouble),
}

/// Judges it. Pure.
pub(super) fn judge(refusal: Option<&Refusal>, access_key: &str, bucket: &str) -> Access {
    let Some(refusal) = refusal else { return Access::Granted };
    let shown = refusal.shown();
    let bad_key = |remedy: &str| Access::BadKey(Trouble::new(shown.clone(), remedy));
    match refusal.code.as_str() {
        "InvalidAccessKeyId" | "InvalidTokenId" | "AuthFailure" => bad_key(&format!(
            "the server does not know {access_key}, or it is switched off; Cairn: `cairn key list`, `cairn key enable`"
        )),
        "SignatureDoesNotMatch" => bad_key(&format!(
            "the secret is not that of {access_key}, or a proxy changes the Host header or the path on the way"
        )),
        "RequestTimeTooSkewed" | "RequestExpired" => bad_key("set both clocks by NTP"),
        "AuthorizationHeaderMalformed" => bad_key("name the server's region with --region (runner: BucketLocation)"),
        "InvalidToken" | "ExpiredToken" => bad_key("ask for a new temporary key, or use a lasting one"),
        "NoSuchBucket" | "NotFound" => Access::NoBucket(Trouble::new(
            shown,
            format!("make it, or correct the name; Cairn: `cairn bucket create {bucket}`"),
        )),
        "InvalidBucketName" => Access::NoBucket(Trouble::new(shown, "correct the bucket's name")),
        "PermanentRedirect" | "TemporaryRedirect" => {
            Access::NoBucket(Trouble::new(shown, "name the bucket's own endpoint and region"))
        }
        _ if refusal.status == 403 => Access::Denied(refusal.clone()),
        _ if refusal.status == 404 => Access::NoBucket(Trouble::new(
            shown,
            "is this an S3 server, and not another page of a proxy? Check host, port and path style",
        )),
        _ if refusal.status >= 500 => bad_key("the server fails: look at its log (Cairn: `cairn status`)"),
        _ => bad_key("is this an S3 server? Check host and port"),
    }
}

/// Notes key, bucket and location. Answers with the region to go on with.
pub(super) async fn examine(client: &S3Client<'_>, report: &mut Report) -> Result<String, Stop> {
    let target = client.target;
    let call = Call { key: None, query: "location=", ..Call::of(Method::GET, "") };
    let (key, bucket) = (target.key.access_key.as_str(), target.bucket.as_str());
    let answer = match client.by_header(call).await {
        Ok(answer) => answer,
        Err(trouble) => return report.note("key", Err(trouble)),
    };
    let access = judge(refusal_of(&answer).as_ref(), key, bucket);
    let taken = match &access {
        Access::BadKey(trouble) => Err(trouble.clone()),
        _ => Ok((format!("{key} is taken"), ())),
    };
    report.note("key", taken)?;
    match access {
        Access::Granted => {
            report.note("bucket", Ok((format!("{bucket} is there"), ())))?;
            let region = location(&answer);
            report.note("location", region.map(|region| (region.clone(), target.region.clone().unwrap_or(region))))
        }
        Access::NoBucket(trouble) => report.note("bucket", Err(trouble)),
        Access::Denied(refusal) => {
            report.note("bucket", look_closer(client, &refusal).await)?;
            let region = target.region.clone().unwrap_or_else(|| USUAL_REGION.to_owned());
            let note = format!("the key may not ask for it; {region} is used, as the runner does");
            report.note("location", Ok((note, region)))
        }
        // Noted above.
        Access::BadKey(_) => Err(Stop),
    }
}

/// A key that may not ask for the location may work with objects all the same.
async fn look_closer(client: &S3Client<'_>, refusal: &Refusal) -> Result<(String, ()), Trouble> {
    let target = client.target;
    let absent = format!("{}cairn-doctor-absent", target.prefix);
    let answer = client.by_header(Call::of(Method::GET, &absent)).await?;
    let seen = refusal_of(&answer).unwrap_or_default();
    match judge(Some(&seen), &target.key.access_key, &target.bucket) {
        Access::NoBucket(_) if seen.code == "NoSuchKey" => Ok((format!("{} is there", target.bucket), ())),
        Access::NoBucket(trouble) => Err(trouble),
        _ => Err(Trouble::new(
            refusal.shown(),
            format!(
                "use a key whose limits cover bucket {} and keys that begin with `{}`; Cairn: `cairn key create --bucket {}`",
                target.bucket, target.prefix, target.bucket
            ),
        )),
    }
}

/// The location as the answer has it; an empty one is the usual region.
fn location(answer: &Answer) -> Result<String, Trouble> {
    let body: &Bytes = &answer.body;
    match parse_document(body, XML_BODY_BYTES_MAX) {
        Ok(root) if root.name == "LocationConstraint" => {
            Ok(if root.text.trim().is_empty() { USUAL_REGION.to_owned() } else { root.text.trim().to_owned() })
        }
        _ => Err(Trouble::new(
            "the answer to GetBucketLocation is none of S3",
            "is this an S3 server, and not a proxy's page? Check host and port",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let judged = |status: u16, code: &str| {
            let refusal = Refusal { status, code: code.to_owned(), message: String::new() };
            judge(Some(&refusal), "AK", "cache")
        };
        assert_eq!(judge(None, "AK", "cache"), Access::Granted);
        for (status, code, part) in [
            (403, "InvalidAccessKeyId", "does not know AK"),
            (403, "SignatureDoesNotMatch", "the secret is not that of AK"),
            (403, "RequestTimeTooSkewed", "NTP"),
            (400, "AuthorizationHeaderMalformed", "--region"),
            (503, "SlowDown", "the server fails"),
            (405, "", "an S3 server"),
        ] {
            assert!(matches!(judged(status, code), Access::BadKey(trouble) if trouble.remedy.contains(part)), "{code}");
        }
        assert!(
            matches!(judged(404, "NoSuchBucket"), Access::NoBucket(trouble) if trouble.remedy.contains("bucket create cache"))
        );
        assert!(matches!(judged(404, ""), Access::NoBucket(_)));
        assert!(matches!(judged(403, "AccessDenied"), Access::Denied(_)));
    }
}
