//! From objects and open uploads down: does every segment that a manifest names have its row?

use cairn_meta::{Extent, ListEntry, ListQuery, MetaError, MetaView, UploadQuery};
use cairn_proto::{BucketId, UploadId};

use super::report::CheckReport;
use crate::error::EngineError;
use crate::shared::Shared;
use crate::upkeep::look;

const PAGE: usize = 500;
/// Extents of one object or part followed at once.
const WINDOW_BYTES: u64 = 16 << 30;

/// What one page showed.
#[derive(Default)]
struct Page {
    count: u64,
    broken: Vec<String>,
}

pub(super) async fn check_objects(shared: &Shared, report: &mut CheckReport) -> Result<(), EngineError> {
    let mut after: Option<String> = None;
    loop {
        let from = after.clone();
        let buckets = look(shared, move |view| view.buckets("", from.as_deref(), PAGE)).await?;
        for bucket in &buckets {
            check_bucket(shared, bucket.id, &bucket.name, report).await?;
            check_uploads(shared, bucket.id, &bucket.name, report).await?;
        }
        if buckets.len() < PAGE {
            return Ok(());
        }
        after = buckets.last().map(|bucket| bucket.name.clone());
    }
}

async fn check_bucket(
    shared: &Shared,
    bucket: BucketId,
    name: &str,
    report: &mut CheckReport,
) -> Result<(), EngineError> {
    let mut after = None;
    loop {
        let query = ListQuery { bucket, prefix: String::new(), delimiter: None, after, limit: PAGE };
        let name = name.to_owned();
        let (page, next) = look(shared, move |view| objects_page(view, &query, &name)).await?;
        report.objects += page.count;
        take_broken(report, page.broken);
        if next.is_none() {
            return Ok(());
        }
        after = next;
    }
}

fn objects_page(view: &MetaView, query: &ListQuery, name: &str) -> Result<(Page, Option<String>), MetaError> {
    let list = view.list(query)?;
    let mut page = Page::default();
    for entry in list.entries {
        let ListEntry::Object { key, .. } = entry else { continue };
        let Some(row) = view.object(query.bucket, &key)? else { continue };
        page.count += 1;
        if !row.body.is_inline() {
            let mut at = 0;
            while at < row.bytes {
                let end = row.bytes.min(at + WINDOW_BYTES);
                follow(view, &view.extents(&row.body, at..end)?, &format!("object {name}/{key}"), &mut page)?;
                at = end;
            }
        }
    }
    Ok((page, list.next))
}

async fn check_uploads(
    shared: &Shared,
    bucket: BucketId,
    name: &str,
    report: &mut CheckReport,
) -> Result<(), EngineError> {
    let mut after = None;
    loop {
        let query = UploadQuery { bucket, prefix: String::new(), delimiter: None, after, limit: PAGE };
        let page = look(shared, move |view| view.uploads(&query)).await?;
        for (key, upload) in page.uploads {
            check_parts(shared, upload.id, &format!("{name}/{key}"), report).await?;
        }
        if page.next.is_none() {
            return Ok(());
        }
        after = page.next;
    }
}

async fn check_parts(
    shared: &Shared,
    upload: UploadId,
    place: &str,
    report: &mut CheckReport,
) -> Result<(), EngineError> {
    let mut after = None;
    loop {
        let place = place.to_owned();
        let (page, next) = look(shared, move |view| {
            let list = view.parts(upload, after, PAGE)?;
            let mut page = Page::default();
            for (number, part) in &list.parts {
                page.count += 1;
                follow(view, &part.extents, &format!("part {number} of upload {upload} of {place}"), &mut page)?;
            }
            Ok((page, list.next))
        })
        .await?;
        report.parts += page.count;
        take_broken(report, page.broken);
        if next.is_none() {
            return Ok(());
        }
        after = next;
    }
}

fn follow(view: &MetaView, extents: &[Extent], who: &str, page: &mut Page) -> Result<(), MetaError> {
    for extent in extents {
        if view.segment(extent.pg, extent.segment)?.is_none() {
            page.broken.push(format!("{who} names segment {}, which has no row", extent.segment));
        }
    }
    Ok(())
}

fn take_broken(report: &mut CheckReport, broken: Vec<String>) {
    for example in broken {
        report.broken.add(|| example);
    }
}
