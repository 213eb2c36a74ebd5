//! ListParts.

use cairn_meta::PartPage;
use cairn_s3::{
    S3Error,
    params::ListPartsParams,
    xml::{ListPartsResult, ListedPart},
};

use super::{owner, storage_class, stored_checksum, upload_id};
use crate::{
    call::Call,
    error::answer_for,
    respond::{self, Answer},
};

pub(crate) async fn list_parts(call: Call) -> Result<Answer, S3Error> {
    call.authorize_read()?;
    let (upload, params) = (upload_id(&call)?, ListPartsParams::parse(&call.query)?);
    let bucket = call.bucket().await?.id;
    let row = call.engine().upload(bucket, call.key(), upload).await.map_err(answer_for)?;
    let page = if params.max_parts == 0 {
        PartPage::default()
    } else {
        let after = u16::try_from(params.part_number_marker).unwrap_or(u16::MAX);
        let limit = usize::try_from(params.max_parts).unwrap_or(usize::MAX);
        call.engine().parts(upload, Some(after), limit).await.map_err(answer_for)?
    };
    let parts = page.parts.into_iter().map(|(number, part)| ListedPart {
        part_number: u32::from(number),
        last_modified: call.shared.modified(part.modified_ms),
        etag: part.etag,
        size: part.bytes,
        checksum: stored_checksum::from_row(part.checksum.as_ref()),
    });
    let parts: Vec<ListedPart> = parts.collect();
    let result = ListPartsResult {
        bucket: call.bucket_name().to_owned(),
        key: call.key().to_owned(),
        upload_id: upload.to_string(),
        owner: owner(),
        storage_class: storage_class(row.attributes.storage_class),
        part_number_marker: params.part_number_marker,
        next_part_number_marker: parts.last().map(|part| part.part_number),
        max_parts: params.max_parts,
        is_truncated: page.next.is_some(),
        encode_url: params.encode_url,
        checksum: stored_checksum::announced(row.checksum.as_ref()),
        parts,
    };
    Ok(respond::xml(result.to_xml()))
}
