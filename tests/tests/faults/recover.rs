//! The metadata is lost: what a snapshot on the disks brings back, and that nothing newer is deleted.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use aws_sdk_s3::{Client, primitives::ByteStream};
use cairn_tests::{Server, ServerOptions, cairn, client};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use crate::seed;

const WHOLE_WITHIN: Duration = Duration::from_secs(180);
const BUCKET: &str = "recovered";
const LIST: &str = "CAIRN-RECOVERY";
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    SmallRng::seed_from_u64(seed).fill(&mut content[..]);
    content
}

async fn put(s3: &Client, key: &str, content: Vec<u8>) -> anyhow::Result<()> {
    s3.put_object().bucket(BUCKET).key(key).body(ByteStream::from(content)).send().await?;
    Ok(())
}

async fn get(s3: &Client, key: &str) -> anyhow::Result<Vec<u8>> {
    let answer = s3.get_object().bucket(BUCKET).key(key).send().await?;
    Ok(answer.body.collect().await?.into_bytes().to_vec())
}

/// `cairn ARGS… --data DATA`: whether it ended well, and what it said.
fn run(data: &Path, args: &[&str]) -> anyhow::Result<(bool, String)> {
    let output =
        Command::new(cairn()).args(args).args(["--data".as_ref(), data.as_os_str()]).stdin(Stdio::null()).output()?;
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    Ok((output.status.success(), said))
}

fn files_of(folder: &Path, files: &mut Vec<std::path::PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_type()?.is_dir() {
            files_of(&entry.path(), files)?;
        } else if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The files under a folder that hold some bytes.
fn holding(folder: &Path, wanted: &[u8]) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    files_of(folder, &mut files)?;
    let mut found = Vec::new();
    for file in files {
        // A file of a running store may go between the two.
        let Ok(content) = fs::read(&file) else { continue };
        if content.windows(wanted.len()).any(|window| window == wanted) {
            found.push(file);
        }
    }
    Ok(found)
}

fn shards(status: &serde_json::Value) -> u64 {
    status["disks"].as_array().map_or(0, |disks| disks.iter().filter_map(|disk| disk["shards"].as_u64()).sum())
}

fn whole(status: &serde_json::Value) -> bool {
    let serving = |disk: &serde_json::Value| disk["state"] == "serving" && disk["inventory_pending"] == false;
    status["missing_shards"] == 0 && status["disks"].as_array().is_some_and(|disks| disks.iter().all(serving))
}

