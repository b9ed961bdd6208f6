//! What an operator can set: flag over environment over default.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::engine::ControlMode;
use crate::model::{DevicePreference, QueueBounds};
use cresset_backend::{MemorySettings, OnUnload};

/// Under the flags of `cresset serve --help`.
const EXAMPLES: &str = "\
Examples:
  cresset serve --model-repository models
  cresset serve --model-repository models --model-control-mode poll --repository-poll-secs 1
      while you develop: a file that is saved is served a second later, and no request is lost
  cresset serve --model-repository models --host 0.0.0.0 --device cuda
  CRESSET_MODEL_REPOSITORY=models cresset serve --log-format json

tritonserver's flags are understood too: docs/compatibility.md says what each does here.";

/// Settings of `cresset serve`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Models", after_help = EXAMPLES)]
pub struct ServeSettings {
    /// Directory of models, each as <model>/config.pbtxt and <model>/<version>/model.pt
    ///
    /// Triton's layout. If config.pbtxt is missing, the names of the inputs come from the model
    /// file, any datatype and shape is passed on, and nothing is batched. Repeat the flag for
    /// more than one directory; in the environment, separate them with colons. The path of one
    /// model's directory or file serves that model alone, under --model-name if that is set,
    /// else under its own name.
    #[arg(long, env = "CRESSET_MODEL_REPOSITORY", value_name = "DIR", required = true)]
    pub model_repository: Vec<PathBuf>,

    /// Refuse symbolic links that lead out of the model repository
    ///
    /// By default links are followed: DVC, git-annex, Hugging Face's cache and Kubernetes'
    /// volumes need them.
    #[arg(long, env = "CRESSET_NO_FOLLOW_LINKS", value_name = "BOOL", num_args = 0..=1,
          default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub no_follow_links: bool,

    /// Which models are loaded, and when
    #[command(flatten)]
    pub control: ControlSettings,

    /// Directory in which the server notes which models are being loaded
    ///
    /// If the process ends during a load, as by a crash or for lack of memory, the next start
    /// leaves that version out, once, and says so; otherwise it might never serve the others.
    /// Without this setting it is a directory of this user's among the temporary files; in a
    /// container that doesn't keep those, name a place on a volume. If it can't be written,
    /// nothing is noted.
    #[arg(long, env = "CRESSET_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// The server's name in its metadata
    ///
    /// Some clients expect a certain name, such as triton.
    #[arg(long, env = "CRESSET_ID", value_name = "NAME", default_value = env!("CARGO_PKG_NAME"))]
    pub id: String,

    /// Whether the server exits at start if a model can't be served
    ///
    /// true exits and says why. false serves the other models; if there are none, health and
    /// metadata. By default the server exits only if no model can be served or a model
    /// repository holds none; it isn't ready if a model can't be served.
    #[arg(long, env = "CRESSET_EXIT_ON_ERROR", value_name = "BOOL")]
    pub exit_on_error: Option<bool>,

