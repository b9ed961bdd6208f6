//! One client: a connection that is kept, and what becomes of it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until};

use super::payload::Payload;
use super::site::Site;

/// Of an answer that is an error, this much is kept to be shown.
const KEPT_OF_AN_ERROR: usize = 256;

/// A client on one connection at a time.
///
/// A connection that the server closed between two requests is made anew, as
/// any client would, and no error; one that is lost under a request is.
#[derive(Debug)]
pub(super) struct Client {
    site: Rc<Site>,
    alarm: Alarm,
    /// `None` after a failure: half an answer may still be on its way there.
    connection: Option<Connection>,
    reconnects: u64,
}

/// An answer, drained.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The size of its body.
    pub(super) bytes: u64,
    /// As much of its body as was asked to be kept.
    pub(super) kept: Vec<u8>,
}

/// How much of an answer's body is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// All of it.
    Everything,
    /// The beginning, where it says what went wrong; nothing of a good one.
    Errors,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// No connection could be made; the request was never sent.
    #[error("cannot connect to {address}: {cause}")]
    Connect { address: String, cause: String },
    /// The connection ended, or broke, under the request.
    #[error("{0}")]
    Lost(String),
    /// No whole answer came in time.
    #[error("no whole answer within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// What came is not HTTP/1.1.
    #[error("{0}")]
    Malformed(String),
}

impl Client {
    /// Connects. `timeout` is for each whole request, this one included.
    pub(super) async fn connect(site: Rc<Site>, timeout: Duration) -> Result<Self, Failure> {
        let mut alarm = Alarm::new(timeout);
        alarm.set(crate::clock::now());
        let connection = Connection::open(&site, &mut alarm).await?;
        Ok(Self { site, alarm, connection: Some(connection), reconnects: 0 })
    }

    /// How often a new connection took the place of an old one since this was
    /// asked last.
    pub(super) fn take_reconnects(&mut self) -> u64 {
        std::mem::take(&mut self.reconnects)
    }

    /// Sends at `now` and waits for the whole answer, whatever its status.
    pub(super) async fn send(
        &mut self,
        payload: &Payload,
        now: Instant,
        keep: Keep,
    ) -> Result<Answer, Failure> {
        self.alarm.set(now);
        let mut connection = self.open_connection().await?;
        let head = match connection.send(payload, &mut self.alarm).await? {
            Sent::Answered(head) => head,
            // It closed in the moment between: nothing was sent, nothing lost.
            Sent::Unsent => {
                connection = self.reconnect().await?;
                match connection.send(payload, &mut self.alarm).await? {
                    Sent::Answered(head) => head,
                    Sent::Unsent => return Err(Failure::Lost("closed as soon as it was made".to_owned())),
                }
            }
        };
        let answer = connection.drain(head, keep, &mut self.alarm).await?;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// The connection that was kept, or a new one. It is taken out, so that
    /// whatever fails next drops it.
    async fn open_connection(&mut self) -> Result<Connection, Failure> {
        if let Some(mut kept) = self.connection.take()
            && kept.is_ready(&mut self.alarm).await?
        {
            return Ok(kept);
        }
        self.reconnect().await
    }

    async fn reconnect(&mut self) -> Result<Connection, Failure> {
        self.reconnects += 1;
        Connection::open(&self.site, &mut self.alarm).await
    }
}

impl Answer {
    /// Whether it is an answer, and not a refusal or a redirect.
    pub(super) fn is_ok(&self) -> bool {
        self.status == StatusCode::OK
    }

