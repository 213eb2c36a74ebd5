//! The cluster's id: drawn when the metadata's folder is new, kept in it, and nowhere else.
//!
//! ```text
//! META/CAIRN-CLUSTER   the id, whether the metadata group was ever formed, and its voter if that is not the first
//!      CAIRN-OLDER     this is a copy of before: a start found the disks to be newer. A later one, perhaps with other disks
//!                      or none, need not find it again
//!      CAIRN-RECOVERING  a recovery is under way here
//!      voter-1/        the group's member
//! ```
//!
//! Who loses the metadata loses the id with it, so that the disks of the lost cluster are refused instead of being
//! taken into one that knows none of their objects. For the same reason a member that is gone is not formed anew.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use cairn_shard_store::{FolderState, inspect};

use crate::{secrets::write_private, server::lock::make_private_folder};

const TITLE: &str = "cairn cluster ";
const NAME: &str = "CAIRN-CLUSTER";
const VOTER: &str = "voter ";
const OLDER: &str = "CAIRN-OLDER";
const RECOVERING: &str = "CAIRN-RECOVERING";
const VOTER_FOLDER: &str = "voter-";

/// The folder of a voter.
pub(crate) fn voter_folder(folder: &Path, voter: u64) -> PathBuf {
    folder.join(format!("{VOTER_FOLDER}{voter}"))
}

/// The metadata's folder of a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MetaFolder {
    folder: PathBuf,
    /// The cluster.
    pub(crate) cluster_id: u128,
    /// The group's voter on this node: the first one, or that of a life that began from a snapshot.
    pub(crate) voter: u64,
    formed: bool,
}

/// The voter that a new cluster begins with.
const FIRST_VOTER: u64 = 1;

impl MetaFolder {
    /// Whether no cluster has its metadata here yet.
    pub(crate) fn is_new(folder: &Path) -> bool {
        !folder.join(NAME).exists()
    }

    /// Looks at what [`Self::open`] looks at, and changes nothing.
    pub(crate) fn check(folder: &Path) -> Result<()> {
        match read_lossy(&folder.join(NAME)) {
            Ok(text) => Self::read(folder, &text).map(drop),
            // What lies in the folder without it is looked at with the disks.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| format!("read {}", folder.join(NAME).display())),
        }
    }

    fn read(folder: &Path, text: &str) -> Result<Self> {
        let path = folder.join(NAME);
        let found = Self::parse(folder, text).with_context(|| explain_damaged(folder, &path))?;
        if found.formed && !found.voter_folder().is_dir() {
            bail!(
                "the metadata in {} is gone: put the folder back whole from a copy; without one, \
                 move {} away and run `cairn recover`; to begin anew with nothing, give empty folders for metadata and disks",
                found.voter_folder().display(),
                path.display()
            );
        }
        Ok(found)
    }