    /// Whether the server is ready only if every model is
    ///
    /// false makes it ready once every model that can be loaded is loaded.
    #[arg(long, env = "CRESSET_STRICT_READINESS", value_name = "BOOL", default_value_t = true,
          action = clap::ArgAction::Set)]
    pub strict_readiness: bool,

    /// Model that POST /predict goes to
    ///
    /// By default the only model, else the only one that declares a transform.
    #[arg(long, env = "MODEL_NAME", value_name = "MODEL")]
    pub model_name: Option<String>,

    /// Device that models run on
    ///
    /// auto uses a GPU if there is one, else the CPU, and says which and why. cuda fails with
    /// the cause if there is no GPU.
    #[arg(help_heading = "Devices", long, env = "CRESSET_DEVICE", value_enum, default_value_t = DevicePreference::Auto)]
    pub device: DevicePreference,

    /// What to do if a device fails so that only a new process can use it again
    ///
    /// Either way the server isn't ready from then on, and requests for that device get 503.
    /// exit finishes the accepted requests and ends with code 70, so that the orchestrator
    /// restarts the server. stay goes on serving the models on other devices.
    #[arg(help_heading = "Devices", long, env = "CRESSET_ON_DEVICE_FAULT", value_enum, default_value_t = OnDeviceFault::Exit)]
    pub on_device_fault: OnDeviceFault,

    /// Drives models on processors as if these were an accelerator: with copies in and out, in
    /// stages that overlap. It is slower, and tests that path on machines without an accelerator.
    #[arg(long, env = "CRESSET_OVERLAPPED", hide = true)]
    pub overlapped: bool,

    /// Settings of libtorch's GPU memory allocator, as in PYTORCH_ALLOC_CONF
    ///
    /// For example expandable_segments:True, or max_split_size_mb:128,garbage_collection_threshold:0.8.
    /// This setting replaces that variable.
    #[arg(help_heading = "Devices", long, env = "CRESSET_CUDA_ALLOCATOR_SETTINGS", value_name = "TEXT")]
    pub cuda_allocator_settings: Option<String>,

    /// What happens to GPU memory when a model is unloaded or replaced
    ///
    /// release returns it to the device, after the work that runs on any GPU at the time. keep
    /// leaves it with libtorch, for the next model.
    #[arg(help_heading = "Devices", long, env = "CRESSET_ON_UNLOAD", value_enum, default_value_t = OnUnload::Release)]
    pub on_unload: OnUnload,

    /// Library of operators that models call and libtorch lacks, opened before any model
    ///
    /// Repeat the flag for more than one (in the environment: colons between them). torchvision's
    /// operators are built in. A single model's libraries go into its config.pbtxt:
    /// model_operations.
    #[arg(long, env = "CRESSET_OP_LIBRARY", value_name = "PATH", value_delimiter = ':')]
    pub op_library: Vec<PathBuf>,

    /// Requests that may wait for one model, if its configuration doesn't say
    ///
    /// Further requests are refused at once with 503.
    #[arg(long, env = "CRESSET_MAX_QUEUE_SIZE", value_name = "N", default_value_t = 4096,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    pub max_queue_size: usize,

    /// Longest time that a request may be expected to wait for its model, as 500ms or 2s
    ///
    /// A request that would wait for longer is refused at once with 503, before its body is read,
    /// as far as its model's runs so far tell. A request that the next batch takes is never
    /// refused for that. 0 bounds no time. A model's latency target, its queue policy and a
    /// client's deadline may allow less.
    #[arg(long, env = "CRESSET_MAX_QUEUE_WAIT", value_name = "TIME", default_value = "1s", value_parser = wait)]
    pub max_queue_wait: Duration,

    /// The HTTP surface
    #[command(flatten)]
    pub http: HttpSettings,

    /// The gRPC surface, as far as it differs from HTTP
    #[command(flatten)]
    pub grpc: GrpcSettings,

    /// The log
    #[command(flatten)]
    pub log: LogSettings,
}

impl ServeSettings {
    /// The model that `POST /predict` goes to, if the operator names one. An empty
    /// name counts as not set: compose files write it so.
    #[must_use]
    pub fn default_model(&self) -> Option<&str> {
        self.model_name.as_deref().filter(|name| !name.is_empty())
    }

    /// What bounds the queues of models.
    #[must_use]
    pub fn queue_bounds(&self) -> QueueBounds {
        let wait = Some(self.max_queue_wait).filter(|wait| !wait.is_zero());
        QueueBounds { requests: self.max_queue_size, wait }
    }

    /// How the backend manages accelerators' memory.
    #[must_use]
    pub fn memory(&self) -> MemorySettings<'_> {
        MemorySettings { allocator: self.cuda_allocator_settings.as_deref(), on_unload: self.on_unload }
    }
}

