//! A stop under load over gRPC: accepted requests are answered, and a client
//! that keeps its stream open doesn't hold the server up.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use cresset::grpc::proto::ModelInferRequest;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tonic::codegen::http::Uri;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use crate::grpc::{Client, busy, client};
use crate::server::{Server, checkout};

/// Only the model under load: many starts of all the others tell nothing.
fn busy_alone() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("busy/1")).unwrap();
    for file in ["busy/config.pbtxt", "busy/1/model.pt"] {
        std::fs::copy(checkout("tests/models").join(file), root.path().join(file)).unwrap();
    }
    root
}

/// Connects once. A call after the server's goodbye would open another
/// connection. Only the kernel accepts that, and its reset would look like a
/// loss.
#[derive(Clone, Default)]
struct Once(Arc<AtomicBool>);

impl tower_service::Service<Uri> for Once {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let again = self.0.swap(true, Ordering::AcqRel);
        Box::pin(async move {
            let address = uri.authority().filter(|_| !again).ok_or(io::ErrorKind::ConnectionRefused)?;
            Ok(TokioIo::new(TcpStream::connect(address.as_str()).await?))
        })
    }
}

async fn client_of_one_connection(server: &Server) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc)).unwrap();
    Client::new(endpoint.connect_with_connector(Once::default()).await.unwrap())
}

/// Whether a failed call was never taken: the server doesn't listen any more,
/// or its goodbye, which names the last call that it took, came first.
fn was_not_taken(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.reason() == Some(h2::Reason::NO_ERROR)
                || error.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_canceled()
        {
            // It never left the client.
            return true;
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}

/// One request after the other until none is taken any more; how many were
/// answered.
async fn load(mut client: Client, stopping: Arc<AtomicBool>) -> u32 {
    let mut answered = 0;
    loop {
        match client.model_infer(busy(1.0)).await {
            Ok(_) => answered += 1,
            Err(status) => {
                assert!(stopping.load(Ordering::Acquire), "before the stop: {status:?}");
                assert!(was_not_taken(&status), "lost: {status:?}");
                return answered;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_under_load_answer_all_that_was_taken() {
    let root = busy_alone();
    let mut answered = 0;
    for round in 0..10 {
        let server = Server::start(root.path(), &[]);
        let stopping = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..4 {
            let client = client_of_one_connection(&server).await;
            for _ in 0..8 {
                clients.spawn(load(client.clone(), Arc::clone(&stopping)));
            }
        }
        tokio::time::sleep(Duration::from_millis(150 + 10 * round)).await;
        stopping.store(true, Ordering::Release);
        server.signal(libc::SIGTERM);
        while let Some(client) = clients.join_next().await {
            answered += client.unwrap();
        }
        assert_eq!(server.wait().code(), Some(0), "round {round}: everything accepted was answered");
    }
    assert!(answered > 500, "{answered} answers over all rounds");
}

#[tokio::test]
async fn a_stream_that_is_never_closed_gets_its_answers_and_a_reason() {
    const REQUESTS: u16 = 100;
    let root = busy_alone();
    let server = Server::start(root.path(), &[]);
    let mut client = client(&server).await;
    let (requests, receiver) = mpsc::unbounded_channel::<ModelInferRequest>();
    let receiver = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|request| (request, receiver))
    });
    for x in 0..REQUESTS {
        requests.send(busy(f32::from(x))).unwrap();
    }
    let mut answers = client.model_stream_infer(receiver).await.unwrap().into_inner();
    assert_eq!(answers.next().await.unwrap().unwrap().error_message, "");
    let told = Instant::now();
    server.signal(libc::SIGTERM);
    for x in 1..REQUESTS {
        let answer = answers.next().await.unwrap().unwrap();
        assert_eq!(answer.error_message, "");
        assert_eq!(answer.infer_response.unwrap().id, x.to_string());
    }
    let end = answers.next().await.unwrap().unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
    assert!(end.message().starts_with("the server is stopping"), "{end}");
    assert_eq!(server.wait().code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(5), "the stop waited for its time to run out");
    drop(requests);
}

#[tokio::test]
async fn a_stream_that_goes_on_and_on_does_not_hold_the_stop() {
    let root = busy_alone();
    let server = Server::start(root.path(), &[]);
    let mut client = client(&server).await;
    let requests = futures_util::stream::unfold(0u16, |x| async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Some((busy(f32::from(x)), x.wrapping_add(1)))
    });
    let mut answers = client.model_stream_infer(requests).await.unwrap().into_inner();
    assert!(answers.next().await.unwrap().is_ok());
    let told = Instant::now();
    server.signal(libc::SIGTERM);
    let end = loop {
        match answers.next().await.unwrap() {
            Ok(answer) => assert_eq!(answer.error_message, ""),
            Err(end) => break end,
        }
    };
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    assert_eq!(server.wait().code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(6), "the stop waited for its time to run out");
}

#[tokio::test]
async fn strangers_and_the_silent_do_not_spoil_a_stop() {
    let server = Server::with_default_models(&[]);
    let connect = || tokio::net::TcpStream::connect(server.grpc);
    let _silent = connect().await.unwrap();
    let mut begun = connect().await.unwrap();
    begun.write_all(b"PRI * HT").await.unwrap();
    // It says what it speaks, and then nothing: no answer to the goodbye.
    let mut deaf = connect().await.unwrap();
    deaf.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // Another protocol is shown the door at once.
    let mut stranger = connect().await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stranger, &mut answer).await;
    assert_eq!(answer, b"");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let told = Instant::now();
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(6), "the stop waited for its time to run out");
}
