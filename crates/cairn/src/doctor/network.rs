//! From the name to a TLS connection, and what the server's clock says.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use cairn_s3::dates::parse_http;
use http::{Request, header};
use http_body_util::Full;
use rustls::pki_types::CertificateDer;

use super::report::Trouble;
use crate::http_client::{
    Address, Answer, Roots, Witness, client_config, connect, exchange, reason, resolve, tls_handshake,
};

/// What AWS allows, and every server after it.
const SKEW_MAX_S: i64 = 15 * 60;
/// From here on a cache may look newer than its writer's clock.
const SKEW_TOLD_S: i64 = 5;

/// Looks the name up.
pub(super) async fn look_up(address: &Address) -> Result<(String, Vec<SocketAddr>), Trouble> {
    let host = &address.host;
    match resolve(host, address.port).await {
        Ok(found) => {
            let shown: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
            Ok((format!("{host} is {}", shown.join(", ")), found))
        }
        Err(error) => Err(Trouble::new(
            format!("{host} cannot be looked up: {error}"),
            "check the spelling and this machine's DNS; jobs use the DNS of their own pod or container",
        )),
    }
}

/// Opens a connection and closes it.
pub(super) async fn reach(addresses: &[SocketAddr]) -> Result<(String, ()), Trouble> {
    match connect(addresses).await {
        Ok((_, address)) => {
            let proxy = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"]
                .into_iter()
                .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
            let note = proxy.map(|name| {
                format!("; {name} is set: a runner would go through that proxy unless NO_PROXY names the host")
            });
            Ok((format!("{address} takes connections{}", note.unwrap_or_default()), ()))
        }
        Err(error) => {
            let tried: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            let remedy = match error.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "nothing listens there: is the server running, on this port and not on 127.0.0.1 alone (Cairn: `cairn status`, --s3-listen)?"
                }
                io::ErrorKind::TimedOut => "a firewall, a NetworkPolicy or a wrong address swallows the packets",
                _ => "check address, routes and firewall",
            };
            Err(Trouble::new(format!("{}: {error}", tried.join(", ")), remedy))
        }
    }
}

/// Shakes hands without trusting anyone, and gives the chain that was shown.
pub(super) async fn shake_hands(
    address: &Address,
    addresses: &[SocketAddr],
) -> Result<(String, Vec<CertificateDer<'static>>), Trouble> {
    let (stream, _) = connect(addresses).await.map_err(|error| broken(&error))?;
    let (witness, config) = Witness::with_config();
    match tls_handshake(stream, config, &address.host).await {
        Ok(stream) => {
            let version = stream.get_ref().1.protocol_version().and_then(|version| version.as_str().map(str::to_owned));
            Ok((version.unwrap_or_else(|| "TLS".to_owned()), witness.chain()))
        }
        Err(error) => Err(judge_handshake(&error)),
    }
}