/// Objects, a snapshot, more objects, no metadata any more, two disks less: all of before the snapshot comes back, all
/// of after it is named, and none of its shards goes.
#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_is_lost_and_comes_back_from_the_disks() -> anyhow::Result<()> {
    let seed = seed();
    let mut server = Server::start(ServerOptions::default())?;
    let data = server.data().to_owned();
    server.run(&["bucket", "create", BUCKET])?;
    let s3 = client(&server)?;
    let before =
        [("small", 4 * KIB), ("medium", 100 * KIB), ("large", 5 * MIB), ("deep/er", MIB), ("overwritten", 3 * MIB)];
    for (number, (key, length)) in (0..).zip(before) {
        put(&s3, key, bytes(seed ^ number, length)).await?;
    }
    server.run(&["snapshot", "create"])?;
    let status = server.status()?;
    ensure!(status["snapshot_age_seconds"].as_u64().is_some_and(|age| age < 60), "{status}");
    ensure!(status["not_protected"].to_string().contains("cairn recover"), "{status}");
    put(&s3, "newer/one", bytes(seed, 2 * MIB)).await?;
    put(&s3, "overwritten", bytes(seed ^ 99, MIB)).await?;
    put(&s3, "newer/small", bytes(seed, KIB)).await?;
    // A restart closes the writer of the newer objects before the metadata is lost.
    server.kill()?;
    server.restart()?;
    put(&s3, "newer/two", bytes(seed ^ 7, 70 * MIB)).await?;
    server.kill()?;

    fs::rename(data.join("meta"), data.join("meta.lost"))?;
    let (started, said) = run(&data, &["server", "--s3-listen", "127.0.0.1:0"])?;
    ensure!(!started && said.contains("cairn recover"), "{said}");
    let key = data.join("keys/secret.key");
    fs::rename(&key, data.join("kept.key"))?;
    let (recovered, said) = run(&data, &["recover"])?;
    ensure!(!recovered && said.contains("secret.key") && said.contains("put it back"), "{said}");
    fs::rename(data.join("kept.key"), &key)?;
    for disk in [1, 4] {
        fs::rename(server.disk(disk), data.join(format!("away-{disk}")))?;
    }
    let (recovered, said) = run(&data, &["recover"])?;
    ensure!(recovered, "{said}");
    for line in ["objects that came back: 4", "newer/one", "newer/two", "recovered/overwritten"] {
        ensure!(said.contains(line), "`{line}` is missing:\n{said}");
    }
    ensure!(!said.contains("newer/small"), "a small object leaves no trace:\n{said}");
    let (again, refused) = run(&data, &["recover"])?;
    ensure!(!again && refused.contains("nothing is recovered over it"), "{refused}");

    for disk in [1, 4] {
        fs::rename(data.join(format!("away-{disk}")), server.disk(disk))?;
    }
    server.restart()?;
    for (number, (key, length)) in (0..).zip(&before[..4]) {
        ensure!(get(&s3, key).await? == bytes(seed ^ number, *length), "{key} is another");
    }
    ensure!(get(&s3, "newer/one").await.is_err() && get(&s3, "newer/two").await.is_err());
    server.until("every disk was looked through", WHOLE_WITHIN, |status| {
        let looked = |disk: &serde_json::Value| disk["inventory_pending"] == false;
        status["disks"].as_array().is_some_and(|disks| disks.iter().all(looked))
    })?;
    server
        .until("the recovered snapshot is seen", WHOLE_WITHIN, |status| status["snapshot_of_earlier_life"] == true)?;
    let found = server.status()?;
    ensure!(found["life"] == 1 && found["forgotten_shards"].as_u64() >= Some(4 * 6), "{found:#}");
    ensure!(found["snapshot_age_seconds"].as_u64().is_some_and(|age| age < 600), "{found:#}");
    let shown = server.run(&["status"])?;
    ensure!(
        shown.contains("before the metadata was recovered") && shown.contains("snapshot drop-newer --yes"),
        "{shown}"
    );
    let (clean, said) = run(&data, &["check", "--json"])?;
    let report: serde_json::Value = serde_json::from_str(&said)?;
    ensure!(!clean && report["forgotten"]["count"].as_u64() >= Some(4 * 6), "{report:#}");
    let examples = report["forgotten"]["examples"].to_string();
    ensure!(examples.contains("newer/one") || examples.contains("newer/two"), "{examples}");
    ensure!(report["damaged"]["count"] == 0 && report["orphaned"]["count"] == 0, "{report:#}");
    // Writing goes on, under ids of the new life, and deletes nothing of the old one.
    put(&s3, "newer/one", bytes(seed ^ 5, 2 * MIB)).await?;
    put(&s3, "large", bytes(seed ^ 6, 2 * MIB)).await?;
    ensure!(get(&s3, "newer/one").await? == bytes(seed ^ 5, 2 * MIB));
    s3.delete_object().bucket(BUCKET).key("overwritten").send().await?;
    server.run(&["snapshot", "create"])?;
    server.kill()?;
    server.restart()?;
    server.until("garbage goes", WHOLE_WITHIN, |status| status["garbage"]["rows"] == 0 && whole(status))?;
    let (_, said) = run(&data, &["check", "--json"])?;
    let later: serde_json::Value = serde_json::from_str(&said)?;
    ensure!(later["forgotten"]["count"] == report["forgotten"]["count"], "shards of the lost life went:\n{later:#}");

    // A person gives them up, and they go without a restart.
    ensure!(server.status()?["snapshot_of_earlier_life"] == false);
    let before_drop = shards(&server.status()?);
    let given_up = report["forgotten"]["count"].as_u64().unwrap_or(0);
    ensure!(before_drop > given_up && shards(&found) > 0);
    let (dropped, said) = run(&data, &["snapshot", "drop-newer"])?;
    ensure!(!dropped && said.contains("--yes"), "{said}");
    server.run(&["snapshot", "drop-newer", "--yes"])?;
    server.until("they go", WHOLE_WITHIN, |status| shards(status) <= before_drop - given_up && whole(status))?;
    ensure!(server.status()?["forgotten_shards"] == 0);
    let said = server.run(&["check"])?;
    ensure!(said.contains("all is whole"), "{said}");
    for (number, (key, length)) in (0..).zip(&before[..2]) {
        ensure!(get(&s3, key).await? == bytes(seed ^ number, *length), "{key} is another");
    }
    Ok(())
}

