//! The whole road, step by step, as far as it goes.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use bytes::Bytes;
use cairn_meta::Clock;
use rustls::pki_types::CertificateDer;

use super::{
    access,
    certificate::{check_chain, check_name, check_validity},
    client::S3Client,
    network::{compare_clocks, greet, look_up, reach, shake_hands},
    objects,
    presigned::runner_flow,
    report::{Report, Stop, Trouble},
    target::{HelperCa, Target},
};
use crate::{
    config::process_environment,
    http_client::{roots_of_pem, system_roots},
};

/// More than an object that a server keeps in its metadata, and no round number.
const PROBE_BYTES: usize = 100_003;
const TLS_STEPS: [&str; 4] = ["tls", "chain", "certificate-name", "validity"];
const RUNNER_CA: &str = "runner-ca";

/// All steps of a target, in their order.
fn steps(target: &Target) -> Vec<&'static str> {
    let mut all = vec!["name", "connect"];
    if target.address.tls {
        all.extend(TLS_STEPS);
        if target.helper_ca != HelperCa::NotAsked {
            all.push(RUNNER_CA);
        }
    }
    all.extend([
        "http",
        "clock",
        "key",
        "bucket",
        "location",
        "miss",
        "put",
        "head",
        "get",
        "range",
        "presigned",
        "delete",
    ]);
    all
}

/// Examines a target. `tag` makes the names of probe objects this run's own.
pub(super) async fn examine(target: &Target, tag: &str, clock: Arc<dyn Clock>) -> Report {
    let mut report = Report::new(target.request_address().to_string(), target.bucket.clone());
    // The report has it.
    let _ = go(target, tag, clock, &mut report).await;
    report.fill(&steps(target));
    report
}

async fn go(target: &Target, tag: &str, clock: Arc<dyn Clock>, report: &mut Report) -> Result<(), Stop> {
    let address = target.request_address();
    let addresses = report.note("name", look_up(&address).await)?;
    report.note("connect", reach(&addresses).await)?;
    if address.tls {
        secure(target, &addresses, clock.as_ref(), report).await?;
    }
    let greeting = report.note("http", greet(&address, &addresses, &target.roots).await)?;
    report.note("clock", compare_clocks(&greeting, clock.now_ms()))?;

    let region = target.region.clone().unwrap_or_else(|| "us-east-1".to_owned());
    let mut client = S3Client { target, addresses, region, clock };
    client.region = access::examine(&client, report).await?;
    try_objects(&client, tag, report).await
}

/// TLS, its certificate, and the CA that a runner's jobs get. All faults of a certificate are told, not the first alone.
async fn secure(target: &Target, addresses: &[SocketAddr], clock: &dyn Clock, report: &mut Report) -> Result<(), Stop> {
    let address = target.request_address();
    let chain = report.note("tls", shake_hands(&address, addresses).await)?;
    let now_ms = clock.now_ms();
    let trusted = report.note("chain", check_chain(&chain, &target.roots, now_ms));
    let named = report.note("certificate-name", check_name(&chain, &address.host));
    let valid = report.note("validity", check_validity(&chain, now_ms));
    if let Some(done) = helper_ca(&target.helper_ca, &chain, now_ms) {
        // Jobs that lack the CA do not keep us from looking on.
        let _ = report.note(RUNNER_CA, done);
    }
    trusted.and(named).and(valid)
}

/// Whether the CA that jobs get is this server's.
fn helper_ca(ca: &HelperCa, chain: &[CertificateDer<'_>], now_ms: u64) -> Option<Result<(String, ()), Trouble>> {
    const REMEDY: &str = "mount the server's ca.crt as /etc/gitlab-runner/certs/ca.crt into the jobs' helper (docker: \
                          volumes; Kubernetes: a volume of a Secret or ConfigMap; shell: SSL_CERT_FILE); Cairn: `cairn \
                          runner-config` prints it";
    match ca {
        HelperCa::NotAsked => None,
        HelperCa::Elsewhere(what) => Some(Ok((format!("{what}; what is in it cannot be seen from here"), ()))),
        HelperCa::File(path) => Some(judge_file(path, chain, now_ms, REMEDY)),
        HelperCa::Nothing => {
            let judged = check_chain(chain, &system_roots(&process_environment), now_ms);
            Some(judged.map_err(|trouble| Trouble::new(format!("jobs get no CA: {}", trouble.reason), REMEDY)))
        }
    }
}

fn judge_file(path: &Path, chain: &[CertificateDer<'_>], now_ms: u64, remedy: &str) -> Result<(String, ()), Trouble> {
    let shown = path.display().to_string();
    let pem = fs::read(path).map_err(|error| Trouble::new(format!("{shown} cannot be read: {error}"), remedy))?;
    let roots = roots_of_pem(&pem, shown).map_err(|error| Trouble::new(format!("{error:#}"), remedy))?;
    check_chain(chain, &roots, now_ms).map_err(|trouble| Trouble::new(trouble.reason, remedy))
}

async fn try_objects(client: &S3Client<'_>, tag: &str, report: &mut Report) -> Result<(), Stop> {
    let body = probe(tag);
    let name = |what: &str| format!("{}cairn-doctor-{tag}/{what}", client.target.prefix);
    let (plain, presigned) = (name("header"), name("presigned"));
    // Each of these tells of another fault: a failed one stops none of the others.
    let _ = report.note("miss", objects::miss(client, &plain).await);
    report.note("put", objects::put(client, &plain, &body).await)?;
    let _ = report.note("head", objects::head(client, &plain, body.len()).await);
    let _ = report.note("get", objects::get(client, &plain, &body).await);
    let _ = report.note("range", objects::range(client, &plain, &body).await);
    let _ = report.note("presigned", runner_flow(client, &presigned, &body).await);
    report.note("delete", objects::delete(client, &[&plain, &presigned]).await)
}

/// Bytes that no cache has seen and no filter shortens.
fn probe(tag: &str) -> Bytes {
    let mut state = tag
        .bytes()
        .fold(0x9E37_79B9_7F4A_7C15_u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..PROBE_BYTES).map(|_| next()).collect()
}
