//! The probes of `docs/compatibility.md`: the server does what the page says of
//! a path, a call or a field. And the scheduler's parameters on both surfaces.

use bytes::{Buf as _, BufMut as _};
use cresset::grpc::proto::DESCRIPTORS;
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status};

use crate::grpc::channel;
use crate::server::{Server, checkout, post};

#[path = "../compatibility/table.rs"]
mod table;

use table::{Asked, CALLS, ENDPOINTS, FIELDS, Fate};

fn start() -> Server {
    Server::start(
        &checkout("tests/models"),
        &["--model-name=identity", "--model-control-mode=explicit", "--load-model=*"],
    )
}

#[tokio::test]
async fn every_path_answers_as_the_page_says() {
    let server = start();
    let client = reqwest::Client::new();
    for (method, _, path, body, status, expected, fate) in ENDPOINTS {
        let url = match *path {
            "/metrics" => format!("http://{}{path}", server.metrics),
            path => server.url(path),
        };
        let request = client.request(method.parse().unwrap(), url).body(*body);
        let response = request.send().await.unwrap();
        let got = response.status().as_u16();
        let text = response.text().await.unwrap();
        assert_eq!(got, *status, "{method} {path}: {text}");
        assert!(text.contains(expected), "{method} {path}: {text}");
        assert_eq!(got == 200, matches!(fate, Fate::Served(_)), "{method} {path}: {text}");
    }
}

#[tokio::test]
async fn every_call_and_field_answers_as_the_page_says() {
    let server = start();
    let channel = channel(&server).await;
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let service = pool.get_service_by_name("inference.GRPCInferenceService").unwrap();
    let probes: Vec<&Asked> = CALLS.iter().chain(FIELDS).collect();
    for (name, call, request, code, expected, fate) in probes {
        let method = service.methods().find(|method| method.name() == *call).unwrap();
        let request = DynamicMessage::parse_text_format(method.input(), request).unwrap();
        let answer = ask(&channel, call, request.encode_to_vec()).await;
        let (got, text) = match answer {
            Ok(bytes) => {
                let answer = DynamicMessage::decode(method.output(), bytes.as_slice()).unwrap();
                (0, answer.to_text_format())
            }
            Err(status) => (status.code() as i32, status.message().to_owned()),
        };
        assert_eq!(got, *code, "{name}: {text}");
        assert!(text.contains(expected), "{name}: {text}");
        if CALLS.iter().any(|line| line.0 == *name) {
            assert_eq!(got == 0, matches!(fate, Fate::Served(_)), "{name}: {text}");
        }
    }
}

/// The first answer of a call, streaming or not: they are alike on the wire.
async fn ask(channel: &tonic::transport::Channel, call: &str, request: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path: PathAndQuery = format!("/inference.GRPCInferenceService/{call}").parse().unwrap();
    let requests = Request::new(tokio_stream::once(request));
    let mut answers = grpc.streaming(requests, path, Raw).await?.into_inner();
    answers.message().await?.ok_or_else(|| Status::internal("no answer"))
}

/// Messages as their bytes.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}

/// A repository of one model of the checkout, with this behind its
/// configuration.
fn repository(model: &str, more: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let from = checkout("tests/models").join(model);
    let to = root.path().join(model);
    std::fs::create_dir_all(to.join("1")).unwrap();
    std::fs::copy(from.join("1/model.pt"), to.join("1/model.pt")).unwrap();
    let config = std::fs::read_to_string(from.join("config.pbtxt")).unwrap();
    std::fs::write(to.join("config.pbtxt"), config.replace("dynamic_batching { }", "") + more).unwrap();
    root
}

#[tokio::test]
async fn a_request_that_is_late_is_told_so_on_both_surfaces() {
    // A request that is alone waits an hour for others.
    let scheduling = "dynamic_batching { max_queue_delay_microseconds: 3600000000
        default_queue_policy { allow_timeout_override: true } }";
    let root = repository("identity", scheduling);
    let server = Server::start(root.path(), &[]);
    let body = r#"{"parameters":{"timeout":20000,"priority":1},
        "inputs":[{"name":"INPUT0","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#;
    let (status, answer) = post(&server.url("/v2/models/identity/infer"), body).await;
    assert_eq!((status, answer), (503, serde_json::json!({"error": "Request timeout expired"})));

    let mut client = crate::grpc::client(&server).await;
    let timeout = cresset::grpc::proto::infer_parameter::ParameterChoice::Int64Param(20_000);
    let parameter = cresset::grpc::proto::InferParameter { parameter_choice: Some(timeout) };
    let request = cresset::grpc::proto::ModelInferRequest {
        model_name: "identity".to_owned(),
        parameters: [("timeout".to_owned(), parameter)].into(),
        inputs: vec![crate::grpc::input("INPUT0", "FP32", &[1, 1])],
        raw_input_contents: vec![bytes::Bytes::from_static(&[0; 4])],
        ..Default::default()
    };
    let late = client.model_infer(request).await.unwrap_err();
    assert_eq!((late.code(), late.message()), (tonic::Code::Unavailable, "Request timeout expired"));
    assert_eq!(server.metric("nv_inference_request_failure", "REJECTED").await, 2.0);
}

#[tokio::test]
async fn a_configured_warm_up_runs_and_one_that_fails_keeps_its_model_from_being_served() {
    let sample = |value: &str| {
        format!(
            r#"model_warmup [ {{ name: "first" batch_size: 2 count: 3
                 inputs {{ key: "x" value {{ data_type: TYPE_FP32 dims: [ 4 ] {value} }} }} }} ]"#
        )
    };
    let root = repository("fails", &sample("zero_data: true"));
    drop(Server::start(root.path(), &[]));

    // It fails if a number is below zero.
    let root = repository("fails", &sample(r#"input_data_file: "below""#));
    let directory = root.path().join("fails/warmup");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("below"), [-1.0_f32; 4].map(f32::to_le_bytes).concat()).unwrap();
    // Which it is whether the model's file is one or a link.
    let (file, kept) = (root.path().join("fails/1/model.pt"), root.path().join("fails/files/today"));
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::rename(&file, kept.join("model.pt")).unwrap();
    std::os::unix::fs::symlink("../files/today/model.pt", &file).unwrap();
    let output = crate::server::command(root.path(), &[]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("failed to run warmup sample 'first': "), "{text}");
}

#[tokio::test]
async fn a_models_tags_and_its_groups_name_are_shown() {
    let more = r#"metric_tags { key: "team" value: "vision" }
        instance_group { name: "front" count: 1 kind: KIND_CPU }"#;
    let root = repository("identity", more);
    let server = Server::start(root.path(), &[]);
    let config = crate::server::get(&server.url("/v2/models/identity/config")).await.1;
    assert_eq!(config["instance_group"][0]["name"], "front");
    assert_eq!(config["metric_tags"]["team"], "vision");
    let body = r#"{"inputs":[{"name":"INPUT0","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#;
    assert_eq!(post(&server.url("/v2/models/identity/infer"), body).await.0, 200);
    assert_eq!(server.metric("nv_inference_request_success", r#"team="vision""#).await, 1.0);
}
