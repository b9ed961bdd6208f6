//! One call: to its service, within its deadline, counted once at its end.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::Frame;
use hyper::body::Incoming;
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::{Code, Status};

use super::body::{Arity, Lease, Lending, Metered};
use super::connection::{GrpcConnection, OpenCall};
use super::service::OFFERED;
use super::shared::{Route, Shared};
use super::status;
use crate::context::{RequestContext, RequestId, TraceParent};
use crate::error::{Error, Result};
use crate::metrics;
use cresset_clock as clock;

/// The key of a request's name.
const REQUEST_ID: HeaderName = HeaderName::from_static(RequestId::HEADER);
/// The key of the client's span.
const TRACE_PARENT: HeaderName = HeaderName::from_static(TraceParent::HEADER);

/// Answers a call, whatever it is.
pub(super) async fn answer(
    shared: Arc<Shared>,
    connection: Arc<GrpcConnection>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let busy = connection.begin();
    let path = request.uri().path().to_owned();
    let headers = request.headers();
    let (mut context, shown) = RequestContext::of_head(headers.get(REQUEST_ID), headers.get(TRACE_PARENT));
    let id = context.id.clone();
    let (mut response, deadline) = match deadline(request.headers()) {
        Err(error) => (status::failed(&error).into_http(), None),
        Ok(None) => (dispatch(&shared, &path, request, context).await, None),
        Ok(Some(time)) => {
            context.deadline = clock::now().checked_add(time);
            let mut deadline = Box::pin(tokio::time::sleep(time));
            let response = tokio::select! {
                response = dispatch(&shared, &path, request, context) => response,
                // Dropping the call takes its request out of the queue.
                () = &mut deadline => status::deadline_exceeded().into_http(),
            };
            (response, Some(deadline))
        }
    };
    response.headers_mut().insert(REQUEST_ID, shown);
    Ok(Answer::of(response, Called { path, id }, deadline, busy))
}

async fn dispatch(
    shared: &Shared,
    path: &str,
    request: Request<Incoming>,
    context: RequestContext,
) -> Response<Body> {
    let (route, call) = match find(&shared.routes, path) {
        Ok(found) => found,
        Err(status) => return status.into_http(),
    };
    let permit = match shared.admission.admit(0) {
        Ok(permit) => permit,
        Err(error) => return status::failed(&error).into_http(),
    };
    let lease = Lease::new(permit);
    let arity = match call {
        "ModelStreamInfer" | "ServerReflectionInfo" => Arity::Stream,
        _ => Arity::Unary,
    };
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(lease.clone());
    parts.extensions.insert(context);
    let body = Metered::new(body, lease.clone(), arity, shared.bounds, &shared.stopping);
    let answering = (route.call)(Request::from_parts(parts, Body::new(body)));
    let response = match lease.clone().throughout(answering).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    match arity {
        Arity::Unary => response,
        Arity::Stream => response.map(|body| Body::new(Lending::new(body, lease))),
    }
}

/// The service and the call that `/service/call` names.
fn find<'a, 'p>(routes: &'a [Route], path: &'p str) -> Result<(&'a Route, &'p str), Status> {
    let (service, call) = path.strip_prefix('/').and_then(|path| path.split_once('/')).unwrap_or((path, ""));
    let Some(route) = routes.iter().find(|route| route.name == service) else {
        return Err(status::no_such_service(path));
    };
    if service == "inference.GRPCInferenceService" && !OFFERED.contains(&call) {
        return Err(status::not_offered(path));
    }
    Ok((route, call))
}

