//! The state that all handlers share, and the headers of a request's context.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::HeaderName;

use crate::admission::Admission;
use crate::context::{RequestId, TraceParent};
use crate::engine::Engine;

/// The header of a request's name.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static(RequestId::HEADER);
/// The header of the span that a client is in.
pub(super) const TRACE_PARENT: HeaderName = HeaderName::from_static(TraceParent::HEADER);

/// What every handler holds.
pub(super) struct HttpState {
    pub(super) engine: Arc<Engine>,
    pub(super) admission: Admission,
    /// Bytes.
    pub(super) max_body: usize,
    /// How long a body may take, beside what its length earns it.
    pub(super) body_timeout: Duration,
    /// Whether the inference listener shows metrics, too.
    pub(super) shows_metrics: bool,
}
