//! The state machine: commands in, changes of rows and outcomes out.
//!
//! Pure: reads rows and the command alone, no clock, no randomness. Each command sees what the earlier ones of its
//! entry did and leaves all or nothing. The work of a command is bounded: some 1,000 rows, 10,000 parts for a
//! completion.

mod buckets;
mod cluster;
mod complete;
mod context;
mod copies;
mod disks;
mod entry;
mod garbage;
mod identities;
mod objects;
mod pgs;
mod repair;
mod segments;
mod terms;
mod uploads;
mod writers;

#[cfg(test)]
mod cluster_test;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod model_test;
#[cfg(test)]
mod objects_test;
#[cfg(test)]
mod segments_test;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod uploads_test;

pub use entry::{decode_entry, encode_entry};
pub(crate) use terms::begin_term;

use cairn_proto::Index;

use crate::command::{Command, Envelope, Outcome, Reply};
use crate::rows::{Change, Overlay, RowsError, RowsRead};
use crate::settings::BucketSettings;
use context::{Applied, Context, Stop};

/// Applies the commands of one log entry. Whoever calls writes the changes in one batch with `index`.
///
/// # Errors
/// Only where storage failed or a row is damaged: this member must stop. A refused command is an outcome.
pub fn apply_entry(
    rows: &dyn RowsRead,
    index: Index,
    envelopes: &[Envelope],
) -> Result<(Vec<Change>, Vec<Outcome>), RowsError> {
    let mut overlay = Overlay::new(rows);
    let mut outcomes = Vec::with_capacity(envelopes.len());
    for (ordinal, envelope) in (0_u32..).zip(envelopes) {
        let mut context = Context::new(&mut overlay, index, ordinal, envelope);
        outcomes.push(apply_envelope(&mut context, envelope)?);
    }
    Ok((overlay.into_changes(), outcomes))
}

/// One command, at most once if it has an origin.
fn apply_envelope(context: &mut Context<'_, '_>, envelope: &Envelope) -> Result<Outcome, RowsError> {
    let Some(origin) = envelope.origin else {
        return settle(context, &envelope.command);
    };
    if let Some(outcome) = writers::admit(context, origin)? {
        return Ok(outcome);
    }
    let outcome = settle(context, &envelope.command)?;
    writers::remember(context, origin, &outcome)?;
    Ok(outcome)
}

/// Runs a command; a refused one leaves nothing.
fn settle(context: &mut Context<'_, '_>, command: &Command) -> Result<Outcome, RowsError> {
    context.rows.begin();
    match run(context, command) {
        Ok(reply) => Ok(Ok(reply)),
        Err(Stop::Refused(refusal)) => {
            context.rows.rollback();
            Ok(Err(refusal))
        }
        Err(Stop::Rows(error)) => Err(error),
    }
}

