//! The way up: the order in which parts start, and what happens if one cannot.
//!
//! ```text
//! signals → lock of the data folder → metadata group → key file, cluster key and root key → engine (disks)
//!         → admin socket → gateway → declared buckets and keys → admin service → "ready: https://…" on stdout
//! ```
//!
//! The admin service answers once the gateway listens, since it says where; callers wait in the socket's backlog.

use std::{fs, process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use cairn_cluster::{ClusterKey, DiskFolder, Engine, EngineError, EngineOptions, RandomIds, RocksDiskOpener};
use cairn_gateway::{Gateway, GatewayOptions, Identities, TlsMode};
use cairn_meta::{CLUSTER_VERSION, Clock, MetaError, MetaHandle, MetaOptions, SystemClock};
use cairn_proto::{NodeId, admin::ServerInfo};
use tokio_util::sync::CancellationToken;

use super::{
    cluster_id::MetaFolder,
    declared::{Keeper, KeeperParts},
    identities,
    lock::DataLock,
    shutdown::{Background, Parts, Signals},
};
use crate::{
    admin::{self, AdminService},
    config::{ByteCount, Config, TlsChoice, open_files, request_memory, usable_memory},
    output,
    secrets::Sealer,
};

/// The only node there is.
const NODE: NodeId = NodeId(1);

/// Starts all parts, serves until a signal comes, and ends them.
pub(crate) async fn serve(config: Config) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let _lock = DataLock::take(&config.home)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), data = %config.home.display(), disks = config.disks.len(), "starting");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut meta_folder = MetaFolder::open(&config.meta)?;
    let cluster_id = meta_folder.cluster_id;
    let (folder, voter) = (meta_folder.voter_folder(), meta_folder.voter);
    let options = MetaOptions { folder, cluster_id, voter, memory: false };
    let meta = MetaHandle::start(options, Arc::clone(&clock)).await;
    let meta = meta.map_err(|error| explain_meta(error, &config.meta)).context("start the metadata group")?;
    meta_folder.set_formed()?;
    let mut parts = Parts { meta, engine: None, gateway: None, keeper: None, admin: None };

    let meta = parts.meta.clone();
    let served = tokio::select! {
        served = serve_until_signal(&config, cluster_id, &clock, &mut parts, &mut signals) => served,
        // Nothing can be read or written from here on: whoever watches over this process starts another.
        why = meta.stopped() => {
            tracing::error!(%why, "the metadata group has failed: the server ends");
            Err(anyhow::anyhow!("{why}; look at the metadata's disk, then start the server again"))
        }
    };
    signals.end_at_next();
    let clean = parts.stop().await;
    admin::remove(&config.admin_socket());
    if let Err(error) = &served {
        tracing::error!(%error, clean, "stopped after a failure");
    }
    served?;
    tracing::info!(clean, "stopped");
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where the metadata cannot be read there is a way back that its own crate does not know.
fn explain_meta(error: MetaError, folder: &std::path::Path) -> anyhow::Error {
    if !matches!(error, MetaError::DamagedFolder { .. } | MetaError::Damaged { .. }) {
        return error.into();
    }
    anyhow::anyhow!(
        "{error}; where there is none, move {} away and run `cairn recover`: it brings back the newest snapshot that lies \
         on the disks",
        folder.display()
    )
}

async fn serve_until_signal(
    config: &Config,
    cluster_id: u128,
    clock: &Arc<dyn Clock>,
    parts: &mut Parts,
    signals: &mut Signals,
) -> Result<()> {
    tokio::select! {
        started = start_parts(config, cluster_id, clock, parts) => started?,
        (signal, _) = signals.next() => anyhow::bail!("{signal} came before the server was ready"),
    }
    let Some(engine) = parts.engine.clone() else { return Ok(()) };
    tokio::select! {
        (signal, _) = signals.next() => tracing::info!(signal, "stopping: running requests finish"),
        // A disk that came late knows better than those that were there at the start.
        why = engine.behind() => return Err(MetaFolder::refuse_older(&config.meta, &why)),
    }
    Ok(())
}

