//! Models that come, change and go while the server serves: over both surfaces,
//! and by polling the repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cresset::grpc::proto::model_repository_parameter::ParameterChoice;
use cresset::grpc::proto::{
    ModelInferRequest, ModelRepositoryParameter, RepositoryIndexRequest, RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

use crate::grpc::{Client, client, input};
use crate::server::{Server, checkout, command, get, post};

const CONFIG: &str = r#"
    max_batch_size: 8
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
    output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
    instance_group [ { count: 1 kind: KIND_CPU } ]
    dynamic_batching { }
"#;

/// Gives its input back.
const SAME: &str = "tests/models/fails/1/model.pt";
/// Gives its input plus one.
const PLUS_ONE: &str = "tests/backend/writes_input.pt";

/// Puts a model's file in place in one step, as a careful copy does.
fn put(root: &TempDir, path: &str, file: &str) {
    let place = root.path().join(path);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    let next = place.with_extension("next");
    fs::copy(checkout(file), &next).unwrap();
    fs::rename(next, place).unwrap();
}

fn configure(root: &TempDir, model: &str, more: &str) {
    let place = root.path().join(model);
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("config.next"), format!("{CONFIG}{more}")).unwrap();
    fs::rename(place.join("config.next"), place.join("config.pbtxt")).unwrap();
}

/// A repository of one model, `m`, of one version that gives its input back.
fn repository() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    configure(&root, "m", "");
    put(&root, "m/1/model.pt", SAME);
    root
}

fn start(root: &TempDir, arguments: &[&str]) -> Server {
    let explicit = ["--model-control-mode=explicit"];
    Server::start(root.path(), &[&explicit, arguments].concat())
}

fn body(x: f32) -> String {
    json!({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [x, x, x, x]}]}).to_string()
}

/// What `m` makes of `x`, with the version that did.
async fn answer(server: &Server, x: f32) -> (String, f64) {
    let (status, answer) = post(&server.url("/v2/models/m/infer"), body(x)).await;
    assert_eq!(status, 200, "{answer}");
    let version = answer["model_version"].as_str().unwrap().to_owned();
    (version, answer["outputs"][0]["data"][0].as_f64().unwrap())
}

/// Over one surface or the other: whether it was done, else the code (as HTTP
/// has it) and the words.
enum Caller<'a> {
    Http(&'a Server),
    Grpc(Client),
}

impl Caller<'_> {
    async fn load(&mut self, model: &str, parameters: &[(&str, Value)]) -> Result<(), (u16, String)> {
        match self {
            Self::Http(server) => over_http(server, model, "load", parameters).await,
            Self::Grpc(client) => {
                let request = RepositoryModelLoadRequest {
                    model_name: model.to_owned(),
                    parameters: messages(parameters),
                    ..RepositoryModelLoadRequest::default()
                };
                client.repository_model_load(request).await.map(|_| ()).map_err(|status| refused(&status))
            }
        }
    }

    async fn unload(&mut self, model: &str, parameters: &[(&str, Value)]) -> Result<(), (u16, String)> {
        match self {
            Self::Http(server) => over_http(server, model, "unload", parameters).await,
            Self::Grpc(client) => {
                let request = RepositoryModelUnloadRequest {
                    model_name: model.to_owned(),
                    parameters: messages(parameters),
                    ..RepositoryModelUnloadRequest::default()
                };
                client.repository_model_unload(request).await.map(|_| ()).map_err(|status| refused(&status))
            }
        }
    }

    /// Each entry in a line.
    async fn index(&mut self, ready: bool) -> Vec<String> {
        match self {
            Self::Http(server) => {
                let (status, index) =
                    post(&server.url("/v2/repository/index"), json!({"ready": ready}).to_string()).await;
                assert_eq!(status, 200, "{index}");
                let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_owned();
                let line = |entry: &Value| {
                    ["name", "version", "state", "reason"].map(|field| text(entry, field)).join("/")
                };
                index.as_array().unwrap().iter().map(line).collect()
            }
            Self::Grpc(client) => {
                let request = RepositoryIndexRequest { ready, ..RepositoryIndexRequest::default() };
                let index = client.repository_index(request).await.unwrap().into_inner();
                index.models.into_iter().map(|m| [m.name, m.version, m.state, m.reason].join("/")).collect()
            }
        }
    }

    async fn settles(&mut self, expected: &[&str]) {
        for _ in 0..6000 {
            if self.index(false).await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.index(false).await, expected);
    }
}