/// What a server does after a device has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnDeviceFault {
    /// The server ends, with an exit code of its own.
    Exit,
    /// The server serves the models on other devices, and isn't ready.
    Stay,
}

/// Settings of which models are loaded, and when.
#[derive(Debug, Clone, Args)]
pub struct ControlSettings {
    /// What decides which models are served
    ///
    /// none serves the models that the repository holds at start. poll looks at the repository
    /// every --repository-poll-secs, loads new and changed models and unloads removed ones.
    /// explicit starts with the models of --load-model and takes load and unload calls; on an
    /// address that isn't loopback such calls are refused. An old version answers until the new
    /// one is warm, which takes the memory of both for a while. If the new version can't be
    /// loaded, the old one stays.
    #[arg(long, env = "CRESSET_MODEL_CONTROL_MODE", value_enum, value_name = "MODE", default_value_t = ControlMode::None)]
    pub model_control_mode: ControlMode,

    /// Model to load at start, with --model-control-mode=explicit
    ///
    /// Repeat the flag for more than one (in the environment: commas between them); '*', alone,
    /// loads all.
    #[arg(long, env = "CRESSET_LOAD_MODEL", value_name = "MODEL", value_delimiter = ',')]
    pub load_model: Vec<String>,

    /// Seconds between two looks at the model repository, with --model-control-mode=poll
    ///
    /// With 0 the server never looks again.
    #[arg(long, env = "CRESSET_REPOSITORY_POLL_SECS", value_name = "SECONDS", default_value_t = 15,
          value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub repository_poll_secs: u64,
}

impl ControlSettings {
    /// How often the model repository is looked at again; `None` for never.
    #[must_use]
    pub fn poll_interval(&self) -> Option<Duration> {
        let polls = self.model_control_mode == ControlMode::Poll && self.repository_poll_secs > 0;
        polls.then(|| Duration::from_secs(self.repository_poll_secs))
    }

    /// The models that are loaded at start.
    ///
    /// # Errors
    /// If names are given that this mode doesn't use.
    pub fn at_start(&self) -> anyhow::Result<AtStart> {
        // An empty name counts as not set: compose files write it so.
        let names: Vec<String> = self.load_model.iter().filter(|name| !name.is_empty()).cloned().collect();
        match (self.model_control_mode, names.iter().any(|name| name == "*")) {
            (ControlMode::None | ControlMode::Poll, _) if names.is_empty() => Ok(AtStart::All),
            (ControlMode::None | ControlMode::Poll, _) => {
                anyhow::bail!(
                    "--load-model needs --model-control-mode=explicit: without it all models are loaded"
                )
            }
            (ControlMode::Explicit, true) if names.len() == 1 => Ok(AtStart::All),
            (ControlMode::Explicit, true) => {
                anyhow::bail!("--load-model=* loads all models and stands alone: remove the others")
            }
            (ControlMode::Explicit, false) => Ok(AtStart::Named(names)),
        }
    }
}

/// The models that are loaded at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtStart {
    /// All models of the repository.
    All,
    /// The models of these names.
    Named(Vec<String>),
}

/// Settings of the HTTP surface.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP, and what both surfaces share")]
pub struct HttpSettings {
    /// Address to listen on
    ///
    /// 127.0.0.1 takes connections from this machine only, 0.0.0.0 from any machine.
    #[arg(long, env = "CRESSET_HOST", value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub host: IpAddr,

    /// Port for inference; 0 takes a free one
    #[arg(long, env = "CRESSET_HTTP_PORT", value_name = "PORT", default_value_t = 8000)]
    pub http_port: u16,

    /// Port for metrics and health alone; 0 takes a free one
    #[arg(long, env = "CRESSET_METRICS_PORT", value_name = "PORT", default_value_t = 8002)]
    pub metrics_port: u16,

