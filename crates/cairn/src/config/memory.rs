//! How much memory requests may hold together: what was set, or half of what this process may use.
//!
//! A process that takes more than its cgroup allows is killed, and all its requests with it: it has to say `SlowDown`
//! before. What decides is pure, over the texts of the files.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Result, bail};
use cairn_gateway::GatewayOptions;

use super::ByteCount;

/// More is not taken unless it was set.
const DEFAULT_MAX: u64 = 2 << 30;
/// Less takes no write of the widest profile.
const LEAST: u64 = GatewayOptions::MEMORY_BYTES_MIN;
const MEMORY_OF_MACHINE: &str = "/proc/meminfo";
const CGROUPS_OF_PROCESS: &str = "/proc/self/cgroup";

/// How much memory this process may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UsableMemory {
    /// So many bytes.
    pub(crate) bytes: u64,
    /// The file that says so.
    pub(crate) by: PathBuf,
}

/// The least of what the machine has and of what is allowed by the cgroups this process is in; none where no file
/// tells.
pub(crate) fn usable_memory() -> Option<UsableMemory> {
    least(&|path| fs::read_to_string(path).ok())
}

/// Bytes that requests may hold together.
pub(crate) fn request_memory(set: Option<ByteCount>, usable: Option<&UsableMemory>) -> u64 {
    let default = || usable.map_or(DEFAULT_MAX, |usable| (usable.bytes / 2).clamp(LEAST, DEFAULT_MAX));
    set.map_or_else(default, |set| set.0)
}

/// Refuses what is of no use on any machine.
pub(super) fn check_request_memory(set: Option<ByteCount>) -> Result<()> {
    match set {
        Some(set) if set.0 < LEAST => bail!(
            "request-memory: {set} is less than the {} that a write of the widest profile and others beside it need; give \
             that or more, or leave it out",
            ByteCount(LEAST)
        ),
        _ => Ok(()),
    }
}

/// Refuses what this process can never hold.
pub(super) fn check_usable_memory(set: Option<ByteCount>, usable: Option<&UsableMemory>) -> Result<()> {
    match (set, usable) {
        (Some(set), Some(usable)) if set.0 > usable.bytes => bail!(
            "request-memory: {set} is more than the {} that this process may use by {}; raise that, give half of it, or \
             leave the setting out",
            ByteCount(usable.bytes),
            usable.by.display()
        ),
        _ => Ok(()),
    }
}

/// `read` answers a file's text.
fn least(read: &dyn Fn(&Path) -> Option<String>) -> Option<UsableMemory> {
    let machine = Path::new(MEMORY_OF_MACHINE);
    let of_machine = read(machine).and_then(|text| total(&text));
    let of_machine = of_machine.map(|bytes| UsableMemory { bytes, by: machine.to_owned() });
    let files = limit_files(&read(Path::new(CGROUPS_OF_PROCESS)).unwrap_or_default());
    let limits = files.into_iter().filter_map(|by| Some(UsableMemory { bytes: limit(&read(&by)?)?, by }));
    of_machine.into_iter().chain(limits).min_by_key(|usable| usable.bytes)
}