async fn over_http(
    server: &Server,
    model: &str,
    action: &str,
    parameters: &[(&str, Value)],
) -> Result<(), (u16, String)> {
    let parameters: serde_json::Map<String, Value> =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let body =
        if parameters.is_empty() { String::new() } else { json!({"parameters": parameters}).to_string() };
    let (status, answer) = post(&server.url(&format!("/v2/repository/models/{model}/{action}")), body).await;
    match status {
        200 => Ok(()),
        _ => Err((status, answer["error"].as_str().unwrap_or_default().to_owned())),
    }
}

fn messages(parameters: &[(&str, Value)]) -> BTreeMap<String, ModelRepositoryParameter> {
    let message = |value: &Value| match value {
        Value::String(text) => ParameterChoice::StringParam(text.clone()),
        Value::Bool(flag) => ParameterChoice::BoolParam(*flag),
        other => ParameterChoice::Int64Param(other.as_i64().unwrap()),
    };
    let parameter = |(name, value): &(&str, Value)| {
        ((*name).to_owned(), ModelRepositoryParameter { parameter_choice: Some(message(value)) })
    };
    parameters.iter().map(parameter).collect()
}

fn refused(status: &tonic::Status) -> (u16, String) {
    let code = match status.code() {
        Code::InvalidArgument => 400,
        Code::PermissionDenied => 403,
        Code::Internal => 500,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        other => panic!("{other:?}: {}", status.message()),
    };
    (code, status.message().to_owned())
}

#[tokio::test]
async fn a_model_is_loaded_changed_and_unloaded_over_both_surfaces() {
    let root = repository();
    let server = start(&root, &[]);
    assert!(server.announced.contains("as they are loaded and unloaded"), "{}", server.announced);
    assert_eq!(get(&server.url("/v2/health/ready")).await.0, 200, "without a model, too");
    let grpc = Caller::Grpc(client(&server).await);
    let mut round = 0;
    for mut caller in [Caller::Http(&server), grpc] {
        round += 1;
        if round == 1 {
            assert_eq!(caller.index(false).await, ["m//UNAVAILABLE/not loaded"]);
        }
        assert_eq!(get(&server.url("/v2/models/m/ready")).await.0, 400);
        caller.load("m", &[]).await.unwrap();
        assert_eq!(answer(&server, 3.0).await, ("1".to_owned(), 3.0));
        assert_eq!(caller.index(false).await, ["m/1/READY/"]);
        assert_eq!(caller.index(true).await, ["m/1/READY/"]);

        put(&root, "m/2/model.pt", PLUS_ONE);
        caller.load("m", &[]).await.unwrap();
        assert_eq!(answer(&server, 3.0).await, ("2".to_owned(), 4.0));
        caller.settles(&["m/1/UNAVAILABLE/unloaded", "m/2/READY/"]).await;
        assert_eq!(caller.index(true).await, ["m/2/READY/"]);
        let (_, stats) = get(&server.url("/v2/models/m/stats")).await;
        assert_eq!(stats["model_stats"].as_array().unwrap().len(), 1, "{stats}");
        assert_eq!(server.metric("nv_inference_count", "version=\"1\"").await, 0.0);
        assert_eq!(server.metric("nv_inference_count", "version=\"2\"").await, 1.0);

        put(&root, "m/2/model.pt", SAME);
        caller.load("m", &[]).await.unwrap();
        assert_eq!(answer(&server, 3.0).await, ("2".to_owned(), 3.0));

        let config = json!({"max_batch_size": 2, "version_policy": {"specific": {"versions": [1]}},
            "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}],
            "output": [{"name": "renamed", "data_type": "TYPE_FP32", "dims": [4]}]});
        caller.load("m", &[("config", json!(config.to_string()))]).await.unwrap();
        let (_, told) = get(&server.url("/v2/models/m/config")).await;
        assert_eq!((&told["max_batch_size"], &told["output"][0]["name"]), (&json!(2), &json!("renamed")));
        assert_eq!(answer(&server, 5.0).await, ("1".to_owned(), 5.0));

        caller.unload("m", &[("unload_dependents", json!(true))]).await.unwrap();
        assert_eq!(get(&server.url("/v2/models/m/ready")).await.0, 400);
        let (status, gone) = post(&server.url("/v2/models/m/infer"), body(1.0)).await;
        assert_eq!(status, 404);
        assert_eq!(gone["error"], "Request for unknown model: 'm' has no available versions");
        caller.settles(&["m/1/UNAVAILABLE/unloaded", "m/2/UNAVAILABLE/unloaded"]).await;
        assert_eq!(caller.index(true).await, [""; 0]);
        assert_eq!(server.metric("nv_inference_count", "model=\"m\"").await, 0.0);
        assert_eq!(get(&server.url("/v2/health/ready")).await.0, 200);
        fs::remove_dir_all(root.path().join("m/2")).unwrap();
    }
}