fn run(context: &mut Context<'_, '_>, command: &Command) -> Applied<Reply> {
    match command {
        Command::Nothing => Ok(Reply::Done),
        Command::OpenWriter { node } => writers::open(context, *node),
        Command::CloseWriter { writer } => writers::close(context, *writer),
        Command::RaiseWatermark { writer, sequence } => writers::raise_watermark(context, *writer, *sequence),
        Command::AttachDisk { disk, node, folder, was_mount, bytes_total, replaces } => {
            let place = disks::Place { node: *node, folder, was_mount: *was_mount, bytes_total: *bytes_total };
            disks::attach(context, *disk, &place, *replaces)
        }
        Command::FinishInventory { disk, attach } => disks::finish_inventory(context, *disk, *attach),
        Command::DistrustDisk { disk, attach } => disks::distrust(context, *disk, *attach),
        Command::CreatePgs { profile, groups } => pgs::create(context, *profile, groups),
        Command::MoveSlot { pg, epoch, slot, disk } => pgs::move_slot(context, *pg, *epoch, *slot, *disk),
        Command::RetirePg { pg, epoch } => pgs::retire(context, *pg, *epoch),
        Command::ReportMissing { pg, epoch, slot, segments } => {
            repair::report_missing(context, *pg, *epoch, *slot, segments)
        }
        Command::FinishRepair { pg, epoch, slot, segment, disk, attach } => {
            let answer = repair::Answer { slot: *slot, disk: *disk, attach: *attach };
            repair::finish(context, *pg, *epoch, *segment, &answer)
        }
        Command::MarkFree { from, below, held } => garbage::mark_free(context, *from, *below, held),
        Command::RemoveGarbage { rows } => garbage::remove(context, rows),
        Command::CreateBucket { name } => buckets::create(context, name, BucketSettings::default(), None),
        Command::CreateBucketWith { name, settings, quota_bytes } => {
            buckets::create(context, name, *settings, *quota_bytes)
        }
        Command::SetBucketSettings { name, change } => buckets::set_settings(context, name, *change),
        Command::DeleteBucket { name } => buckets::delete(context, name),
        Command::SetBucketQuota { name, quota_bytes } => buckets::set_quota(context, name, *quota_bytes),
        Command::PutIdentity { identity, must_be_new } => identities::put(context, identity, *must_be_new),
        Command::SetIdentityEnabled { access_key, enabled } => identities::set_enabled(context, access_key, *enabled),
        Command::DeclareIdentity { name, identity } => identities::declare(context, name, identity),
        Command::RemoveIdentity { access_key } => identities::remove(context, access_key),
        Command::RaiseVersion { version, known } => cluster::raise_version(context, *version, known),
        Command::PutClusterKey { row } => cluster::put_key(context, row),
        Command::PutSnapshot { snapshot, piece, segments, last } => {
            cluster::put_snapshot(context, (*snapshot, *piece, *last), segments)
        }
        Command::RemoveSnapshot { snapshot } => cluster::remove_snapshot(context, *snapshot),
        Command::DropForgotten {} => cluster::drop_forgotten(context),
        _ => run_bytes(context, command),
    }
}

/// The commands that bring, copy and remove bytes.
fn run_bytes(context: &mut Context<'_, '_>, command: &Command) -> Applied<Reply> {
    match command {
        Command::PutObject { bucket, key, etag, checksum, attributes, body, preconditions } => {
            let label = objects::Label { etag, checksum, attributes };
            objects::put(context, *bucket, key, &label, body, preconditions)
        }
        Command::CopyObject { bucket, key, source, etag, checksum, attributes, preconditions } => {
            let label = objects::Label { etag, checksum, attributes };
            objects::copy(context, *bucket, key, &label, source, preconditions)
        }
        Command::DeleteObjects { bucket, keys } => objects::delete(context, *bucket, keys),
        Command::CreateUpload { bucket, key, attributes, checksum, initiator, internal } => {
            let opening = uploads::Opening { attributes, checksum, initiator, internal: *internal };
            uploads::create(context, *bucket, key, &opening)
        }
        Command::PutPart { bucket, key, upload, number, etag, checksum, segments } => {
            let place = uploads::Place { bucket: *bucket, key, upload: *upload };
            let part = uploads::NewPart { number: *number, etag, checksum };
            uploads::put_part(context, &place, &part, segments)
        }
        Command::CopyPart { bucket, key, upload, number, source, etag, checksum } => {
            let place = uploads::Place { bucket: *bucket, key, upload: *upload };
            let part = uploads::NewPart { number: *number, etag, checksum };
            uploads::copy_part(context, &place, &part, source)
        }
        Command::CompleteUpload { bucket, key, upload, parts, etag, checksum, preconditions } => {
            let place = uploads::Place { bucket: *bucket, key, upload: *upload };
            complete::complete(context, &place, parts, (etag, checksum), preconditions)
        }
        Command::AbortUpload { bucket, key, upload } => {
            uploads::abort(context, &uploads::Place { bucket: *bucket, key, upload: *upload })
        }
        other => Err(Stop::invalid(format!("no rule for {other:?}"))),
    }
}
