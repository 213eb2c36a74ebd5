//! `cairn healthcheck`: asks the S3 port itself, over TLS and under the server's own certificate, as a client would.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use cairn_proto::admin::{GetServerRequest, ServerInfo};
use http::{Request, StatusCode, header};
use http_body_util::Full;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::time::timeout;

use crate::{
    admin::{block_on, connect, explain},
    args::{DataArgs, HealthcheckArgs},
    http_client::{Answer, Witness, client_config, connect as dial, exchange, roots_of_pem, tls_handshake},
    output,
};

/// All of it, whatever the server does meanwhile. It looks for a leader for 10 s before it says that it has none.
const WITHIN: Duration = Duration::from_secs(15);
/// Of the answer's text that is shown.
const SHOWN_CHARS_MAX: usize = 200;

/// Runs the command; exit code 0 if requests can be served.
pub(crate) fn run(args: &HealthcheckArgs) -> Result<ExitCode> {
    block_on(within(WITHIN, check(&args.data)))?;
    output::line("ready");
    Ok(ExitCode::SUCCESS)
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        bail!(
            "not ready: no answer within {} s: the server is starting, hangs, or has too little CPU; look at its log",
            limit.as_secs()
        )
    })
}

async fn check(data: &DataArgs) -> Result<()> {
    let mut client = connect(data).await?;
    let server = client.get_server(GetServerRequest {}).await.map_err(|status| explain(&status))?.into_inner();
    let answer = ask_ready(&server).await?;
    if answer.status != StatusCode::OK {
        let why: String = String::from_utf8_lossy(&answer.body).trim().chars().take(SHOWN_CHARS_MAX).collect();
        bail!("not ready: GET /-/ready answered {}: {why}; `cairn status` says more", answer.status.as_u16());
    }
    Ok(())
}

async fn ask_ready(server: &ServerInfo) -> Result<Answer> {
    let address = server.s3_addresses.first().context("the server did not say where it listens")?;
    let address = dial_address(address.parse().with_context(|| format!("address {address}"))?);
    let (stream, _) = dial(&[address]).await.with_context(|| format!("connect to {address}"))?;
    let request = Request::get("/-/ready")
        .header(header::HOST, "localhost")
        .header(header::USER_AGENT, "cairn-healthcheck")
        .body(Full::new(Bytes::new()))
        .context("word the request")?;
    if !server.tls {
        return exchange(stream, request).await.context("ask /-/ready");
    }
    let failed = || format!("begin TLS with {address}");
    if !server.ca_pem.is_empty() {
        let roots = roots_of_pem(server.ca_pem.as_bytes(), "the server's CA".to_owned())?;
        let stream = tls_handshake(stream, client_config(&roots), "localhost").await.with_context(failed)?;
        return exchange(stream, request).await.context("ask /-/ready");
    }
    // A certificate from outside, whose CA and names are not known here. That a renewed one is not in use yet is told,
    // and no ill health.
    let (witness, config) = Witness::with_config();
    let stream = tls_handshake(stream, config, "localhost").await.with_context(failed)?;
    let of_file = CertificateDer::from_pem_slice(server.certificate_pem.as_bytes()).ok();
    if witness.chain().into_iter().next() != of_file {
        output::error_line(
            "the server shows another certificate than its file holds: it takes up a renewed one within a minute, or its log \
             says why not",
        );
    }
    exchange(stream, request).await.context("ask /-/ready")
}

/// Where a wildcard address is reached from its own machine.
fn dial_address(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;

    #[tokio::test]
    async fn a_server_that_answers_a_byte_at_a_time_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server =
            ServerInfo { s3_addresses: vec![listener.local_addr().unwrap().to_string()], ..ServerInfo::default() };
        // Ends with the client's connection, at the latest after 20 s.
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // An answer before the question would be another fault.
            let asked = stream.read(&mut [0; 1024]).unwrap();
            assert!(asked > 0);
            for byte in b"HTTP/1.1 200 OK\r\nx: ".iter().chain(&[b'y'; 400]) {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        let begun = std::time::Instant::now();
        let error = within(Duration::from_secs(1), ask_ready(&server)).await.unwrap_err();
        assert!(error.to_string().contains("no answer within 1 s"), "{error:#}");
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn wildcards_are_dialled_at_home() {
        let dial = |text: &str| dial_address(text.parse().unwrap()).to_string();
        assert_eq!(dial("0.0.0.0:9000"), "127.0.0.1:9000");
        assert_eq!(dial("[::]:9000"), "[::1]:9000");
        assert_eq!(dial("10.0.0.5:9000"), "10.0.0.5:9000");
    }
}
