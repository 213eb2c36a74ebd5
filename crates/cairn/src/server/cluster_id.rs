//! The cluster's id: drawn when the metadata's folder is new, kept in it, and nowhere else.
//!
//! Who loses the metadata loses the id with it, so that the disks of the lost cluster are refused instead of being
//! taken into one that knows none of their objects.

use std::{fs, io, path::Path};

use anyhow::{Context, Result, bail};

use crate::{secrets::write_private, server::lock::make_private_folder};

const TITLE: &str = "cairn cluster ";

/// Reads the id, or draws one for a folder that holds nothing yet.
pub(crate) fn read_or_draw(meta: &Path) -> Result<u128> {
    make_private_folder(meta)?;
    let path = meta.join("CAIRN-CLUSTER");
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text).with_context(|| format!("{} is damaged: restore it from a backup", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(found) = foreign(meta)? {
                bail!(
                    "the metadata folder {} holds {found} and no CAIRN-CLUSTER file: give an empty folder, or restore \
                     the file",
                    meta.display()
                );
            }
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("{error}")).context("draw the cluster's id")?;
            let id = u128::from_be_bytes(bytes);
            write_private(&path, &format!("{TITLE}{id:032x}\n"))?;
            Ok(id)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn parse(text: &str) -> Option<u128> {
    let digits = text.strip_prefix(TITLE)?.strip_suffix('\n')?;
    (digits.len() == 32).then(|| u128::from_str_radix(digits, 16).ok()).flatten()
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
    fn it_is_kept_and_no_other_folder_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let meta = folder.path().join("meta");
        let id = read_or_draw(&meta).unwrap();
        assert_eq!(read_or_draw(&meta).unwrap(), id);
        let path = meta.join("CAIRN-CLUSTER");
        fs::write(&path, "cairn cluster 12\n").unwrap();
        assert!(read_or_draw(&meta).unwrap_err().to_string().contains("damaged"));
        fs::remove_file(&path).unwrap();
        fs::write(meta.join("rows"), "").unwrap();
        assert!(read_or_draw(&meta).unwrap_err().to_string().contains("holds rows"));
    }
}