    /// Whether the port for inference serves /metrics, too
    ///
    /// Set false if clients that must not see the metrics can reach that port.
    #[arg(long, env = "CRESSET_HTTP_METRICS", value_name = "BOOL", default_value_t = true,
          action = clap::ArgAction::Set)]
    pub http_metrics: bool,

    /// Whether metrics have quantiles of latencies, too: Triton's nv_inference_*_summary_us
    ///
    /// They cover the last minute, for each version of a model. Histograms are always there, and
    /// can be summed over servers; quantiles can't.
    #[arg(long, env = "CRESSET_METRICS_SUMMARIES", value_name = "BOOL", default_value_t = false,
          action = clap::ArgAction::Set)]
    pub metrics_summaries: bool,

    /// Origin of web pages that may call this server from a browser, such as https://app.example.com
    ///
    /// Write it as the browser sends it: scheme, host and port, without a path. Repeat the flag
    /// for more than one (in the environment: commas between them); '*', alone, allows all. By
    /// default browsers don't let pages read the server's answers.
    #[arg(long, env = "CRESSET_CORS_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub cors_allow_origin: Vec<String>,

    /// Name by which clients reach this server at a loopback address, such as models.example.com
    ///
    /// Requests that change something (loading, unloading, settings of log and traces) may be
    /// those of a web page that is open on this machine. So they are refused with 403 if they
    /// name another host at a loopback address, or come from a page of another origin. localhost
    /// and addresses need no mention; a proxy on this machine that passes its own name on does.
    /// Repeat the flag for more than one (in the environment: commas between them); '*' allows
    /// all names. --cors-allow-origin lets pages in.
    #[arg(long, env = "CRESSET_ALLOWED_HOSTS", value_name = "HOST", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,

    /// Threads that read and write HTTP [default: one for each processor, at most 16]
    #[arg(long, env = "CRESSET_HTTP_THREADS", value_name = "N", default_value_t = processors().min(16), hide_default_value = true,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub http_threads: usize,

    /// Largest request body or gRPC message, in bytes
    #[arg(long = "http-max-input-size", env = "CRESSET_HTTP_MAX_INPUT_SIZE", value_name = "BYTES", default_value_t = 64 << 20,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub max_input_size: usize,

    /// Memory that the bodies of all requests may take together, in bytes
    #[arg(long, env = "CRESSET_MAX_REQUEST_MEMORY", value_name = "BYTES", default_value_t = 1 << 30,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub max_request_memory: usize,

    /// Seconds that a request's body may take, and that a client may leave its answer unread
    ///
    /// Each 256 KiB that arrive add a second: large bodies on slow lines pass, a client that
    /// sends a few bytes at a time doesn't.
    #[arg(long = "http-body-timeout-secs", env = "CRESSET_HTTP_BODY_TIMEOUT_SECS", value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub body_timeout_secs: u64,

    /// Seconds that a connection may wait for its next request
    ///
    /// A client that sends on a connection while the server closes it sees an error, so this
    /// should be more than clients and proxies keep an idle connection. Go's clients keep one for
    /// 90 s; docs/operations.md lists proxies that keep one for longer.
    #[arg(long = "http-keep-alive-secs", env = "CRESSET_HTTP_KEEP_ALIVE_SECS", value_name = "SECONDS", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_alive_secs: u64,

    /// Seconds to finish accepted requests after SIGTERM or SIGINT
    ///
    /// The default is less than the 10 seconds that `docker stop` waits.
    #[arg(long, env = "CRESSET_EXIT_TIMEOUT_SECS", value_name = "SECONDS", default_value_t = 8)]
    pub exit_timeout_secs: u64,
}

/// Settings of the gRPC surface. It shares HTTP's address, size limit and
/// timeouts.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "gRPC")]
pub struct GrpcSettings {
    /// Port for inference over gRPC; 0 takes a free one
    #[arg(long, env = "CRESSET_GRPC_PORT", value_name = "PORT", default_value_t = 8001)]
    pub grpc_port: u16,

