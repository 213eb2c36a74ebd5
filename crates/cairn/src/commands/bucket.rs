//! `cairn bucket`.

use std::process::ExitCode;

use anyhow::Result;
use cairn_proto::admin::{
    Bucket, BucketSettings, CreateBucketRequest, DeleteBucketRequest, GetBucketRequest, ListBucketsRequest,
    SetBucketQuotaRequest, SetBucketSettingsRequest,
};

use super::{json, moment, pretty_json};
use crate::{
    admin::{AdminClient, block_on, connect, explain},
    args::{BucketArgs, BucketCommand},
    config::{ByteCount, EtagSetting},
    output,
};

/// Runs the command.
pub(crate) fn run(args: BucketArgs) -> Result<ExitCode> {
    block_on(async {
        let mut client = connect(&args.data).await?;
        match args.command {
            BucketCommand::Create { name, cache, profile, etag, quota, if_missing } => {
                let profile = profile.map(|profile| profile.to_string()).unwrap_or_default();
                let etag = etag.map(etag_word).unwrap_or_default();
                let settings = Some(BucketSettings { cache, profile, etag });
                let request = CreateBucketRequest { name, settings, quota_bytes: quota.and_then(|quota| quota.0) };
                create(&mut client, request, if_missing).await?;
            }
            BucketCommand::Set { name, cache, profile, etag } => {
                let (profile, etag) = (profile.map(|profile| profile.to_string()), etag.map(etag_word));
                let request = SetBucketSettingsRequest { name, cache, profile, etag };
                let bucket = client.set_bucket_settings(request).await.map_err(|status| explain(&status))?.into_inner();
                output::line(&format!("bucket {}: {}", bucket.name, settings(&bucket)));
            }
            BucketCommand::Delete { name } => {
                let request = DeleteBucketRequest { name: name.clone() };
                client.delete_bucket(request).await.map_err(|status| explain(&status))?;
                output::line(&format!("bucket {name} removed, with the access keys limited to it"));
            }
            BucketCommand::List { json } => list(&mut client, json).await?,
            BucketCommand::Info { name, json } => {
                let bucket =
                    client.get_bucket(GetBucketRequest { name }).await.map_err(|status| explain(&status))?.into_inner();
                output::line(&if json { pretty_json(&bucket)? } else { describe(&bucket) });
            }
            BucketCommand::Quota { name, limit } => {
                let request = SetBucketQuotaRequest { name, quota_bytes: limit.0 };
                let bucket = client.set_bucket_quota(request).await.map_err(|status| explain(&status))?.into_inner();
                output::line(&format!("bucket {}: quota {}", bucket.name, quota(&bucket)));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn etag_word(etag: EtagSetting) -> String {
    match etag {
        EtagSetting::Md5 => "md5".to_owned(),
        EtagSetting::Fast => "fast".to_owned(),
    }
}

async fn create(client: &mut AdminClient, request: CreateBucketRequest, if_missing: bool) -> Result<()> {
    let name = request.name.clone();
    match client.create_bucket(request).await {
        Ok(_) => output::line(&format!("bucket {name} created")),
        Err(status) if if_missing && status.code() == tonic::Code::AlreadyExists => {
            output::line(&format!("bucket {name} is there"));
        }
        Err(status) => return Err(explain(&status)),
    }
    Ok(())
}

async fn list(client: &mut AdminClient, as_json: bool) -> Result<()> {
    let mut buckets = Vec::new();
    let mut after = String::new();
    loop {
        let page =
            client.list_buckets(ListBucketsRequest { after }).await.map_err(|status| explain(&status))?.into_inner();
        if as_json {
            for bucket in &page.buckets {
                output::line(&json(bucket)?);
            }
        } else {
            buckets.extend(page.buckets);
        }
        if page.next.is_empty() {
            break;
        }
        after = page.next;
    }
    if !as_json {
        output::line(&table(&buckets));
    }
    Ok(())
}

fn table(buckets: &[Bucket]) -> String {
    let row = |bucket: &Bucket| {
        vec![
            bucket.name.clone(),
            bucket.objects.to_string(),
            ByteCount(bucket.bytes).to_string(),
            quota(bucket),
            bucket.uploads.to_string(),
            moment(bucket.created_ms),
            settings(bucket),
        ]
    };
    let rows: Vec<Vec<String>> = buckets.iter().map(row).collect();
    output::table(&["BUCKET", "OBJECTS", "SIZE", "QUOTA", "UPLOADS", "CREATED", "SETTINGS"], &rows, &[1, 2, 3, 4])
}

fn quota(bucket: &Bucket) -> String {
    bucket.quota_bytes.map_or_else(|| "none".to_owned(), |bytes| ByteCount(bytes).to_string())
}

/// The settings in a few words, as the flags that make them.
fn settings(bucket: &Bucket) -> String {
    let settings = bucket.settings.clone().unwrap_or_default();
    let cache = if settings.cache { "cache, " } else { "" };
    format!("{cache}profile {}, etag {}", settings.profile, settings.etag)
}

fn describe(bucket: &Bucket) -> String {
    format!(
        "bucket:   {}\ncreated:  {}\nobjects:  {}, {} ({} bytes)\nuploads:  {} open, {} ({} bytes)\nquota:    {}\n\
         settings: {}",
        bucket.name,
        moment(bucket.created_ms),
        bucket.objects,
        ByteCount(bucket.bytes),
        bucket.bytes,
        bucket.uploads,
        ByteCount(bucket.upload_bytes),
        bucket.upload_bytes,
        quota(bucket),
        settings(bucket),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket() -> Bucket {
        Bucket {
            name: "cache".to_owned(),
            created_ms: 1_790_000_000_000,
            quota_bytes: Some(10 << 30),
            bytes: 1536,
            objects: 2,
            upload_bytes: 0,
            uploads: 0,
            settings: Some(BucketSettings { cache: true, profile: "auto".to_owned(), etag: "md5".to_owned() }),
        }
    }

    #[test]
    fn buckets_are_shown() {
        let shown = table(&[bucket(), Bucket { name: "b".to_owned(), quota_bytes: None, ..bucket() }]);
        assert_eq!(
            shown,
            "BUCKET  OBJECTS     SIZE     QUOTA  UPLOADS  CREATED               SETTINGS\n\
             cache         2  1.5 KiB  10.0 GiB        0  2026-09-21T14:13:20Z  cache, profile auto, etag md5\n\
             b             2  1.5 KiB      none        0  2026-09-21T14:13:20Z  cache, profile auto, etag md5"
        );
        assert!(describe(&bucket()).contains("objects:  2, 1.5 KiB (1536 bytes)"));
        assert!(json(&bucket()).unwrap().contains("\"quota_bytes\":10737418240"));
    }
}
