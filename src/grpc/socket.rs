//! A socket that comes back when HTTP/2 is done with it, to be closed gently.
//!
//! If a socket is closed while bytes of the client are unread or on their way,
//! the connection is reset. The client then loses the last answers, and the
//! goodbye that says which calls were taken. So the server ends its side first,
//! and reads on until the client ends too.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// How long a client may take to end its side.
const LINGER: Duration = Duration::from_secs(1);

/// A socket that returns when this is dropped.
pub(super) struct Socket {
    /// `None` only while it is dropped.
    stream: Option<TcpStream>,
    back: Option<oneshot::Sender<TcpStream>>,
}

/// The way back.
pub(super) struct Returned(oneshot::Receiver<TcpStream>);

/// Lends a socket until what holds it is dropped.
pub(super) fn lend(stream: TcpStream) -> (Socket, Returned) {
    let (back, returned) = oneshot::channel();
    (Socket { stream: Some(stream), back: Some(back) }, Returned(returned))
}

impl Returned {
    /// Closes the socket when it is back.
    pub(super) async fn close(self) {
        let Ok(mut stream) = self.0.await else { return };
        let until_the_end = async {
            stream.shutdown().await?;
            let mut unread = [0; 4096];
            while stream.read(&mut unread).await? > 0 {}
            io::Result::Ok(())
        };
        // The socket closes however this ends.
        let _ = tokio::time::timeout(LINGER, until_the_end).await;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            // If no receiver waits for it, it is closed here.
            let _ = back.send(stream);
        }
    }
}

impl Socket {
    fn stream(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        self.get_mut().stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
