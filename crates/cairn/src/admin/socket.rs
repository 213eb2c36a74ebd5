//! The Unix socket in the data folder: who can open it is the operator.

use std::{
    fs, io,
    os::unix::{fs::FileTypeExt, net::UnixListener},
    path::Path,
};

use anyhow::{Context, Result, bail};
use rustix::{
    fs::{Mode, chmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind as bind_socket, listen, socket_with},
};

/// Calls that wait in the kernel for the server.
const BACKLOG: i32 = 16;

/// Makes the socket with mode 0600. The caller holds the data folder's lock, so one that lies there is a dead server's.
pub(crate) fn bind(path: &Path) -> Result<UnixListener> {
    remove_stale(path)?;
    let failed = |what: &str| format!("{what} the admin socket {}", path.display());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).with_context(|| failed("make"))?;
    let address = SocketAddrUnix::new(path).with_context(|| failed("name"))?;
    bind_socket(&socket, &address).with_context(|| failed("bind"))?;
    // Nobody can connect before `listen`: there is no moment at which others could.
    chmod(path, Mode::RUSR | Mode::WUSR).with_context(|| failed("close to others"))?;
    listen(&socket, BACKLOG).with_context(|| failed("listen on"))?;
    Ok(UnixListener::from(socket))
}

/// Takes the socket away; that it is gone already is no error.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "the admin socket cannot be removed");
    }
}

fn remove_stale(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            fs::remove_file(path).with_context(|| format!("remove the stale socket {}", path.display()))
        }
        Ok(_) => bail!("{} is there and is no socket: move it away", path.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("look at {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::PermissionsExt, net::UnixStream};

    use super::*;

    #[test]
    fn the_socket_is_the_owners_and_a_stale_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let first = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(first);
        assert!(UnixStream::connect(&path).is_err());
        let _second = bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        remove(&path);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_in_its_place_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        fs::write(&path, "mine").unwrap();
        assert!(bind(&path).unwrap_err().to_string().contains("no socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
