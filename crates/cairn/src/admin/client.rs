//! The command line's side: finds the running server by its data folder.

use std::{future::Future, io, path::Path, sync::Mutex};

use anyhow::{Context, Result, bail};
use cairn_proto::admin::admin_client;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::{
    args::DataArgs,
    config::{admin_socket, check_socket_path},
};

/// A client of the running server.
pub(crate) type AdminClient = admin_client::AdminClient<Channel>;

/// Connects to the server of a data folder.
pub(crate) async fn connect(data: &DataArgs) -> Result<AdminClient> {
    let Some(data) = &data.data else {
        bail!("name the running server's data folder with --data DIR or CAIRN_DATA");
    };
    let home = std::path::absolute(data).with_context(|| format!("{}", data.display()))?;
    let socket = admin_socket(&home);
    check_socket_path(&socket)?;
    let first = UnixStream::connect(&socket).await.map_err(|error| not_reached(&home, &error))?;
    // One connection is one command: the stream that was just opened is the only one.
    let first = Mutex::new(Some(first));
    let connector = tower::service_fn(move |_| {
        let stream = first.lock().ok().and_then(|mut first| first.take());
        async move { stream.map(TokioIo::new).ok_or_else(|| io::Error::other("the server closed the connection")) }
    });
    let channel = Endpoint::from_static("http://admin.cairn")
        .connect_with_connector(connector)
        .await
        .context("speak to the server by its admin socket")?;
    Ok(AdminClient::new(channel))
}

fn not_reached(home: &Path, error: &io::Error) -> anyhow::Error {
    let home = home.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            anyhow::anyhow!("no server runs on {home}: start it with `cairn server --data {home}`")
        }
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("the server of {home} belongs to another user: run this as that user")
        }
        _ => anyhow::anyhow!("the server of {home} cannot be reached: {error}"),
    }
}

/// The server's answer to a call that failed, in its own words.
pub(crate) fn explain(status: &tonic::Status) -> anyhow::Error {
    match status.code() {
        tonic::Code::Unavailable if status.message().is_empty() => anyhow::anyhow!("the server went away"),
        _ => anyhow::anyhow!("{}", status.message()),
    }
}

/// Runs a command of the command line on one thread.
pub(crate) fn block_on<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(command)
}
