//! The command line's side: finds the running server by its data folder.

use std::{fs, future::Future, io, os::unix::fs::MetadataExt, path::Path, sync::Mutex, time::Duration};

use anyhow::{Context, Result, bail};
use cairn_proto::admin::admin_client;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::{
    args::DataArgs,
    config::{admin_socket, check_socket_path},
    server::{cluster_id::MetaFolder, lock::is_data_folder},
};

/// A client of the running server.
pub(crate) type AdminClient = admin_client::AdminClient<Channel>;

/// How a server that hangs is told from one that works long: it is pinged, which a working one answers at once.
#[derive(Clone, Copy)]
struct Pings {
    every: Duration,
    answer_within: Duration,
}

/// A server that is just starting answers late.
const PINGS: Pings = Pings { every: Duration::from_secs(10), answer_within: Duration::from_secs(30) };

/// Connects to the server of a data folder.
pub(crate) async fn connect(data: &DataArgs) -> Result<AdminClient> {
    let Some(data) = &data.data else {
        bail!("name the running server's data folder with --data DIR or CAIRN_DATA");
    };
    let home = std::path::absolute(data).with_context(|| format!("{}", data.display()))?;
    let socket = admin_socket(&home);
    check_socket_path(&socket)?;
    let first = UnixStream::connect(&socket).await.map_err(|error| not_reached(&home, &error))?;
    speak_over(first, PINGS).await
}

async fn speak_over(first: UnixStream, pings: Pings) -> Result<AdminClient> {
    // One connection is one command: the stream that was just opened is the only one.
    let first = Mutex::new(Some(first));
    let connector = tower::service_fn(move |_| {
        let stream = first.lock().ok().and_then(|mut first| first.take());
        async move { stream.map(TokioIo::new).ok_or_else(|| io::Error::other("the server closed the connection")) }
    });
    let channel = Endpoint::from_static("http://admin.cairn")
        .http2_keep_alive_interval(pings.every)
        .keep_alive_timeout(pings.answer_within)
        .connect_with_connector(connector)
        .await
        .context("speak to the server by its admin socket")?;
    Ok(AdminClient::new(channel))
}

/// Why there is no server, and what to do: the folder may be the wrong one, the user too.
fn not_reached(home: &Path, error: &io::Error) -> anyhow::Error {
    let shown = home.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let whose = fs::metadata(home).map(|folder| format!(" (user id {})", folder.uid())).unwrap_or_default();
            anyhow::anyhow!(
                "the server of {shown} belongs to another user{whose}: run this as that user, as by `sudo -u`, or as root"
            )
        }
        _ if !home.is_dir() => anyhow::anyhow!(
            "there is no folder {shown}: name the data folder of the running server, its --data, or its --meta if it has \
             no --data"
        ),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => not_running(home),
        _ => anyhow::anyhow!("the server of {shown} cannot be reached: {error}"),
    }
}

fn not_running(home: &Path) -> anyhow::Error {
    let shown = home.display();
    match (is_data_folder(home), MetaFolder::is_there(home)) {
        (true, false) => anyhow::anyhow!("no server runs on {shown}: start it with `cairn server --data {shown}`"),
        // `--data` would begin a new store in here.
        (true, true) => anyhow::anyhow!(
            "no server runs on {shown}: start it with `cairn server --meta {shown}` and its --disk folders"
        ),
        (false, true) => anyhow::anyhow!(
            "{shown} holds the metadata of a store, and its admin socket lies elsewhere: name the data folder, the --data of \
             its server"
        ),
        (false, false) => anyhow::anyhow!(
            "no server runs on {shown}, and none ever did: name the data folder of the running server, its --data, or its \
             --meta if it has no --data; a new store begins with `cairn server --data {shown}`"
        ),
    }
}

/// The server's answer to a call that failed, in its own words.
pub(crate) fn explain(status: &tonic::Status) -> anyhow::Error {
    // What the server answers has words and no source: that is there where the connection failed.
    if std::error::Error::source(status).is_some() {
        return anyhow::anyhow!(
            "the server ended, or hangs, before it answered: whether it did what it was asked is not known; look at its log"
        );
    }
    match status.code() {
        tonic::Code::Unavailable if status.message().is_empty() => anyhow::anyhow!("the server went away"),
        _ => anyhow::anyhow!("{}", status.message()),
    }
}

/// Runs a command of the command line on one thread.
pub(crate) fn block_on<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let done = runtime.block_on(command);
    // A name that is still being looked up would hold the end up.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use cairn_proto::admin::GetServerRequest;
    use tokio::{io::AsyncReadExt, net::UnixListener, time::timeout};

    use super::*;

    /// A call to a server that takes the connection and then behaves as `serve` says.
    async fn call(serve: impl AsyncFn(UnixStream)) -> anyhow::Error {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let pings = Pings { every: Duration::from_millis(50), answer_within: Duration::from_millis(100) };
        let asked = async {
            let stream = UnixStream::connect(&socket).await.unwrap();
            let mut client = speak_over(stream, pings).await?;
            client.get_server(GetServerRequest {}).await.map_err(|status| explain(&status))
        };
        let server = async {
            serve(listener.accept().await.unwrap().0).await;
            std::future::pending::<()>().await;
        };
        let both = async {
            tokio::select! {
                answer = asked => answer.unwrap_err(),
                () = server => unreachable!("it waits for ever"),
            }
        };
        timeout(Duration::from_secs(30), both).await.expect("a command ends though the server hangs")
    }

    #[tokio::test]
    async fn a_server_that_hangs_or_ends_is_told_of_and_not_waited_for() {
        let keep: Mutex<Vec<UnixStream>> = Mutex::default();
        let hangs = call(async |stream| keep.lock().unwrap().push(stream)).await;
        let ends = call(async |mut stream| {
            let mut some = [0; 16];
            stream.read_exact(&mut some).await.unwrap();
        })
        .await;
        for error in [hangs, ends] {
            let text = format!("{error:#}");
            assert!(text.contains("look at its log"), "{text}");
        }
    }

    #[test]
    fn a_folder_without_a_server_is_told_from_none_and_from_a_metadata_folder() {
        let folder = tempfile::tempdir().unwrap();
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let told = |name: &str| not_reached(&folder.path().join(name), &missing).to_string();
        assert!(told("typo").contains("there is no folder"), "{}", told("typo"));
        for name in ["empty", "data", "meta", "inner"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("data/cairn.lock"), "").unwrap();
        fs::write(folder.path().join("meta/cairn.lock"), "").unwrap();
        fs::write(folder.path().join("meta/CAIRN-CLUSTER"), "").unwrap();
        fs::write(folder.path().join("inner/CAIRN-CLUSTER"), "").unwrap();
        assert!(told("empty").contains("none ever did"), "{}", told("empty"));
        let data = told("data");
        assert!(data.contains("start it with `cairn server --data") && !data.contains("none ever did"), "{data}");
        let meta = told("meta");
        assert!(meta.contains("--meta") && !meta.contains("--data"), "{meta}");
        assert!(told("inner").contains("its admin socket lies elsewhere"), "{}", told("inner"));
    }
}
