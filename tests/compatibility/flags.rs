//! tritonserver's flags: each is tried on the command line that is parsed.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::{CommandFactory as _, Parser as _};
use cresset::cli::Cli;
use cresset::command_line::{FLAGS, Fate, Flag, read};

/// Every flag of tritonserver 26.07, by its own list, and a value that it takes.
const TRITONS: &[(&str, &str)] = &[
    ("help", ""),
    ("id", "triton"),
    ("exit-timeout-secs", "30"),
    ("log-verbose", "1"),
    ("log-info", "true"),
    ("log-warning", "true"),
    ("log-error", "true"),
    ("log-format", "ISO8601"),
    ("log-file", "/tmp/log"),
    ("model-store", "/models"),
    ("model-repository", "/models"),
    ("exit-on-error", "false"),
    ("disable-auto-complete-config", ""),
    ("strict-readiness", "false"),
    ("model-control-mode", "poll"),
    ("repository-poll-secs", "15"),
    ("load-model", "m"),
    ("model-config-name", "h100"),
    ("model-load-thread-count", "4"),
    ("model-load-retry-count", "1"),
    ("model-namespacing", "true"),
    ("enable-peer-access", "false"),
    ("allow-http", "false"),
    ("http-address", "0.0.0.0"),
    ("http-port", "8000"),
    ("reuse-http-port", "true"),
    ("http-header-forward-pattern", ".*"),
    ("http-thread-count", "8"),
    ("http-max-input-size", "67108864"),
    ("http-restricted-api", "health:key=value"),
    ("allow-grpc", "false"),
    ("grpc-address", "0.0.0.0"),
    ("grpc-port", "8001"),
    ("reuse-grpc-port", "true"),
    ("grpc-header-forward-pattern", ".*"),
    ("grpc-infer-thread-count", "2"),
    ("grpc-infer-allocation-pool-size", "8"),
    ("grpc-max-response-pool-size", "8"),
    ("grpc-use-ssl", "true"),
    ("grpc-use-ssl-mutual", "true"),
    ("grpc-server-cert", "cert.pem"),
    ("grpc-server-key", "key.pem"),
    ("grpc-root-cert", "root.pem"),
    ("grpc-infer-response-compression-level", "low"),
    ("grpc-keepalive-time", "7200000"),
    ("grpc-keepalive-timeout", "20000"),
    ("grpc-keepalive-permit-without-calls", "1"),
    ("grpc-http2-max-pings-without-data", "2"),
    ("grpc-http2-min-recv-ping-interval-without-data", "300000"),
    ("grpc-http2-max-ping-strikes", "2"),
    ("grpc-max-connection-age", "60000"),
    ("grpc-max-connection-age-grace", "1000"),
    ("grpc-restricted-protocol", "health:key=value"),
    ("allow-sagemaker", "true"),
    ("sagemaker-port", "8080"),
    ("sagemaker-safe-port-range", "1-2"),
    ("sagemaker-thread-count", "8"),
    ("allow-vertex-ai", "true"),
    ("vertex-ai-port", "8080"),
    ("vertex-ai-thread-count", "8"),
    ("vertex-ai-default-model", "m"),
    ("allow-metrics", "false"),
    ("allow-gpu-metrics", "false"),
    ("allow-cpu-metrics", "false"),
    ("metrics-address", "0.0.0.0"),
    ("metrics-port", "8002"),
    ("metrics-interval-ms", "2000"),
    ("metrics-config", "summary_latencies=true"),
    ("trace-config", "level=TIMESTAMPS"),
    ("backend-directory", "/opt/tritonserver/backends"),
    ("backend-config", "default-max-batch-size=4"),
    ("repoagent-directory", "/opt/tritonserver/repoagents"),
    ("cache-config", "local,size=1048576"),
    ("cache-directory", "/opt/tritonserver/caches"),
    ("rate-limit", "execution_count"),
    ("rate-limit-resource", "R1:4:0"),
    ("pinned-memory-pool-byte-size", "268435456"),
    ("cuda-memory-pool-byte-size", "0:67108864"),
    ("cuda-virtual-address-size", "0:1073741824"),
    ("min-supported-compute-capability", "6.0"),
    ("buffer-manager-thread-count", "0"),
    ("host-policy", "cpu,numa-node=0"),
    ("model-load-gpu-limit", "0:0.8"),
    ("allow-client-shm", "true"),
    ("strict-model-config", "true"),
    ("response-cache-byte-size", "1048576"),
    ("trace-file", "/tmp/trace"),
    ("trace-level", "TIMESTAMPS"),
    ("trace-rate", "1000"),
    ("trace-count", "-1"),
    ("trace-log-frequency", "0"),
];