    /// Reads whose folder it is; one that holds nothing yet becomes a new cluster's.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        make_private_folder(folder)?;
        Self::check_older(folder)?;
        let path = folder.join(NAME);
        let found = match read_lossy(&path) {
            Ok(text) => Self::read(folder, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::draw(folder)?,
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        if found.formed {
            // Of one that was given up: the metadata is here.
            let _ = fs::remove_file(folder.join(RECOVERING));
        }
        Ok(found)
    }

    /// Refuses to begin a new cluster over the disks of another: the metadata that knows their objects is missing, not
    /// new. A metadata folder that was a mount point and is none now looks just like that.
    pub(crate) fn check_disks(folder: &Path, disks: &[PathBuf]) -> Result<()> {
        if !Self::is_new(folder) {
            return Ok(());
        }
        let held = |disk: &&PathBuf| matches!(inspect(disk), FolderState::Disk { .. });
        let Some(disk) = disks.iter().find(held) else { return Ok(()) };
        if Self::is_recovering(folder) {
            bail!("a recovery into {} was cut off before its end: run `cairn recover` again", folder.display());
        }
        if let Some(voter) = Self::nameless_voter(folder) {
            return Err(explain_nameless(folder, &voter, disk));
        }
        bail!(
            "{} holds the disk of a cluster, but its metadata is not in {}: mount it or put it back; where it is lost, \
             `cairn recover` brings back the newest snapshot that lies on the disks; to begin anew with nothing, give empty \
             folders for metadata and disks",
            disk.display(),
            folder.display()
        )
    }

    /// Whether there is a cluster's metadata in a folder, whole or not.
    pub(crate) fn is_there(folder: &Path) -> bool {
        folder.join(NAME).exists()
    }

    /// Writes whose folder it is, after a life of the group was made of a snapshot in [`Self::voter_folder`].
    pub(crate) fn write_recovered(folder: &Path, cluster_id: u128, voter: u64) -> Result<()> {
        // What was noted of the metadata before says nothing of this one.
        match fs::remove_file(folder.join(OLDER)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).context("remove CAIRN-OLDER"),
            _ => {}
        }
        Self { folder: folder.to_owned(), cluster_id, voter, formed: true }.write()?;
        // It means nothing beside the file that was just written.
        let _ = fs::remove_file(folder.join(RECOVERING));
        Ok(())
    }

    /// Reads whose folder a copy of it is; makes and changes nothing.
    pub(crate) fn of_copy(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        let text = read_lossy(&path).with_context(|| format!("read {}", path.display()))?;
        let found = Self::parse(folder, &text).with_context(|| format!("{} is damaged", path.display()))?;
        if !found.formed || !found.voter_folder().is_dir() {
            bail!("{} holds no metadata of a group: there is no {}", folder.display(), found.voter_folder().display());
        }
        Ok(found)
    }

