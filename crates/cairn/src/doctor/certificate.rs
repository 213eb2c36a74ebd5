//! What is wrong with a certificate: chain, name and dates are judged one by one, where a client only says no.

use cairn_s3::dates::{format_http, from_unix_ms};
use rustls::{
    CertificateError, Error,
    client::{verify_server_cert_signed_by_trust_anchor, verify_server_name},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::report::Trouble;
use crate::http_client::Roots;

/// Dates and issuer of a leaf, seconds since 1970.
struct Leaf {
    issuer: String,
    /// Whether it says that it may issue others.
    is_ca: bool,
    not_before_s: i64,
    not_after_s: i64,
}

fn read_leaf(chain: &[CertificateDer<'_>]) -> Result<Leaf, Trouble> {
    let unreadable = || Trouble::new("the server's certificate cannot be read", "give the server another certificate");
    let leaf = chain.first().ok_or_else(unreadable)?;
    let (_, parsed) = X509Certificate::from_der(leaf.as_ref()).map_err(|_| unreadable())?;
    let validity = parsed.validity();
    Ok(Leaf {
        issuer: parsed.issuer().to_string(),
        is_ca: parsed.is_ca(),
        not_before_s: validity.not_before.timestamp(),
        not_after_s: validity.not_after.timestamp(),
    })
}

/// Whether the chain ends in one of `roots`, dates left aside.
pub(super) fn check_chain(chain: &[CertificateDer<'_>], roots: &Roots, now_ms: u64) -> Result<(String, ()), Trouble> {
    let leaf = read_leaf(chain)?;
    let now_s = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    // The dates are another step's: here it is a moment at which they are right.
    let at = u64::try_from(now_s.clamp(leaf.not_before_s, leaf.not_after_s)).unwrap_or(0);
    let checked = chain.split_first().map(|(end_entity, intermediates)| {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots.store, intermediates, at, algorithms)
    });
    match checked {
        Some(Ok(())) => Ok((format!("issued by {}, trusted by {}", leaf.issuer, roots.source), ())),
        // Two CAs of one name and different keys: another Cairn's.
        Some(Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature))) => {
            Err(Trouble::new(
                format!("issued by {}, which {} does not trust", leaf.issuer, roots.source),
                "give the server's CA with --ca (Cairn: ca.crt in its data folder, or the ConfigMap it publishes); if it \
             was given, it is another server's or an old one",
            ))
        }
        Some(Err(_)) if leaf.is_ca => Err(Trouble::new(
            "the server shows the certificate of a CA (CA:TRUE) as its own: some clients take it where they trust it, \
             others refuse it",
            "give the server a certificate that is none of a CA (openssl req -x509 takes -addext \
             basicConstraints=critical,CA:FALSE)",
        )),
        Some(Err(error)) => Err(Trouble::new(
            format!("the certificate chain does not hold: {error}"),
            "the server must send its certificate followed by all intermediate ones",
        )),
        None => Err(Trouble::new("the server showed no certificate", "give the server a certificate")),
    }
}

/// Whether the certificate is one of this host.
pub(super) fn check_name(chain: &[CertificateDer<'_>], host: &str) -> Result<(String, ()), Trouble> {
    let unusable = |why: String| {
        Trouble::new(
            format!("the certificate is not for {host}: {why}"),
            format!("reach the server by a name in its certificate, or put {host} into it (Cairn: --tls-name {host})"),
        )
    };
    let leaf = chain.first().ok_or_else(|| unusable("there is none".to_owned()))?;
    let parsed = ParsedCertificate::try_from(leaf).map_err(|error| unusable(error.to_string()))?;
    let name = ServerName::try_from(host).map_err(|_| unusable("that is no host name".to_owned()))?;
    match verify_server_name(&parsed, &name) {
        Ok(()) => Ok((format!("is for {host}"), ())),
        Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. })) => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            Err(unusable(format!("it is for {}", names.join(", "))))
        }
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// A name as people write it, of `DnsName("cache.lan")` or `IpAddress(10.0.0.5)`.
fn bare(presented: &str) -> &str {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"')
}

/// Whether the certificate is valid now, by our own clock.
pub(super) fn check_validity(chain: &[CertificateDer<'_>], now_ms: u64) -> Result<(String, ()), Trouble> {
    let leaf = read_leaf(chain)?;
    let now_s = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    let date = |seconds: i64| format_http(from_unix_ms(seconds.saturating_mul(1000)));
    if now_s < leaf.not_before_s {
        return Err(Trouble::new(
            format!("the certificate is valid from {} on", date(leaf.not_before_s)),
            "look at the clocks of both machines; the certificate may have been made on one that is ahead",
        ));
    }
    if now_s > leaf.not_after_s {
        return Err(Trouble::new(
            format!("the certificate ended at {}", date(leaf.not_after_s)),
            "renew it (Cairn renews its own by itself and reads renewed files without a restart), or mend this clock",
        ));
    }
    Ok((format!("until {}", date(leaf.not_after_s)), ()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;
    use crate::http_client::roots_of_pem;

    const DAY_MS: u64 = 86_400_000;
    const NOW_MS: u64 = 1_790_000_000_000;

    fn certificate(name: &str) -> (Vec<CertificateDer<'static>>, Roots) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("issuer of {name}"));
        params.not_before = rcgen::date_time_ymd(2026, 9, 1);
        params.not_after = rcgen::date_time_ymd(2026, 10, 1);
        let issued = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let roots = roots_of_pem(issued.pem().as_bytes(), "the given CA".to_owned()).unwrap();
        (vec![issued.der().clone()], roots)
    }

    #[test]
    fn a_ca_is_no_servers_certificate() {
        let mut params = CertificateParams::new(vec!["cache.lan".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issued = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let roots = roots_of_pem(issued.pem().as_bytes(), "the given CA".to_owned()).unwrap();
        let wrong = check_chain(&[issued.der().clone()], &roots, NOW_MS).unwrap_err();
        assert!(wrong.reason.contains("CA:TRUE") && wrong.remedy.contains("CA:FALSE"), "{wrong:?}");
    }

    #[test]
    fn each_fault_is_its_own() {
        let (chain, roots) = certificate("cache.lan");
        let (_, other_roots) = certificate("cache.lan");
        check_chain(&chain, &roots, NOW_MS).unwrap();
        check_chain(&chain, &roots, NOW_MS + 400 * DAY_MS).unwrap();
        let wrong = check_chain(&chain, &other_roots, NOW_MS).unwrap_err();
        assert!(wrong.reason.contains("issuer of cache.lan") && wrong.reason.contains("the given CA"), "{wrong:?}");
        check_name(&chain, "cache.lan").unwrap();
        let wrong = check_name(&chain, "other.lan").unwrap_err();
        assert!(
            wrong.reason.ends_with("it is for cache.lan") && wrong.remedy.contains("--tls-name other.lan"),
            "{wrong:?}"
        );
        check_validity(&chain, NOW_MS).unwrap();
        assert!(check_validity(&chain, NOW_MS + 40 * DAY_MS).unwrap_err().reason.contains("01 Oct 2026"));
        assert!(check_validity(&chain, NOW_MS - 40 * DAY_MS).unwrap_err().reason.contains("01 Sep 2026"));
    }
}
