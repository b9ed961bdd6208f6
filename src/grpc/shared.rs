//! What every connection holds.

use std::convert::Infallible;
use std::pin::Pin;

use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::body::Bounds;
use crate::admission::Admission;

/// What every connection holds.
pub(super) struct Shared {
    pub(super) routes: Vec<Route>,
    pub(super) admission: Admission,
    pub(super) bounds: Bounds,
    /// Bytes of one call that may be under way before they are read.
    pub(super) window: u32,
    /// Cancelled when the server stops.
    pub(super) stopping: CancellationToken,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// A service behind its name.
pub(super) struct Route {
    pub(super) name: &'static str,
    pub(super) call: Box<dyn Fn(Request<Body>) -> Answering + Send + Sync>,
}

impl Route {
    pub(super) fn new<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        // These services are always ready: each call is a handle's own.
        Self { name: S::NAME, call: Box::new(move |request| Box::pin(service.clone().call(request))) }
    }
}