async fn start_parts(config: &Config, cluster_id: u128, clock: &Arc<dyn Clock>, parts: &mut Parts) -> Result<()> {
    let known = vec![(NODE, CLUSTER_VERSION)];
    parts.meta.raise_version(known).await.context("raise the cluster version")?;
    let sealer = identities::prepare(config, &parts.meta, clock.as_ref()).await?;
    let files = open_files::share(open_files::raise_limit(), config.disks.len())?;
    let disks = RocksDiskOpener::new(cluster_id).with_tables(files.tables);
    let engine = start_engine(config, cluster_id, disks, Arc::clone(sealer.cluster_key()), parts.meta.clone()).await;
    let engine = engine.map_err(|error| match error {
        EngineError::MetaBehind { why } => MetaFolder::refuse_older(&config.meta, &why),
        error => anyhow::Error::from(error).context("start the object engine"),
    })?;
    parts.engine = Some(engine.clone());
    let socket = admin::bind(&config.admin_socket())?;
    let gateway =
        start_gateway(config, files.connections, engine.clone(), Arc::clone(&sealer), Arc::clone(clock)).await?;
    let (addresses, keys) = (gateway.local_addrs().to_vec(), gateway.identities().clone());
    parts.gateway = Some(gateway);

    let scheme = if config.tls == TlsChoice::Off { "http" } else { "https" };
    let (of, texts) = (config.clone(), addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
    // Read at each question: certificates are renewed while the server runs.
    let info = Box::new(move || server_info(&of, texts.clone()));
    let meta_folder = config.meta.display().to_string();
    parts.keeper = Some(start_keeper(config, &engine, &sealer, clock, keys.clone()).await?);
    let forget_keys = Box::new(move || keys.invalidate());
    let service = AdminService::new(engine, sealer, Arc::clone(clock), forget_keys, info, meta_folder);
    let stop = CancellationToken::new();
    let task = tokio::spawn(admin::serve(service, socket, stop.clone()));
    parts.admin = Some(Background { stop, task });

    let urls: Vec<String> = addresses.iter().map(|address| format!("{scheme}://{address}")).collect();
    tracing::info!(addresses = ?urls, "ready");
    if let Err(error) = output::try_line(&format!("ready: {}", urls.join(" "))) {
        tracing::debug!(%error, "nobody reads stdout");
    }
    Ok(())
}

/// Makes what is declared, and goes on with it in the background.
async fn start_keeper(
    config: &Config,
    engine: &Engine,
    sealer: &Arc<Sealer>,
    clock: &Arc<dyn Clock>,
    keys: Identities,
) -> Result<Background> {
    let hangup = Signals::hangup()?;
    let parts = KeeperParts {
        engine: engine.clone(),
        sealer: Arc::clone(sealer),
        clock: Arc::clone(clock),
        forget_keys: Box::new(move || keys.invalidate()),
    };
    let mut keeper = Keeper::new(config, parts).await;
    keeper.start().await;
    let stop = CancellationToken::new();
    let task = tokio::spawn(keeper.run(hangup, stop.clone()));
    Ok(Background { stop, task })
}

async fn start_engine(
    config: &Config,
    cluster_id: u128,
    disks: RocksDiskOpener,
    key: Arc<ClusterKey>,
    meta: MetaHandle,
) -> Result<Engine, EngineError> {
    let options = EngineOptions {
        node: NODE,
        cluster_id,
        folders: config.disks.iter().map(|folder| DiskFolder { folder: folder.clone() }).collect(),
        profile: config.profile,
        storage_classes: config.storage_classes.clone(),
        snapshot_every: config.snapshot_every,
        ..EngineOptions::default()
    };
    let ids = Arc::new(RandomIds::from_system());
    Engine::start(options, key, meta, Arc::new(disks), ids).await
}

async fn start_gateway(
    config: &Config,
    connections_max: usize,
    engine: Engine,
    sealer: Arc<Sealer>,
    clock: Arc<dyn Clock>,
) -> Result<Gateway> {
    let tls = match &config.tls {
        TlsChoice::Auto => TlsMode::Authority { folder: config.home.clone(), names: config.tls_names.clone() },
        TlsChoice::Off => TlsMode::Off,
        TlsChoice::Files { cert, key } => TlsMode::Files { cert: cert.clone(), key: key.clone() },
    };
    let options = GatewayOptions {
        listen: config.s3_listen.clone(),
        tls,
        domains: config.s3_domains.clone(),
        storage_classes: config.storage_classes.keys().cloned().collect(),
        expires_max: config.presign_expires_max,
        memory_bytes_max: memory_of_requests(config),
        connections_max,
        shutdown_within: config.shutdown_limit,
        ..GatewayOptions::default()
    };
    Gateway::start(options, engine, sealer, clock).await.context("start the S3 face")
}

/// What requests may hold together, told in the log: it follows from the machine unless it was set.
fn memory_of_requests(config: &Config) -> u64 {
    let usable = usable_memory();
    let bytes = request_memory(config.request_memory, usable.as_ref());
    let shown = ByteCount(bytes);
    let Some(usable) = usable else {
        tracing::info!(request_memory = %shown, "memory that requests may hold together");
        return bytes;
    };
    let (of, by) = (ByteCount(usable.bytes), usable.by.display());
    tracing::info!(request_memory = %shown, %of, %by, "memory that requests may hold together");
    if bytes > usable.bytes / 2 {
        tracing::warn!(
            request_memory = %shown, %of, %by,
            "requests may hold over half of the memory: a burst may get the server killed"
        );
    }
    bytes
}

fn server_info(config: &Config, s3_addresses: Vec<String>) -> Result<ServerInfo> {
    let read = |path: &std::path::Path| fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
    let ca = config.ca_certificate();
    Ok(ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        s3_addresses,
        tls: config.tls != TlsChoice::Off,
        ca_pem: ca.as_deref().map(read).transpose()?.unwrap_or_default(),
        certificate_pem: match &config.tls {
            // The server goes on with what it read when a file from outside is away.
            TlsChoice::Files { cert, .. } => read(cert).unwrap_or_default(),
            TlsChoice::Auto | TlsChoice::Off => String::new(),
        },
        ca_path: ca.map(|path| path.display().to_string()).unwrap_or_default(),
        tls_names: config.tls_names.clone(),
    })
}