#[tokio::test]
async fn what_is_refused_is_refused_alike_on_both_surfaces() {
    let root = repository();
    put(&root, "broken/1/model.pt", "README.md");
    let server = start(&root, &["--load-model=m"]);
    let mut http = Caller::Http(&server);
    let mut grpc = Caller::Grpc(client(&server).await);
    let broken = "load failed for model 'broken': version 1 is at UNAVAILABLE state: ";
    let missing = "failed to load 'nope', failed to poll from model repository";
    for (model, parameters, code, words) in [
        ("nope", vec![], 500, missing),
        ("broken", vec![], 400, broken),
        ("m", vec![("config", json!(3))], 400, "invalid value type for load parameter 'config'"),
        ("m", vec![("confg", json!("{}"))], 400, "unrecognized load parameter 'confg'"),
        (
            "m",
            vec![("config", json!("{"))],
            400,
            "failed to load 'm', failed to poll from model repository: Invalid config override: config:1:",
        ),
        ("m", vec![("file:1/model.pt", json!("YQ=="))], 501, "load parameter 'file:1/model.pt': "),
    ] {
        let told = http.load(model, &parameters).await.unwrap_err();
        assert_eq!(told.0, code, "{told:?}");
        assert!(told.1.starts_with(words), "{told:?}");
        assert!(!told.1.contains(root.path().to_str().unwrap()), "no path of the server's: {told:?}");
        assert_eq!(grpc.load(model, &parameters).await.unwrap_err(), told);
    }
    for (name, value, words) in [
        ("unload_dependents", json!("yes"), "invalid value type for unload parameter 'unload_dependents'"),
        ("dependents", json!(true), "unrecognized unload parameter 'dependents'"),
    ] {
        let told = http.unload("m", &[(name, value.clone())]).await.unwrap_err();
        assert!(told.0 == 400 && told.1.starts_with(words), "{told:?}");
        assert_eq!(grpc.unload("m", &[(name, value)]).await.unwrap_err(), told);
    }
    let Caller::Grpc(client) = &mut grpc else { panic!("it is one") };
    let named = |repository_name: &str| RepositoryModelLoadRequest {
        repository_name: repository_name.to_owned(),
        model_name: "m".to_owned(),
        ..RepositoryModelLoadRequest::default()
    };
    let status = client.repository_model_load(named("/models")).await.unwrap_err();
    assert_eq!(refused(&status).0, 501);
    assert!(status.message().starts_with("'repository_name' specification is not supported"), "{status}");
    assert_eq!(http.index(true).await, ["m/1/READY/"], "all of it changed nothing");
    assert_eq!(http.index(false).await, grpc.index(false).await);
    assert_eq!(answer(&server, 3.0).await.1, 3.0);
    assert_eq!(get(&server.url("/v2/health/ready")).await.0, 200);
}

#[tokio::test]
async fn without_explicit_control_and_beyond_this_machine_nobody_loads() {
    let root = repository();
    for (arguments, code, words) in [
        (&[][..], 503, "explicit model load / unload is not allowed if polling is enabled"),
        (
            &["--model-control-mode=poll"],
            503,
            "explicit model load / unload is not allowed if polling is enabled",
        ),
        (
            &["--model-control-mode=explicit", "--load-model=*", "--host=0.0.0.0"],
            403,
            "explicit model load / unload is not allowed on an address that others reach",
        ),
    ] {
        let server = Server::start(root.path(), arguments);
        assert_eq!(answer(&server, 3.0).await.1, 3.0, "what was loaded at start");
        let grpc = Caller::Grpc(client(&server).await);
        for mut caller in [Caller::Http(&server), grpc] {
            for told in [caller.load("m", &[]).await, caller.unload("m", &[]).await] {
                let (told, message) = told.unwrap_err();
                assert!(told == code && message.starts_with(words), "{told} {message}");
            }
            assert_eq!(caller.index(false).await, ["m/1/READY/"]);
        }
    }
}

