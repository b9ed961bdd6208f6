//! `cresset serve`: from settings to a stopped server.

mod example;
mod memory;
mod monitoring;

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::oneshot;

use crate::admission::Admission;
use crate::device_health::DeviceHealth;
use crate::devices::has_quota;
use crate::engine::{Control, ControlMode, Engine, Follower, Identity, LoadMarks, LoadReport, Loader};
use crate::grpc;
use crate::http::{self, AllowedHosts, AllowedOrigins, Listeners, Servers};
use crate::links;
use crate::listen::listen;
use crate::metrics;
use crate::model::{DevicePreference, Resources};
use crate::model_repository::{Access, ModelRepository};
use crate::settings::{AtStart, LogFormat, OnDeviceFault, ServeSettings, processors};
use crate::shutdown::StopSignals;
use crate::transform::Pool;
use cresset_backend::{Accelerators, Backend};

/// Prints a line at start: on standard output, or in the log if the log is JSON.
/// The server goes on if standard output is closed.
macro_rules! say {
    ($format:expr, $($line:tt)*) => {{
        use std::io::Write as _;
        let line = format!($($line)*);
        match $format {
            LogFormat::Human => _ = writeln!(std::io::stdout(), "{line}"),
            LogFormat::Json => tracing::info!("{}", line.trim()),
        }
    }};
}

/// How long an instance spins before it sleeps, if it expects work: about the
/// time that a client on the same machine takes from one answer to its next
/// request.
const SPIN_BEFORE_PARK: Duration = Duration::from_micros(200);

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every accepted request was answered.
    Clean,
    /// Time ran out, or a second signal came, before every request was answered.
    Abandoned,
    /// A device has failed so that only a new process can use it again.
    DeviceFailed,
}

impl Outcome {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(self) -> i32 {
        match self {
            Self::Clean => 0,
            Self::Abandoned => 3,
            Self::DeviceFailed => 70,
        }
    }
}

/// The addresses that the server listens on.
struct Addresses {
    http: SocketAddr,
    grpc: SocketAddr,
    metrics: SocketAddr,
}

/// The servers of both surfaces.
struct Surfaces {
    http: Servers,
    grpc: grpc::Server,
}

/// Serves until a signal, then finishes the accepted requests.
///
/// # Errors
/// If the server can't start; nothing was served then.
pub fn run(settings: &ServeSettings, backend: Arc<dyn Backend>) -> anyhow::Result<Outcome> {
    actix_web::rt::System::new().block_on(serve(settings, backend))
}

async fn serve(settings: &ServeSettings, backend: Arc<dyn Backend>) -> anyhow::Result<Outcome> {
    // Before anything slow, so that a signal stops the server during loading.
    let mut signals = StopSignals::install().context("can't catch SIGTERM and SIGINT")?;
    raise_file_limit();
    if settings.http.metrics_summaries {
        metrics::show_summaries();
    }
    let server = assemble(settings, &backend)?;
    let ListeningServer { engine, surfaces, addresses, resources, .. } = &server;
    tracing::info!(
        "listening on http://{}, gRPC on {}, metrics on http://{}/metrics",
        addresses.http,
        addresses.grpc,
        addresses.metrics
    );
    let poll_interval = settings.control.poll_interval();
    let watch =
        poll_interval.map(|every| (Follower::begin(Arc::clone(&server.loader), &server.names), every));
    let loading = load_models(&server)?;
    tokio::select! {
        report = loading => {
            let report = report.context("loading the models ended in a panic; see the log")?;
            announce(&report, addresses, backend.as_ref(), resources, settings)?;
            tell_ready(&report, &server, settings)?;
        }
        end = end(&mut signals, engine, &resources.health, settings) => {
            // Models that are loaded already may have clients.
            return Ok(finish(end, engine, surfaces, settings, &mut signals).await);
        }
    }
    // Polling ends when this is dropped.
    let _looking = match watch {
        Some((watch, every)) => Some(look(watch, every)?),
        None => None,
    };
    let end = end(&mut signals, engine, &resources.health, settings).await;
    Ok(finish(end, engine, surfaces, settings, &mut signals).await)
}

/// A server that listens; its models aren't loaded yet.
struct ListeningServer {
    engine: Arc<Engine>,
    loader: Arc<Loader>,
    surfaces: Surfaces,
    addresses: Addresses,
    resources: Resources,
    /// The models that it begins with.
    names: Vec<String>,
}

