//! One client: a connection that is kept, and reconnection.

mod alarm;
mod answer;
mod connection;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::payload::Payload;
use super::site::Site;
use alarm::Alarm;
pub(super) use answer::{Answer, Failure, Keep, Status};
use connection::{Connection, Sent};

/// A client with one connection at a time.
///
/// If the server closed the connection between two requests, the client
/// connects again, and this is no error. If the connection is lost during a
/// request, that is an error.
#[derive(Debug)]
pub(super) struct Client {
    site: Arc<Site>,
    alarm: Alarm,
    /// `None` before the first request, and after a failure: the rest of an
    /// answer may still be on its way there.
    connection: Option<Connection>,
    connected_before: bool,
    reconnects: u64,
}

impl Client {
    /// Connects with its first request. `timeout` covers each whole request,
    /// connecting included.
    pub(super) fn new(site: Arc<Site>, timeout: Duration) -> Self {
        let alarm = Alarm::new(timeout);
        Self { site, alarm, connection: None, connected_before: false, reconnects: 0 }
    }

    /// Connects now.
    pub(super) async fn connect(site: Arc<Site>, timeout: Duration) -> Result<Self, Failure> {
        let mut client = Self::new(site, timeout);
        client.alarm.set(cresset_clock::now());
        client.connection = Some(client.open().await?);
        Ok(client)
    }

    /// How often a new connection replaced an old one since the last call.
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
            // The server closed it just before: nothing was sent, nothing lost.
            Sent::Unsent => {
                connection = self.open().await?;
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

    /// The connection that was kept, or a new one. It is taken out, so that any
    /// later failure drops it.
    async fn open_connection(&mut self) -> Result<Connection, Failure> {
        if let Some(mut kept) = self.connection.take()
            && kept.is_ready(&mut self.alarm).await?
        {
            return Ok(kept);
        }
        self.open().await
    }

    async fn open(&mut self) -> Result<Connection, Failure> {
        self.reconnects += u64::from(self.connected_before);
        self.connected_before = true;
        Connection::open(&self.site, &mut self.alarm).await
    }
}