/// How much time the client gives: `grpc-timeout`, at most eight digits and a
/// unit.
fn deadline(headers: &HeaderMap) -> Result<Option<Duration>> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let valid = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let amount: u64 = if valid { digits.parse().ok()? } else { return None };
        match unit {
            "H" => Some(Duration::from_secs(amount * 3600)),
            "M" => Some(Duration::from_secs(amount * 60)),
            "S" => Some(Duration::from_secs(amount)),
            "m" => Some(Duration::from_millis(amount)),
            "u" => Some(Duration::from_micros(amount)),
            "n" => Some(Duration::from_nanos(amount)),
            _ => None,
        }
    });
    parsed.map(Some).ok_or_else(|| {
        Error::invalid(format!(
            "grpc-timeout is '{}': expected at most 8 digits and a unit, one of H, M, S, m, u and n",
            String::from_utf8_lossy(value.as_bytes())
        ))
    })
}

/// The facts of a call for the log.
struct Called {
    path: String,
    id: RequestId,
}

/// A call's answer on its way to the connection.
pub(super) struct Answer {
    inner: Body,
    /// What is left of the framework's last piece.
    rest: Bytes,
    deadline: Option<Pin<Box<Sleep>>>,
    call: Called,
    /// How it ended; `None` while it hasn't.
    code: Option<Code>,
    over: bool,
    busy: OpenCall,
}

impl Answer {
    fn of(
        response: Response<Body>,
        call: Called,
        deadline: Option<Pin<Box<Sleep>>>,
        busy: OpenCall,
    ) -> Response<Self> {
        // An error without a message before it is in the head.
        let code = code_in(response.headers());
        if let Some(status) = response.extensions().get::<Status>()
            && status::is_server_error(status.code())
        {
            let Called { path, id } = &call;
            tracing::warn!(request = %id, path, code = ?status.code(), error = status.message(), "call failed");
        }
        response.map(|inner| Self { inner, rest: Bytes::new(), deadline, call, code, over: false, busy })
    }

    /// The next piece of the framework's output. Pieces are small: a client
    /// that reads slowly keeps little more than its output in memory, and its
    /// reads are noticed.
    fn piece(&mut self) -> Frame<Bytes> {
        const PIECE: usize = 64 * 1024;
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        self.busy.handed_over();
        Frame::data(piece)
    }
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        this.busy.taken();
        if this.over {
            return Poll::Ready(None);
        }
        if !this.rest.is_empty() {
            return Poll::Ready(Some(Ok(this.piece())));
        }
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if data.is_empty() => Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(data) => {
                    this.rest = data;
                    Poll::Ready(Some(Ok(this.piece())))
                }
                Err(frame) => {
                    this.code = frame.trailers_ref().and_then(code_in);
                    Poll::Ready(Some(Ok(frame)))
                }
            },
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => match this.deadline.as_mut().map(|deadline| deadline.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => {
                    this.over = true;
                    this.inner = Body::empty();
                    let status = status::deadline_exceeded();
                    this.code = Some(status.code());
                    let mut trailers = HeaderMap::new();
                    let added = status.add_header(&mut trailers);
                    Poll::Ready(Some(added.map(|()| Frame::trailers(trailers))))
                }
                Some(Poll::Pending) | None => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && (self.over || self.inner.is_end_stream())
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // If it has no end, the client went away.
        let code = self.code.unwrap_or(status::CANCELLED);
        metrics::grpc_response(i32::from(code));
        let Called { path, id } = &self.call;
        tracing::debug!(request = %id, path, ?code, "call ended");
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn deadlines_are_read_as_the_protocol_writes_them() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_str(text).unwrap());
            deadline(&headers).map_err(|error| error.message().to_owned())
        };
        for (text, expected) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("99999999m", Duration::from_millis(99_999_999)),
            ("5u", Duration::from_micros(5)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(read(text), Ok(Some(expected)), "{text}");
        }
        for text in ["", "S", "1", "123456789S", "-1S", "+1S", "1.5S", "1s", "1\u{e9}"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(
            read("1 S").unwrap_err(),
            "grpc-timeout is '1 S': expected at most 8 digits and a unit, one of H, M, S, m, u and n"
        );
        assert_eq!(deadline(&HeaderMap::new()), Ok(None));
    }
}
