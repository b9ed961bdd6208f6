//! A connection, HTTP/1.1 or HTTP/2, with one request under way at a time.

use std::future::Future;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::HeaderMap;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::alarm::Alarm;
use super::answer::{Answer, Failure, Keep, Status};
use crate::payload::Payload;
use crate::site::{Site, Wire};

/// This much of an error's body is kept to be shown.
const KEPT_OF_AN_ERROR: usize = 256;
/// The receive window: an answer up to this size needs no window update.
const HTTP2_WINDOW: u32 = 16 << 20;

/// A connection and the state machine that moves its bytes.
///
/// For HTTP/1.1 the two are polled by the same task on purpose: a task of its
/// own for each connection doubles the wake-ups of every request. HTTP/2 has
/// tasks of its own anyhow.
#[derive(Debug)]
pub(super) struct Connection {
    sender: Sender,
    driver: Driver,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// `None` once the connection has ended, which each of its parts then learns.
/// Always `None` for HTTP/2, which drives itself.
pub(super) type Driver = Option<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>;

/// What became of a request.
pub(super) enum Sent {
    Answered(hyper::Response<Incoming>),
    /// Not a byte of the request was sent: it may be sent on another
    /// connection.
    Unsent,
}

/// Runs HTTP/2's tasks on the thread of its clients.
#[derive(Debug, Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

impl Connection {
    pub(super) async fn open(site: &Site, alarm: &mut Alarm) -> Result<Self, Failure> {
        let failed = |cause: String| Failure::Connect { address: site.authority().to_owned(), cause };
        let connect = TcpStream::connect(site.addresses());
        let stream = match alarm.guard(connect, &mut None).await {
            Ok(stream) => stream.map_err(|error| failed(error.to_string()))?,
            Err(late) => return Err(failed(late.to_string())),
        };
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let stream = TokioIo::new(stream);
        match site.wire() {
            Wire::Http1 => {
                let shaken = http1::handshake(stream).await.map_err(|error| failed(error.to_string()));
                shaken.map(|(sender, driver)| Self { sender: Sender::Http1(sender), driver: Some(driver) })
            }
            Wire::Http2 => {
                let mut builder = http2::Builder::new(Local);
                builder.initial_stream_window_size(HTTP2_WINDOW).initial_connection_window_size(HTTP2_WINDOW);
                let shaken = builder.handshake(stream).await.map_err(|error| failed(error.to_string()));
                shaken.map(|(sender, driver)| {
                    tokio::task::spawn_local(async move {
                        // Its end reaches the client that waits for an answer.
                        let _ = driver.await;
                    });
                    Self { sender: Sender::Http2(sender), driver: None }
                })
            }
        }
    }

    /// Waits until the connection can take a request; false if it was closed.
    pub(super) async fn is_ready(&mut self, alarm: &mut Alarm) -> Result<bool, Failure> {
        let Self { sender, driver } = self;
        match sender {
            Sender::Http1(sender) => Ok(alarm.guard(sender.ready(), driver).await?.is_ok()),
            Sender::Http2(sender) => Ok(alarm.guard(sender.ready(), driver).await?.is_ok()),
        }
    }

    pub(super) async fn send(&mut self, payload: &Payload, alarm: &mut Alarm) -> Result<Sent, Failure> {
        let Self { sender, driver } = self;
        let sent = match sender {
            Sender::Http1(sender) => alarm.guard(sender.try_send_request(payload.request()), driver).await?,
            Sender::Http2(sender) => alarm.guard(sender.try_send_request(payload.request()), driver).await?,
        };
        match sent {
            Ok(response) => Ok(Sent::Answered(response)),
            Err(mut error) => match error.take_message() {
                Some(_) => Ok(Sent::Unsent),
                None => Err(Failure::from(error.into_error())),
            },
        }
    }

    pub(super) async fn drain(
        &mut self,
        response: hyper::Response<Incoming>,
        keep: Keep,
        alarm: &mut Alarm,
    ) -> Result<Answer, Failure> {
        let (head, mut body) = response.into_parts();
        let limit = match keep {
            Keep::Everything => usize::MAX,
            Keep::Errors if head.status == hyper::StatusCode::OK => 0,
            Keep::Errors => KEPT_OF_AN_ERROR,
        };
        let (mut bytes, mut kept, mut trailers) = (0, BytesMut::new(), None);
        while !body.is_end_stream() {
            let Some(frame) = alarm.guard(body.frame(), &mut self.driver).await? else { break };
            match frame.map_err(Failure::from)?.into_data() {
                Ok(data) => {
                    bytes += data.len() as u64;
                    let room = limit.saturating_sub(kept.len()).min(data.len());
                    kept.extend_from_slice(&data[..room]);
                }
                Err(other) => trailers = other.into_trailers().ok(),
            }
        }
        let status = match self.sender {
            Sender::Http2(_) if head.status == hyper::StatusCode::OK => {
                grpc_status(trailers.as_ref().unwrap_or(&head.headers))?
            }
            Sender::Http1(_) | Sender::Http2(_) => Status::Http(head.status),
        };
        Ok(Answer { status, bytes, headers: head.headers, kept: kept.freeze() })
    }
}

/// The status of a call: in the trailers, or in the headers if the answer has
/// nothing else.
fn grpc_status(headers: &HeaderMap) -> Result<Status, Failure> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status").and_then(|code| code.parse().ok());
    let code = code.ok_or_else(|| Failure::Malformed("an answer without grpc-status".to_owned()))?;
    Ok(Status::Grpc { code, message: unescaped(text("grpc-message").unwrap_or_default()) })
}

/// Decodes `%20` and the like in a gRPC message.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            Some(_) | None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_may_come_without_a_body() {
        let mut headers = HeaderMap::new();
        assert!(grpc_status(&headers).is_err());
        headers.insert("grpc-status", hyper::header::HeaderValue::from_static("14"));
        headers.insert("grpc-message", hyper::header::HeaderValue::from_static("queue%20is full%"));
        let status = grpc_status(&headers).unwrap();
        assert_eq!(status, Status::Grpc { code: 14, message: "queue is full%".to_owned() });
        assert!(status.is_refusal() && !status.is_ok());
        assert_eq!(status.cause(), "grpc UNAVAILABLE");
    }
}
