//! A socket that waits for what its peer still sends when it is closed.
//!
//! A system that closes a socket with bytes nobody has read resets the connection, and the peer's system then throws away what the peer
//! has not read: the very sentence that says why. So the rest is read, for a moment, and forgotten.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::places::Place;
use crate::signalling::Allowance;

/// How long a peer may go on sending.
const LINGER: Duration = Duration::from_secs(2);

/// How much of it is read: some messages too many, not an upload.
const MAX_REST: usize = 16 * 1024 * 1024;

/// A TCP stream that is closed gently.
pub(super) struct Lingering {
    /// `None` only while it is dropped.
    stream: Option<TcpStream>,
    /// The peer has closed, or is gone.
    ended: bool,
    /// A socket that is still being closed takes a place, too.
    place: Option<Place>,
    allowance: Arc<Allowance>,
}

impl Lingering {
    pub(super) fn new(stream: TcpStream, place: Option<Place>, allowance: Arc<Allowance>) -> Self {
        Self { stream: Some(stream), ended: false, place, allowance }
    }

    /// Frames are small and wait for no others.
    pub(super) fn hurry(&self) {
        let _ = self.stream.as_ref().map(|stream| stream.set_nodelay(true));
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let (Some(stream), Ok(runtime), false) = (self.stream.take(), Handle::try_current(), self.ended) else { return };
        let place = self.place.take();
        runtime.spawn(async move {
            let _ = timeout(LINGER, read_rest(stream)).await;
            drop(place);
        });
    }
}

async fn read_rest(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = stream.take(MAX_REST as u64);
    let mut buffer = vec![0; 16 * 1024];
    while rest.read(&mut buffer).await? > 0 {}
    Ok(())
}

impl AsyncRead for Lingering {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.allowance.check()?;
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        let polled = this.stream()?.poll_read(context, buffer);
        this.allowance.spend(buffer.filled().len() - before);
        this.ended |= match &polled {
            Poll::Ready(Ok(())) => room > 0 && buffer.filled().len() == before,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        polled
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().stream()?.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream()?.poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().stream()?.poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}