    /// Refuses what an earlier start found to be older than the disks.
    pub(crate) fn check_older(folder: &Path) -> Result<()> {
        let path = folder.join(OLDER);
        match read_lossy(&path) {
            Ok(why) => Err(explain_older(folder, why.trim())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Notes, durably, that the disks are newer than this, and tells what to do.
    pub(crate) fn refuse_older(folder: &Path, why: &str) -> anyhow::Error {
        match write_private(&folder.join(OLDER), &format!("{why}\n")) {
            Ok(()) => explain_older(folder, why),
            Err(error) => explain_older(folder, why).context(error),
        }
    }

    /// A member's folder that lies there without the file that names it.
    pub(crate) fn nameless_voter(folder: &Path) -> Option<PathBuf> {
        newest_voter(folder).filter(|_| !Self::is_there(folder))
    }

    /// A recovery into this folder begins.
    pub(crate) fn begin_recovery(folder: &Path) -> Result<()> {
        make_private_folder(folder)?;
        write_private(&folder.join(RECOVERING), "")
    }

    /// Whether a recovery into this folder was begun and not ended: what lies in it is no metadata of before.
    pub(crate) fn is_recovering(folder: &Path) -> bool {
        folder.join(RECOVERING).exists()
    }

    /// The folder of the group's member on this node.
    pub(crate) fn voter_folder(&self) -> PathBuf {
        voter_folder(&self.folder, self.voter)
    }

    /// The group has been formed: from now on it is never formed again under this id.
    pub(crate) fn set_formed(&mut self) -> Result<()> {
        if !self.formed {
            self.formed = true;
            self.write()?;
        }
        Ok(())
    }

    fn draw(folder: &Path) -> Result<Self> {
        if let Some(found) = foreign(folder)? {
            bail!(
                "the metadata folder {} holds {found} and no {NAME} file: give an empty folder, or restore the file",
                folder.display()
            );
        }
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("{error}")).context("draw the cluster's id")?;
        let drawn = Self {
            folder: folder.to_owned(),
            cluster_id: u128::from_be_bytes(bytes),
            voter: FIRST_VOTER,
            formed: false,
        };
        drawn.write()?;
        Ok(drawn)
    }

    fn write(&self) -> Result<()> {
        write_private(&self.folder.join(NAME), &self.text())
    }

    fn text(&self) -> String {
        let phase = if self.formed { "formed" } else { "forming" };
        let voter = if self.voter == FIRST_VOTER { String::new() } else { format!("{VOTER}{}\n", self.voter) };
        format!("{TITLE}{:032x}\n{phase}\n{voter}", self.cluster_id)
    }

    fn parse(folder: &Path, text: &str) -> Option<Self> {
        let (id, phase) = text.strip_prefix(TITLE)?.strip_suffix('\n')?.split_once('\n')?;
        let (phase, voter) = match phase.split_once('\n') {
            Some((phase, line)) => (phase, line.strip_prefix(VOTER)?.parse().ok()?),
            None => (phase, FIRST_VOTER),
        };
        let cluster_id = (id.len() == 32).then(|| u128::from_str_radix(id, 16).ok()).flatten()?;
        let formed = match phase {
            "formed" => true,
            "forming" => false,
            _ => return None,
        };
        Some(Self { folder: folder.to_owned(), cluster_id, voter, formed })
    }
}

/// The number of a voter's folder.
fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(VOTER_FOLDER)?.parse().ok().filter(|_| path.is_dir())
}

/// The newest of the members' folders: those of earlier lives may lie beside it, and what a recovery that was given up
/// left, which is no member.
fn newest_voter(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let voters = entries.filter_map(|entry| Some((number_of(&entry.path())?, entry.path())));
    voters.filter(|(_, path)| !is_unfinished(path)).max().map(|(_, path)| path)
}

/// A member that was never formed, as a recovery leaves it that did not come to its end.
fn is_unfinished(voter: &Path) -> bool {
    read_lossy(&voter.join("MARKER")).is_ok_and(|marker| marker.trim_end().ends_with("\nforming"))
}

/// What is no text is damaged text: what was to be in it is said where it is read.
fn read_lossy(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// The file is damaged. Where the metadata is there, it may be whole.
fn explain_damaged(folder: &Path, path: &Path) -> String {
    let (path, folder_shown) = (path.display(), folder.display());
    match newest_voter(folder) {
        Some(voter) => format!(
            "{path} is damaged, and {} may hold all of the metadata: put the file back from a copy, or move it aside; with \
             a disk there, the next start then says how to write it anew; to go on without that folder, move both away and \
             run `cairn recover`",
            voter.display()
        ),
        None => format!(
            "{path} is damaged: restore it from a backup; where there is none, move {folder_shown} away and run `cairn recover`: \
             it brings back the newest snapshot that lies on the disks"
        ),
    }
}

/// The metadata is there and the file beside it is not: it says little, and all of it is known.
pub(crate) fn explain_nameless(folder: &Path, voter: &Path, disk: &Path) -> anyhow::Error {
    let number = number_of(voter);
    let FolderState::Disk { cluster_id, .. } = inspect(disk) else {
        return anyhow::anyhow!("{} is missing beside {}: put it back", folder.join(NAME).display(), voter.display());
    };
    let named =
        MetaFolder { folder: folder.to_owned(), cluster_id, voter: number.unwrap_or(FIRST_VOTER), formed: true };
    let lines = named.text().trim_end().replace('\n', "\\n");
    anyhow::anyhow!(
        "{} is missing beside {}, which may hold all of the metadata: put it back from a copy, or write it anew: \
         printf '{lines}\\n' > {}; to go on without that folder, move it away and run `cairn recover`",
        folder.join(NAME).display(),
        voter.display(),
        folder.join(NAME).display()
    )
}

/// A copy of before would give out again what is taken, and call dead what it never heard of.
fn explain_older(folder: &Path, why: &str) -> anyhow::Error {
    let (folder, file) = (folder.display(), folder.join(OLDER));
    anyhow::anyhow!(
        "the metadata in {folder} is older than the disks: {why}. Nothing more is written under it. Put the newest metadata back \
         in its place, without the file {}. Where it is lost, move {NAME}, {OLDER} and {VOTER_FOLDER}N from {folder} into a \
         folder MOVED of their own and run `cairn recover --copy MOVED`, which goes on from this copy, or `cairn recover`, which \
         goes on from the newest snapshot on the disks: what is newer is listed and its shards are kept",
        file.display()
    )
}

/// Something in the folder that is not ours. Without `--data` the data folder's own files lie here too.
fn foreign(meta: &Path) -> Result<Option<String>> {
    const OWN: [&str; 7] = ["cairn.lock", "keys", "ca.crt", "ca.key", "admin.sock", "lost+found", "CAIRN-CLUSTER.new"];
    for entry in fs::read_dir(meta).with_context(|| format!("list {}", meta.display()))? {
        let name = entry.with_context(|| format!("list {}", meta.display()))?.file_name();
        if !OWN.iter().any(|own| name == *own) {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_kept_and_no_other_folder_is_taken() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("meta");
        let first = MetaFolder::open(&folder).unwrap();
        assert_eq!(MetaFolder::open(&folder).unwrap(), first);
        let path = folder.join(NAME);
        let of_else = "cairn cluster 00000000000000000000000000000000\nelse\n";
        for bad in [&b""[..], b"cairn cluster 12\nformed\n", of_else.as_bytes(), b"cairn \xff"] {
            fs::write(&path, bad).unwrap();
            let said = MetaFolder::open(&folder).unwrap_err().to_string();
            assert!(said.contains("damaged") && said.contains("brings back the newest snapshot"), "{bad:?}: {said}");
        }
        fs::create_dir(folder.join("voter-3")).unwrap();
        // A recovery that was given up left the other one.
        fs::create_dir(folder.join("voter-4")).unwrap();
        fs::write(folder.join("voter-4/MARKER"), "cairn metadata\nformat 1\ncluster 7\nforming\n").unwrap();
        let said = MetaFolder::open(&folder).unwrap_err().to_string();
        fs::remove_dir_all(folder.join("voter-4")).unwrap();
        assert!(said.contains("voter-3 may hold all") && said.contains("move it aside; with a disk there"), "{said}");
        fs::remove_dir(folder.join("voter-3")).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(folder.join("voter-1")).unwrap();
        assert!(MetaFolder::open(&folder).unwrap_err().to_string().contains("holds voter-1"));
    }

    #[test]
    fn a_recovered_group_names_its_voter() {
        let temp = tempfile::tempdir().unwrap();
        assert!(!MetaFolder::is_there(temp.path()));
        fs::create_dir(voter_folder(temp.path(), 2)).unwrap();
        MetaFolder::write_recovered(temp.path(), 7, 2).unwrap();
        let meta = MetaFolder::open(temp.path()).unwrap();
        assert_eq!((meta.cluster_id, meta.voter, meta.voter_folder()), (7, 2, temp.path().join("voter-2")));
        fs::write(temp.path().join(NAME), format!("{TITLE}{:032x}\nformed\nelse 2\n", 7)).unwrap();
        assert!(MetaFolder::open(temp.path()).is_err());
    }

    #[test]
    fn a_group_that_was_formed_is_not_formed_again() {
        let temp = tempfile::tempdir().unwrap();
        let mut meta = MetaFolder::open(temp.path()).unwrap();
        fs::create_dir(meta.voter_folder()).unwrap();
        meta.set_formed().unwrap();
        // Of a recovery that was given up: left there it would be gone on with, if the file beside it were lost.
        MetaFolder::begin_recovery(temp.path()).unwrap();
        assert_eq!(MetaFolder::open(temp.path()).unwrap(), meta);
        assert!(!MetaFolder::is_recovering(temp.path()));
        fs::remove_dir(meta.voter_folder()).unwrap();
        assert!(MetaFolder::open(temp.path()).unwrap_err().to_string().contains("is gone"));
    }
}