fn judge_handshake(error: &io::Error) -> Trouble {
    let why = reason(error);
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if matches!(inner, Some(rustls::Error::InvalidMessage(_))) {
        return Trouble::new(
            format!("the server does not speak TLS here: {why}"),
            "name http:// instead (runner: Insecure = true), or switch the server's TLS on",
        );
    }
    match error.kind() {
        io::ErrorKind::InvalidInput => {
            Trouble::new(why, "name a host as a certificate can: letters, digits, hyphens and dots, or an IP address")
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::TimedOut => Trouble::new(
            format!("the server breaks the handshake off: {why}"),
            "it may speak plain HTTP (runner: Insecure = true), or a proxy stands between",
        ),
        _ => Trouble::new(
            format!("the TLS handshake fails: {why}"),
            "the server needs TLS 1.2 or 1.3 with a usual cipher",
        ),
    }
}

fn broken(error: &io::Error) -> Trouble {
    Trouble::new(
        format!("the connection fails: {}", reason(error)),
        "the server went away while it was examined; try again",
    )
}

/// Sends one request, over a connection of its own as the runner's helper does, trusting `roots` alone.
pub(super) async fn send(
    address: &Address,
    addresses: &[SocketAddr],
    roots: &Roots,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Trouble> {
    let (stream, _) = connect(addresses).await.map_err(|error| broken(&error))?;
    let sent = if address.tls {
        let stream = tls_handshake(stream, client_config(roots), &address.host).await;
        exchange(stream.map_err(|error| broken(&error))?, request).await
    } else {
        exchange(stream, request).await
    };
    sent.map_err(|error| {
        Trouble::new(error.to_string(), "if a proxy stands between, look at its limits; else look at the server's log")
    })
}

/// Asks the server something without a signature: that it speaks HTTP, and what it says of itself.
pub(super) async fn greet(
    address: &Address,
    addresses: &[SocketAddr],
    roots: &Roots,
) -> Result<(String, Answer), Trouble> {
    let request = Request::get("/")
        .header(header::HOST, address.authority())
        .header(header::USER_AGENT, "cairn-doctor")
        .body(Full::new(Bytes::new()))
        .map_err(|error| Trouble::new(error.to_string(), "check the endpoint"))?;
    let tls_wanted = |trouble: Trouble| match address.tls {
        true => trouble,
        false => {
            Trouble::new(trouble.reason, "the server may speak TLS: name https:// instead (runner: Insecure = false)")
        }
    };
    let answer = send(address, addresses, roots, request).await.map_err(tls_wanted)?;
    let text = String::from_utf8_lossy(&answer.body);
    if !address.tls && answer.status == 400 && text.contains("HTTPS") {
        return Err(Trouble::new(
            "the server speaks TLS here and was asked without",
            "name https:// instead (runner: Insecure = false)",
        ));
    }
    let server = answer.header("server").map(|name| format!(" from {name}")).unwrap_or_default();
    Ok((format!("HTTP {}{server}", answer.status.as_u16()), answer))
}

/// Compares the server's clock with ours.
pub(super) fn compare_clocks(answer: &Answer, now_ms: u64) -> Result<(String, ()), Trouble> {
    let Some(date) = answer.header("date").and_then(parse_http) else {
        return Ok(("the server sends no Date: not compared".to_owned(), ()));
    };
    let ahead_s = date.unix_timestamp() - i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    let side = if ahead_s > 0 { "ahead of" } else { "behind" };
    let difference = format!("the server's clock is {} s {side} this machine's", ahead_s.abs());
    match ahead_s.abs() {
        0..=SKEW_TOLD_S => Ok(("both agree".to_owned(), ())),
        // Signatures hold, but a cache's mtime comes from the server.
        ..=SKEW_MAX_S if ahead_s > 0 => Ok((format!("{difference}: caches may look newer than they are"), ())),
        ..=SKEW_MAX_S => Ok((difference, ())),
        _ => Err(Trouble::new(
            format!("{difference}; signatures are taken within 15 minutes"),
            "set both clocks by NTP (timedatectl, chrony)",
        )),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    #[test]
    fn clocks_may_differ_by_a_quarter_of_an_hour() {
        let now_ms = 784_111_777_000;
        let compare = |date: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("date", date.parse().unwrap());
            compare_clocks(&Answer { status: StatusCode::OK, headers, body: Bytes::new() }, now_ms)
        };
        assert_eq!(compare("Sun, 06 Nov 1994 08:49:39 GMT").unwrap().0, "both agree");
        assert!(compare("Sun, 06 Nov 1994 08:59:37 GMT").unwrap().0.contains("600 s ahead of"));
        assert!(compare("Sun, 06 Nov 1994 08:39:37 GMT").unwrap().0.contains("600 s behind"));
        assert!(compare("Sun, 06 Nov 1994 09:49:37 GMT").unwrap_err().reason.contains("3600 s ahead of"));
        assert!(compare("Sun, 06 Nov 1994 08:34:36 GMT").is_err());
        assert!(compare("yesterday").is_ok());
    }
}