/// `MemTotal` of `/proc/meminfo`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// A limit as a cgroup's file tells it; `max` is none.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The files with the limits of all cgroups of `/proc/self/cgroup` and of those above them, which bind as well. In a
/// container a path may be that of the host, where the container sees its own cgroup at the top: what is not there is
/// passed over.
fn limit_files(cgroups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let (tops, file): (&[&str], &str) = match controllers {
            // Version 2; beside version 1 it lies in a folder of its own.
            "" => (&["/sys/fs/cgroup", "/sys/fs/cgroup/unified"], "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (&["/sys/fs/cgroup/memory"], "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // A process outside of what its namespace shows has `..` here.
        let inner: PathBuf = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect();
        for top in tops {
            files.extend(inner.ancestors().map(|part| Path::new(top).join(part).join(file)));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const MIB: u64 = 1 << 20;
    const MACHINE: (&str, &str) =
        ("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1234567 kB\nSwapTotal:  1 kB\n");

    /// Bytes, and the file that says so.
    fn told(files: &[(&str, &str)]) -> Option<(u64, String)> {
        let files: HashMap<&Path, &str> = files.iter().map(|(path, text)| (Path::new(*path), *text)).collect();
        let found = least(&|path| files.get(path).map(|text| (*text).to_owned()))?;
        Some((found.bytes, found.by.display().to_string()))
    }

    fn by(bytes: u64, file: &str) -> Option<(u64, String)> {
        Some((bytes, file.to_owned()))
    }

    #[test]
    fn without_a_limit_it_is_the_machines() {
        assert_eq!(told(&[]), None);
        let whole = by(16_384 * MIB, "/proc/meminfo");
        assert_eq!(told(&[MACHINE]), whole);
        let free = [MACHINE, ("/proc/self/cgroup", "0::/a\n"), ("/sys/fs/cgroup/a/memory.max", "max\n")];
        assert_eq!(told(&free), whole);
        let old = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(told(&[MACHINE, ("/proc/self/cgroup", "4:memory:/\n"), old]), whole);
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let own = ("/proc/self/cgroup", "0::/kubepods/pod1/container\n");
        let (container, pod) =
            ("/sys/fs/cgroup/kubepods/pod1/container/memory.max", "/sys/fs/cgroup/kubepods/pod1/memory.max");
        let limits = [("512", "1024", container, 512), ("max", "1024", pod, 1024), ("2048", "1024", pod, 1024)];
        for (of_container, of_pod, file, bytes) in limits {
            assert_eq!(told(&[MACHINE, own, (container, of_container), (pod, of_pod)]), by(bytes, file));
        }
        // A container sees its own cgroup at the top, under the host's path or under none.
        let top = ("/sys/fs/cgroup/memory.max", "1073741824\n");
        for cgroup in ["0::/\n", "0::/kubepods/pod1/container\n", "0::/../../other\n"] {
            assert_eq!(told(&[MACHINE, ("/proc/self/cgroup", cgroup), top]), by(1024 * MIB, top.0), "{cgroup}");
        }
    }

    #[test]
    fn cgroups_of_version_1_and_of_both_are_read() {
        let own = ("/proc/self/cgroup", "9:name=systemd:/x\n5:cpu,memory:/docker/1\n3:cpuset:/docker/1\n0::/slice\n");
        let old = ("/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "700\n");
        let new = ("/sys/fs/cgroup/unified/slice/memory.max", "600\n");
        let other = ("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "5\n");
        assert_eq!(told(&[MACHINE, own, old, other]), by(700, old.0));
        assert_eq!(told(&[MACHINE, own, old, other, new]), by(600, new.0));
        assert_eq!(told(&[MACHINE, ("/proc/self/cgroup", "nonsense\n4:memory\n")]), by(16_384 * MIB, MACHINE.0));
    }

    #[test]
    fn requests_get_half_within_bounds_or_what_was_set() {
        let usable = |bytes| Some(UsableMemory { bytes, by: PathBuf::new() });
        for (bytes, given) in
            [(1024 * MIB, 512 * MIB), (3 << 30, 3 << 29), (64 << 30, 2 << 30), (128 * MIB, 96 * MIB), (0, 96 * MIB)]
        {
            assert_eq!(request_memory(None, usable(bytes).as_ref()), given, "{bytes}");
        }
        assert_eq!(request_memory(None, None), 2 << 30);
        assert_eq!(request_memory(Some(ByteCount(100 * MIB)), usable(1 << 30).as_ref()), 100 * MIB);
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_do() {
        assert!(check_request_memory(None).is_ok() && check_request_memory(Some(ByteCount(96 * MIB))).is_ok());
        let text = check_request_memory(Some(ByteCount(96 * MIB - 1))).unwrap_err().to_string();
        assert!(text.starts_with("request-memory: 95.9 MiB is less than the 96.0 MiB"), "{text}");
        let usable = UsableMemory { bytes: 1 << 30, by: "/sys/fs/cgroup/memory.max".into() };
        let check = |set: u64| check_usable_memory(Some(ByteCount(set)), Some(&usable));
        assert!(check(1 << 30).is_ok() && check_usable_memory(Some(ByteCount(u64::MAX)), None).is_ok());
        let text = check((1 << 30) + 1).unwrap_err().to_string();
        assert!(text.contains("may use by /sys/fs/cgroup/memory.max; raise that, give half of it"), "{text}");
    }
}