/// The snapshot that was recovered is newer than itself: what is newer is given up only beside one of the new life.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_newer_is_given_up_and_the_metadata_can_be_lost_again() -> anyhow::Result<()> {
    let mut server = Server::start(ServerOptions::default())?;
    let data = server.data().to_owned();
    server.run(&["bucket", "create", BUCKET])?;
    let s3 = client(&server)?;
    put(&s3, "kept", bytes(1, MIB)).await?;
    let (dropped, said) = run(&data, &["snapshot", "drop-newer", "--yes"])?;
    ensure!(!dropped && said.contains("never recovered"), "{said}");
    server.run(&["snapshot", "create"])?;
    put(&s3, "newer", bytes(2, MIB)).await?;
    for life in [1, 2] {
        server.kill()?;
        fs::rename(data.join("meta"), data.join(format!("meta.lost-{life}")))?;
        let (recovered, said) = run(&data, &["recover"])?;
        ensure!(recovered && said.contains("objects that came back: 1"), "life {life}: {said}");
        server.restart()?;
        ensure!(get(&s3, "kept").await? == bytes(1, MIB), "life {life}");
        server.run(&["snapshot", "drop-newer", "--yes"])?;
        // What is left: one object and one snapshot.
        server.until("they go", WHOLE_WITHIN, |status| shards(status) == 12 && whole(status))?;
    }
    let said = server.run(&["check"])?;
    ensure!(said.contains("all is whole"), "{said}");
    Ok(())
}

