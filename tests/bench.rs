//! `cresset bench` against servers whose behaviour is known.

// Clippy lets tests unwrap, but not the helpers beside them.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use clap::Parser;
use cresset::bench::{self, Args, LevelOutcome, Outcome};
use serde_json::{Value, json};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn run(url: &str, arguments: &str) -> anyhow::Result<Outcome> {
    let words = ["bench", url].into_iter().chain(arguments.split_whitespace());
    bench::run(&Cli::try_parse_from(words)?.args)
}

fn only(outcome: &Outcome) -> &LevelOutcome {
    assert_eq!(outcome.levels.len(), 1);
    &outcome.levels[0]
}

fn counts(level: &LevelOutcome) -> Vec<(&str, u64)> {
    level.errors.iter().map(|error| (error.cause.as_str(), error.count)).collect()
}

/// What the peer does with the requests that it counts from zero.
#[derive(Clone, Copy)]
enum Manner {
    Answer,
    /// Every n-th is refused.
    RefuseEvery(u64),
    /// Only this one takes so long.
    Stall {
        at: u64,
        time: Duration,
    },
    CloseAfterEach,
}

/// An inference server in this process that checks all that it is sent.
struct Peer {
    url: String,
    seen: Arc<Seen>,
    handle: ServerHandle,
}

#[derive(Default)]
struct Seen {
    metadata: AtomicU64,
    requests: AtomicU64,
    malformed: AtomicU64,
}

impl Peer {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen::default());
        let (sender, receiver) = mpsc::channel();
        let served = Arc::clone(&seen);
        thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let app = move || {
                    App::new()
                        .app_data(web::Data::from(Arc::clone(&served)))
                        .app_data(web::Data::new(manner))
                        .route("/v2/models/m", web::get().to(metadata))
                        .route("/v2/models/m/infer", web::post().to(infer))
                        .route("/predict", web::post().to(echo))
                        .route("/predictions/m", web::post().to(echo))
                };
                let server =
                    HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run();
                sender.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        Self { url, seen, handle: receiver.recv().unwrap() }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Sending the command is all it takes; there is no one left to wait.
        drop(self.handle.stop(false));
    }
}

async fn metadata(seen: web::Data<Seen>) -> HttpResponse {
    seen.metadata.fetch_add(1, Ordering::Relaxed);
    HttpResponse::Ok().json(json!({
        "name": "m",
        "versions": ["1"],
        "platform": "pytorch_libtorch",
        "inputs": [
            {"name": "pixels", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "ids", "datatype": "INT64", "shape": [-1, -1]},
        ],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}],
    }))
}

async fn infer(
    request: HttpRequest,
    body: web::Bytes,
    seen: web::Data<Seen>,
    manner: web::Data<Manner>,
) -> HttpResponse {
    if let Err(fault) = check(&request, &body) {
        seen.malformed.fetch_add(1, Ordering::Relaxed);
        return HttpResponse::BadRequest().json(json!({"error": fault}));
    }
    behave(&seen, **manner, web::Bytes::from_static(b"0123456789")).await
}

async fn echo(body: web::Bytes, seen: web::Data<Seen>, manner: web::Data<Manner>) -> HttpResponse {
    behave(&seen, **manner, body).await
}

async fn behave(seen: &Seen, manner: Manner, body: web::Bytes) -> HttpResponse {
    let number = seen.requests.fetch_add(1, Ordering::Relaxed);
    match manner {
        Manner::RefuseEvery(n) if number % n == n - 1 => {
            return HttpResponse::ServiceUnavailable().json(json!({"error": "the queue is full"}));
        }
        Manner::Stall { at, time } if number == at => actix_web::rt::time::sleep(time).await,
        Manner::CloseAfterEach => return HttpResponse::Ok().force_close().body(body),
        Manner::Answer | Manner::RefuseEvery(_) | Manner::Stall { .. } => {}
    }
    HttpResponse::build(StatusCode::OK).body(body)
}

