//! The listener and its threads.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codec::CompressionEncoding;
use tonic_health::pb::health_server::HealthServer;

use super::body::Bounds;
use super::connection;
use super::health::Probe;
use super::proto::DESCRIPTORS;
use super::proto::grpc_inference_service_server::GrpcInferenceServiceServer;
use super::service::Service;
use super::shared::{Route, Shared};
use crate::admission::Admission;
use crate::engine::Engine;
use crate::settings::{GrpcSettings, HttpSettings};

/// The running server.
pub struct Server {
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
    stopping: CancellationToken,
    /// The listener and every connection.
    tasks: TaskTracker,
}

impl Server {
    /// Takes no more calls, and waits for those in progress to be answered.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // In the background: waiting for its threads isn't allowed on another
        // runtime's thread.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Serves gRPC on `listener`, on threads of its own. `http` has the bounds that
/// both surfaces share.
///
/// # Errors
/// The system gives no threads, or the server can't listen on the socket.
pub fn serve(
    engine: &Arc<Engine>,
    admission: Admission,
    listener: TcpListener,
    http: &HttpSettings,
    settings: &GrpcSettings,
) -> anyhow::Result<Server> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(settings.grpc_threads)
        .thread_name("grpc")
        .enable_all()
        .build()
        .context("no threads for gRPC")?;
    let bounds =
        Bounds { message: http.max_input_size, patience: Duration::from_secs(http.body_timeout_secs) };
    let stopping = CancellationToken::new();
    let routes = routes(engine, &stopping, bounds.message)?;
    let shared = Arc::new(Shared {
        routes,
        admission,
        bounds,
        window: settings.grpc_window_bytes,
        stopping: stopping.clone(),
    });
    let tasks = TaskTracker::new();
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener).context("can't listen for gRPC")?
    };
    tasks.spawn_on(accept(listener, shared, tasks.clone()), runtime.handle());
    tasks.close();
    Ok(Server { runtime: Some(runtime), stopping, tasks })
}

/// All services. The body bounds a message; the framework bounds a decompressed
/// one by `largest`. Answers aren't compressed, because clients accept
/// compression even if they don't gain by it.
fn routes(engine: &Arc<Engine>, stopping: &CancellationToken, largest: usize) -> anyhow::Result<Vec<Route>> {
    let service = Service { engine: Arc::clone(engine) };
    let probe = Probe { engine: Arc::clone(engine), stopping: stopping.clone() };
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(vec![
        Route::new(
            GrpcInferenceServiceServer::new(service)
                .accept_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Deflate)
                .max_decoding_message_size(largest),
        ),
        Route::new(HealthServer::new(probe)),
        Route::new(reflection().build_v1()?),
        Route::new(reflection().build_v1alpha()?),
    ])
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stopping.cancelled() => return,
        };
        match accepted {
            Ok((socket, _)) => {
                tasks.spawn(connection::serve(Arc::clone(&shared), socket));
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a gRPC connection");
                // As a rule there are no descriptors left: other connections
                // must end first.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
