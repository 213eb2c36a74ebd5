//! The whole way of an object on the oldest CPU that is served: MD5 in lanes, checksums, coding, RocksDB and TLS each choose
//! their code by what the CPU has.

use aws_sdk_s3::{Client, config::StalledStreamProtectionConfig, types::ChecksumAlgorithm};
use bytes::Bytes;
use cairn_tests::{Server, ServerOptions, client};

/// Bodies at once: MD5 is computed of several side by side.
const OBJECTS: usize = 4;
const OBJECT_BYTES: usize = 2 << 20;
const CHECKSUMS: [ChecksumAlgorithm; OBJECTS] =
    [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32C, ChecksumAlgorithm::Crc64Nvme, ChecksumAlgorithm::Sha256];

#[tokio::test(flavor = "multi_thread")]
async fn objects_go_round_on_a_cpu_of_2010() -> anyhow::Result<()> {
    let run_by = ["qemu-x86_64", "-cpu", "Westmere"].map(Into::into).to_vec();
    let mut server = Server::start(ServerOptions { run_by, ..ServerOptions::default() })?;
    let patient = StalledStreamProtectionConfig::disabled();
    let s3 = Client::from_conf(client(&server)?.config().to_builder().stalled_stream_protection(patient).build());
    s3.create_bucket().bucket("old").send().await?;
    let bodies: Vec<Bytes> = (0..).map(body).take(OBJECTS).collect();
    let puts = bodies.iter().zip(CHECKSUMS).enumerate().map(|(n, (body, checksum))| {
        let put = s3.put_object().bucket("old").key(n.to_string()).body(body.clone().into());
        tokio::spawn(put.checksum_algorithm(checksum).send())
    });
    for put in puts.collect::<Vec<_>>() {
        put.await??;
    }
    read_all(&s3, &bodies).await?;
    anyhow::ensure!(server.stop()?.success(), "the server did not end well");
    // What lay on these is decoded from parity.
    for disk in [0, 1] {
        std::fs::remove_dir_all(server.disk(disk))?;
    }
    server.restart()?;
    read_all(&s3, &bodies).await
}

async fn read_all(s3: &Client, bodies: &[Bytes]) -> anyhow::Result<()> {
    for (n, body) in bodies.iter().enumerate() {
        let found = s3.get_object().bucket("old").key(n.to_string()).send().await?.body.collect().await?;
        anyhow::ensure!(found.into_bytes() == *body, "object {n} is another now");
    }
    Ok(())
}

/// Bytes that no two units share.
fn body(number: u64) -> Bytes {
    let mut state = number;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(OBJECT_BYTES).collect()
}
