//! `cresset bench` over gRPC, against a service whose behaviour is known.

// Clippy lets tests unwrap, but not the helpers beside them.
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use clap::Parser;
use cresset::grpc::proto::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use cresset::grpc::proto::model_infer_response::InferOutputTensor;
use cresset::grpc::proto::model_metadata_response::TensorMetadata;
use cresset::grpc::proto::{
    InferStatistics, ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse,
    ModelStatistics, ModelStatisticsRequest, ModelStatisticsResponse, StatisticDuration,
};
use cresset_bench::{self as bench, Args, Outcome};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tonic::{Request, Response, Status};
use tower_service::Service as _;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn run(url: &str, arguments: &str) -> anyhow::Result<Outcome> {
    let words = ["bench", url].into_iter().chain(arguments.split_whitespace());
    bench::run(&Cli::try_parse_from(words)?.args)
}

/// Doubles its FP32 input; refuses every n-th.
struct Doubler {
    requests: AtomicU64,
    refuse_every: u64,
}

fn tensor(name: &str) -> TensorMetadata {
    TensorMetadata { name: name.to_owned(), datatype: "FP32".to_owned(), shape: vec![-1, 2] }
}

#[tonic::async_trait]
impl GrpcInferenceService for Doubler {
    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        if request.get_ref().name != "m" {
            return Err(Status::not_found("no such model, 100% sure"));
        }
        let (inputs, outputs) = (vec![tensor("x")], vec![tensor("y")]);
        Ok(Response::new(ModelMetadataResponse { inputs, outputs, ..ModelMetadataResponse::default() }))
    }

    async fn model_statistics(
        &self,
        _: Request<ModelStatisticsRequest>,
    ) -> Result<Response<ModelStatisticsResponse>, Status> {
        let count = self.requests.load(Ordering::Relaxed);
        let time = |milliseconds| Some(StatisticDuration { count, ns: count * milliseconds * 1_000_000 });
        let inference_stats = Some(InferStatistics {
            success: time(9),
            queue: time(1),
            compute_infer: time(4),
            ..InferStatistics::default()
        });
        let model = ModelStatistics {
            inference_count: count,
            execution_count: count,
            inference_stats,
            ..ModelStatistics::default()
        };
        Ok(Response::new(ModelStatisticsResponse { model_stats: vec![model] }))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        if number % self.refuse_every == self.refuse_every - 1 {
            return Err(Status::unavailable("the queue is full"));
        }
        let request = request.into_inner();
        let (input, raw) = (&request.inputs[0], &request.raw_input_contents[0]);
        if (input.name.as_str(), input.datatype.as_str(), raw.len()) != ("x", "FP32", 8) {
            return Err(Status::invalid_argument(format!("{input:?}")));
        }
        let doubled = raw
            .chunks(4)
            .flat_map(|bytes| (f32::from_le_bytes(bytes.try_into().unwrap()) * 2.0).to_le_bytes());
        let output = InferOutputTensor {
            name: "y".to_owned(),
            datatype: "FP32".to_owned(),
            shape: input.shape.clone(),
            ..InferOutputTensor::default()
        };
        Ok(Response::new(ModelInferResponse {
            outputs: vec![output],
            raw_output_contents: vec![Bytes::from(doubled.collect::<Vec<u8>>())],
            ..ModelInferResponse::default()
        }))
    }
}

/// The service on a port of its own, until the process ends.
fn start(refuse_every: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("grpc://{}", listener.local_addr().unwrap());
    let doubler = Arc::new(Doubler { requests: AtomicU64::new(0), refuse_every });
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = GrpcInferenceServiceServer::from_arc(Arc::clone(&doubler));
                let service = service_fn(move |request| service.clone().call(request));
                let connection =
                    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
    });
    url
}

#[test]
fn calls_are_well_formed_and_counted() {
    let url = start(u64::MAX);
    for load in ["--concurrency 4", "--rate 300 --arrivals constant"] {
        let outcome = run(&url, &format!("--model m --warm-up 0s --requests 200 {load}")).unwrap();
        assert!(!outcome.failed(), "{outcome}");
        let level = &outcome.levels[0];
        assert_eq!((level.requests, level.latency.unwrap().count, level.reconnects), (200, 200, 0));
        let server = level.server.unwrap();
        assert_eq!((server.queue_ms, server.compute_ms, server.batch_size), (1.0, 4.0, 1.0));
        assert!(outcome.target.ends_with("/inference.GRPCInferenceService/ModelInfer"), "{}", outcome.target);
    }
}

#[test]
fn refusals_are_counted_by_code_and_quoted() {
    let outcome = run(&start(4), "--model m --warm-up 0s --requests 100 --concurrency 2").unwrap();
    let level = &outcome.levels[0];
    assert_eq!((level.error_count(), level.refused(), level.latency.unwrap().count), (25, 25, 75));
    assert_eq!(
        (level.errors[0].cause.as_str(), level.errors[0].first.as_str()),
        ("grpc UNAVAILABLE", "the queue is full")
    );
}

#[test]
fn answers_are_checked() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data =
        json!({"data": [{"x": [1, 2]}, {"x": [3, 4]}], "validation_data": [{"y": [2, 4]}, {"y": [6, 9]}]});
    std::fs::write(file.path(), data.to_string()).unwrap();
    let arguments = format!("--model m --warm-up 0s --requests 20 --input-data {}", file.path().display());
    let outcome = run(&start(u64::MAX), &arguments).unwrap();
    let level = &outcome.levels[0];
    assert_eq!((level.error_count(), level.errors[0].cause.as_str()), (10, "wrong answer"));
    assert_eq!(level.errors[0].first, "output 'y' has 8 at 1, expected 9");
}

#[test]
fn what_a_server_says_of_an_unknown_model_is_handed_on() {
    let line = format!("{:#}", run(&start(u64::MAX), "--model other").unwrap_err());
    assert!(line.contains("ModelMetadata answered grpc NOT_FOUND: no such model, 100% sure"), "{line}");
}
