//! A request our signer signed is accepted; with one thing changed it is not, unless the change means the same.
#![no_main]

use cairn_fuzz::{ACCESS_KEY, NOW, Request, SECRET, must};
use cairn_s3::{Authentication, Query, SigV4Options, sigv4::Signer, uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;

/// Parameters that room is left for: the signature's own.
const PARAMETERS_MAX: usize = 240;

/// How the request is signed and what is changed then: the first four bytes.
struct Plan {
    presigned: bool,
    change: u8,
    place: usize,
    byte: u8,
}

impl Plan {
    fn read(bytes: [u8; 4]) -> Self {
        let [kind, high, low, byte] = bytes;
        Self { presigned: kind & 1 == 1, change: kind >> 1, place: usize::from(high) << 8 | usize::from(low), byte }
    }

    /// The text with one byte changed. `None` if that is no change or no text.
    fn changed(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = text.to_vec();
        let place = self.place.checked_rem(bytes.len())?;
        let old = std::mem::replace(&mut bytes[place], self.byte);
        (old != self.byte).then_some(bytes)
    }

    fn changed_text(&self, text: &str) -> Option<String> {
        String::from_utf8(self.changed(text.as_bytes())?).ok()
    }
}

fn accepted(request: &Request) -> Result<(), String> {
    let authentication = Authentication::parse(&request.parts(), NOW, &SigV4Options::default())
        .map_err(|error| format!("{error:?} for {request:?}"))?;
    let signed = authentication.signed().ok_or("anonymous")?;
    // The store looks the secret up by the key: another key is another secret.
    if signed.access_key != ACCESS_KEY {
        return Err("another key".to_owned());
    }
    signed.verify(SECRET).map(|_| ()).map_err(|error| format!("{error:?} for {request:?}"))
}

/// Leaves requests that our signer takes and the rules refuse for another reason than the signature.
fn can_be_signed(request: &Request) -> bool {
    let Ok(query) = Query::parse(&request.query) else { return false };
    let own = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("x-amz-") || matches!(name.as_str(), "awsaccesskeyid" | "signature")
    };
    let taken = ["authorization", "host", "x-amz-date", "x-amz-content-sha256"];
    query.iter().count() <= PARAMETERS_MAX
        && !query.iter().any(|(name, _)| own(name))
        && !taken.iter().any(|name| request.headers.contains_key(*name))
        && request.headers.get_all("x-amz-security-token").iter().count() < 2
}

fn sign(request: &mut Request, presigned: bool) -> Option<()> {
    let signer = Signer::new(ACCESS_KEY, SECRET, "us-east-1");
    if presigned {
        request.query = signer.presign(&request.parts(), 600, NOW).ok()?;
    } else {
        request.headers = signer.sign(&request.parts(), "UNSIGNED-PAYLOAD", NOW).ok()?.0;
    }
    Some(())
}

/// The query as the signature sees it: decoded, in any order, the signature's hex in any case.
fn query_meaning(raw: &str) -> Option<Vec<(String, String)>> {
    let query = Query::parse(raw).ok()?;
    let mut pairs: Vec<_> = query
        .iter()
        .map(|(name, value)| {
            if name.eq_ignore_ascii_case("x-amz-signature") {
                ("x-amz-signature".to_owned(), value.to_ascii_lowercase())
            } else {
                (name.to_owned(), value.to_owned())
            }
        })
        .collect();
    pairs.sort_unstable();
    Some(pairs)
}

/// A header's values as the signature sees them: runs of white space are one, the signature's hex in any case.
fn header_meaning(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let value = |value: &HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes()).split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        match text.split_once("Signature=") {
            Some((before, signature)) if name == "authorization" => {
                format!("{before}Signature={}", signature.to_ascii_lowercase())
            }
            _ => text,
        }
    };
    headers.get_all(name).iter().map(value).collect()
}

/// The request with one thing changed. `None` if it means the same still.
fn change(request: &Request, plan: &Plan) -> Option<Request> {
    let mut changed = request.clone();
    let names: Vec<HeaderName> = request.headers.keys().cloned().collect();
    let picked = plan.place.checked_rem(names.len()).map(|place| names[place].clone());
    match plan.change % 7 {
        0 => {
            changed.path = plan.changed_text(&request.path)?;
            let same = uri::decode_path(&changed.path).ok() == uri::decode_path(&request.path).ok();
            (!same).then_some(changed)
        }
        1 => {
            changed.query = plan.changed_text(&request.query)?;
            (query_meaning(&changed.query) != query_meaning(&request.query)).then_some(changed)
        }
        2 => {
            let name = picked?;
            let value = plan.changed(request.headers.get(&name)?.as_bytes())?;
            *changed.headers.get_mut(&name)? = HeaderValue::from_bytes(&value).ok()?;
            (header_meaning(&changed.headers, &name) != header_meaning(&request.headers, &name)).then_some(changed)
        }
        3 => {
            changed.host = plan.changed_text(&request.host)?;
            (changed.host.trim() != request.host.trim()).then_some(changed)
        }
        4 => {
            changed.method = if request.method == Method::PUT { Method::GET } else { Method::PUT };
            Some(changed)
        }
        5 => {
            let name = HeaderName::from_bytes(format!("x-amz-fuzz-{}", plan.place).as_bytes()).ok()?;
            let is_new = changed.headers.insert(name, HeaderValue::from_static("1")).is_none();
            is_new.then_some(changed)
        }
        _ => {
            changed.headers.remove(picked?);
            Some(changed)
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((plan, rest)) = bytes.split_first_chunk::<4>() else { return };
    let plan = Plan::read(*plan);
    let Some(mut request) = Request::read(rest).filter(can_be_signed) else { return };
    if sign(&mut request, plan.presigned).is_none() {
        return;
    }
    must(accepted(&request), "what our signer signed is refused");
    if let Some(changed) = change(&request, &plan) {
        assert!(accepted(&changed).is_err(), "a changed request is accepted: {request:?} as {changed:?}");
    }
});