/// Reads an inference request as the protocol has it: two rows of three
/// floats, two rows of five ids.
fn check(request: &HttpRequest, body: &[u8]) -> Result<(), String> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let Some(length) = header("inference-header-content-length") else {
        expect("type", header("content-type"), Some("application/json"))?;
        return check_json(&serde_json::from_slice(body).map_err(|error| error.to_string())?);
    };
    expect("type", header("content-type"), Some("application/octet-stream"))?;
    let (head, raw) = body.split_at(length.parse().map_err(|_| "header length")?);
    let head: Value = serde_json::from_slice(head).map_err(|error| error.to_string())?;
    let tensor = |name, datatype, shape: [u64; 2], bytes| json!({"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": bytes}});
    let inputs = json!([tensor("pixels", "FP32", [2, 3], 24), tensor("ids", "INT64", [2, 5], 80)]);
    expect("header", head, json!({"inputs": inputs, "parameters": {"binary_data_output": true}}))?;
    expect("length", raw.len(), 24 + 80)?;
    let (pixels, ids) = raw.split_at(24);
    let floats = pixels.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    expect("floats", floats.filter(|value| (0.0..1.0).contains(value)).count(), 6)?;
    let ids = ids.chunks(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()));
    expect("ids", ids.filter(|value| (0..100).contains(value)).count(), 10)
}

fn check_json(body: &Value) -> Result<(), String> {
    expect("shape", body["inputs"][1]["shape"].clone(), json!([2, 5]))?;
    expect("ids", body["inputs"][1]["data"].as_array().map(Vec::len), Some(10))?;
    expect("floats", body["inputs"][0]["data"].as_array().map(Vec::len), Some(6))
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, came: T, wanted: T) -> Result<(), String> {
    if came == wanted { Ok(()) } else { Err(format!("{what}: {came:?} and not {wanted:?}")) }
}

const TENSORS: &str = "--model m --batch 2 --shape ids:2,5 --warm-up 0s";

#[test]
fn a_number_of_requests_is_sent_and_well_formed() {
    let peer = Peer::start(Manner::Answer);
    for format in ["binary", "json"] {
        let outcome =
            run(&peer.url, &format!("{TENSORS} --format {format} --concurrency 1,4 --requests 200")).unwrap();
        assert!(!outcome.failed(), "{outcome}");
        let levels: Vec<_> = outcome.levels.iter().map(|level| (level.concurrency, level.requests)).collect();
        assert_eq!(levels, [(1, 200), (4, 200)]);
        for level in &outcome.levels {
            assert_eq!(level.latency.unwrap().count, 200);
            assert_eq!((level.body_bytes, level.reconnects), (2000, 0));
            assert!(level.requests_per_second > 0.0);
        }
    }
    assert_eq!(peer.seen.requests.load(Ordering::Relaxed), 800);
    assert_eq!(peer.seen.malformed.load(Ordering::Relaxed), 0);
    assert_eq!(peer.seen.metadata.load(Ordering::Relaxed), 2);
}

#[test]
fn time_ends_a_level_and_the_warm_up_is_not_in_it() {
    let peer = Peer::start(Manner::Answer);
    let arguments = "--model m --batch 2 --shape ids:2,5 --warm-up 200ms --duration 300ms --concurrency 2";
    let outcome = run(&peer.url, arguments).unwrap();
    let level = only(&outcome);
    assert!((level.seconds - 0.3).abs() < 1e-6, "{}", level.seconds);
    let sent = peer.seen.requests.load(Ordering::Relaxed);
    assert!(level.requests > 0 && level.requests < sent, "{} of {sent}", level.requests);
    // Only what is under way at either end may make the two differ.
    let answers = level.requests_per_second * level.seconds;
    assert!((answers - level.requests as f64).abs() < 2.5, "{answers} answers, {} requests", level.requests);
}

