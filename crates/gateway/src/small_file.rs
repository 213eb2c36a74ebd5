//! Small files that people and other programs put in place while the server runs: read whole, within a bound, and without
//! waiting. Opening a pipe waits for whoever writes to it, for ever, and the thread that opens it with it.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use rustix::fs::{Mode, OFlags, open};

/// More is no configuration, certificate or key.
const BYTES_MAX: u64 = 4 << 20;

/// The text of a regular file.
///
/// # Errors
/// It is not there, no regular file, no text, or longer than 4 MiB.
pub fn read(path: &Path) -> io::Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// What is in a regular file.
///
/// # Errors
/// As [`read`], but for text.
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::from(open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file: name another one"));
    }
    let mut content = Vec::new();
    // Of a file that grows meanwhile no more is taken either.
    file.take(BYTES_MAX + 1).read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|bytes| bytes <= BYTES_MAX) {
        Ok(content)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {BYTES_MAX} bytes")))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn only_a_regular_file_of_a_bounded_length_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let most = "a".repeat(usize::try_from(BYTES_MAX).unwrap());
        for text in ["", "text\n", &most] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap(), text);
        }
        fs::write(&path, most + "a").unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);

        let pipe = folder.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for other in [&pipe, folder.path(), Path::new("/dev/zero")] {
            let error = read(other).unwrap_err();
            assert!(error.to_string().contains("no regular file"), "{}: {error}", other.display());
        }
    }
}
