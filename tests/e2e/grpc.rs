//! The gRPC surface with a client of its own service: its metadata and its
//! answers. A bad request gets the same error as over HTTP.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cresset::grpc::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use cresset::grpc::proto::infer_parameter::ParameterChoice;
use cresset::grpc::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use cresset::grpc::proto::{
    InferParameter, InferTensorContents, LogSettingsRequest, ModelConfigRequest, ModelInferRequest,
    ModelInferResponse, ModelMetadataRequest, ModelReadyRequest, ModelStatisticsRequest,
    RepositoryIndexRequest, ServerLiveRequest, ServerMetadataRequest, ServerReadyRequest,
    SystemSharedMemoryRegisterRequest, SystemSharedMemoryStatusRequest,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::server::{Server, checkout};

pub(crate) type Client = GrpcInferenceServiceClient<Channel>;

pub(crate) async fn channel(server: &Server) -> Channel {
    Endpoint::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap()
}

pub(crate) async fn client(server: &Server) -> Client {
    GrpcInferenceServiceClient::new(channel(server).await).max_decoding_message_size(usize::MAX)
}

pub(crate) fn input(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..InferInputTensor::default()
    }
}

fn ints(values: &[i32]) -> Bytes {
    values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
}

/// A request to `simple`: rows of `a` and rows of `b`.
fn simple(id: &str, rows: i64, a: i32, b: i32) -> ModelInferRequest {
    let elements = 16 * usize::try_from(rows).unwrap();
    ModelInferRequest {
        model_name: "simple".to_owned(),
        id: id.to_owned(),
        inputs: vec![input("INPUT0", "INT32", &[rows, 16]), input("INPUT1", "INT32", &[rows, 16])],
        raw_input_contents: vec![ints(&vec![a; elements]), ints(&vec![b; elements])],
        ..ModelInferRequest::default()
    }
}

/// A request to `busy`, which computes for two milliseconds.
pub(crate) fn busy(x: f32) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "busy".to_owned(),
        id: x.to_string(),
        inputs: vec![input("x", "FP32", &[1, 4])],
        raw_input_contents: vec![[x.to_le_bytes(); 4].concat().into()],
        ..ModelInferRequest::default()
    }
}

fn assert_simple(response: &ModelInferResponse, id: &str, rows: i64, sum: i32, difference: i32) {
    let elements = 16 * usize::try_from(rows).unwrap();
    assert_eq!(response.id, id);
    let outputs: Vec<_> =
        response.outputs.iter().map(|o| (&*o.name, &*o.datatype, o.shape.clone())).collect();
    assert_eq!(outputs, [("OUTPUT0", "INT32", vec![rows, 16]), ("OUTPUT1", "INT32", vec![rows, 16])]);
    assert_eq!(response.raw_output_contents, [ints(&vec![sum; elements]), ints(&vec![difference; elements])]);
}

