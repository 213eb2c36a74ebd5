//! A key in a file, in the form that the AWS tools read, of mode 0600.

use std::{io, path::Path};

use anyhow::{Context, Result, bail};
use cairn_gateway::small_file;

use crate::{
    config::check_private,
    secrets::{KeyPair, write_private},
};

const ACCESS_KEY: &str = "aws_access_key_id";
const SECRET_KEY: &str = "aws_secret_access_key";

/// The pair in a file; none where there is no file. A file of another kind is not taken for ours.
pub(super) fn read(path: &Path) -> Result<Option<KeyPair>> {
    let text = match small_file::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    check_private(path)?;
    let value = |name: &str| {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    match (value(ACCESS_KEY), value(SECRET_KEY)) {
        (Some(access), Some(secret)) => KeyPair::given(access.to_owned(), secret.to_owned())
            .map(Some)
            .with_context(|| format!("the key in {}", path.display())),
        _ => bail!("{} is there and holds no AWS credentials: name another file, or move it away", path.display()),
    }
}

/// Writes a pair.
pub(super) fn write(path: &Path, key: &KeyPair) -> Result<()> {
    let text = format!("[default]\n{ACCESS_KEY} = {}\n{SECRET_KEY} = {}\n", key.access_key, key.secret.reveal());
    write_private(path, &text)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        assert_eq!(read(&path).unwrap(), None);
        let key = KeyPair::draw().unwrap();
        write(&path, &key).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap(), Some(key));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("chmod 600"));
        write_private(&path, "[default]\nregion = here\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("move it away"));
        fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("no regular file"));
    }
}