    /// What was kept, on one line.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// A connection and the state machine that moves its bytes.
///
/// The two are polled by the same task on purpose: a task of its own for each
/// connection doubles the wake-ups of every request.
#[derive(Debug)]
struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Driver,
}

/// `None` once it has ended, which every part of it then learns.
type Driver = Option<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>;

/// What became of a request.
enum Sent {
    Answered(hyper::Response<Incoming>),
    /// Not a byte of it left: it may be sent elsewhere.
    Unsent,
}

impl Connection {
    async fn open(site: &Site, alarm: &mut Alarm) -> Result<Self, Failure> {
        let failed = |cause: String| Failure::Connect { address: site.authority().to_owned(), cause };
        let connect = TcpStream::connect(site.addresses());
        let stream = match alarm.guard(connect, &mut None).await {
            Ok(stream) => stream.map_err(|error| failed(error.to_string()))?,
            Err(late) => return Err(failed(late.to_string())),
        };
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let (sender, driver) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.to_string()))?;
        Ok(Self { sender, driver: Some(driver) })
    }

    /// Waits until it can take a request; false if it was closed.
    async fn is_ready(&mut self, alarm: &mut Alarm) -> Result<bool, Failure> {
        let Self { sender, driver } = self;
        Ok(alarm.guard(sender.ready(), driver).await?.is_ok())
    }

    async fn send(&mut self, payload: &Payload, alarm: &mut Alarm) -> Result<Sent, Failure> {
        let Self { sender, driver } = self;
        match alarm.guard(sender.try_send_request(payload.request()), driver).await? {
            Ok(response) => Ok(Sent::Answered(response)),
            Err(mut error) => match error.take_message() {
                Some(_) => Ok(Sent::Unsent),
                None => Err(Failure::from(error.into_error())),
            },
        }
    }

    async fn drain(
        &mut self,
        response: hyper::Response<Incoming>,
        keep: Keep,
        alarm: &mut Alarm,
    ) -> Result<Answer, Failure> {
        let status = response.status();
        let limit = match keep {
            Keep::Everything => usize::MAX,
            Keep::Errors if status == StatusCode::OK => 0,
            Keep::Errors => KEPT_OF_AN_ERROR,
        };
        let mut answer = Answer { status, bytes: 0, kept: Vec::new() };
        let mut body = response.into_body();
        while !body.is_end_stream() {
            let Some(frame) = alarm.guard(body.frame(), &mut self.driver).await? else { break };
            if let Ok(data) = frame.map_err(Failure::from)?.into_data() {
                answer.bytes += data.len() as u64;
                let room = limit.saturating_sub(answer.kept.len()).min(data.len());
                answer.kept.extend_from_slice(&data[..room]);
            }
        }
        Ok(answer)
    }
}

impl Failure {
    /// Its class, under which it is counted.
    pub(super) fn cause(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "cannot connect",
            Self::Lost(_) => "connection lost",
            Self::TimedOut(_) => "timed out",
            Self::Malformed(_) => "malformed",
        }
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        let source =
            std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        let text = format!("{error}{source}");
        if error.is_parse() { Self::Malformed(text) } else { Self::Lost(text) }
    }
}

/// A time-out that costs next to nothing while all is well: its timer is left
/// where it stands and is moved only when it rings early.
#[derive(Debug)]
struct Alarm {
    timeout: Duration,
    due: tokio::time::Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    fn new(timeout: Duration) -> Self {
        let due = tokio::time::Instant::from_std(crate::clock::now()) + timeout;
        Self { timeout, due, sleep: Box::pin(sleep_until(due)) }
    }

    /// Due one time-out after `now`.
    fn set(&mut self, now: Instant) {
        self.due = tokio::time::Instant::from_std(now) + self.timeout;
    }

    /// Runs `work`, with the driver that moves it, until it is done or due.
    async fn guard<W: Future>(&mut self, work: W, driver: &mut Driver) -> Result<W::Output, Failure> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if let Some(running) = driver {
                // Its end, good or bad, reaches `work` when it is dropped.
                if Pin::new(running).poll(cx).is_ready() {
                    *driver = None;
                }
                if let Poll::Ready(output) = work.as_mut().poll(cx) {
                    return Poll::Ready(Ok(output));
                }
            }
            self.poll_due(cx).map(|()| Err(Failure::TimedOut(self.timeout)))
        })
        .await
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            if self.sleep.deadline() >= self.due {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.due);
        }
        Poll::Pending
    }
}