#[tokio::test]
async fn the_server_and_its_models_say_what_they_are() {
    let server = Server::with_default_models(&[]);
    let mut client = client(&server).await;
    assert!(client.server_live(ServerLiveRequest {}).await.unwrap().get_ref().live);
    assert!(client.server_ready(ServerReadyRequest {}).await.unwrap().get_ref().ready);
    for (name, version, ready) in
        [("simple", "", true), ("simple", "1", true), ("simple", "2", false), ("nope", "", false)]
    {
        let request = ModelReadyRequest { name: name.to_owned(), version: version.to_owned() };
        assert_eq!(client.model_ready(request).await.unwrap().get_ref().ready, ready, "{name} {version}");
    }
    let said = client.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner();
    assert_eq!((&*said.name, &*said.version), ("cresset", env!("CARGO_PKG_VERSION")));
    let over_http: Value = reqwest::get(server.url("/v2")).await.unwrap().json().await.unwrap();
    assert_eq!(json!(said.extensions), over_http["extensions"]);
    for version in ["", "1"] {
        let request = ModelMetadataRequest { name: "simple".to_owned(), version: version.to_owned() };
        let said = client.model_metadata(request).await.unwrap().into_inner();
        assert_eq!(
            (&*said.name, &*said.platform, said.versions),
            ("simple", "pytorch_libtorch", vec!["1".to_owned()])
        );
        let tensors: Vec<_> = said
            .inputs
            .iter()
            .chain(&said.outputs)
            .map(|t| (&*t.name, &*t.datatype, t.shape.clone()))
            .collect();
        let expected = ["INPUT0", "INPUT1", "OUTPUT0", "OUTPUT1"].map(|name| (name, "INT32", vec![-1, 16]));
        assert_eq!(tensors, expected);
    }
    let request = SystemSharedMemoryStatusRequest::default();
    let regions = client.system_shared_memory_status(request).await.unwrap().into_inner().regions;
    assert!(regions.is_empty(), "{regions:?}");
    let request = SystemSharedMemoryRegisterRequest::default();
    let refused = client.system_shared_memory_register(request).await.unwrap_err();
    let expected = "SystemSharedMemoryRegister is not offered";
    assert_eq!((refused.code(), refused.message()), (Code::Unimplemented, expected));
    let log = client.log_settings(LogSettingsRequest::default()).await.unwrap().into_inner();
    assert!(log.settings.contains_key("log_verbose_level"), "{log:?}");
}

#[tokio::test]
async fn configuration_statistics_and_index_are_those_of_http() {
    let server = Server::with_default_models(&[]);
    let mut client = client(&server).await;
    client.model_infer(simple("1", 2, 7, 3)).await.unwrap();

    let request = ModelConfigRequest { name: "simple".to_owned(), version: String::new() };
    let config = client.model_config(request).await.unwrap().into_inner().config.unwrap();
    assert_eq!((&*config.name, &*config.platform, config.max_batch_size), ("simple", "pytorch_libtorch", 8));
    assert_eq!(config.input.iter().map(|input| &*input.name).collect::<Vec<_>>(), ["INPUT0", "INPUT1"]);

    let request = ModelStatisticsRequest { name: "simple".to_owned(), version: "1".to_owned() };
    let [told] = &client.model_statistics(request).await.unwrap().into_inner().model_stats[..] else {
        panic!("one model was asked for")
    };
    let url = server.url("/v2/models/simple/stats");
    let over_http: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let stats = &over_http["model_stats"][0];
    assert_eq!(json!(told.inference_count), stats["inference_count"]);
    assert_eq!((told.inference_count, told.execution_count), (2, 1));
    let success = told.inference_stats.unwrap().success.unwrap();
    assert_eq!(json!({"count": success.count, "ns": success.ns}), stats["inference_stats"]["success"]);

    let index = client.repository_index(RepositoryIndexRequest::default()).await.unwrap().into_inner();
    let ready: Vec<_> = index.models.iter().map(|m| (&*m.name, &*m.version, &*m.state)).collect();
    assert_eq!(ready, [("efficientnet_lite0", "1", "READY"), ("simple", "1", "READY")]);
}

#[tokio::test]
async fn an_output_comes_as_its_best_classes() {
    let server = Server::with_default_models(&[]);
    let mut client = client(&server).await;
    let mut request = simple("c", 1, 0, 0);
    let rising: Vec<i32> = (0..16).collect();
    request.raw_input_contents[0] = ints(&rising);
    let parameter = |count| InferParameter { parameter_choice: Some(count) };
    let output = |count| InferRequestedOutputTensor {
        name: "OUTPUT0".to_owned(),
        parameters: [("classification".to_owned(), parameter(count))].into(),
    };
    request.outputs = vec![output(ParameterChoice::Int64Param(2))];
    let response = client.model_infer(request.clone()).await.unwrap().into_inner();
    assert_eq!((&*response.outputs[0].datatype, &response.outputs[0].shape[..]), ("BYTES", &[1, 2][..]));
    let strings = ["15:15", "14:14"];
    let expected: Vec<u8> =
        strings.iter().flat_map(|s| [&(s.len() as u32).to_le_bytes()[..], s.as_bytes()].concat()).collect();
    assert_eq!(response.raw_output_contents[0], expected);

    request.outputs = vec![output(ParameterChoice::StringParam("two".to_owned()))];
    let refused = client.model_infer(request).await.unwrap_err();
    assert_eq!(refused.message(), "output 'OUTPUT0': 'classification' is a number of classes");
}

