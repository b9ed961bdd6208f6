//! Compressed messages: they are taken, and bounded by their size when they are
//! unpacked.

use bytes::Bytes;
use cresset::grpc::proto::ModelInferRequest;
use tonic::Code;
use tonic::codec::CompressionEncoding;

use crate::grpc::{client, input};
use crate::server::{Server, checkout};

/// As many floats, all alike: a thousandth of them on the wire.
fn request(floats: usize) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "identity".to_owned(),
        inputs: vec![input("INPUT0", "FP32", &[1, floats as i64])],
        raw_input_contents: vec![Bytes::from(vec![1; 4 * floats])],
        ..ModelInferRequest::default()
    }
}

#[tokio::test]
async fn compressed_messages_are_taken() {
    let server = Server::start(&checkout("tests/models"), &[]);
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        let mut client = client(&server).await.send_compressed(encoding).accept_compressed(encoding);
        let answer = client.model_infer(request(100_000)).await.unwrap();
        assert!(
            answer.metadata().get("grpc-encoding").is_none(),
            "nobody waits for an answer to be compressed"
        );
        assert_eq!(answer.into_inner().raw_output_contents, request(100_000).raw_input_contents);
    }
}

#[tokio::test]
async fn what_they_hold_is_bounded() {
    let limits = ["--http-max-input-size=1000000", "--max-request-memory=500000"];
    let server = Server::start(&checkout("tests/models"), &limits);
    let mut client = client(&server).await.send_compressed(CompressionEncoding::Gzip);
    assert!(client.model_infer(request(100_000)).await.is_ok());
    // More than a message may hold, and more than is left for all of them.
    for (floats, code, words) in [
        (1_000_000, Code::ResourceExhausted, "size limit, of 1000000 bytes, exceeded"),
        (
            200_000,
            Code::Unavailable,
            "the server holds as many bytes of requests as it may (500000); try again",
        ),
    ] {
        let refused = client.model_infer(request(floats)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(words), "{refused}");
    }
    assert!(client.model_infer(request(100_000)).await.is_ok(), "what was lent is given back");
}