/// Whatever is wrong is said with what to do, and no life begins before all of it is right.
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_told_and_no_life_begins() -> anyhow::Result<()> {
    let mut server = Server::start(ServerOptions::default())?;
    let data = server.data().to_owned();
    server.run(&["bucket", "create", BUCKET])?;
    let s3 = client(&server)?;
    put(&s3, "kept", bytes(1, MIB)).await?;
    server.run(&["snapshot", "create"])?;
    server.kill()?;
    fs::rename(data.join("meta"), data.join("meta.lost"))?;
    let lists =
        |server: &Server| (0..6).map(|disk| fs::read(server.disk(disk).join(LIST))).collect::<Result<Vec<_>, _>>();
    let before = lists(&server)?;
    let refused = |wanted: &[&str]| {
        let (recovered, said) = run(&data, &["recover"])?;
        let missing = wanted.iter().find(|wanted| !said.contains(**wanted));
        ensure!(!recovered && missing.is_none(), "`{missing:?}` is missing:\n{said}");
        Ok(())
    };

    let mistyped = data.join("mistyped");
    let (recovered, said) = run(&mistyped, &["recover"])?;
    ensure!(!recovered && said.contains("there is no data folder") && said.contains("keys/secret.key"), "{said}");
    ensure!(!mistyped.exists(), "a folder with a slip in its name was made");

    // A list that was cut off: on one disk, then on all.
    let list = server.disk(2).join(LIST);
    fs::write(&list, &before[2][..before[2].len() / 2])?;
    refused(&["disk-2/CAIRN-RECOVERY", "is damaged", "move them"])?;
    for disk in 0..6 {
        fs::write(server.disk(disk).join(LIST), b"short")?;
    }
    refused(&["no disk lists a snapshot", "disk-5/CAIRN-RECOVERY", "a copy of"])?;
    for (disk, whole) in before.iter().enumerate() {
        fs::write(server.disk(disk).join(LIST), whole)?;
    }

    // The key file of another store.
    let key = data.join("keys/secret.key");
    let right = fs::read_to_string(&key)?;
    let (title, hex) = right.trim_end().split_once('\n').unwrap_or_default();
    fs::write(&key, format!("{title}\n{}\n", hex.chars().rev().collect::<String>()))?;
    refused(&["is not the key file of this store", "put the right one back"])?;
    fs::write(&key, &right)?;

    // Three disks of a 4+2: the snapshot's segments cannot be read.
    for disk in 0..3 {
        fs::rename(server.disk(disk), data.join(format!("away-{disk}")))?;
    }
    refused(&["none of the 1 snapshots", "bring back more disks", "3 shards are left, 4 are needed"])?;
    for disk in 0..3 {
        fs::rename(data.join(format!("away-{disk}")), server.disk(disk))?;
    }

    ensure!(lists(&server)? == before, "a life began");
    ensure!(!data.join("meta/CAIRN-CLUSTER").exists());
    let (recovered, said) = run(&data, &["recover"])?;
    ensure!(recovered && said.contains("life 1 of the metadata begins"), "{said}");
    server.restart()?;
    ensure!(get(&s3, "kept").await? == bytes(1, MIB));
    Ok(())
}

/// The bytes of a small object, its key in the labels, and the snapshot: sealed wherever they lie.
#[tokio::test(flavor = "multi_thread")]
async fn inline_bytes_and_labels_lie_nowhere_in_the_clear() -> anyhow::Result<()> {
    let mut server = Server::start(ServerOptions::default())?;
    let data = server.data().to_owned();
    server.run(&["bucket", "create", BUCKET])?;
    let s3 = client(&server)?;
    let pattern = b"plain words that nobody else has written";
    put(&s3, "a-key-to-be-found", pattern.repeat(4 * KIB / pattern.len())).await?;
    put(&s3, "a-label-to-be-found", bytes(1, MIB)).await?;
    let copied = format!("{BUCKET}/a-key-to-be-found");
    s3.copy_object().bucket(BUCKET).key("copied").copy_source(copied).send().await?;
    ensure!(get(&s3, "copied").await? == get(&s3, "a-key-to-be-found").await?);
    server.run(&["snapshot", "create"])?;
    // The keys themselves are rows: that the search finds what is there is seen by them.
    ensure!(!holding(&data.join("meta"), b"a-key-to-be-found")?.is_empty());
    for running in [true, false] {
        let found = holding(&data, pattern)?;
        ensure!(found.is_empty(), "running {running}: {found:?}");
        for disk in 0..6 {
            let found = holding(&server.disk(disk), b"to-be-found")?;
            ensure!(found.is_empty(), "running {running}: {found:?}");
        }
        if running {
            server.stop()?;
        }
    }
    // Another key file opens nothing, and says so.
    let key = data.join("keys/secret.key");
    let right = fs::read_to_string(&key)?;
    let (title, hex) = right.trim_end().split_once('\n').unwrap_or_default();
    fs::write(&key, format!("{title}\n{}\n", hex.chars().rev().collect::<String>()))?;
    let (started, said) = run(&data, &["server", "--s3-listen", "127.0.0.1:0"])?;
    ensure!(!started && said.contains("is not the key file of this data folder"), "{said}");
    let kept = data.join("kept.key");
    fs::rename(&key, &kept)?;
    let (started, said) = run(&data, &["server", "--s3-listen", "127.0.0.1:0"])?;
    ensure!(!started && said.contains("is gone") && said.contains("backup"), "{said}");
    fs::rename(&kept, &key)?;
    fs::write(&key, right)?;
    server.restart()?;
    ensure!(get(&s3, "copied").await? == pattern.repeat(4 * KIB / pattern.len()));
    Ok(())
}

