//! What `--check` and every start look at on the machine, without changing anything.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use cairn_gateway::{listen_on, small_file};
use rustix::fs::{Access, access};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{Config, TlsChoice, folders, memory, open_files};
use crate::secrets::KeyFile;

/// Looks at folders, certificates, addresses, memory and the key file. The first thing wrong is told. Where a server of ours
/// `runs` on the data folder, a port that is in use is most likely its own.
pub(crate) fn check_machine(config: &Config, runs: bool) -> Result<()> {
    check_real_folders(config)?;
    check_usable("data", &config.home)?;
    check_usable("meta", &config.meta)?;
    if let TlsChoice::Files { cert, key } = &config.tls {
        check_certificate(cert, key)?;
    }
    check_addresses(&config.s3_listen, runs)?;
    memory::check_usable_memory(config.request_memory, memory::usable_memory().as_ref())?;
    open_files::share(open_files::raise_limit(), config.disks.len())?;
    KeyFile::read(&config.key_file())?;
    Ok(())
}

/// Takes all addresses at once, as the server will, and lets go of them.
fn check_addresses(addresses: &[SocketAddr], runs: bool) -> Result<()> {
    let mut taken = Vec::with_capacity(addresses.len());
    for &address in addresses {
        match listen_on(address, addresses) {
            Ok(listener) => taken.push(listener),
            Err(error) if runs && may_be_the_servers(error.kind()) => {}
            Err(error) => bail!("s3-listen: {address} {}", why_not(address, &error)),
        }
    }
    Ok(())
}

/// Its own port; or one that takes a right which the server has, and whoever checks beside it has not.
fn may_be_the_servers(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

fn why_not(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "is in use, by another program or another address of the list: `ss -ltnp sport = :{}` names the program; stop \
             it, or take another port",
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => {
            "is no address of this machine: `ip addr` shows those there are; 0.0.0.0 stands for all".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "may not be taken by this user ({error}): take a port from 1024 on, or start it with CAP_NET_BIND_SERVICE"
            )
        }
        _ => format!("cannot be taken: {error}"),
    }
}

/// Links resolved, the rules for folders must hold still.
fn check_real_folders(config: &Config) -> Result<()> {
    let disks: Vec<PathBuf> = config.disks.iter().map(|disk| real(disk)).collect();
    folders::check_folders(&real(&config.home), &real(&config.meta), &disks)?;
    for folder in config.disks.iter().chain([&config.home, &config.meta]) {
        if folder.exists() && !folder.is_dir() {
            bail!("{} is a file, a folder is needed", folder.display());
        }
    }
    Ok(())
}

/// A folder that can be written, or be made where it is not.
pub(crate) fn check_usable(key: &str, folder: &Path) -> Result<()> {
    let there = existing(folder);
    let failed = || match there == folder {
        true => format!("{key}: {} cannot be written", folder.display()),
        false => format!("{key}: {} cannot be made in {}", folder.display(), there.display()),
    };
    if !there.is_dir() {
        bail!("{}: it is no folder", failed());
    }
    // Where permissions bind nobody, as for root, this still tells a file system that is mounted read-only.
    access(there, Access::WRITE_OK | Access::EXEC_OK).with_context(failed)
}

/// The part of a path that is there.
pub(crate) fn existing(path: &Path) -> &Path {
    path.ancestors().find(|part| fs::symlink_metadata(part).is_ok()).unwrap_or(Path::new("/"))
}

/// The path with links resolved as far as it exists.
fn real(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut known = path;
    loop {
        if let Ok(mut resolved) = known.canonicalize() {
            resolved.extend(missing.iter().rev());
            return resolved;
        }
        match (known.parent(), known.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name);
                known = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

/// A certificate and its key in PEM files.
pub(crate) fn check_certificate(cert: &Path, key: &Path) -> Result<()> {
    let at = |path: &Path| format!("tls: {}", path.display());
    let read = |path: &Path| small_file::read_bytes(path).with_context(|| at(path));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(|| at(cert))?;
    if chain.is_empty() {
        bail!("{}: holds no PEM certificate", at(cert));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(|| at(key))?;
    rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| format!("tls: {} and {} cannot be used together", cert.display(), key.display()))?;
    Ok(())
}

/// Refuses a file that others may read.
pub(crate) fn check_private(path: &Path) -> Result<()> {
    let metadata = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!("{} has mode {mode:04o}: others may read it; run `chmod 600 {0}`", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn beside_the_server_its_ports_count_as_its_own_and_without_it_they_are_busy() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let busy = held.local_addr().unwrap();
        check_addresses(&[busy], true).unwrap();
        assert!(check_addresses(&[busy], false).unwrap_err().to_string().contains("is in use"));
        // Root may take any port, so what it may not is asked by kind.
        assert!(may_be_the_servers(io::ErrorKind::PermissionDenied));
        assert!(!may_be_the_servers(io::ErrorKind::AddrNotAvailable));
        let foreign: SocketAddr = "192.0.2.1:9000".parse().unwrap();
        assert!(check_addresses(&[foreign], true).unwrap_err().to_string().contains("no address of this machine"));
    }
}
