//! Start and shutdown of the gateway.

use std::{net::SocketAddr, sync::Arc};

use cairn_cluster::Engine;
use cairn_meta::Clock;
use tokio::net::TcpListener;

use crate::{
    admission::Admission, body::Hasher, call::Shared, connections::Connections, error::GatewayError,
    identities::Identities, listen::listen_on, metrics::Metrics, options::GatewayOptions, router::Router,
    secret::SecretSealer, server::Server, tasks::Tasks, tls::TlsSource,
};

/// S3, served. Dropped without [`Gateway::shutdown`] it goes on in its tasks.
pub struct Gateway {
    addresses: Vec<SocketAddr>,
    identities: Identities,
    tasks: Tasks,
    options: Arc<GatewayOptions>,
}

impl Gateway {
    /// Prepares TLS, binds all addresses and serves.
    ///
    /// # Errors
    /// No certificate, or an address that is not to be had.
    pub async fn start(
        options: GatewayOptions,
        engine: Engine,
        sealer: Arc<dyn SecretSealer>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, GatewayError> {
        if options.listen.is_empty() {
            return Err(GatewayError::NoAddress);
        }
        let options = Arc::new(options);
        let tls = TlsSource::open(&options, clock.now_ms())?.map(Arc::new);
        let listeners = bind(&options.listen)?;
        let addresses = listeners.iter().map(|(_, address)| *address).collect();
        let tasks = Tasks::default();
        let metrics = Arc::new(Metrics::new());
        let identities = Identities::new(engine.meta().clone(), sealer, &options);
        let shared = Arc::new(Shared {
            engine,
            options: Arc::clone(&options),
            clock: Arc::clone(&clock),
            identities: identities.clone(),
            admission: Admission::new(options.requests_max, options.memory_bytes_max),
            metrics: Arc::clone(&metrics),
            tasks: tasks.clone(),
            hasher: Hasher::default(),
        });
        if let Some(tls) = &tls {
            tasks.spawn(watch_certificate(Arc::clone(tls), Arc::clone(&options), clock, metrics, tasks.clone()));
        }
        let server = Arc::new(Server {
            router: Router::new(shared),
            tls,
            tasks: tasks.clone(),
            connections: Connections::new(options.connections_max),
            options: Arc::clone(&options),
        });
        for (listener, _) in listeners {
            tasks.spawn(Arc::clone(&server).accept(listener));
        }
        Ok(Self { addresses, identities, tasks, options })
    }

    /// The first address it listens on, with the port that was taken.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All addresses it listens on.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The access keys as the gateway knows them: call `invalidate` after a change.
    #[must_use]
    pub fn identities(&self) -> &Identities {
        &self.identities
    }

    /// Takes no more connections, lets running requests finish within the limit, then ends all.
    pub async fn shutdown(&self) {
        if !self.tasks.shutdown(self.options.shutdown_within).await {
            tracing::warn!("requests were still running at the end of the time for shutdown; they were broken off");
        }
    }
}

fn bind(addresses: &[SocketAddr]) -> Result<Vec<(TcpListener, SocketAddr)>, GatewayError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for &address in addresses {
        let failed = |source| GatewayError::Listen { address, source };
        let listener = listen_on(address, addresses).and_then(TcpListener::from_std).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        listeners.push((listener, bound));
    }
    Ok(listeners)
}

/// Looks for a new certificate from time to time.
async fn watch_certificate(
    tls: Arc<TlsSource>,
    options: Arc<GatewayOptions>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    tasks: Tasks,
) {
    loop {
        tokio::select! {
            () = tasks.stopping() => return,
            () = tokio::time::sleep(options.tls_poll) => {}
        }
        let (tls, now_ms) = (Arc::clone(&tls), clock.now_ms());
        match tokio::task::spawn_blocking(move || tls.refresh(now_ms)).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => tracing::info!("a new certificate is in use"),
            Ok(Err(error)) => {
                metrics.tls_reload_errors.inc();
                tracing::warn!(%error, "the certificate cannot be renewed; the old one stays");
            }
            Err(error) => tracing::warn!(%error, "looking for a new certificate failed"),
        }
    }
}