fn signal(pid: u32, name: &str) -> anyhow::Result<()> {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status()?;
    ensure!(sent.success(), "kill -{name} {pid}");
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(copied.success(), "cp {} {}", from.display(), to.display());
    Ok(())
}

/// A backup of the metadata is put back, as messages and habit say: nothing is written under it, since its ids are taken,
/// and there is a way on that loses nothing of what lies on the disks.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_metadata_is_refused_and_can_be_gone_on_from() -> anyhow::Result<()> {
    const LENGTH: usize = 300_000;
    let seed = seed();
    let mut server = Server::start(ServerOptions::default())?;
    let data = server.data().to_owned();
    let (meta, copy, newest) = (data.join("meta"), data.join("copy"), data.join("newest"));
    server.run(&["bucket", "create", BUCKET])?;
    let s3 = client(&server)?;
    put(&s3, "a", bytes(seed, LENGTH)).await?;
    server.kill()?;
    copy_folder(&meta, &copy)?;
    server.restart()?;
    for number in 0..5 {
        put(&s3, &format!("b{number}"), bytes(seed ^ (10 + number), LENGTH)).await?;
    }
    server.kill()?;

    fs::rename(&meta, &newest)?;
    copy_folder(&copy, &meta)?;
    // With all disks away nothing shows it: the first that is back does, and ends the server.
    let away = |disk: usize| data.join(format!("away-{disk}"));
    for disk in 0..6 {
        fs::rename(server.disk(disk), away(disk))?;
    }
    server.restart()?;
    for disk in 0..6 {
        fs::rename(away(disk), server.disk(disk))?;
    }
    let until = Instant::now() + WHOLE_WITHIN;
    // Its socket goes when it has ended.
    while !meta.join("CAIRN-OLDER").exists() || data.join("admin.sock").exists() {
        ensure!(Instant::now() < until, "the server goes on under the older metadata");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    server.kill()?;
    for more in [&[][..], &["--check"], &[]] {
        let (started, said) = run(&data, &[&["server", "--s3-listen", "127.0.0.1:0"], more].concat())?;
        ensure!(!started && said.contains("older than the disks") && said.contains("recover --copy"), "{said}");
    }
    // The newest comes back: all is as it was.
    fs::remove_dir_all(&meta)?;
    fs::rename(&newest, &meta)?;
    server.restart()?;
    for number in 0..5 {
        ensure!(get(&s3, &format!("b{number}")).await? == bytes(seed ^ (10 + number), LENGTH));
    }
    server.kill()?;

    // It is lost: the copy goes on as a life of its own, whatever was noted of another one.
    fs::remove_dir_all(&meta)?;
    fs::create_dir(&meta)?;
    fs::write(meta.join("CAIRN-OLDER"), "of another")?;
    let (recovered, said) = run(&data, &["recover", "--copy", "/no/such/folder"])?;
    ensure!(!recovered && said.contains("--copy") && !meta.join("CAIRN-CLUSTER").exists(), "{said}");
    let (recovered, said) = run(&data, &["recover", "--copy", &copy.display().to_string()])?;
    ensure!(recovered, "{said}");
    for line in ["as the copy", "objects that came back: 1", "recovered/b0", "recovered/b4"] {
        ensure!(said.contains(line), "`{line}` is missing:\n{said}");
    }
    server.restart()?;
    for number in 0..6 {
        put(&s3, &format!("c{number}"), bytes(seed ^ (20 + number), LENGTH)).await?;
    }
    for number in 0..6 {
        ensure!(get(&s3, &format!("c{number}")).await? == bytes(seed ^ (20 + number), LENGTH), "c{number} is another");
    }
    ensure!(get(&s3, "a").await? == bytes(seed, LENGTH) && get(&s3, "b0").await.is_err());
    server.kill()?;
    server.restart()?;
    server.until("every disk was looked through", WHOLE_WITHIN, whole)?;
    let (_, said) = run(&data, &["check", "--json"])?;
    let report: serde_json::Value = serde_json::from_str(&said)?;
    ensure!(report["forgotten"]["count"] == 5 * 6, "{report:#}");
    ensure!(report["damaged"]["count"] == 0 && report["orphaned"]["count"] == 0, "{report:#}");
    Ok(())
}

