//! What the log says of a request, and what it does not say at its most talkative.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use aws_sdk_s3::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef},
    error::BoxError,
    error::SdkError,
    presigning::PresigningConfig,
};
use cairn_tests::{ACCESS_KEY, SECRET_KEY, Server, ServerOptions, client, client_of, python};

/// Our own modules and all others, those too that are kept quiet unless they are named.
const ALL: &str = "trace,h2=trace,hyper=trace,rustls=trace,openraft=trace";

/// Notes the signatures that the SDK sends.
#[derive(Clone, Debug, Default)]
struct Sent(Arc<Mutex<Vec<String>>>);

impl Intercept for Sent {
    fn name(&self) -> &'static str {
        "Sent"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // A URL that is presigned has none.
        if let Some((_, signature)) =
            context.request().headers().get("authorization").and_then(|header| header.rsplit_once("Signature="))
        {
            self.0.lock().map_err(|_| "no holder panics")?.push(signature.to_owned());
        }
        Ok(())
    }
}

/// By the SDK, over HTTP/2. Answers what must not be logged.
async fn over_http2(server: &Server, access: &str, secret: &str) -> anyhow::Result<Vec<String>> {
    let sent = Sent::default();
    let noting = |secret| {
        let config = client_of(server, access, secret)?.config().to_builder().interceptor(sent.clone()).build();
        anyhow::Ok(aws_sdk_s3::Client::from_conf(config))
    };
    let s3 = noting(secret)?;
    s3.put_object().bucket("signed").key("sdk").body(vec![7; 300_000].into()).send().await?;
    let got = s3.get_object().bucket("signed").key("sdk").send().await?.body.collect().await?;
    ensure!(got.into_bytes() == vec![7; 300_000]);
    ensure!(s3.head_object().bucket("signed").key("none").send().await.is_err());
    let refused =
        noting("another-secret-another-secret-another")?.get_object().bucket("signed").key("sdk").send().await;
    ensure!(refused.is_err());
    let url = s3
        .get_object()
        .bucket("signed")
        .key("sdk")
        .presigned(PresigningConfig::expires_in(Duration::from_secs(60))?)
        .await?;
    python(server, "page.py", &[path_of(url.uri())?])?;
    let mut values = sent.0.lock().expect("no holder panics").clone();
    ensure!(values.len() >= 4, "{values:?}");
    let signature = url.uri().rsplit_once("X-Amz-Signature=").context("a presigned URL")?.1;
    values.push(signature.split('&').next().unwrap_or_default().to_owned());
    Ok(values)
}

/// Path and query.
fn path_of(url: &str) -> anyhow::Result<&str> {
    let (_, rest) = url.split_once("://").context("a URL")?;
    rest.find('/').map(|at| &rest[at..]).context("a path")
}

#[test]
fn no_secret_and_no_signature_is_logged() -> anyhow::Result<()> {
    let args = ["--log-level", ALL].map(str::to_owned).to_vec();
    let mut server = Server::start(ServerOptions { args, ..ServerOptions::default() })?;
    let told = python(&server, "signatures.py", &[])?;
    let mut values: Vec<String> =
        told.lines().filter_map(|line| line.strip_prefix("sent: ")).map(str::to_owned).collect();
    ensure!(values.len() >= 30, "the program told of {} secrets", values.len());

    let created = server.run(&["key", "create", "--bucket", "signed", "--json"])?;
    let created: serde_json::Value = serde_json::from_str(&created)?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned).with_context(|| created.to_string());
    let (access, secret) = (text(&created["key"]["access_key"])?, text(&created["secret_key"])?);
    values.extend(tokio::runtime::Runtime::new()?.block_on(over_http2(&server, &access, &secret))?);
    values.extend([secret, SECRET_KEY.to_owned()]);
    // In each form of a signature, and in no line of ours.
    values.extend(["aws4_request", "X-Amz-Signature", "x-amz-signature", "Signature="].map(str::to_owned));
    ensure!(server.stop()?.success(), "it ends well");

    let log = server.log();
    for line in [" TRACE ", "h2::", "\"GetObject\"", "status=403", ACCESS_KEY, access.as_str()] {
        ensure!(log.contains(line), "the log is not as talkative as it should be: it lacks {line}");
    }
    for value in values {
        ensure!(value.len() > 7, "{value:?} is too short to be looked for");
        if let Some(line) = log.lines().find(|line| line.contains(&value)) {
            anyhow::bail!("{value} is in the log: {line}");
        }
    }
    Ok(())
}

/// The lines of requests with this id, once there is one: it is written when the answer is on its way.
async fn logged(server: &Server, id: &str) -> anyhow::Result<Vec<String>> {
    let found = async {
        loop {
            let log = server.log();
            let lines: Vec<String> = log.lines().filter(|line| line.contains(id)).map(str::to_owned).collect();
            if !lines.is_empty() {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, found).await.with_context(|| format!("{id} is not in\n{}", server.log()))
}

/// Asks for an object that is not there. Answers the request's id as the answer's header and document have it.
async fn refused(s3: &aws_sdk_s3::Client, key: &str) -> anyhow::Result<(String, String)> {
    let Err(SdkError::ServiceError(error)) = s3.get_object().bucket("logged").key(key).send().await else {
        anyhow::bail!("{key}: an object that nobody stored")
    };
    let header = error.raw().headers().get("x-amz-request-id").context("a header with the id")?.to_owned();
    let document = std::str::from_utf8(error.raw().body().bytes().context("a whole answer")?)?;
    let id = document.split("<RequestId>").nth(1).and_then(|rest| rest.split("</RequestId>").next());
    Ok((header, id.with_context(|| format!("no id in {document}"))?.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_found_in_the_log_by_its_id() -> anyhow::Result<()> {
    for format in ["text", "json"] {
        let args = ["--log-format", format].map(str::to_owned).to_vec();
        let server = Server::start(ServerOptions { args, ..ServerOptions::default() })?;
        let s3 = client(&server)?;
        s3.create_bucket().bucket("logged").send().await?;
        for key in ["none", "none either"] {
            let (header, document) = refused(&s3, key).await?;
            ensure!(header == document, "{header} in the header, {document} in the document");
            let lines = logged(&server, &header).await?;
            let [line] = lines.as_slice() else { anyhow::bail!("{} lines are of {header}: {lines:?}", lines.len()) };
            let key = key.replace(' ', "%20");
            if format == "json" {
                let line: serde_json::Value = serde_json::from_str(line).with_context(|| line.clone())?;
                ensure!(line["id"] == header.as_str() && line["message"] == "request", "{line}");
                ensure!(
                    line["operation"] == "GetObject" && line["status"] == 404 && line["code"] == "NoSuchKey",
                    "{line}"
                );
                ensure!(line["bucket"] == "logged" && line["key"] == key.as_str(), "{line}");
            } else {
                let fields = [
                    format!(" request id=\"{header}\" "),
                    format!(" operation=\"GetObject\" bucket=\"logged\" key=\"{key}\" status=404 code=\"NoSuchKey\" "),
                ];
                ensure!(fields.iter().all(|field| line.contains(field)), "{fields:?} in {line}");
            }
        }
    }
    Ok(())
}