/// From settings to a server that listens.
///
/// # Errors
/// A setting that can't be followed on this machine.
fn assemble(settings: &ServeSettings, backend: &Arc<dyn Backend>) -> anyhow::Result<ListeningServer> {
    let origins = AllowedOrigins::read(&settings.http.cors_allow_origin)?;
    let hosts = AllowedHosts::read(&settings.http.allowed_hosts)?;
    let (repository, names) = repository(settings)?;
    // An empty path counts as not set: compose files write it so.
    for library in settings.op_library.iter().filter(|path| !path.as_os_str().is_empty()) {
        backend.open_operators(library).with_context(|| format!("--op-library {}", library.display()))?;
    }
    let resources = resources(settings, backend.as_ref())?;
    if resources.preference != DevicePreference::Cpu {
        monitoring::devices(Arc::clone(backend));
    }
    let listeners = Listeners::bind(&settings.http)?;
    let grpc_listener = listen(SocketAddr::new(settings.http.host, settings.grpc.grpc_port), "grpc-port")?;
    let addresses = Addresses {
        http: listeners.http.local_addr()?,
        grpc: grpc_listener.local_addr()?,
        metrics: listeners.metrics.local_addr()?,
    };

    let pool =
        Pool::new(resources.processors, settings.max_queue_size).context("no threads for transforms")?;
    let loader = Loader::new(repository, Arc::clone(backend), resources.clone(), settings.queue_bounds());
    // An empty path counts as not set: compose files write it so.
    let state = settings.state_dir.as_deref().filter(|path| !path.as_os_str().is_empty());
    let marks = LoadMarks::open(state, &settings.model_repository);
    let loader = Arc::new(loader.context("no thread for unloading")?.with_marks(marks));
    let control = control(settings);
    let engine = Engine::new(pool, settings.default_model().map(str::to_owned), Arc::clone(&loader), control);
    let identity = Identity { name: settings.id.clone(), lenient: !settings.strict_readiness };
    let engine = Arc::new(engine.with_health(resources.health.clone()).with_identity(identity));
    // Both surfaces share one limit.
    let admission = Admission::new(settings.http.max_request_memory);
    let surfaces = Surfaces {
        http: http::serve(Arc::clone(&engine), admission.clone(), listeners, &settings.http, origins, hosts)?,
        grpc: grpc::serve(&engine, admission, grpc_listener, &settings.http, &settings.grpc)?,
    };
    Ok(ListeningServer { engine, loader, surfaces, addresses, resources, names })
}

/// Loads the models that a server begins with, on a thread of its own; the report
/// comes through the channel.
fn load_models(server: &ListeningServer) -> std::io::Result<oneshot::Receiver<LoadReport>> {
    let (loader, engine) = (Arc::clone(&server.loader), Arc::clone(&server.engine));
    let names = server.names.clone();
    let (done, report) = oneshot::channel();
    std::thread::Builder::new().name("start".to_owned()).spawn(move || {
        let report = loader.start(&names);
        engine.finish_loading();
        let _ = done.send(report);
    })?;
    Ok(report)
}

/// The last lines of the start: what to try, and whether all is ready.
///
/// # Errors
/// That the model named as the default isn't there.
fn tell_ready(report: &LoadReport, server: &ListeningServer, settings: &ServeSettings) -> anyhow::Result<()> {
    let format = settings.log.log_format;
    if let Some(name) = settings.default_model() {
        let mode = settings.control.model_control_mode;
        check_default_model(&server.engine, name, mode == ControlMode::None && !report.left_out)?;
    }
    say!(format, "try         {}", example::line(&server.engine, settings, server.addresses.http));
    memory::warn_where_tight();
    match report.failed.len() {
        0 => say!(format, "ready"),
        failed => say!(format, "NOT ready: {failed} of the models above can't be served; the others are"),
    }
    Ok(())
}

