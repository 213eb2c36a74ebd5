//! Small file systems in memory, to be filled and grown by a test, which runs where it may mount them.

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

/// Set in the process that may mount.
const MAY_MOUNT: &str = "TEST_MAY_MOUNT";

/// Runs a test of this program, by its whole name, in a process of its own that may mount, also of a user who is not
/// root: in namespaces of its own, where nobody else sees what it mounts. Answers whether this is that process; the
/// other has nothing to do but to end.
///
/// # Errors
/// If the test fails there, or there can be no such process: the test then cannot run and must not pass.
pub fn may_mount(test: &str) -> anyhow::Result<bool> {
    if env::var_os(MAY_MOUNT).is_some() {
        return Ok(true);
    }
    let is_root = fs::metadata("/proc/self").context("look at this process")?.uid() == 0;
    let mut command = Command::new("unshare");
    // Who is not root becomes it in a namespace of his own.
    command.arg("--mount").args((!is_root).then_some("--map-root-user"));
    command.arg(env::current_exe()?).args(["--exact", test, "--nocapture"]).env(MAY_MOUNT, "1");
    let output = command.output().context("run unshare")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && said.contains("1 passed"),
        "{test}, run where it may mount: {}\n{said}\n{}\nIt mounts small file systems: that takes root (in a container \
         CAP_SYS_ADMIN), or a system that lets users make namespaces",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(false)
}

/// A mounted file system of a given size; unmounted when dropped.
pub struct Tmpfs {
    folder: PathBuf,
}

impl Tmpfs {
    /// Mounts one at a folder, which is made. Only behind [`may_mount`].
    ///
    /// # Errors
    /// If the system refuses.
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
        // Without the options it has: the kernel shows its owner among them, and takes no owner from outside a
        // user's namespace.
        mount(&["--options-mode=ignore", "-o", &format!("remount,size={mib}m")], &self.folder)
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
    ensure!(output.status.success(), "mount: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
