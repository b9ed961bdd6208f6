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
use cresset_bench::{self as bench, Args, LevelOutcome, Outcome};
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
    /// From this request on no client gets an answer for so long.
    StallAll {
        at: u64,
        time: Duration,
    },
    /// Each takes so long.
    Slow(Duration),
    /// Each takes so long, and the next waits for it.
    OneByOne(Duration),
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
                        .route("/v2", web::get().to(server_metadata))
                        .route("/v2/models/m", web::get().to(metadata))
                        .route("/v2/models/m/stats", web::get().to(statistics))
                        .route("/v2/models/m/infer", web::post().to(infer))
                        .route("/predict", web::post().to(echo))
                        .route("/predictions/m", web::post().to(echo))
                        .route("/v1/models/m:predict", web::post().to(echo))
                        .route("/sum", web::post().to(sum))
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

async fn server_metadata() -> HttpResponse {
    HttpResponse::Ok().json(json!({"name": "peer", "version": "1.2", "extensions": []}))
}

/// Two rows in each batch, 1 ms of waiting, 2 + 2 + 1 ms of work, and something
/// from before.
async fn statistics(seen: web::Data<Seen>) -> HttpResponse {
    let requests = seen.requests.load(Ordering::Relaxed) + 1000;
    let time = |milliseconds: u64| json!({"count": requests, "ns": requests * milliseconds * 1_000_000});
    HttpResponse::Ok().json(json!({"model_stats": [{
        "name": "m",
        "version": "1",
        "last_inference": 0,
        "inference_count": requests * 2,
        "execution_count": requests,
        "inference_stats": {
            "success": time(9), "fail": time(0), "queue": time(1), "compute_input": time(2),
            "compute_infer": time(2), "compute_output": time(1), "cache_hit": time(0), "cache_miss": time(0),
        },
        "batch_stats": [],
    }]}))
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

/// `{"x": [[1, 2]]}` to `{"y": [[3]]}`; the wrong answer if it is more than 99.
async fn sum(body: web::Json<Value>, request: HttpRequest) -> HttpResponse {
    if request.headers().get("authorization").is_none_or(|key| key != "Bearer of news") {
        return HttpResponse::Unauthorized().body("who are you?");
    }
    let rows = body["x"].as_array().unwrap().iter();
    let sum = |row: &Value| row.as_array().unwrap().iter().filter_map(Value::as_f64).sum::<f64>();
    let sums: Vec<_> = rows.map(sum).map(|sum| [if sum > 99.0 { 0.0 } else { sum }]).collect();
    HttpResponse::Ok().json(json!({ "y": sums }))
}

async fn behave(seen: &Seen, manner: Manner, body: web::Bytes) -> HttpResponse {
    let number = seen.requests.fetch_add(1, Ordering::Relaxed);
    match manner {
        Manner::RefuseEvery(n) if number % n == n - 1 => {
            return HttpResponse::ServiceUnavailable().json(json!({"error": "the queue is full"}));
        }
        Manner::Stall { at, time } if number == at => actix_web::rt::time::sleep(time).await,
        // Its one thread sleeps: that is the whole server.
        Manner::StallAll { at, time } if number == at => thread::sleep(time),
        Manner::OneByOne(time) => thread::sleep(time),
        Manner::Slow(time) => actix_web::rt::time::sleep(time).await,
        Manner::CloseAfterEach => return HttpResponse::Ok().force_close().body(body),
        Manner::Answer | Manner::RefuseEvery(_) | Manner::Stall { .. } | Manner::StallAll { .. } => {}
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
        assert_eq!(levels, [(Some(1), 200), (Some(4), 200)]);
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
fn threads_share_a_load_and_their_counts_add_up() {
    let peer = Peer::start(Manner::RefuseEvery(10));
    let arguments = format!("{TENSORS} --threads 3 --concurrency 2,7 --requests 200");
    let outcome = run(&peer.url, &arguments).unwrap();
    for level in &outcome.levels {
        assert_eq!((level.requests, level.error_count(), level.refused()), (200, 20, 20));
        assert_eq!(level.latency.unwrap().count, 180);
        assert_eq!(level.histogram.iter().map(|bucket| bucket.count).sum::<u64>(), 180);
    }
    let arguments = format!("{TENSORS} --threads 3 --rate 500 --duration 1s --arrivals constant");
    let outcome = run(&peer.url, &arguments).unwrap();
    assert_eq!((only(&outcome).requests, only(&outcome).error_count()), (500, 50));
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

/// The point of an open loop: requests go on being due while the server is
/// stuck, and each of them has waited. In a closed loop one request shows it.
#[test]
fn an_open_loop_shows_a_stall_that_a_closed_one_hides() {
    const SECOND: f64 = 1000.0;
    let stall = Manner::StallAll { at: 100, time: Duration::from_secs(1) };

    let peer = Peer::start(stall);
    let open = run(&peer.url, &format!("{TENSORS} --rate 100 --duration 4s")).unwrap();
    let open = only(&open);
    let latency = open.latency.unwrap();
    // A quarter of all requests were due within that second, and waited for
    // what was left of it.
    assert!(latency.p99_9_ms > 0.95 * SECOND, "{latency:?}");
    assert!(latency.p90_ms > 0.4 * SECOND && latency.p50_ms < 0.9 * SECOND, "{latency:?}");
    assert!((open.requests as f64 - 400.0).abs() < 80.0, "{}", open.requests);
    assert_eq!(open.error_count(), 0);

    let peer = Peer::start(stall);
    let closed = run(&peer.url, &format!("{TENSORS} --concurrency 1 --requests 5000")).unwrap();
    let latency = only(&closed).latency.unwrap();
    assert!(latency.p99_9_ms < 0.5 * SECOND && latency.max_ms > 0.95 * SECOND, "{latency:?}");
}

#[test]
fn an_open_loop_keeps_its_rate_whatever_the_server_does() {
    let peer = Peer::start(Manner::Answer);
    for arrivals in ["poisson", "constant"] {
        let arguments = format!("{TENSORS} --rate 200,400 --duration 1500ms --arrivals {arrivals} --seed 3");
        let outcome = run(&peer.url, &arguments).unwrap();
        let offered: Vec<_> = outcome.levels.iter().map(|level| level.offered_rate).collect();
        assert_eq!(offered, [Some(200.0), Some(400.0)]);
        for (level, expected) in outcome.levels.iter().zip([300.0, 600.0]) {
            let slack = if arrivals == "constant" { 1.0 } else { 4.0 * f64::sqrt(expected) };
            assert!((level.requests as f64 - expected).abs() <= slack, "{} of {expected}", level.requests);
            assert!((level.seconds - 1.5).abs() < 1e-6 && level.lag.is_some());
        }
    }
    // Connections that are all taken hold requests up, and it is said.
    let slow = Peer::start(Manner::Slow(Duration::from_millis(20)));
    let arguments = format!("{TENSORS} --rate 200 --duration 1s --max-connections 2 --arrivals constant");
    let outcome = run(&slow.url, &arguments).unwrap();
    let level = only(&outcome);
    assert!(level.held > 100 && level.latency.unwrap().max_ms > 500.0, "{outcome}");
    assert!(outcome.to_string().contains("waited for a connection"), "{outcome}");
}

#[test]
fn goodput_counts_what_was_answered_in_time() {
    let peer = Peer::start(Manner::StallAll { at: 100, time: Duration::from_millis(500) });
    let arguments = format!("{TENSORS} --rate 200 --duration 2s --arrivals constant --slo p90<250ms");
    let outcome = run(&peer.url, &arguments).unwrap();
    let level = only(&outcome);
    // Those due in the first half of the stall came too late: 50 of 400.
    let good = level.goodput_per_second.unwrap() * level.seconds;
    assert!((300.0..=352.0).contains(&good), "{good}");
    assert_eq!(level.objective_held, Some(false));
    let refusing = Peer::start(Manner::RefuseEvery(2));
    let outcome = run(&refusing.url, &format!("{TENSORS} --requests 100 --slo p51<10s")).unwrap();
    assert_eq!(only(&outcome).objective_held, Some(false), "a refusal is no answer in time");
}

#[test]
fn steps_and_ramps_run_without_a_pause() {
    let peer = Peer::start(Manner::Answer);
    let arguments = format!("{TENSORS} --step 50,300,50 --duration 600ms --arrivals constant");
    let outcome = run(&peer.url, &arguments).unwrap();
    let counts: Vec<_> = outcome.levels.iter().map(|level| level.requests).collect();
    assert_eq!(counts, [30, 180, 30]);
    assert!(outcome.levels.iter().all(|level| level.stage == 0 && !level.intervals.is_empty()));
    let times: Vec<f64> =
        outcome.levels.iter().flat_map(|level| &level.intervals).map(|point| point.at_seconds).collect();
    assert!(times.is_sorted() && *times.last().unwrap() > 1.7, "{times:?}");

    let outcome =
        run(&peer.url, &format!("{TENSORS} --ramp 0..400 --duration 1s --arrivals constant")).unwrap();
    assert_eq!((only(&outcome).requests, only(&outcome).offered), (200, Some((0.0, 400.0))));
    assert!(run(&peer.url, &format!("{TENSORS} --ramp 0..400 --requests 5")).is_err(), "a ramp has a length");
}

#[test]
fn what_is_steady_ends_early_and_what_is_not_says_so() {
    let peer = Peer::start(Manner::Slow(Duration::from_millis(5)));
    let arguments =
        format!("{TENSORS} --rate 100 --arrivals constant --until-stable 40% --window 300ms --duration 20s");
    let outcome = run(&peer.url, &arguments).unwrap();
    let level = only(&outcome);
    assert_eq!(level.stable, Some(true));
    assert!(level.seconds >= 0.9 && level.seconds < 10.0, "{}", level.seconds);
    let arguments = format!("{TENSORS} --rate 50 --until-stable 0.01% --window 100ms --duration 1s");
    let outcome = run(&peer.url, &arguments).unwrap();
    assert_eq!(only(&outcome).stable, Some(false));
    assert!(outcome.to_string().contains("no three windows agreed"), "{outcome}");
}

#[test]
fn a_search_finds_the_rate_that_a_server_can_do() {
    // One at a time, each 20 ms: at fifty a second its queue has no end, and
    // within the second that each step takes it is long at seventy.
    let peer = Peer::start(Manner::OneByOne(Duration::from_millis(20)));
    let arguments =
        format!("{TENSORS} --search --rate 10..1000 --slo p90<300ms --duration 1s --arrivals constant");
    let outcome = run(&peer.url, &arguments).unwrap();
    let found = outcome.found_rate.unwrap();
    assert!((20.0..=100.0).contains(&found), "{found}: {outcome}");
    assert!(!outcome.failed() && outcome.levels.len() > 3);
    assert!(outcome.to_string().contains("p90<300ms holds up to"), "{outcome}");
}

#[test]
fn the_servers_own_times_stand_beside_ours() {
    let peer = Peer::start(Manner::Answer);
    let outcome = run(&peer.url, &format!("{TENSORS} --requests 50")).unwrap();
    let server = only(&outcome).server.unwrap();
    assert_eq!((server.requests, server.queue_ms, server.compute_ms, server.batch_size), (50, 1.0, 5.0, 2.0));
    assert_eq!(outcome.server_version.as_deref(), Some("peer 1.2"));
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
    assert!(line.contains("only http:// and grpc://"), "{line}");
    assert!(said(&peer.url, "").contains("--model"));
}

#[test]
fn every_protocol_has_its_path_and_its_body() {
    let peer = Peer::start(Manner::Answer);
    let inputs = "--input pixels:UINT8:2,3 --fill zero --warm-up 0s --requests 5 --model m";
    for (protocol, path, bytes) in [
        ("torchserve", "/predictions/m", r#"{"pixels":[[0,0,0],[0,0,0]]}"#),
        ("kserve-v1", "/v1/models/m:predict", r#"{"instances":[[0,0,0],[0,0,0]]}"#),
        ("plain", "/predict", r#"{"pixels":[[0,0,0],[0,0,0]]}"#),
    ] {
        let outcome = run(&peer.url, &format!("{inputs} --protocol {protocol}")).unwrap();
        assert!(!outcome.failed(), "{outcome}");
        assert_eq!(outcome.target, format!("POST {}{path}", peer.url));
        // It echoes.
        assert_eq!(only(&outcome).body_bytes, 5 * bytes.len() as u64, "{protocol}");
    }
    assert_eq!(peer.seen.metadata.load(Ordering::Relaxed), 0, "declared inputs need no metadata");
}

#[test]
fn a_folder_of_bodies_is_sent_in_turn_and_answers_are_checked() {
    let peer = Peer::start(Manner::Answer);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.json", r#"{"label": "cat", "probability": 0.7, "more": [1]}"#);
    write("a.json.expected.json", r#"{"label": "cat", "probability": 0.70001}"#);
    write("b.json", r#"{"label": "dog"}"#);
    write("b.json.expected.json", r#"{"label": "fox"}"#);
    write("c.txt", "no JSON, and nothing is expected");
    let arguments = format!("--body {} --warm-up 0s --requests 30", folder.path().display());
    let outcome = run(&peer.url, &arguments).unwrap();
    let level = only(&outcome);
    assert_eq!(counts(level), [("wrong answer", 10)]);
    assert_eq!(level.errors[0].first, r#"'label' is "dog", expected "fox""#);
    assert_eq!((outcome.different_requests, level.latency.unwrap().count), (3, 20));
}

#[test]
fn raw_bodies_are_checked_by_raw_answers() {
    let peer = Peer::start(Manner::Answer);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, values: &[f32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        std::fs::write(folder.path().join(name), bytes).unwrap();
    };
    // It echoes.
    write("a.bin", &[1.0, 2.0]);
    write("a.bin.expected.fp32", &[1.0, 2.00001]);
    write("b.bin", &[1.0, 2.0]);
    write("b.bin.expected.fp32", &[1.0, 3.0]);
    let arguments = format!("--body {} --warm-up 0s --requests 20", folder.path().display());
    let outcome = run(&peer.url, &arguments).unwrap();
    assert_eq!(counts(only(&outcome)), [("wrong answer", 10)]);
    assert_eq!(only(&outcome).errors[0].first, "the answer has 2 at 1, expected 3");
    write("b.bin.expected.json", &[]);
    let refused = format!("{:#}", run(&peer.url, &arguments).unwrap_err());
    assert!(refused.contains("both say what is expected"), "{refused}");
}

#[test]
fn real_data_is_sent_with_a_key_and_its_answers_are_checked() {
    let peer = Peer::start(Manner::Answer);
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = json!([{"x": [1, 2]}, {"x": [[3, 4], [5, 6]]}, {"x": [99, 99]}]);
    std::fs::write(file.path(), json!({ "data": data }).to_string()).unwrap();
    let arguments = format!(
        "--input x:FP32:1..9,2 --protocol plain --path /sum --input-data {} --warm-up 0s --requests 30",
        file.path().display()
    );
    let outcome = run(&peer.url, &arguments).unwrap();
    assert_eq!(counts(only(&outcome)), [("status 401", 30)]);
    let words = ["bench", &peer.url].into_iter().chain(arguments.split_whitespace());
    let words = words.chain(["--header", "authorization: Bearer of news"]);
    let outcome = bench::run(&Cli::try_parse_from(words).unwrap().args).unwrap();
    assert_eq!(only(&outcome).error_count(), 0, "{outcome}");
}

/// The first browser that can be asked without a screen.
fn browser() -> Option<&'static str> {
    let names = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| {
        let found = std::process::Command::new(name).arg("--version").output();
        found.is_ok_and(|output| output.status.success())
    })
}

/// A page as a browser shows it.
fn screenshot(browser: &str, page: &std::path::Path, dark: bool) -> image::RgbImage {
    let picture = page.with_extension("png");
    let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!dark));
    let done = std::process::Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--window-size=1300,3000",
            &scheme,
        ])
        .arg(format!("--user-data-dir={}", page.with_extension("profile").display()))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    image::open(picture).unwrap().to_rgb8()
}

/// A browser draws what the page says: lines and bars in their colours, by day
/// and by night. Without a browser here, the page's own tests read its markup.
#[test]
fn a_browser_shows_the_plots() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no browser is here; `scripts/setup --test` installs one");
        return;
    };
    let peer = Peer::start(Manner::Slow(Duration::from_millis(2)));
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let arguments =
        format!("{TENSORS} --rate 50,100,200 --duration 1s --slo p90<1s --html {}", page.display());
    let words = ["bench", &peer.url].into_iter().chain(arguments.split_whitespace());
    let args = Cli::try_parse_from(words).unwrap().args;
    let outcome = bench::run(&args).unwrap();
    bench::write(&outcome, &args.report, &mut Vec::new()).unwrap();
    for (dark, ground, lines) in [
        (false, [0xff, 0xff, 0xff], [[0x1f, 0x6f, 0xb4], [0xb8, 0x55, 0x0a], [0x7a, 0x3f, 0xa0]]),
        (true, [0x14, 0x17, 0x1d], [[0x6c, 0xb4, 0xf2], [0xf2, 0xa3, 0x59], [0xc9, 0xa0, 0xec]]),
    ] {
        let picture = screenshot(browser, &page, dark);
        let count = |colour: [u8; 3]| picture.pixels().filter(|pixel| pixel.0 == colour).count();
        assert!(count(ground) > 500_000, "dark {dark}: the page's ground, {} pixels", count(ground));
        for line in lines {
            assert!(count(line) > 300, "dark {dark}: {} pixels of {line:?}", count(line));
        }
    }
}

#[test]
fn reports_are_written_and_conditions_decide_the_exit_code() {
    let peer = Peer::start(Manner::RefuseEvery(10));
    let folder = tempfile::tempdir().unwrap();
    let (html, csv) = (folder.path().join("report.html"), folder.path().join("levels.csv"));
    let report = |conditions: &str| {
        let arguments = format!(
            "{TENSORS} --rate 100,300 --duration 1s --slo p80<5s --html {} --csv {} {conditions}",
            html.display(),
            csv.display()
        );
        let words = ["bench", &peer.url].into_iter().chain(arguments.split_whitespace());
        let args = Cli::try_parse_from(words).unwrap().args;
        let outcome = bench::run(&args).unwrap();
        let mut printed = Vec::new();
        let code = bench::write(&outcome, &args.report, &mut printed).unwrap();
        (code, String::from_utf8(printed).unwrap())
    };
    assert_eq!(report("").0, 1, "refusals are failures");
    assert_eq!(report("--fail-if errors>20% --fail-if p99>20s").0, 0);
    let (code, json) = report("--fail-if errors>1% --json");
    assert_eq!(code, 3);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["levels"][1]["objective_held"], true);
    let page = std::fs::read_to_string(html).unwrap();
    // Two over the load, and three for each of two loads.
    assert_eq!(page.matches("<svg ").count(), 8);
    assert_eq!(std::fs::read_to_string(csv).unwrap().lines().count(), 3);
}
