//! Rows and reports as messages, and errors as statuses that a person can read.

use std::{collections::HashSet, fs, os::unix::fs::MetadataExt, time::Duration};

use cairn_cluster::{
    CheckReport, DiskReport, EngineError, EngineStatus, GroupReport, NARROW_COUNTED_MAX, NarrowReport,
};
use cairn_erasure::ErasureProfile;
use cairn_meta::{
    BucketRow, BucketSettings, EtagKind, GarbageTotals, IdentityRow, MetaError, ProfileRow, ProfileWish, Refusal,
    Scope, SettingsChange,
};
use cairn_proto::admin::{self, Bucket, DiskStatus, Garbage, GroupStatus, Key, MetaStatus, Status as ServerStatus};
use tonic::{Code, Status};

/// The server's profile.
const AUTO: &str = "auto";
const MD5: &str = "md5";
const FAST: &str = "fast";

pub(super) fn bucket(row: BucketRow) -> Bucket {
    Bucket {
        name: row.name,
        created_ms: row.created_ms,
        quota_bytes: row.quota_bytes,
        bytes: row.bytes,
        objects: row.objects,
        upload_bytes: row.upload_bytes,
        uploads: row.uploads,
        settings: Some(settings(row.settings)),
    }
}

fn settings(settings: BucketSettings) -> admin::BucketSettings {
    let profile = settings.profile.map_or_else(|| AUTO.to_owned(), |row| format!("{}+{}", row.data, row.parity));
    let etag = match settings.etag {
        EtagKind::Md5 => MD5,
        EtagKind::Fast => FAST,
    };
    admin::BucketSettings { cache: settings.cache, profile, etag: etag.to_owned() }
}

/// The settings of a bucket that is to be made.
pub(super) fn settings_wanted(wanted: Option<admin::BucketSettings>) -> Result<BucketSettings, Status> {
    let wanted = wanted.unwrap_or_default();
    let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
    let change = settings_change(Some(wanted.cache), given(&wanted.profile), given(&wanted.etag))?;
    Ok(change.on(BucketSettings::default()))
}

/// A change of settings as the command line words it.
pub(super) fn settings_change(
    cache: Option<bool>,
    profile: Option<&str>,
    etag: Option<&str>,
) -> Result<SettingsChange, Status> {
    let profile = profile.map(profile_wish).transpose()?;
    let etag = match etag {
        None => None,
        Some(MD5) => Some(EtagKind::Md5),
        Some(FAST) => Some(EtagKind::Fast),
        Some(other) => return Err(Status::invalid_argument(format!("etag `{other}`: `{MD5}` or `{FAST}`"))),
    };
    Ok(SettingsChange { cache, profile, etag })
}

fn profile_wish(text: &str) -> Result<ProfileWish, Status> {
    if text == AUTO {
        return Ok(ProfileWish::Server);
    }
    let profile: ErasureProfile =
        text.parse().map_err(|error| Status::invalid_argument(format!("profile: {error}; or `{AUTO}`")))?;
    Ok(ProfileWish::Fixed(ProfileRow { data: profile.data_u8(), parity: profile.parity_u8() }))
}

/// A key as it is shown, with the name it is declared under; its sealed secret stays behind.
pub(super) fn key(row: &IdentityRow, name: Option<&str>) -> Key {
    let (root, bucket, prefix, write) = match &row.scope {
        Scope::Root => (true, String::new(), String::new(), true),
        Scope::Bucket { bucket, prefix, write } => (false, bucket.clone(), prefix.clone(), *write),
    };
    Key {
        access_key: row.access_key.clone(),
        root,
        bucket,
        prefix,
        write,
        enabled: row.enabled,
        created_ms: row.created_ms,
        description: row.description.clone(),
        name: name.unwrap_or_default().to_owned(),
    }
}

