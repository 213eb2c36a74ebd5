//! A `cairn server` of the test's own: temporary folders, a port the system chose, a known root key.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use crate::cairn;

/// Root access key of every test server.
pub const ACCESS_KEY: &str = "TESTROOTKEY";
/// Its secret.
pub const SECRET_KEY: &str = "test-root-secret-0123456789abcdef";

/// Starting takes well under a second; a loaded machine gets a minute.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How to start a server.
#[derive(Clone, Default)]
pub struct ServerOptions {
    /// Further arguments of `cairn server`.
    pub args: Vec<String>,
    /// Environment of the process.
    pub env: Vec<(String, String)>,
    /// Plain HTTP.
    pub plain: bool,
    /// Certificate and key files, in place of a certificate of the server's own.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// A data folder that outlives the server; none = a temporary one.
    pub data: Option<PathBuf>,
    /// A program and its arguments that the server is run by, in a process that becomes the server; none = by itself.
    pub run_by: Vec<OsString>,
}

/// A running server; killed when dropped.
pub struct Server {
    child: Option<Child>,
    options: ServerOptions,
    data: PathBuf,
    endpoint: String,
    log: PathBuf,
    _folder: TempDir,
}

impl Server {
    /// Starts a server with six disks over TLS and waits until it says that it is ready.
    ///
    /// # Errors
    /// If it does not become ready; the message has its log.
    pub fn start(options: ServerOptions) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("cairn-test-").tempdir()?;
        let data = options.data.clone().unwrap_or_else(|| folder.path().join("data"));
        let log = folder.path().join("server.log");
        let mut server = Self { child: None, options, data, endpoint: String::new(), log, _folder: folder };
        server.spawn()?;
        Ok(server)
    }

    /// Starts it again on the same folders, after [`Self::kill`] or [`Self::stop`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "the server still runs");
        self.spawn()
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        // The port is kept over restarts, so that clients go on.
        let listen = match self.endpoint.rsplit_once(':') {
            Some((_, port)) => format!("127.0.0.1:{port}"),
            None => "127.0.0.1:0".to_owned(),
        };
        let mut command = match self.options.run_by.split_first() {
            None => Command::new(cairn()),
            Some((program, args)) => {
                let mut command = Command::new(program);
                command.args(args).arg(cairn());
                command
            }
        };
        command.arg("server").args(["--data".as_ref(), self.data.as_os_str()]);
        let tls = match &self.options.tls {
            Some((cert, key)) => format!("{},{}", cert.display(), key.display()),
            None if self.options.plain => "off".to_owned(),
            None => "auto".to_owned(),
        };
        command.args(["--s3-listen", &listen, "--tls", &tls]);
        command.args(&self.options.args).envs(self.options.env.iter().map(|(k, v)| (k, v)));
        command.env("CAIRN_ROOT_ACCESS_KEY", ACCESS_KEY).env("CAIRN_ROOT_SECRET_KEY", SECRET_KEY);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().context("start cairn")?;
        let lines = BufReader::new(child.stdout.take().context("stdout of cairn")?).lines();
        self.child = Some(child);
        let (ready, is_ready) = mpsc::channel();
        // Reads to the end, so that the server never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(endpoint) = line.strip_prefix("ready: ") {
                    let _ = ready.send(endpoint.trim().to_owned());
                }
            }
        });
        match is_ready.recv_timeout(READY_WITHIN) {
            Ok(endpoint) => {
                self.endpoint = endpoint;
                Ok(())
            }
            Err(_) => bail!("cairn did not become ready; its log:\n{}", self.log_tail()),
        }
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The folder of a disk.
    #[must_use]
    pub fn disk(&self, number: usize) -> PathBuf {
        self.data.join(format!("disk-{number}"))
    }

    /// The certificate of the server's own CA.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.data.join("ca.crt")
    }

    /// Process id.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Whether the process still runs.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn runs(&mut self) -> anyhow::Result<bool> {
        Ok(match &mut self.child {
            Some(child) => child.try_wait()?.is_none(),
            None => false,
        })
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// If it still runs after `limit`.
    pub fn ended_within(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            let child = self.child.as_mut().context("the server does not run")?;
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "cairn did not end within {limit:?}; its log:\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL, as a crash would end it.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("the server does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// If it does not end within a minute.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        let mut child = self.child.take().context("the server does not run")?;
        let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
        ensure!(sent.success(), "kill -TERM: {sent}");
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                child.kill()?;
                bail!("cairn did not end within {READY_WITHIN:?}; its log:\n{}", self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs `cairn ARGS… --data DATA` and answers what it printed.
    ///
    /// # Errors
    /// If it fails; the message has what it said.
    pub fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(cairn())
            .args(args)
            .args(["--data".as_ref(), self.data.as_os_str()])
            .stdin(Stdio::null())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "cairn {args:?}: {}\n{text}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    /// `cairn status --json`.
    ///
    /// # Errors
    /// If it fails or prints no JSON.
    pub fn status(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.run(&["status", "--json"])?)?)
    }

    /// Asks `status` until it is as wanted.
    ///
    /// # Errors
    /// After the limit; the message has the last status.
    pub fn until(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.status()?;
            if wanted(&status) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "not within {limit:?}: {what}; status:\n{status:#}\nlog:\n{}",
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// All it logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let mut tail = Vec::new();
        if let Ok(mut file) = File::open(&self.log) {
            let length = file.metadata().map(|m| m.len()).unwrap_or(0);
            let _ = file.seek(SeekFrom::Start(length.saturating_sub(16 * 1024)));
            let _ = file.read_to_end(&mut tail);
        }
        String::from_utf8_lossy(&tail).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "a failed test shows what the server said")]
            {
                eprintln!("--- log of the server ---\n{}", self.log_tail());
            }
        }
    }
}
