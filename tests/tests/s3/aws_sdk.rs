//! The AWS SDK for Rust: its default checksums travel as trailers of aws-chunked bodies, over HTTP/2.

use anyhow::{Context as _, ensure};
use aws_sdk_s3::{
    primitives::ByteStream,
    types::{ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier},
};
use cairn_tests::{Server, ServerOptions, client};
use sha2::{Digest as _, Sha256};

const PART_BYTES: usize = 16 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn aws_sdk() -> anyhow::Result<()> {
    let server = Server::start(ServerOptions::default())?;
    let s3 = client(&server)?;
    s3.create_bucket().bucket("sdk").send().await?;
    for algorithm in [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32C, ChecksumAlgorithm::Crc64Nvme] {
        let key = format!("sum/{algorithm}");
        let body = vec![7; 100_000];
        s3.put_object()
            .bucket("sdk")
            .key(&key)
            .checksum_algorithm(algorithm)
            .body(ByteStream::from(body.clone()))
            .send()
            .await?;
        // The SDK verifies the checksum of the answer itself.
        let got = s3.get_object().bucket("sdk").key(&key).checksum_mode(ChecksumMode::Enabled).send().await?;
        ensure!(got.body.collect().await?.into_bytes() == body, "{key}");
    }
    multipart(&s3).await?;
    let listed = s3.list_objects_v2().bucket("sdk").send().await?;
    let keys = listed.contents().iter().filter_map(|object| object.key().map(str::to_owned)).collect::<Vec<_>>();
    ensure!(keys.len() == 5, "{keys:?}");
    let objects = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build()).collect::<Result<Vec<_>, _>>()?;
    let deleted =
        s3.delete_objects().bucket("sdk").delete(Delete::builder().set_objects(Some(objects)).build()?).send().await?;
    ensure!(deleted.deleted().len() == 5 && deleted.errors().is_empty(), "{deleted:?}");
    s3.delete_bucket().bucket("sdk").send().await?;
    Ok(())
}

async fn multipart(s3: &aws_sdk_s3::Client) -> anyhow::Result<()> {
    let large: Vec<u8> = (0..200_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let upload = s3
        .create_multipart_upload()
        .bucket("sdk")
        .key("large")
        .checksum_algorithm(ChecksumAlgorithm::Crc32)
        .send()
        .await?;
    let id = upload.upload_id().context("upload id")?;
    let mut parts = Vec::new();
    for (number, piece) in (1..).zip(large.chunks(PART_BYTES)) {
        let part = s3
            .upload_part()
            .bucket("sdk")
            .key("large")
            .upload_id(id)
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(ByteStream::from(piece.to_vec()))
            .send()
            .await?;
        parts.push(
            CompletedPart::builder()
                .part_number(number)
                .set_e_tag(part.e_tag().map(str::to_owned))
                .set_checksum_crc32(part.checksum_crc32().map(str::to_owned))
                .build(),
        );
    }
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    s3.complete_multipart_upload().bucket("sdk").key("large").upload_id(id).multipart_upload(parts).send().await?;
    let got = s3.get_object().bucket("sdk").key("large").send().await?.body.collect().await?.into_bytes();
    ensure!(Sha256::digest(&got) == Sha256::digest(&large), "the large object came back as another one");
    s3.copy_object().bucket("sdk").key("copy").copy_source("sdk/large").send().await?;
    let copy = s3.get_object().bucket("sdk").key("copy").send().await?.body.collect().await?.into_bytes();
    ensure!(Sha256::digest(&copy) == Sha256::digest(&large), "the copy is of other bytes");
    Ok(())
}
