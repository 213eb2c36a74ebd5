//! Small file systems in memory, to be filled and grown by a test.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

/// A mounted file system of a given size; unmounted when dropped.
pub struct Tmpfs {
    folder: PathBuf,
}

impl Tmpfs {
    /// Mounts one at a folder, which is made.
    ///
    /// # Errors
    /// If nothing may be mounted here: the test then cannot run and must not pass.
    pub fn mount(folder: &Path, mib: u64) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        mount(&["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"], folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Gives it another size.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn resize(&self, mib: u64) -> anyhow::Result<()> {
        mount(&["-o", &format!("remount,size={mib}m")], &self.folder)
    }

    /// Fills it up with a file, but for so many MiB. Answers the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn fill_but(&self, mib_left: u64) -> anyhow::Result<PathBuf> {
        let path = self.folder.join("ballast");
        let mut ballast = File::create(&path)?;
        let mebibyte = vec![0x5a; 1 << 20];
        while self.mib_free()? > mib_left {
            ballast.write_all(&mebibyte)?;
        }
        Ok(path)
    }

    /// What is free of it.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn mib_free(&self) -> anyhow::Result<u64> {
        let output = Command::new("df").args(["--block-size=1M", "--output=avail"]).arg(&self.folder).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().last().and_then(|line| line.trim().parse().ok()).with_context(|| format!("df said {text}"))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // What still has files open there lets go of it later.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}

fn mount(args: &[&str], folder: &Path) -> anyhow::Result<()> {
    let output = Command::new("mount").args(args).arg(folder).output().context("run mount")?;
    ensure!(
        output.status.success(),
        "this test mounts small file systems: run it as root where that is allowed (in a container with CAP_SYS_ADMIN); \
         mount said: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