/// A backup that was taken while the server ran, and lacks little: what its own starts add hides none of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_metadata_of_the_same_run_is_refused_after_starts_of_its_own() -> anyhow::Result<()> {
    let mut server = Server::start(ServerOptions::default())?;
    let data = server.data().to_owned();
    let (meta, copy) = (data.join("meta"), data.join("copy"));
    server.run(&["bucket", "create", BUCKET])?;
    let s3 = client(&server)?;
    put(&s3, "a", bytes(1, KIB)).await?;
    signal(server.pid(), "STOP")?;
    let copied = copy_folder(&meta, &copy);
    signal(server.pid(), "CONT")?;
    copied?;
    put(&s3, "b", bytes(2, KIB)).await?;
    server.stop()?;

    fs::remove_dir_all(&meta)?;
    fs::rename(&copy, &meta)?;
    let away = |disk: usize| data.join(format!("away-{disk}"));
    for disk in 0..6 {
        fs::rename(server.disk(disk), away(disk))?;
    }
    // Each adds entries, more than the right one was ahead by.
    for _ in 0..8 {
        server.restart()?;
        let refused = server.run(&["bucket", "create", "other"]).err().context("a bucket was made without any disk")?;
        ensure!(format!("{refused:#}").contains("none of the store's disks has been seen"), "{refused:#}");
        server.kill()?;
    }
    for disk in 0..6 {
        fs::rename(away(disk), server.disk(disk))?;
    }
    for _ in 0..2 {
        let (started, said) = run(&data, &["server", "--s3-listen", "127.0.0.1:0"])?;
        ensure!(!started && said.contains("was told of index") && said.contains("went on without it"), "{said}");
        // That it was found out stands in the folder, and is not what is looked at here.
        fs::remove_file(meta.join("CAIRN-OLDER"))?;
    }
    Ok(())
}

/// The file that names the group's member is gone, and the member is not: nothing is recovered over it.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_its_name_is_not_recovered_over() -> anyhow::Result<()> {
    let mut server = Server::start(ServerOptions::default())?;
    let data = server.data().to_owned();
    server.run(&["bucket", "create", BUCKET])?;
    server.run(&["snapshot", "create"])?;
    let s3 = client(&server)?;
    put(&s3, "newer", bytes(1, 300_000)).await?;
    server.kill()?;
    let name = data.join("meta/CAIRN-CLUSTER");
    let text = fs::read_to_string(&name)?;
    fs::remove_file(&name)?;
    for words in [&["server", "--s3-listen", "127.0.0.1:0"][..], &["recover"]] {
        let (done, said) = run(&data, words)?;
        let command = said.split("printf '").nth(1).and_then(|rest| rest.split('\'').next());
        ensure!(!done && command.map(|lines| lines.replace("\\n", "\n")) == Some(text.clone()), "{words:?}: {said}");
        ensure!(!name.exists(), "nothing was made");
    }
    fs::write(data.join("meta/CAIRN-RECOVERING"), "")?;
    let (started, said) = run(&data, &["server", "--s3-listen", "127.0.0.1:0"])?;
    ensure!(!started && said.contains("was cut off before its end"), "{said}");
    fs::remove_file(data.join("meta/CAIRN-RECOVERING"))?;
    fs::write(&name, text)?;
    server.restart()?;
    ensure!(get(&s3, "newer").await? == bytes(1, 300_000));
    Ok(())
}