#[tokio::test]
async fn simple_adds_and_subtracts_raw_and_typed() {
    let server = Server::with_default_models(&[]);
    let mut client = client(&server).await;
    let response = client.model_infer(simple("42", 2, 7, 3)).await.unwrap().into_inner();
    assert_eq!((&*response.model_name, &*response.model_version), ("simple", "1"));
    assert_simple(&response, "42", 2, 10, 4);

    let typed = |value| InferTensorContents { int_contents: vec![value; 16], ..Default::default() };
    let mut request = simple("typed", 1, 0, 0);
    request.raw_input_contents.clear();
    for (input, value) in request.inputs.iter_mut().zip([5, 8]) {
        input.contents = Some(typed(value));
    }
    let response = client.model_infer(request.clone()).await.unwrap().into_inner();
    assert_simple(&response, "typed", 1, 13, -3);

    request.outputs = vec![InferRequestedOutputTensor { name: "OUTPUT1".to_owned(), ..Default::default() }];
    let response = client.model_infer(request.clone()).await.unwrap().into_inner();
    assert_eq!(response.outputs.len(), 1);
    assert_eq!(response.raw_output_contents, [ints(&[-3; 16])]);

    request.raw_input_contents = vec![ints(&[1; 16]), ints(&[1; 16])];
    let refused = client.model_infer(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("contents beside the request's raw_input_contents"), "{refused}");
}

/// Each bad request on both surfaces: the same words, and the code that
/// belongs to the status.
#[tokio::test]
async fn errors_are_those_of_http() {
    let server = Server::with_default_models(&[]);
    let mut client = client(&server).await;
    let good = || simple("", 1, 1, 1);
    let with = |change: &dyn Fn(&mut ModelInferRequest)| {
        let mut request = good();
        change(&mut request);
        request
    };
    let nine = simple("", 9, 1, 1);
    for request in [
        with(&|r| r.model_name = "nope".to_owned()),
        with(&|r| r.model_version = "9".to_owned()),
        with(&|r| r.model_version = "x".to_owned()),
        with(&|r| r.inputs[0].name = "INPUT7".to_owned()),
        with(&|r| {
            r.inputs.remove(0);
            r.raw_input_contents.remove(0);
        }),
        with(&|r| r.inputs[1].name = "INPUT0".to_owned()),
        with(&|r| r.inputs[0].datatype = "FP32".to_owned()),
        with(&|r| r.inputs[0].shape = vec![16]),
        with(&|r| r.inputs[0].shape = vec![-1, 16]),
        with(&|r| r.inputs[0].shape = vec![4_611_686_018_427_387_904, 16]),
        with(&|r| r.raw_input_contents[0] = ints(&[1, 2])),
        with(&|r| {
            r.inputs[0].shape = vec![2, 16];
            r.raw_input_contents[0] = ints(&[1; 32]);
        }),
        with(&|r| {
            r.outputs = vec![InferRequestedOutputTensor { name: "Y".to_owned(), ..Default::default() }]
        }),
        with(&|r| {
            r.inputs.clear();
            r.raw_input_contents.clear();
        }),
        nine,
    ] {
        let (status, message) = over_http(&server, &request).await;
        let refused = client.model_infer(request.clone()).await.unwrap_err();
        assert_eq!(refused.message(), message, "{request:?}");
        let code = if status == 404 { Code::NotFound } else { Code::InvalidArgument };
        assert_eq!(refused.code(), code, "{status} {message}");
    }
    assert!(client.model_infer(good()).await.is_ok(), "and the connection goes on");
}