#[tokio::test]
async fn polling_follows_what_is_copied_changed_and_removed() {
    let root = tempfile::tempdir().unwrap();
    let arguments = ["--model-control-mode=poll", "--repository-poll-secs=1"];
    let server = Server::start(root.path(), &arguments);
    assert_eq!(get(&server.url("/v2/health/ready")).await.0, 200, "empty, and ready for models");
    let mut caller = Caller::Http(&server);
    configure(&root, "m", "");
    put(&root, "m/1/model.pt", SAME);
    caller.settles(&["m/1/READY/"]).await;
    assert_eq!(answer(&server, 3.0).await, ("1".to_owned(), 3.0));

    // The first half of a copy, longer than a look takes to come by.
    let whole = fs::read(checkout(PLUS_ONE)).unwrap();
    fs::create_dir(root.path().join("m/2")).unwrap();
    fs::write(root.path().join("m/2/model.pt"), &whole[..whole.len() / 2]).unwrap();
    let mut told = caller.index(false).await;
    for _ in 0..6000 {
        // A look at it may come by while it is being tried.
        if told.len() == 2 && told[1] != "m/2/LOADING/" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        told = caller.index(false).await;
    }
    assert!(told[0] == "m/1/READY/" && told[1].starts_with("m/2/UNAVAILABLE/"), "{told:?}");
    assert!(told[1].len() > "m/2/UNAVAILABLE/".len(), "it says why: {told:?}");
    assert_eq!(answer(&server, 3.0).await, ("1".to_owned(), 3.0));
    assert_eq!(get(&server.url("/v2/health/ready")).await.0, 200);
    fs::write(root.path().join("m/2/model.pt"), whole).unwrap();
    caller.settles(&["m/1/UNAVAILABLE/unloaded", "m/2/READY/"]).await;
    assert_eq!(answer(&server, 3.0).await, ("2".to_owned(), 4.0));
    fs::remove_dir_all(root.path().join("m")).unwrap();
    caller.settles(&[]).await;
    assert_eq!(get(&server.url("/v2/models/m")).await.0, 404);
}

