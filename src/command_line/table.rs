//! Triton's flags that Cresset lacks, or gives another meaning. A flag that isn't
//! here goes to the parser unchanged.

/// A flag of tritonserver's.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Without its dashes.
    pub name: &'static str,
    /// Whether a value follows.
    pub takes_value: bool,
    /// What the server does with it.
    pub fate: Fate,
}

/// A level of the log that has a flag of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Details for a developer.
    Verbose,
    /// Ordinary events.
    Info,
    /// Events that an operator may have to act on.
    Warning,
    /// Failures.
    Error,
}

impl Level {
    /// Its name in `--log`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Verbose => "debug",
            Self::Info => "info",
            Self::Warning => "warn",
            Self::Error => "error",
        }
    }
}

/// What the server does with a flag.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    /// Translated to this flag of Cresset's, with its value.
    As(&'static str),
    /// Translated to this flag of Cresset's, which is true or false.
    Switch(&'static str),
    /// `--log-format`, whose values are translated.
    Form,
    /// `--metrics-config`: one of its settings is a flag of Cresset's.
    Metrics,
    /// Turns this level of the log on or off.
    Logs(Level),
    /// An address to listen on, for this surface.
    Address(&'static str),
    /// Accepted with this value, which is the server's behaviour anyway; refused
    /// with any other, for this reason.
    Only(&'static str, &'static str),
    /// Refused, for this reason.
    Refused(&'static str),
    /// Ignored with a line in the log, for this reason.
    NoEffect(&'static str),
}

use Fate::{Address, As, Form, Logs, Metrics, NoEffect, Only, Refused, Switch};

const fn flag(name: &'static str, fate: Fate) -> Flag {
    Flag { name, takes_value: true, fate }
}

const fn bare(name: &'static str, fate: Fate) -> Flag {
    Flag { name, takes_value: false, fate }
}

const BUILT_IN: &str = "PyTorch's backend is built in, and no other is loaded";
const CONFIGURED: &str =
    "config.pbtxt is served as it is written; if there is none, the model file tells its inputs";
const ONE_PORT: &str = "one server listens on a port: put a load balancer in front of several";
const NO_TLS: &str = "TLS ends in front of this server: at a proxy, a service mesh or an ingress";
const NO_KEYS: &str = "there are no keys yet: let a proxy block the calls that the network must not make";
const UNUSED_TLS: &str = "it is read with --grpc-use-ssl only";
const NO_TRACES: &str = "there are no traces yet: metrics and the log tell the times of requests";
const UNUSED_TRACES: &str = "nothing is traced";
const POOLS: &str = "memory of requests and of devices is kept as it is needed";
const NO_CACHE: &str = "there is no response cache: each request is computed";
const NO_LIMITER: &str = "there is no rate limiter: an instance runs as soon as it is free";
const ONE_DEVICE: &str = "an instance runs on one device";
const PINGS: &str = "the server pings each connection by itself, and bounds what clients may send";
const AGE: &str = "a connection ends when its client or the server does: balance calls, not connections";
const SAGEMAKER: &str = "SageMaker's paths aren't offered: /predict and /predictions/<model> are";
const VERTEX: &str =
    "that environment is not read: give the endpoint the routes /v2/health/ready and /predict";
const UNUSED_PATHS: &str = "those paths aren't offered";
const HEADERS: &str = "a model's inputs come in the request's body and its parameters";
pub(super) const SERIES: &str = "which series there are is fixed: /metrics shows them";

/// All flags, in the order of `tritonserver --help`.
pub const FLAGS: &[Flag] = &[
    flag("log-verbose", Logs(Level::Verbose)),
    flag("log-info", Logs(Level::Info)),
    flag("log-warning", Logs(Level::Warning)),
    flag("log-error", Logs(Level::Error)),
    flag("log-format", Form),
    flag("model-store", As("model-repository")),
    flag("exit-on-error", Switch("exit-on-error")),
    bare("disable-auto-complete-config", NoEffect(CONFIGURED)),
    flag("strict-readiness", Switch("strict-readiness")),
    flag(
        "model-config-name",
        Refused("a model has one config.pbtxt: make it a link to the one that is meant"),
    ),
    flag("model-load-thread-count", NoEffect("models are loaded one after another at start")),
    flag(
        "model-load-retry-count",
        NoEffect(
            "a model that can't be loaded says why, and is tried again on a load call or when its files change",
        ),
    ),
    flag(
        "model-namespacing",
        Only("false", "a model's name is unique in all repositories: rename one of them"),
    ),
    flag("enable-peer-access", NoEffect(ONE_DEVICE)),
    flag(
        "allow-http",
        Only("true", "HTTP answers health probes: to keep clients out, bind it to 127.0.0.1 by --host"),
    ),
    flag("http-address", Address("HTTP")),
    flag("reuse-http-port", Only("false", ONE_PORT)),
    flag("http-header-forward-pattern", NoEffect(HEADERS)),
    flag("http-thread-count", As("http-threads")),
    flag("http-restricted-api", Refused(NO_KEYS)),
    flag(
        "allow-grpc",
        Only(
            "true",
            "gRPC has a port of its own: bind it to 127.0.0.1 by --host, or don't publish --grpc-port",
        ),
    ),
    flag("grpc-address", Address("gRPC")),
    flag("reuse-grpc-port", Only("false", ONE_PORT)),
    flag("grpc-header-forward-pattern", NoEffect(HEADERS)),
    flag("grpc-infer-thread-count", As("grpc-threads")),
    flag("grpc-infer-allocation-pool-size", NoEffect(POOLS)),
    flag("grpc-max-response-pool-size", NoEffect(POOLS)),
    flag("grpc-use-ssl", Only("false", NO_TLS)),
    flag("grpc-use-ssl-mutual", Only("false", NO_TLS)),
    flag("grpc-server-cert", NoEffect(UNUSED_TLS)),
    flag("grpc-server-key", NoEffect(UNUSED_TLS)),
    flag("grpc-root-cert", NoEffect(UNUSED_TLS)),
    flag("grpc-infer-response-compression-level", NoEffect("answers over gRPC aren't compressed")),
    flag("grpc-keepalive-time", NoEffect(PINGS)),
    flag("grpc-keepalive-timeout", NoEffect(PINGS)),
    flag("grpc-keepalive-permit-without-calls", NoEffect(PINGS)),
    flag("grpc-http2-max-pings-without-data", NoEffect(PINGS)),
    flag("grpc-http2-min-recv-ping-interval-without-data", NoEffect(PINGS)),
    flag("grpc-http2-max-ping-strikes", NoEffect(PINGS)),
    flag("grpc-max-connection-age", NoEffect(AGE)),
    flag("grpc-max-connection-age-grace", NoEffect(AGE)),
    flag("grpc-restricted-protocol", Refused(NO_KEYS)),
    flag("allow-sagemaker", Only("false", SAGEMAKER)),
    flag("sagemaker-port", NoEffect(UNUSED_PATHS)),
    flag("sagemaker-safe-port-range", NoEffect(UNUSED_PATHS)),
    flag("sagemaker-thread-count", NoEffect(UNUSED_PATHS)),
    flag("allow-vertex-ai", Only("false", VERTEX)),
    flag("vertex-ai-port", NoEffect(UNUSED_PATHS)),
    flag("vertex-ai-thread-count", NoEffect(UNUSED_PATHS)),
    flag("vertex-ai-default-model", NoEffect(UNUSED_PATHS)),
    flag(
        "allow-metrics",
        Only(
            "true",
            "the metrics port answers health probes too: don't publish --metrics-port, and say --http-metrics=false",
        ),
    ),
    flag("allow-gpu-metrics", NoEffect(SERIES)),
    flag("allow-cpu-metrics", NoEffect(SERIES)),
    flag("metrics-address", Address("metrics")),
    flag("metrics-interval-ms", NoEffect("figures are read when they are asked for")),
    flag("metrics-config", Metrics),
    flag("trace-config", Only("level=off", NO_TRACES)),
    flag("backend-directory", NoEffect(BUILT_IN)),
    flag("backend-config", NoEffect("a model is set by its config.pbtxt and cresset.toml")),
    flag("repoagent-directory", NoEffect("no agent is loaded: prepare the model's files beforehand")),
    flag("cache-config", NoEffect(NO_CACHE)),
    flag("cache-directory", NoEffect(NO_CACHE)),
    flag("rate-limit", Only("off", NO_LIMITER)),
    flag("rate-limit-resource", NoEffect(NO_LIMITER)),
    flag("pinned-memory-pool-byte-size", NoEffect(POOLS)),
    flag("cuda-memory-pool-byte-size", NoEffect(POOLS)),
    flag("cuda-virtual-address-size", NoEffect("there is no implicit state")),
    flag(
        "min-supported-compute-capability",
        NoEffect("libtorch says which GPUs it supports: see cresset devices"),
    ),
    flag("buffer-manager-thread-count", NoEffect("an instance's own thread moves its tensors")),
    flag("host-policy", NoEffect("threads are placed by the server")),
    flag(
        "model-load-gpu-limit",
        NoEffect("a model that doesn't fit into a GPU's memory isn't served, and the log says so"),
    ),
    flag("allow-client-shm", Only("false", "shared memory isn't offered: send tensors in the request")),
    flag("strict-model-config", NoEffect(CONFIGURED)),
    flag("response-cache-byte-size", NoEffect(NO_CACHE)),
    flag("trace-file", NoEffect(UNUSED_TRACES)),
    flag("trace-level", Only("off", NO_TRACES)),
    flag("trace-rate", NoEffect(UNUSED_TRACES)),
    flag("trace-count", NoEffect(UNUSED_TRACES)),
    flag("trace-log-frequency", NoEffect(UNUSED_TRACES)),
];