pub(super) fn status(mut status: EngineStatus, meta_folder: &str) -> ServerStatus {
    status.disks.sort_by(|one, other| one.folder.cmp(&other.folder));
    let not_protected = not_protected(&status, meta_folder);
    let (bytes_total, bytes_free) = capacity(&status.disks);
    let copies = u32::try_from(status.meta.voters.len()).unwrap_or(u32::MAX);
    ServerStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        writable: status.writable && status.meta.writable,
        disks: status.disks.into_iter().map(disk).collect(),
        groups: status.groups.iter().map(group).collect(),
        missing_shards: status.missing_shards,
        repairs_running: status.repairs_running,
        repaired_shards: status.repaired_shards,
        lost_segments: status.lost_segments,
        lost_shards: status.lost_shards,
        garbage: Some(garbage(status.garbage)),
        meta: Some(MetaStatus {
            folder: meta_folder.to_owned(),
            copies,
            leader: status.meta.leader,
            applied_index: status.index.0,
            bytes_total: status.meta.bytes_total,
            bytes_free: status.meta.bytes_free,
        }),
        not_protected,
        bytes_total,
        bytes_free,
        narrow_segments: count(status.narrow.iter().map(|report| report.segments).sum()),
        snapshot_age_seconds: status.snapshot_age.map(|age| age.as_secs()),
        short_segments: status.short.segments,
        unreadable_segments: status.short.unreadable,
        away_shards: status.short.away_shards,
        away_disks: status.short.away_disks,
        short_at_least: status.short.at_least,
        life: status.life,
        snapshot_of_earlier_life: status.snapshot_is_earlier,
        forgotten_shards: status.forgotten_shards,
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Size and free bytes of the disks' file systems. Folders of one file system share its space.
fn capacity(disks: &[DiskReport]) -> (u64, u64) {
    let mut seen = HashSet::new();
    let mut own = |report: &&DiskReport| match fs::metadata(&report.folder) {
        Ok(folder) => seen.insert(folder.dev()),
        Err(_) => false,
    };
    let counted: Vec<&DiskReport> = disks.iter().filter(|report| report.bytes_total > 0).filter(&mut own).collect();
    (counted.iter().map(|report| report.bytes_total).sum(), counted.iter().map(|report| report.bytes_free).sum())
}

fn on_one_file_system(disks: &[DiskReport]) -> bool {
    let devices: Vec<u64> =
        disks.iter().filter_map(|report| fs::metadata(&report.folder).ok()).map(|m| m.dev()).collect();
    devices.iter().collect::<HashSet<_>>().len() < devices.len()
}

/// What is at risk now, in words; the README says the same.
fn not_protected(status: &EngineStatus, meta_folder: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if status.meta.voters.len() < 2 {
        let loss = match status.snapshot_age {
            Some(age) => format!(
                "what is newer than the snapshot on the disks ({} ago) is lost with that folder; `cairn recover` brings \
                 back the rest",
                age_text(age)
            ),
            None => {
                "whoever loses that folder loses everything, whatever the disks hold, until a snapshot lies on them \
                     (`cairn snapshot create`)"
                    .to_owned()
            }
        };
        lines.push(format!(
            "the metadata, with all objects up to 16 KiB in it, is one copy in {meta_folder}: {loss}; keep it on a \
             mirrored file system or back it up"
        ));
    }
    lines.push("all disks are in one machine".to_owned());
    if on_one_file_system(&status.disks) {
        lines.push("several disks lie on one file system: they fail together, if it fails".to_owned());
    }
    if let Some(profile) = status.profile.filter(|profile| profile.parity == 0) {
        lines.push(format!("profile {}+0 has no parity: one lost disk loses objects", profile.data));
    }
    lines.extend(status.narrow.iter().map(narrow));
    if status.forgotten_shards > 0 {
        lines.push(format!(
            "{} shards on the disks are of objects that are newer than the snapshot the metadata was recovered from: they \
             are kept and cannot be read; `cairn check` names those objects; write them again, or let them go, then \
             `cairn snapshot drop-newer --yes` frees their space",
            status.forgotten_shards
        ));
    }
    lines
}

fn narrow(report: &NarrowReport) -> String {
    let more = if report.segments >= NARROW_COUNTED_MAX { " or more" } else { "" };
    let what = match report.profile.parity {
        0 => "no parity: one lost disk loses them".to_owned(),
        parity => format!("{parity} parity: {} lost disks lose them", parity + 1),
    };
    format!(
        "{}{more} segments of profile {}+{} were written with fewer disks than now and have {what}; they are whole again \
         when their objects are written or copied anew",
        report.segments, report.profile.data, report.profile.parity
    )
}

/// A time in the one unit that says enough.
pub(crate) fn age_text(age: Duration) -> String {
    match age.as_secs() {
        seconds if seconds < 2 * 60 => format!("{seconds} s"),
        seconds if seconds < 2 * 3600 => format!("{} min", seconds / 60),
        seconds if seconds < 2 * 86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

fn disk(report: DiskReport) -> DiskStatus {
    DiskStatus {
        id: report.id.map(|id| id.to_string()).unwrap_or_default(),
        folder: report.folder.display().to_string(),
        state: report.state.to_owned(),
        reason: report.reason,
        readable: report.readable,
        writable: report.writable,
        bytes_total: report.bytes_total,
        bytes_free: report.bytes_free,
        bytes_used: report.bytes_used,
        shards: report.shards,
        errors: report.errors,
        inventory_pending: report.inventory_pending,
        bytes_live: report.bytes_live,
    }
}

fn group(report: &GroupReport) -> GroupStatus {
    GroupStatus {
        profile: format!("{}+{}", report.profile.data, report.profile.parity),
        total: count(report.total),
        writable: count(report.writable),
    }
}

pub(super) fn report(report: CheckReport) -> admin::CheckReport {
    macro_rules! findings {
        ($kind:ident) => {
            Some(admin::Findings {
                count: report.$kind.count,
                examples: report.$kind.examples,
                at_least: report.$kind.at_least,
            })
        };
    }
    admin::CheckReport {
        clean: report.is_clean(),
        verified: report.verified,
        objects: report.objects,
        parts: report.parts,
        segments: report.segments,
        shards: report.shards,
        lost: findings!(lost),
        short_of_redundancy: findings!(short),
        orphaned: findings!(orphaned),
        damaged: findings!(damaged),
        broken: findings!(broken),
        away: findings!(away),
        forgotten: findings!(forgotten),
        garbage: Some(Garbage { rows: report.garbage_rows, bytes: report.garbage_bytes }),
    }
}

fn garbage(totals: GarbageTotals) -> Garbage {
    Garbage { rows: totals.rows, bytes: totals.bytes }
}

/// An engine's error as the command line shows it.
pub(super) fn engine_status(error: &EngineError) -> Status {
    let code = match error {
        EngineError::NoSuchBucket | EngineError::NoSuchObject | EngineError::NoSuchUpload => Code::NotFound,
        EngineError::BucketExists => Code::AlreadyExists,
        EngineError::BucketNotEmpty => Code::FailedPrecondition,
        EngineError::Unavailable { .. } | EngineError::Shutdown => Code::Unavailable,
        EngineError::NoSpace { .. } => Code::ResourceExhausted,
        EngineError::Invalid(_) | EngineError::TooLarge { .. } => Code::InvalidArgument,
        EngineError::Unknown => Code::Unknown,
        EngineError::Meta(error) => return meta_status(error),
        _ => Code::Internal,
    };
    Status::new(code, error.to_string())
}

/// A metadata error as the command line shows it.
pub(super) fn meta_status(error: &MetaError) -> Status {
    let code = match error {
        MetaError::Refused(Refusal::NoSuchBucket | Refusal::NoSuchIdentity) => Code::NotFound,
        MetaError::Refused(Refusal::BucketExists | Refusal::IdentityExists) => Code::AlreadyExists,
        MetaError::Refused(_) => Code::FailedPrecondition,
        MetaError::Unavailable { .. } | MetaError::Stopped { .. } | MetaError::Shutdown => Code::Unavailable,
        MetaError::NoSpace { .. } => Code::ResourceExhausted,
        MetaError::Unknown => Code::Unknown,
        _ => Code::Internal,
    };
    Status::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_key_is_shown_without_its_secret() {
        let row = IdentityRow {
            access_key: "AK".to_owned(),
            sealed_secret: Bytes::from_static(b"sealed"),
            scope: Scope::Bucket { bucket: "cache".to_owned(), prefix: "a/".to_owned(), write: false },
            enabled: true,
            created_ms: 5,
            description: "d".to_owned(),
        };
        let shown = key(&row, Some("runner"));
        assert_eq!(shown.name, "runner");
        assert_eq!(
            (shown.root, shown.bucket.as_str(), shown.prefix.as_str(), shown.write),
            (false, "cache", "a/", false)
        );
        assert!(key(&IdentityRow { scope: Scope::Root, ..row }, None).root);
    }

    #[test]
    fn settings_are_worded_and_read_back() {
        let wide = ProfileRow { data: 8, parity: 4 };
        for row in
            [BucketSettings::default(), BucketSettings { cache: true, profile: Some(wide), etag: EtagKind::Fast }]
        {
            assert_eq!(settings_wanted(Some(settings(row))).unwrap(), row);
        }
        assert_eq!(settings_wanted(None).unwrap(), BucketSettings::default());
        let back = settings_change(None, Some("auto"), None).unwrap();
        assert_eq!(back, SettingsChange { profile: Some(ProfileWish::Server), ..SettingsChange::default() });
        for (profile, etag) in [(Some("4"), None), (Some("17+2"), None), (None, Some("sha1"))] {
            let wrong = settings_change(None, profile, etag).unwrap_err();
            assert_eq!(wrong.code(), Code::InvalidArgument, "{wrong}");
        }
    }

    #[test]
    fn refusals_keep_their_words() {
        let status = meta_status(&MetaError::Refused(Refusal::LastRoot));
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "the last root key stays"));
        assert_eq!(engine_status(&EngineError::BucketExists).code(), Code::AlreadyExists);
        assert_eq!(
            engine_status(&EngineError::Meta(MetaError::Refused(Refusal::NoSuchIdentity))).code(),
            Code::NotFound
        );
    }
}