/// The table, each line tried.
pub(crate) fn table(page: &mut String) {
    for flag in FLAGS {
        assert!(TRITONS.iter().any(|(name, _)| *name == flag.name), "--{} isn't tritonserver's", flag.name);
    }
    let _ = write!(page, "\n## Flags of tritonserver\n\n");
    page.push_str(
        "The server starts under the name `tritonserver` too, and `cresset serve` takes the same flags. A flag \
         without effect is accepted, with a line in the log; one that asks for what isn't there ends the start.\n\n\
         | flag | | |\n|---|---|---|\n",
    );
    for (name, value) in TRITONS {
        let (what, why) = match FLAGS.iter().find(|flag| flag.name == *name) {
            None => ("served", own(name, value)),
            Some(flag) => tried(flag, value),
        };
        assert!(!why.is_empty() && !why.contains('|'), "{name}: {why}");
        let _ = writeln!(page, "| `--{name}` | {what} | {why} |");
    }
}

fn written(name: &str, value: &str) -> String {
    if value.is_empty() { format!("--{name}") } else { format!("--{name}={value}") }
}

/// What the parser is given for these arguments, and what is noted.
fn reads(arguments: &[String]) -> Result<(Vec<OsString>, Vec<String>), String> {
    let all = std::iter::once("tritonserver").chain(arguments.iter().map(String::as_str));
    read(all.map(OsString::from), &|_| None).map(|read| (read.arguments, read.notes))
}

fn parses(mut arguments: Vec<OsString>) {
    let has = |name: &str| arguments.iter().any(|argument| argument.to_string_lossy().starts_with(name));
    if !has("--model-repository") {
        arguments.push("--model-repository=/models".into());
    }
    Cli::try_parse_from(&arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
}

/// A flag that the parser has by the same name.
fn own(name: &str, value: &str) -> String {
    if name == "help" {
        return "as `cresset serve --help`".to_owned();
    }
    let (arguments, notes) = reads(&[written(name, value)]).unwrap();
    assert!(notes.is_empty(), "{name}: {notes:?}");
    parses(arguments);
    own_help(name)
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    let acronym = letters.clone().next().is_some_and(char::is_uppercase);
    if acronym { text.to_owned() } else { first.into_iter().chain(letters).collect() }
}

fn tried(flag: &Flag, value: &str) -> (&'static str, String) {
    let Flag { name, takes_value, fate } = *flag;
    assert_eq!(takes_value, !value.is_empty(), "{name}");
    let outcome = reads(&[written(name, value)]);
    match fate {
        Fate::As(target) | Fate::Switch(target) => {
            let (arguments, notes) = outcome.unwrap();
            assert!(
                notes.is_empty() && arguments.last().unwrap().to_string_lossy().starts_with("--"),
                "{name}"
            );
            parses(arguments);
            ("served", if target == name { own_help(name) } else { format!("as `--{target}`") })
        }
        Fate::Form => {
            parses(outcome.unwrap().0);
            ("served", "both of Triton's forms are the one for people; `json` is ours".to_owned())
        }
        Fate::Metrics => {
            parses(outcome.unwrap().0);
            let (_, notes) = reads(&[written(name, "counter_latencies=true")]).unwrap();
            assert_eq!(notes.len(), 1);
            let why = "`summary_latencies` as `--metrics-summaries`; the other settings have no effect";
            ("served", why.to_owned())
        }
        Fate::Logs(level) => {
            parses(outcome.unwrap().0);
            ("served", format!("whether what is of level `{}` is logged, as by `--log`", level.name()))
        }
        Fate::Address(what) => {
            let http = (name != "http-address").then(|| written("http-address", value));
            let both: Vec<String> = http.into_iter().chain([written(name, value)]).collect();
            parses(reads(&both).unwrap().0);
            let elsewhere = [written("http-address", "127.0.0.1"), written(name, value)];
            assert!(name == "http-address" || reads(&elsewhere).is_err());
            (
                "served",
                format!("as `--host`, for {what}: all listen on one address, and a second one is refused"),
            )
        }
        Fate::Only(wanted, why) => {
            assert!(outcome.unwrap_err().contains(why), "{name}");
            parses(reads(&[written(name, wanted)]).unwrap().0);
            ("refused", format!("but for `{wanted}`: {why}"))
        }
        Fate::Refused(why) => {
            assert!(outcome.unwrap_err().contains(why), "{name}");
            ("refused", why.to_owned())
        }
        Fate::NoEffect(why) => {
            let (arguments, notes) = outcome.unwrap();
            assert!(notes.len() == 1 && notes[0].contains(why), "{name}: {notes:?}");
            parses(arguments);
            ("no effect", why.to_owned())
        }
    }
}

fn own_help(name: &str) -> String {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let argument = serve.get_arguments().find(|argument| argument.get_long() == Some(name)).unwrap();
    lower_first(&argument.get_help().unwrap().to_string())
}
