//! Rules for the folders: none in another, none twice, the socket's path short enough.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use anyhow::{Result, bail};

/// `sun_path` of Linux, less the closing NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Takes out `.` and resolves `..` by the letters alone, so that two spellings of a path compare equal.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                result.pop();
            }
            other => result.push(other),
        }
    }
    result
}

/// Disks and metadata lie apart, and none of them holds the data folder. The metadata's folder may be the data folder.
pub(super) fn check_folders(home: &Path, meta: &Path, disks: &[PathBuf]) -> Result<()> {
    let mut seen: Vec<(&str, &Path)> = vec![("meta", meta)];
    for disk in disks {
        for (what, other) in &seen {
            if disk == other {
                bail!("{what}: {} is named twice", disk.display());
            }
            if disk.starts_with(other) || other.starts_with(disk) {
                let (inner, outer) =
                    if disk.starts_with(other) { (disk.as_path(), *other) } else { (*other, disk.as_path()) };
                bail!("disk: {} lies inside {}; each needs a folder of its own", inner.display(), outer.display());
            }
        }
        if home.starts_with(disk) {
            bail!("disk: the data folder {} lies inside the disk {}", home.display(), disk.display());
        }
        seen.push(("disk", disk));
    }
    if home != meta && home.starts_with(meta) {
        bail!("meta: the data folder {} lies inside {}", home.display(), meta.display());
    }
    Ok(())
}

/// A Unix socket's path has a length limit that no file has.
pub(super) fn check_socket_path(socket: &Path) -> Result<()> {
    let bytes = socket.as_os_str().as_bytes().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        bail!(
            "data: the path of the admin socket, {}, has {bytes} bytes and the system takes {SOCKET_PATH_BYTES_MAX}; \
             choose a shorter data folder",
            socket.display()
        );
    }
    Ok(())
}