/// As the README's "While you develop" has it: files are saved in place, by
/// halves and with slips.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saving_files_while_polling_loses_no_request() {
    let root = repository();
    let arguments = ["--model-control-mode=poll", "--repository-poll-secs=1"];
    let server = Server::start(root.path(), &arguments);
    let over = Arc::new(AtomicBool::new(false));
    let url = server.url("/v2/models/m/infer");
    let client = tokio::spawn(http_client(url, false, Arc::clone(&over)));
    let (model, config) = (root.path().join("m/1/model.pt"), root.path().join("m/config.pbtxt"));
    let mut caller = Caller::Http(&server);

    // It answers anew within a few looks.
    fs::write(&model, fs::read(checkout(PLUS_ONE)).unwrap()).unwrap();
    for _ in 0..6000 {
        if answer(&server, 3.0).await.1 == 4.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(answer(&server, 3.0).await.1, 4.0);

    // A slip is told, and what served before serves.
    let good = fs::read(&config).unwrap();
    fs::write(&config, "max_batch_sise: 8").unwrap();
    for _ in 0..6000 {
        if caller.index(false).await[0].contains("max_batch_sise") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = caller.index(false).await;
    assert!(told[0].contains("max_batch_sise"), "{told:?}");
    assert_eq!(answer(&server, 3.0).await.1, 4.0);
    fs::write(&config, good).unwrap();
    caller.settles(&["m/1/READY/"]).await;

    over.store(true, Ordering::Release);
    assert!(client.await.unwrap().0 > 100);
}

/// As with Triton, the repository isn't polled again.
#[tokio::test]
async fn polling_every_zero_seconds_never_looks_again() {
    let root = repository();
    let server = Server::start(root.path(), &["--model-control-mode=poll", "--repository-poll-secs=0"]);
    let said = "models      as they are now: --repository-poll-secs=0 never looks again";
    assert!(server.announced.contains(said), "{}", server.announced);
    configure(&root, "late", "");
    put(&root, "late/1/model.pt", SAME);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(answer(&server, 2.0).await, ("1".to_owned(), 2.0));
    assert_ne!(get(&server.url("/v2/models/late/ready")).await.0, 200);
}

#[test]
fn what_cannot_be_meant_is_one_clear_line_at_start() {
    let (root, other) = (repository(), repository());
    let place = |root: &TempDir| root.path().display().to_string();
    let second = format!("--model-repository={}", place(&other));
    for (arguments, cause) in [
        (&["--load-model=m"][..], "--load-model needs --model-control-mode=explicit"),
        (&["--model-control-mode=explicit", "--load-model=*", "--load-model=m"], "--load-model=* loads all"),
        (
            &["--model-control-mode=explicit", "--load-model=nope"],
            "--load-model nope: the model repository holds no such model; there are: m",
        ),
        (&[second.as_str()], "no model can be served: m: model appears in two or more repositories"),
    ] {
        let output = command(Path::new(root.path()), arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let line = text.lines().last().unwrap();
        assert!(line.starts_with("cresset: ") && line.contains(cause), "{text}");
        if cause.contains("two or more") {
            assert!(text.contains(&place(&root)) && text.contains(&place(&other)), "both places: {text}");
        }
    }
}

/// One request after the other over HTTP until `over`; counts the answers, and
/// the refusals of a version that comes and goes.
async fn http_client(url: String, comes_and_goes: bool, over: Arc<AtomicBool>) -> (u32, u32) {
    let client = reqwest::Client::new();
    let (mut answered, mut unknown) = (0u32, 0u32);
    while !over.load(Ordering::Acquire) {
        let x = (answered % 100) as f32;
        let response = client.post(&url).body(body(x)).send().await.expect("an answer");
        let status = response.status().as_u16();
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        if status == 200 {
            let y = answer["outputs"][0]["data"][3].as_f64().unwrap();
            assert!(y == f64::from(x) || y == f64::from(x) + 1.0, "{x} gave {y}");
            answered += 1;
        } else {
            let message = answer["error"].as_str().unwrap();
            let gone = status == 404 && message.starts_with("Request for unknown model: 'm' version 2 ");
            let coming = status == 503 && message.ends_with("model 'm' is being loaded");
            assert!(comes_and_goes && (gone || coming), "{status}: {message}");
            unknown += 1;
        }
    }
    (answered, unknown)
}

/// The same over gRPC, to whichever version is the newest.
async fn grpc_client(mut client: Client, over: Arc<AtomicBool>) -> (u32, u32) {
    let mut answered = 0u32;
    while !over.load(Ordering::Acquire) {
        let x = (answered % 100) as f32;
        let request = ModelInferRequest {
            model_name: "m".to_owned(),
            inputs: vec![input("x", "FP32", &[1, 4])],
            raw_input_contents: vec![[x.to_le_bytes(); 4].concat().into()],
            ..ModelInferRequest::default()
        };
        let response = client.model_infer(request).await.expect("an answer").into_inner();
        let y = f32::from_le_bytes(response.raw_output_contents[0][12..].try_into().unwrap());
        assert!(y == x || y == x + 1.0, "{x} gave {y}");
        answered += 1;
    }
    (answered, 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_while_versions_come_change_and_go() {
    let root = repository();
    configure(&root, "m", "version_policy { all { } }");
    put(&root, "m/2/model.pt", PLUS_ONE);
    let server = start(&root, &["--load-model=m"]);
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for path in ["/v2/models/m/infer", "/v2/models/m/versions/1/infer"] {
        for _ in 0..2 {
            clients.spawn(http_client(server.url(path), false, Arc::clone(&over)));
        }
    }
    clients.spawn(http_client(server.url("/v2/models/m/versions/2/infer"), true, Arc::clone(&over)));
    for _ in 0..2 {
        clients.spawn(grpc_client(client(&server).await, Arc::clone(&over)));
    }
    let mut caller = Caller::Http(&server);
    for round in 0..20 {
        let (same, other) = if round % 2 == 0 { (PLUS_ONE, SAME) } else { (SAME, PLUS_ONE) };
        put(&root, "m/1/model.pt", same);
        match round % 4 {
            0 => fs::remove_dir_all(root.path().join("m/2")).unwrap(),
            1 | 2 => put(&root, "m/2/model.pt", other),
            _ => put(&root, "m/3/model.pt", "README.md"),
        }
        let loaded = caller.load("m", &[]).await;
        assert_eq!(loaded.is_err(), round % 4 == 3, "{loaded:?}");
        if round % 4 == 3 {
            fs::remove_dir_all(root.path().join("m/3")).unwrap();
        }
        let (_, told) = post(&server.url("/v2/models/m/versions/1/infer"), body(1.0)).await;
        let expected = if same == SAME { 1.0 } else { 2.0 };
        assert_eq!(told["outputs"][0]["data"][0], json!(expected), "round {round}: {told}");
    }
    over.store(true, Ordering::Release);
    let (mut answered, mut unknown) = (0, 0);
    while let Some(counts) = clients.join_next().await {
        let (some, none) = counts.unwrap();
        assert!(some > 0, "every client was answered");
        answered += some;
        unknown += none;
    }
    assert!(answered > 100 && unknown > 0, "{answered} answered, {unknown} unknown");
}