#[test]
fn refusals_are_counted_by_status_and_quoted() {
    let peer = Peer::start(Manner::RefuseEvery(4));
    let outcome = run(&peer.url, &format!("{TENSORS} --concurrency 3 --requests 100")).unwrap();
    let level = only(&outcome);
    assert_eq!(counts(level), [("status 503", 25)]);
    assert_eq!(level.latency.unwrap().count, 75);
    assert!(outcome.failed());
    let table = outcome.to_string();
    assert!(table.contains(r#"25 × status 503: {"error":"the queue is full"}"#), "{table}");
}

#[test]
fn a_wrong_shape_is_the_servers_to_refuse() {
    let peer = Peer::start(Manner::Answer);
    let outcome = run(&peer.url, "--model m --shape ids:1,5 --warm-up 0s --requests 3").unwrap();
    assert_eq!(counts(only(&outcome)), [("status 400", 3)]);
}

#[test]
fn a_late_answer_is_an_error_and_the_next_is_not() {
    let peer = Peer::start(Manner::Stall { at: 2, time: Duration::from_secs(3) });
    let outcome = run(&peer.url, &format!("{TENSORS} --timeout 200ms --requests 10")).unwrap();
    let level = only(&outcome);
    assert_eq!(counts(level), [("timed out", 1)]);
    assert_eq!((level.requests, level.reconnects), (10, 1));
    assert!(level.seconds < 2.0, "{}", level.seconds);
}

#[test]
fn a_stall_shows_although_the_time_is_over() {
    let peer = Peer::start(Manner::Stall { at: 5, time: Duration::from_millis(600) });
    let outcome = run(&peer.url, &format!("{TENSORS} --duration 200ms")).unwrap();
    let level = only(&outcome);
    assert!(!outcome.failed());
    assert!(level.latency.unwrap().max_ms > 590.0, "{outcome}");
    assert_eq!(level.requests, 6);
}

#[test]
fn a_body_is_posted_as_it_is_and_no_metadata_is_asked_for() {
    let peer = Peer::start(Manner::Answer);
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    std::fs::write(file.path(), "{\"a\": 1}").unwrap();
    for place in ["", "--model m", "--path /predict"] {
        let arguments = format!("--body {} {place} --warm-up 0s --requests 10", file.path().display());
        let outcome = run(&peer.url, &arguments).unwrap();
        assert!(!outcome.failed(), "{outcome}");
        assert_eq!(only(&outcome).body_bytes, 80);
        assert_eq!(outcome.content, "application/json");
    }
    let whole = format!("{}/predictions/m", peer.url);
    let arguments = format!("--body {} --warm-up 0s --requests 10", file.path().display());
    assert!(!run(&whole, &arguments).unwrap().failed());
    assert_eq!(peer.seen.metadata.load(Ordering::Relaxed), 0);
    assert_eq!(peer.seen.requests.load(Ordering::Relaxed), 40);
}

#[test]
fn a_server_that_closes_after_each_answer_loses_nothing() {
    let peer = Peer::start(Manner::CloseAfterEach);
    let outcome = run(&peer.url, &format!("{TENSORS} --concurrency 2 --requests 50")).unwrap();
    assert!(!outcome.failed(), "{outcome}");
    let level = only(&outcome);
    assert_eq!((level.requests, level.reconnects), (50, 48));
}

/// A server of one thread that treats each connection as it is told.
fn raw_server(treat: impl Fn(u64, TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for (number, stream) in (0..).zip(listener.incoming()) {
            treat(number, stream.unwrap());
        }
    });
    url
}

#[test]
fn a_request_that_is_lost_is_an_error() {
    // Reads the request and hangs up: on the first without a word, on the
    // others in the middle of the answer.
    let url = raw_server(|number, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        if number > 0 {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234");
        }
    });
    let body = tempfile::NamedTempFile::new().unwrap();
    let arguments = format!("--body {} --warm-up 0s --requests 3", body.path().display());
    let outcome = run(&url, &arguments).unwrap();
    assert_eq!(counts(only(&outcome)), [("connection lost", 3)], "{outcome}");
}

#[test]
fn what_is_not_http_is_named() {
    let url = raw_server(|_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n");
    });
    let body = tempfile::NamedTempFile::new().unwrap();
    let arguments = format!("--body {} --warm-up 0s --requests 2", body.path().display());
    assert_eq!(counts(only(&run(&url, &arguments).unwrap())), [("malformed", 2)]);
}

#[test]
fn what_cannot_be_measured_is_one_clear_line() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let peer = Peer::start(Manner::Answer);
    let said = |url: &str, arguments| format!("{:#}", run(url, arguments).unwrap_err());

    let line = said(&format!("http://{free}"), "--model m");
    assert!(line.starts_with(&format!("cannot connect to {free}: ")), "{line}");
    let line = said(&peer.url, "--model other");
    assert!(line.contains("/v2/models/other answered 404"), "{line}");
    let line = said(&peer.url, "--model m");
    assert!(line.contains("input 'ids'") && line.contains("--shape ids:N"), "{line}");
    let line = said(&peer.url, "--body /no/such/file");
    assert!(line.contains("cannot read '/no/such/file'"), "{line}");
    let line = said("https://127.0.0.1", "--model m");
    assert!(line.contains("only http://"), "{line}");
    assert!(said(&peer.url, "").contains("--model"));
}