    /// Threads that read and write gRPC
    #[arg(long, env = "CRESSET_GRPC_THREADS", value_name = "N", default_value_t = processors().min(4),
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub grpc_threads: usize,

    /// HTTP/2 window: bytes of one call that a client may send before the server reads them
    ///
    /// All calls of a connection together may send four times as many. A larger window may help
    /// large tensors on connections with a long round trip.
    #[arg(long, env = "CRESSET_GRPC_WINDOW_BYTES", value_name = "BYTES", default_value_t = 1 << 20,
          value_parser = clap::value_parser!(u32).range(65_535..=256 << 20))]
    pub grpc_window_bytes: u32,
}

/// Settings of the log. It never holds payloads.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct LogSettings {
    /// Format of the log: text for people, or JSON for programs
    ///
    /// With json everything that the server prints is one JSON object a line, the lines at start
    /// included.
    #[arg(long, env = "CRESSET_LOG_FORMAT", value_enum, default_value_t = LogFormat::Human)]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug or trace, or a filter by module
    #[arg(long, env = "CRESSET_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// File that the log is appended to [default: standard error]
    #[arg(long, env = "CRESSET_LOG_FILE", value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text.
    Human,
    /// One JSON object a line.
    Json,
}

/// A time, as `500ms` or `2s`; `0` for none.
fn wait(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(3600);
    let time = match text.trim() {
        "0" => Some(Duration::ZERO),
        text => humantime::parse_duration(text).ok().filter(|time| *time <= LONGEST),
    };
    time.ok_or_else(|| "a time up to 1 h was expected, as 500ms or 2s, or 0 for no bound".to_owned())
}

/// Processors that this process may use, by its affinity and its cgroup's quota.
#[must_use]
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_seconds_between_two_looks_are_for_never() {
        let every = |model_control_mode, repository_poll_secs| {
            ControlSettings { model_control_mode, load_model: Vec::new(), repository_poll_secs }
                .poll_interval()
        };
        assert_eq!(every(ControlMode::Poll, 3), Some(Duration::from_secs(3)));
        assert_eq!(every(ControlMode::Poll, 0), None);
        assert_eq!(every(ControlMode::None, 3), None);
    }

    #[test]
    fn a_wait_is_a_time_with_its_unit_or_none() {
        assert_eq!(wait("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(wait(" 2s "), Ok(Duration::from_secs(2)));
        for none in ["0", "0s"] {
            assert_eq!(wait(none), Ok(Duration::ZERO));
        }
        for wrong in ["", "1", "-1s", "2h", "soon"] {
            assert!(wait(wrong).unwrap_err().starts_with("a time up to 1 h was expected"), "{wrong}");
        }
    }

    #[test]
    fn models_to_load_at_start_go_with_explicit_control() {
        let at_start = |mode, names: &[&str]| {
            let settings = ControlSettings {
                model_control_mode: mode,
                load_model: names.iter().copied().map(str::to_owned).collect(),
                repository_poll_secs: 15,
            };
            settings.at_start().map_err(|error| error.to_string())
        };
        for mode in [ControlMode::None, ControlMode::Poll] {
            assert_eq!(at_start(mode, &[]), Ok(AtStart::All));
            assert_eq!(at_start(mode, &[""]), Ok(AtStart::All));
            let refused = at_start(mode, &["m"]).unwrap_err();
            assert!(refused.starts_with("--load-model needs --model-control-mode=explicit"), "{refused}");
        }
        let explicit = |names: &[&str]| at_start(ControlMode::Explicit, names);
        assert_eq!(explicit(&[]), Ok(AtStart::Named(Vec::new())));
        assert_eq!(explicit(&["a", "b"]), Ok(AtStart::Named(vec!["a".to_owned(), "b".to_owned()])));
        assert_eq!(explicit(&["*"]), Ok(AtStart::All));
        assert!(explicit(&["*", "a"]).unwrap_err().contains("stands alone"));
    }
}
