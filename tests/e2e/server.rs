//! A real server under test: its own process, on free ports.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A file of the checkout.
pub(crate) fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) metrics: SocketAddr,
    /// What it printed until it was ready.
    pub(crate) announced: String,
}

impl Server {
    /// Starts a server on `repository` and waits until it says that it is
    /// ready.
    pub(crate) fn start(repository: &Path, arguments: &[&str]) -> Self {
        Self::start_with(repository, arguments, |_| {})
    }

    /// The same, with more said of the process.
    pub(crate) fn start_with(repository: &Path, arguments: &[&str], more: impl FnOnce(&mut Command)) -> Self {
        let mut command = command(repository, arguments);
        more(&mut command);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("cresset starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut announced = String::new();
        loop {
            match lines.next() {
                Some(Ok(line)) if line == "ready" || line.starts_with("NOT ready: ") => break,
                Some(Ok(line)) => announced += &(line + "\n"),
                _ => panic!("the server ended before it was ready: {:?}\n{announced}", process.wait()),
            }
        }
        let address = |label: &str| -> SocketAddr {
            let line = announced.lines().find(|line| line.starts_with(label)).expect("announced");
            let place = line.split_whitespace().nth(1).expect("an address");
            place
                .trim_start_matches("http://")
                .split('/')
                .next()
                .and_then(|address| address.parse().ok())
                .expect("an address")
        };
        Self {
            http: address("inference"),
            grpc: address("grpc"),
            metrics: address("metrics"),
            process,
            announced,
        }
    }

    /// Serves `models/`, the default repository.
    pub(crate) fn with_default_models(arguments: &[&str]) -> Self {
        Self::start(&checkout("models"), arguments)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Sends a signal; not by `kill`, which a bare Debian lacks.
    pub(crate) fn signal(&self, signal: libc::c_int) {
        let process = libc::pid_t::try_from(self.process.id()).expect("a process id");
        // SAFETY: no precondition; the process is our own child, not yet waited for.
        assert_eq!(unsafe { libc::kill(process, signal) }, 0);
    }

    /// Waits for the process's end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.process.wait().expect("the server's exit status")
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("the server's state").is_none()
    }

    /// From now on [`Server::resident_peak`] is of what comes.
    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").expect("the peak is reset");
    }

    /// The most memory that the process held, in bytes.
    pub(crate) fn resident_peak(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("the process's status");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("its peak");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    }

    /// The sum of a metric over its labels.
    pub(crate) async fn metric(&self, name: &str, labels: &str) -> f64 {
        let url = format!("http://{}/metrics", self.metrics);
        let text = reqwest::get(url).await.expect("metrics").text().await.expect("text");
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        text.lines()
            .filter(|line| {
                line.starts_with(name) && line[name.len()..].starts_with('{') && line.contains(labels)
            })
            .filter_map(value)
            .sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `cresset serve` on free ports; its log goes to the test's own.
pub(crate) fn command(repository: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cresset"));
    // How busy the machine is isn't what these tests are about: a test of the bound
    // gives it as a flag.
    command.env("CRESSET_MAX_QUEUE_WAIT", "1m");
    command.args(["serve", "--http-port=0", "--grpc-port=0", "--metrics-port=0", "--model-repository"]);
    // By the environment, so that a test's own flag wins.
    command.arg(repository).args(arguments).env_remove("MODEL_NAME").env("CRESSET_LOG", "error");
    // No place for marks: a test that kills its server must not be seen by the next one.
    command.env("CRESSET_STATE_DIR", "/dev/null");
    command
}

/// Posts a body and gives the status and the JSON of the answer.
pub(crate) async fn post(url: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let response = reqwest::Client::new().post(url).body(body).send().await.expect("an answer");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Gets a path; an empty body is null.
pub(crate) async fn get(url: &str) -> (u16, Value) {
    let response = reqwest::get(url).await.expect("an answer");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// Sends bytes as they are and reads until the server ends the connection or
/// `patience` is over.
pub(crate) fn raw(address: SocketAddr, bytes: &[u8], patience: Duration) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    stream.write_all(bytes).expect("sent");
    let mut answer = Vec::new();
    let started = Instant::now();
    let mut chunk = [0; 4096];
    while started.elapsed() < patience {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}