/// Why a server ends.
enum End {
    /// This signal came.
    Signal(&'static str),
    /// A device has failed.
    DeviceFailed,
}

/// Waits for a signal, or for a device's failure if that is to end the server
/// (`--on-device-fault`). Answers the requests that wait for a failed device with
/// the reason.
async fn end(
    signals: &mut StopSignals,
    engine: &Engine,
    health: &DeviceHealth,
    settings: &ServeSettings,
) -> End {
    let mut known = 0;
    loop {
        tokio::select! {
            signal = signals.next() => return End::Signal(signal),
            failures = health.more_failures_than(known) => known = failures,
        }
        engine.fail_waiting();
        match settings.on_device_fault {
            OnDeviceFault::Exit => return End::DeviceFailed,
            OnDeviceFault::Stay => {
                tracing::error!("staying, not ready: restart the server to use the device")
            }
        }
    }
}

/// The model repository, and the names of the models to load at start.
fn repository(settings: &ServeSettings) -> anyhow::Result<(ModelRepository, Vec<String>)> {
    let at_start = settings.control.at_start()?;
    let paths = &settings.model_repository;
    let single = settings.default_model().map(str::to_owned);
    let access = Access { follow_links: !settings.no_follow_links, single };
    links::follow(access.follow_links);
    let repository = match (settings.control.model_control_mode, settings.exit_on_error) {
        (ControlMode::None, None | Some(true)) => ModelRepository::open(paths, &access)?,
        (ControlMode::None, Some(false)) => {
            let repository = ModelRepository::open_for_change(paths, &access)?;
            repository.empty()?.iter().for_each(|empty| tracing::warn!("{empty}"));
            repository
        }
        (ControlMode::Poll | ControlMode::Explicit, _) => ModelRepository::open_for_change(paths, &access)?,
    };
    let there = repository.names()?;
    check_model_name(settings, &there)?;
    let names = match at_start {
        AtStart::All => there,
        AtStart::Named(mut names) => {
            if let Some(missing) = names.iter().find(|name| !there.contains(name)) {
                anyhow::bail!(
                    "--load-model {missing}: the model repository holds no such model; there are: {}",
                    there.join(", ")
                );
            }
            names.sort_unstable();
            names.dedup();
            names
        }
    };
    Ok((repository, names))
}

fn control(settings: &ServeSettings) -> Control {
    let control = Control::new(settings.control.model_control_mode, settings.http.host);
    if control.closed_to_network() {
        tracing::warn!(
            "load and unload calls are refused: {} isn't a loopback address, and there are no keys yet to tell which \
             clients may load a model",
            settings.http.host
        );
    }
    control
}

/// Checks `MODEL_NAME` before models are loaded, which may take minutes.
fn check_model_name(settings: &ServeSettings, there: &[String]) -> anyhow::Result<()> {
    let Some(name) = settings.default_model() else { return Ok(()) };
    if settings.control.model_control_mode == ControlMode::None && !there.iter().any(|known| known == name) {
        anyhow::bail!(
            "MODEL_NAME (--model-name) is '{name}', and the model repository holds no such model; there are: {}",
            there.join(", ")
        );
    }
    Ok(())
}

/// Checks that the default model is served. If it may come later, or was left out
/// for once, a missing one is only a warning.
fn check_default_model(engine: &Engine, name: &str, needed: bool) -> anyhow::Result<()> {
    match engine.resolve(name, None) {
        Err(error) if needed => Err(error).with_context(|| format!("MODEL_NAME is '{name}'")),
        Err(error) => {
            tracing::warn!("MODEL_NAME is '{name}': {error}");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

/// Looks at the repository at this interval, on a thread of its own, until the
/// returned sender is dropped.
fn look(mut watch: Follower, every: Duration) -> std::io::Result<mpsc::Sender<()>> {
    let (stop, stopped) = mpsc::channel();
    std::thread::Builder::new().name("poll".to_owned()).spawn(move || {
        while stopped.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) {
            watch.look();
        }
    })?;
    Ok(stop)
}

/// Stops in order, or at once on a second signal.
async fn finish(
    end: End,
    engine: &Arc<Engine>,
    surfaces: &Surfaces,
    settings: &ServeSettings,
    signals: &mut StopSignals,
) -> Outcome {
    let timeout = settings.http.exit_timeout_secs;
    let (why, clean) = match end {
        End::Signal(signal) => (signal, Outcome::Clean),
        End::DeviceFailed => ("a device has failed", Outcome::DeviceFailed),
    };
    tracing::info!("{why}: no longer ready, finishing what was accepted (at most {timeout} s)");
    if clean == Outcome::DeviceFailed {
        // Signals are ignored from here on: the orchestrator sends one if it sees
        // that the server isn't ready. A batch may hang on the device.
        stop(engine, surfaces, Duration::from_secs(timeout)).await;
        return clean;
    }
    tokio::select! {
        finished = stop(engine, surfaces, Duration::from_secs(timeout)) => {
            if finished { clean } else { Outcome::Abandoned }
        }
        signal = signals.next() => {
            tracing::warn!("{signal} again: stopping at once");
            Outcome::Abandoned
        }
    }
}

/// Ends readiness first, then the listeners, the queues and the instances.
/// Returns whether every accepted request was answered.
async fn stop(engine: &Arc<Engine>, surfaces: &Surfaces, timeout: Duration) -> bool {
    engine.drain();
    let both = async { tokio::join!(surfaces.http.stop_http(), surfaces.grpc.stop()) };
    let finished = tokio::time::timeout(timeout, both).await.is_ok();
    let (done, stopped) = oneshot::channel();
    let models = Arc::clone(engine);
    let ending = std::thread::Builder::new().name("stop".to_owned()).spawn(move || {
        models.stop();
        let _ = done.send(());
    });
    let ended = ending.is_ok() && tokio::time::timeout(Duration::from_secs(1), stopped).await.is_ok();
    // Time for a scraper that is reading its answer.
    let _ = tokio::time::timeout(Duration::from_millis(500), surfaces.http.stop_metrics()).await;
    if !ended {
        // No client waits for such a run: mostly it warms up a further batch size.
        tracing::info!("a model is still running on its own account: it isn't waited for");
    }
    if finished {
        tracing::info!("stopped: everything that was accepted was answered");
    } else {
        tracing::error!("stopped after {} s with requests unanswered", timeout.as_secs());
    }
    finished
}

fn resources(settings: &ServeSettings, backend: &dyn Backend) -> anyhow::Result<Resources> {
    let processors = processors();
    let spare = processors > 1 && !has_quota(processors);
    let resources = Resources {
        processors,
        accelerators: backend.accelerators(),
        preference: settings.device,
        health: DeviceHealth::new(),
        overlapped: settings.overlapped,
        trials: Some(Arc::default()),
        spin_before_park: if spare { SPIN_BEFORE_PARK } else { Duration::ZERO },
    };
    resources.check_preference()?;
    if let (Accelerators::None(reason), DevicePreference::Auto) =
        (&resources.accelerators, resources.preference)
    {
        tracing::info!("serving on the CPU: {reason}");
    }
    Ok(resources)
}

/// Prints the models and addresses that are served.
fn announce(
    report: &LoadReport,
    addresses: &Addresses,
    backend: &dyn Backend,
    resources: &Resources,
    settings: &ServeSettings,
) -> anyhow::Result<()> {
    let (control, format) = (&settings.control, settings.log.log_format);
    let ends = match settings.exit_on_error {
        Some(true) => !report.failed.is_empty(),
        Some(false) => false,
        // If the only model was left out, ending here would try it again at each start.
        None => {
            report.served.is_empty() && !report.left_out && control.model_control_mode == ControlMode::None
        }
    };
    if ends && report.served.is_empty() {
        anyhow::bail!("no model can be served: {}", report.failed.join("; "));
    }
    if ends {
        anyhow::bail!("--exit-on-error: not every model can be served: {}", report.failed.join("; "));
    }
    for line in &report.failed {
        tracing::error!("not served: {line}");
    }
    let device = match resources.gpus().len() {
        0 => format!("{} processors", resources.processors),
        gpus => format!("{gpus} GPUs and {} processors", resources.processors),
    };
    say!(format, "cresset {} with {} on {device}", env!("CARGO_PKG_VERSION"), backend.description());
    for line in &report.served {
        say!(format, "  {line}");
    }
    for line in &report.failed {
        say!(format, "  NOT served: {line}");
    }
    if control.model_control_mode == ControlMode::None && report.served.is_empty() && report.failed.is_empty()
    {
        say!(format, "  no models: the model repository holds none, and isn't looked at again");
    }
    say!(format, "inference   http://{}", addresses.http);
    match (control.model_control_mode, control.poll_interval()) {
        (ControlMode::None, _) => {}
        (ControlMode::Poll, Some(every)) => {
            say!(format, "models      as the model repository changes, every {} s", every.as_secs());
        }
        (ControlMode::Poll, None) => {
            say!(format, "models      as they are now: --repository-poll-secs=0 never looks again");
        }
        (ControlMode::Explicit, _) => say!(format, "models      as they are loaded and unloaded"),
    }
    // gRPC's clients take an address without a scheme.
    say!(format, "grpc        {}", addresses.grpc);
    say!(format, "metrics     http://{}/metrics", addresses.metrics);
    Ok(())
}

/// Raises the soft limit of open files to the hard one: each connection is a file
/// descriptor.
fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are given a whole rlimit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
