//! Starts the binary of this build and ends what was started.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// A start or an end that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// `cairn` with nothing of the caller's environment that it would read.
pub(crate) fn cairn(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CAIRN_") {
            command.env_remove(name);
        }
    }
    command.args(words).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(words: &[&str]) -> Output {
    cairn(words).output().unwrap()
}

/// What a command said on stdout; it must have ended well.
pub(crate) fn said(output: &Output) -> String {
    assert!(output.status.success(), "{:?}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command complained about; it must have ended with this code.
pub(crate) fn complained(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}\n{}", String::from_utf8_lossy(&output.stdout));
    text
}

/// Waits until something holds.
pub(crate) fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it does not come to hold");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
    pub(crate) home: PathBuf,
    /// Lines on stdout before the one that says `ready`.
    pub(crate) shown: Vec<String>,
    pub(crate) url: String,
}

impl Server {
    /// Starts a server on a free port and waits until it is ready.
    pub(crate) fn start(home: &Path, more: &[&str], environment: &[(&str, &str)]) -> Self {
        let log = home.with_extension("log");
        let mut words = vec!["server", "--data", home.to_str().unwrap(), "--s3-listen", "127.0.0.1:0"];
        words.extend(more);
        let mut child = cairn(&words)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut server = Self { child, lines, log, home: home.to_owned(), shown: Vec::new(), url: String::new() };
        loop {
            match server.lines.recv_timeout(PATIENCE) {
                Ok(line) => match line.strip_prefix("ready: ") {
                    Some(url) => {
                        server.url = url.to_owned();
                        return server;
                    }
                    None => server.shown.push(line),
                },
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("not ready\n{}", server.log())
                }
            }
        }
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Runs a command against it.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        cairn(words).env("CAIRN_DATA", &self.home).output().unwrap()
    }

    /// Sends SIGHUP.
    pub(crate) fn hangup(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        // The reader's end of stdout closes with the process.
        let end = self.lines.recv_timeout(PATIENCE);
        assert!(matches!(end, Err(RecvTimeoutError::Disconnected)), "{end:?}\n{}", self.log());
        self.child.wait().unwrap()
    }

    /// Ends it without a word, as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended in the good case.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "a failed test shows what the server said")]
            {
                eprintln!("--- log of the server\n{}", self.log());
            }
        }
    }
}