/// The same request in the binary tensor extension.
async fn over_http(server: &Server, request: &ModelInferRequest) -> (u16, String) {
    let version = match request.model_version.as_str() {
        "" => String::new(),
        version => format!("/versions/{version}"),
    };
    let url = server.url(&format!("/v2/models/{}{version}/infer", request.model_name));
    let inputs: Vec<Value> = request
        .inputs
        .iter()
        .zip(&request.raw_input_contents)
        .map(|(i, raw)| {
            json!({"name": i.name, "datatype": i.datatype, "shape": i.shape,
                "parameters": {"binary_data_size": raw.len()}})
        })
        .collect();
    let outputs: Vec<Value> = request.outputs.iter().map(|output| json!({"name": output.name})).collect();
    let header = json!({"inputs": inputs, "outputs": outputs}).to_string();
    let body = [header.as_bytes(), &request.raw_input_contents.concat()].concat();
    let response = reqwest::Client::new()
        .post(url)
        .header("Inference-Header-Content-Length", header.len())
        .body(body)
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    (status, answer["error"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_distinct_requests_at_once_get_their_own_rows() {
    let server = Server::with_default_models(&[]);
    let mut tasks = JoinSet::new();
    // Several connections, and many calls at once on each.
    for connection in 0..4 {
        let client = client(&server).await;
        for index in 0..250 {
            let mut client = client.clone();
            let id = connection * 250 + index;
            tasks.spawn(async move {
                let rows = i64::from(id % 3 + 1);
                let request = simple(&id.to_string(), rows, id, 1);
                let response = client.model_infer(request).await.unwrap().into_inner();
                assert_simple(&response, &id.to_string(), rows, id + 1, id - 1);
            });
        }
    }
    let mut answered = 0;
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
        answered += 1;
    }
    assert_eq!(answered, 1_000);
    assert!(server.metric("cresset_grpc_responses_total", "code=\"0\"").await >= 1_000.0);
}

#[tokio::test]
async fn a_stream_is_answered_in_order_and_goes_on_after_an_error() {
    let server = Server::with_default_models(&[]);
    let mut client = client(&server).await;
    let requests = (0..300).map(|id| {
        let mut request = simple(&id.to_string(), i64::from(id % 3 + 1), id, 0);
        if id % 10 == 9 {
            request.inputs[0].name = "INPUT7".to_owned();
        }
        request
    });
    let mut answers = client.model_stream_infer(tokio_stream::iter(requests)).await.unwrap().into_inner();
    for id in 0..300 {
        let answer = answers.next().await.unwrap().unwrap();
        let response = answer.infer_response.unwrap();
        if id % 10 == 9 {
            assert!(answer.error_message.starts_with("unexpected inference input 'INPUT7'"), "{id}");
            assert_eq!(response.id, id.to_string());
        } else {
            assert_eq!(answer.error_message, "");
            assert_simple(&response, &id.to_string(), i64::from(id % 3 + 1), id, id);
        }
    }
    assert!(answers.next().await.is_none());
}

/// The name of a request in the metadata of its answer.
fn named(metadata: &tonic::metadata::MetadataMap) -> String {
    metadata.get("x-request-id").expect("a name").to_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_answer_names_its_request_as_over_http() {
    let server = Server::with_default_models(&[]);
    let mut client = client(&server).await;
    let asked = |model: &str, id: &str| {
        let model_name = model.to_owned();
        let mut request = Request::new(ModelInferRequest { model_name, ..simple("1", 1, 7, 3) });
        if !id.is_empty() {
            request.metadata_mut().insert("x-request-id", id.parse().unwrap());
        }
        request
    };
    let answer = client.model_infer(asked("simple", "seen-again")).await.unwrap();
    assert_eq!(named(answer.metadata()), "seen-again");
    let refused = client.model_infer(asked("nope", "seen-again")).await.unwrap_err();
    assert_eq!((refused.code(), named(refused.metadata())), (Code::NotFound, "seen-again".to_owned()));
    let mut late = asked("simple", "seen-again");
    late.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    assert_eq!(named(client.model_infer(late).await.unwrap_err().metadata()), "seen-again");

    // Without one, or with what can be none, it has a number that no other has.
    let mut numbers: Vec<u64> = Vec::new();
    for id in ["", "", &"x".repeat(129)] {
        let answer = client.model_infer(asked("simple", id)).await.unwrap();
        numbers.push(named(answer.metadata()).parse().unwrap());
        let answer = reqwest::get(server.url("/v2")).await.unwrap();
        numbers.push(answer.headers()["x-request-id"].to_str().unwrap().parse().unwrap());
    }
    let distinct: std::collections::BTreeSet<&u64> = numbers.iter().collect();
    assert_eq!(distinct.len(), numbers.len(), "{numbers:?}");

    let mut request = Request::new(tokio_stream::iter([simple("1", 1, 7, 3), simple("2", 1, 7, 3)]));
    request.metadata_mut().insert("x-request-id", "a stream".parse().unwrap());
    let answers = client.model_stream_infer(request).await.unwrap();
    assert_eq!(named(answers.metadata()), "a stream");
    assert_eq!(answers.into_inner().collect::<Vec<_>>().await.len(), 2);
}

#[tokio::test]
async fn the_log_names_a_request_that_failed() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let log_file = format!("--log-file={}", log.display());
    let server = Server::start(&checkout("tests/models"), &["--log=cresset=debug", &log_file]);
    let mut request = Request::new(ModelInferRequest { model_name: "fails".to_owned(), ..busy(-1.0) });
    request.metadata_mut().insert("x-request-id", "by-grpc".parse().unwrap());
    client(&server).await.model_infer(request).await.unwrap_err();
    let body = json!({"x": [[-1, -1, -1, -1]]}).to_string();
    let request = reqwest::Client::new().post(server.url("/predictions/fails"));
    let answer = request.header("x-request-id", "by-http").body(body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 500);
    let said = std::fs::read_to_string(log).unwrap();
    for id in ["by-grpc", "by-http"] {
        let named = format!("the model failed requests={id} ");
        assert!(said.contains(&named), "{id}: {said}");
    }
}

/// A batch to `busy`, which keeps an instance busy for two milliseconds.
async fn busy_batch(mut client: Client, deadline: Option<Duration>) -> Result<(), Status> {
    let mut request = Request::new(ModelInferRequest {
        inputs: vec![input("x", "FP32", &[32, 4])],
        raw_input_contents: vec![1f32.to_le_bytes().repeat(128).into()],
        ..busy(1.0)
    });
    if let Some(deadline) = deadline {
        request.set_timeout(deadline);
    }
    client.model_infer(request).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_the_queue_outlasts_is_refused_at_once() {
    // The queue is longer than it may be otherwise.
    let server = Server::start(&checkout("tests/models"), &["--max-queue-wait=0"]);
    let (patient, hasty) = (client(&server).await, client(&server).await);
    let (mut refused, mut late) = (0, 0);
    // Longer and longer, until it is seen: a refusal must come before the
    // client's own clock strikes, and the queue outlast that.
    for milliseconds in [50, 100, 200] {
        let mut before: JoinSet<_> = (0..1000).map(|_| busy_batch(patient.clone(), None)).collect();
        // By then it is known how long such a batch takes.
        for _ in 0..50 {
            before.join_next().await.unwrap().unwrap().expect("the first are answered");
        }
        let hurried = || busy_batch(hasty.clone(), Some(Duration::from_millis(milliseconds)));
        let mut hurried: JoinSet<_> = (0..50).map(|_| hurried()).collect();
        while let Some(call) = hurried.join_next().await {
            let Err(status) = call.unwrap() else { continue };
            match status.code() {
                Code::DeadlineExceeded | Code::Cancelled => late += 1,
                // It was let in, and is too late for its run now.
                Code::Unavailable if status.message() == "Request timeout expired" => late += 1,
                Code::Unavailable => {
                    let text = status.message();
                    let expected = "model 'busy' is overloaded: the queue ahead and its own run need ";
                    assert!(text.starts_with(expected), "{text}");
                    refused += 1;
                }
                _ => panic!("{status}"),
            }
        }
        while let Some(call) = before.join_next().await {
            call.unwrap().expect("a request without a deadline is answered");
        }
        if refused > 0 {
            break;
        }
    }
    assert!(refused > 0, "{refused} refused, {late} late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_given_up_leaves_the_queue() {
    // The queue is longer than it may be otherwise.
    let server = Server::start(&checkout("tests/models"), &["--max-queue-wait=0"]);
    let (patient, hasty) = (client(&server).await, client(&server).await);
    let mut cancelled = 0.0;
    // Longer and longer, until it is seen: they must have come before they are
    // given up, and still wait.
    for milliseconds in [50, 100, 200, 400] {
        let mut before: JoinSet<_> = (0..1000).map(|_| busy_batch(patient.clone(), None)).collect();
        before.join_next().await.unwrap().unwrap().expect("the first is answered");
        let mut given_up: JoinSet<_> = (0..50).map(|_| busy_batch(hasty.clone(), None)).collect();
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        given_up.shutdown().await;
        while let Some(call) = before.join_next().await {
            call.unwrap().expect("the others are answered");
        }
        cancelled = server.metric("nv_inference_request_failure", "reason=\"CANCELED\"").await;
        if cancelled > 0.0 {
            break;
        }
    }
    // Cancelled requests aren't computed.
    assert!(cancelled > 0.0, "{cancelled} were taken out of the queue");
}

/// Straight to the wire: the client's own timer must not hide the server's.
#[tokio::test]
async fn the_server_itself_says_that_a_deadline_passed() {
    let server = Server::start(&checkout("tests/models"), &[]);
    let mut client = client(&server).await;
    let mut request = Request::new(tokio_stream::pending::<ModelInferRequest>());
    request.metadata_mut().insert("grpc-timeout", "200m".parse().unwrap());
    let asked = Instant::now();
    let mut answers = client.model_stream_infer(request).await.unwrap().into_inner();
    let late = answers.next().await.unwrap().unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    assert_eq!(late.message(), "Deadline Exceeded: the request's deadline passed before it was answered");
    assert!(asked.elapsed() < Duration::from_secs(2));

    let mut request = Request::new(busy(1.0));
    request.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    let refused = client.model_infer(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
}

#[tokio::test]
async fn messages_over_the_limit_are_refused() {
    let server = Server::with_default_models(&["--http-max-input-size=1000"]);
    let mut client = client(&server).await;
    let refused = client.model_infer(simple("", 8, 1, 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), "the body is over the limit of 1000 bytes (--http-max-input-size)");
    assert!(client.model_infer(simple("", 1, 1, 1)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_of_all_requests_is_bounded_and_given_back() {
    let server = Server::start(&checkout("tests/models"), &["--max-request-memory=4000000"]);
    let client = client(&server).await;
    let large = |x: f32| {
        let floats = 250_000;
        ModelInferRequest {
            model_name: "identity".to_owned(),
            inputs: vec![input("INPUT0", "FP32", &[1, floats])],
            raw_input_contents: vec![x.to_le_bytes().repeat(250_000).into()],
            ..ModelInferRequest::default()
        }
    };
    let mut calls = JoinSet::new();
    for x in 0..32u8 {
        let mut client = client.clone();
        calls.spawn(async move { client.model_infer(large(f32::from(x))).await });
    }
    let (mut answered, mut refused) = (0, 0);
    while let Some(call) = calls.join_next().await {
        match call.unwrap() {
            Ok(_) => answered += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                assert!(status.message().starts_with("the server holds as many bytes"), "{status}");
                refused += 1;
            }
        }
    }
    assert!(answered > 0, "{answered} answered, {refused} refused");
    for x in 0..8u8 {
        let response = client.clone().model_infer(large(f32::from(x))).await.unwrap().into_inner();
        assert_eq!(response.raw_output_contents[0].len(), 1_000_000);
    }
    let text =
        reqwest::get(format!("http://{}/metrics", server.metrics)).await.unwrap().text().await.unwrap();
    assert!(text.lines().any(|line| line == "cresset_request_bytes 0"), "all memory was given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typed_contents_are_bounded_by_the_memory_that_they_take() {
    let server = Server::start(&checkout("tests/models"), &["--max-request-memory=60000000"]);
    let mut client = client(&server).await;
    let request = |datatype, elements: usize, contents| ModelInferRequest {
        model_name: "identity".to_owned(),
        inputs: vec![InferInputTensor {
            contents: Some(contents),
            ..input("INPUT0", datatype, &[1, i64::try_from(elements).unwrap()])
        }],
        ..ModelInferRequest::default()
    };
    // 17 MB of them, and as many again once they are read.
    let many = (4 << 20) + 1;
    let floats = InferTensorContents { fp32_contents: vec![0.5; many], ..Default::default() };
    let response = client.model_infer(request("FP32", many, floats)).await.unwrap().into_inner();
    assert_eq!(response.raw_output_contents[0].len(), 4 * many);

    // 8 MB, of which 64 would be made.
    let small = 8_000_000;
    let numbers = InferTensorContents { int64_contents: vec![1; small], ..Default::default() };
    let swelling = request("INT64", small, numbers);
    let words = "the server holds as many bytes of requests as it may (60000000); try again";
    let refused = client.model_infer(swelling.clone()).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, words));
    let mut answers = client.model_stream_infer(tokio_stream::once(swelling)).await.unwrap().into_inner();
    let refused = answers.next().await.unwrap().unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, words));
    drop(answers);

    let stream = client.model_stream_infer(tokio_stream::iter([identity(1.0), identity(2.0)])).await.unwrap();
    assert_eq!(stream.into_inner().filter(Result::is_ok).collect::<Vec<_>>().await.len(), 2);
    let url = format!("http://{}/metrics", server.metrics);
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    assert!(text.lines().any(|line| line == "cresset_request_bytes 0"), "all memory was given back");
}

/// A request to `identity` of one number.
fn identity(x: f32) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "identity".to_owned(),
        inputs: vec![input("INPUT0", "FP32", &[1, 1])],
        raw_input_contents: vec![Bytes::copy_from_slice(&x.to_le_bytes())],
        ..ModelInferRequest::default()
    }
}

#[tokio::test]
async fn health_follows_readiness_and_reflection_names_the_services() {
    let server = Server::with_default_models(&[]);
    let channel = channel(&server).await;
    let mut health = HealthClient::new(channel.clone());
    let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "inference.GRPCInferenceService"] {
        let status = health.check(of(service)).await.unwrap().get_ref().status;
        assert_eq!(status, i32::from(ServingStatus::Serving), "{service}");
    }
    let unknown = health.check(of("nope")).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "no such service: 'nope'"));

    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let answers = reflection.server_reflection_info(tokio_stream::once(ask)).await.unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    let names: Vec<&str> = list.service.iter().map(|service| &*service.name).collect();
    for name in ["inference.GRPCInferenceService", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }

    // A watch hears of the end, and doesn't hold it up.
    let mut watch = health.watch(of("")).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status, i32::from(ServingStatus::Serving));
    let told = Instant::now();
    server.signal(libc::SIGTERM);
    assert_eq!(watch.next().await.unwrap().unwrap().status, i32::from(ServingStatus::NotServing));
    assert_eq!(server.wait().code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(5), "the stop waited for its time to run out");
}
