//! `grpc.health.v1.Health`: readiness, as load balancers and kubelets ask for
//! it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tokio_util::sync::CancellationToken;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::status;
use crate::engine::Engine;

/// How often a watched readiness is checked.
const LOOK: Duration = Duration::from_millis(250);

/// The names that have a health: the whole server, and what it serves.
const SERVICES: [&str; 2] = ["", "inference.GRPCInferenceService"];

/// Asks the engine for each answer, so that no answer is out of date.
pub(super) struct Probe {
    pub(super) engine: Arc<Engine>,
    pub(super) stopping: CancellationToken,
}

fn serving(engine: &Engine, service: &str) -> ServingStatus {
    match (SERVICES.contains(&service), engine.ready()) {
        (false, _) => ServingStatus::ServiceUnknown,
        (true, true) => ServingStatus::Serving,
        (true, false) => ServingStatus::NotServing,
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[async_trait]
impl Health for Probe {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        match serving(&self.engine, service) {
            ServingStatus::ServiceUnknown => Err(status::unknown_service(service)),
            known @ (ServingStatus::Serving | ServingStatus::NotServing | ServingStatus::Unknown) => {
                Ok(Response::new(response(known)))
            }
        }
    }

    type WatchStream = BoxStream<HealthCheckResponse>;

    /// The present health, and every change. At its end the server says that it
    /// doesn't serve.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (engine, stopping) = (Arc::clone(&self.engine), self.stopping.clone());
        let service = request.into_inner().service;
        let changes = stream::unfold(None, move |told| {
            let (engine, stopping, service) = (Arc::clone(&engine), stopping.clone(), service.clone());
            async move {
                loop {
                    let ends = stopping.is_cancelled();
                    let now = serving(&engine, &service);
                    if told != Some(now) {
                        return Some((Ok(response(now)), Some(now)));
                    }
                    if ends {
                        return None;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(LOOK) => {}
                        () = stopping.cancelled() => {}
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
