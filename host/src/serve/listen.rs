//! Listening: TCP and Unix sockets, who is at the other end, and connections that are closed when
//! they take no bytes, or neither ask nor are told anything.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::Shutdown;
use crate::state_dir::{create_private_tmp, private_tmp};

/// A connection without life for that long is closed. A stream has its comments in between.
const IDLE: Duration = Duration::from_mins(1);
/// What is read counts as life from so many bytes on: who sends a request byte by byte must not
/// hold a connection for ever, and an upload over a slow line may take its time.
const ENOUGH: usize = 16 * 1024;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Somebody at that address.
    Tcp(SocketAddr),
    /// A process of our own user, by its credentials.
    Unix,
}

/// A listener on an address.
#[derive(Debug)]
pub(super) struct Tcp {
    listener: TcpListener,
    address: SocketAddr,
    deadline: Duration,
}

impl Tcp {
    pub(super) async fn bind(address: SocketAddr, deadline: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, deadline })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A listener on a socket file.
#[derive(Debug)]
pub(super) struct Unix {
    listener: UnixListener,
    deadline: Duration,
}

/// The file of a socket; removed when this is dropped, unless it is another's by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = std::fs::symlink_metadata(&self.path);
        if found.is_ok_and(|file| (file.dev(), file.ino()) == self.identity) {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

impl Unix {
    /// Listens at `path` for processes of our own user. A socket file that is there is replaced.
    pub(super) fn bind(path: &Path, deadline: Duration) -> io::Result<(Self, SocketFile)> {
        if path.starts_with("/tmp") && path.parent() == Some(&private_tmp()) {
            create_private_tmp()?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::other("there is a file that is no socket")),
            Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        // Peers are asked who they are; this keeps others from connecting at all.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let found = std::fs::symlink_metadata(path)?;
        let file = SocketFile { path: path.to_owned(), identity: (found.dev(), found.ino()) };
        Ok((Self { listener, deadline }, file))
    }
}

/// Answers connections until the server stops and all have ended.
pub(super) async fn serve<L>(listener: L, app: Router, mut shutdown: watch::Receiver<Shutdown>)
where
    L: Listener,
    L::Addr: std::fmt::Debug,
    Peer: for<'a> Connected<IncomingStream<'a, L>>,
{
    let make = app.into_make_service_with_connect_info::<Peer>();
    let stopped = async move {
        let _ = shutdown.wait_for(|shutdown| shutdown.is_over()).await;
    };
    if let Err(error) = axum::serve(listener, make).with_graceful_shutdown(stopped).await {
        tracing::warn!("the server ended: {error}");
    }
}

impl Listener for Tcp {
    type Io = Timed<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Events are small and should not wait for each other.
                    stream.set_nodelay(true).ok();
                    if let Err(error) = notice_silence(&stream, self.deadline) {
                        tracing::debug!("a dead peer will be noticed late: {error}");
                    }
                    return (Timed::new(stream, self.deadline), address);
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Listener for Unix {
    type Io = Timed<UnixStream>;
    type Addr = ();

    async fn accept(&mut self) -> (Self::Io, ()) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let own = nix::unistd::getuid().as_raw();
                    match stream.peer_cred() {
                        Ok(peer) if peer.uid() == own => {
                            return (Timed::new(stream, self.deadline), ());
                        }
                        Ok(peer) => tracing::warn!("a process of user {} is refused", peer.uid()),
                        Err(error) => tracing::warn!("a peer without a name is refused: {error}"),
                    }
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets the kernel end a connection whose other end is gone without a word: small events fit into
/// its buffers for hours, so no write of ours would ever wait.
#[cfg(target_os = "linux")]
fn notice_silence(stream: &TcpStream, deadline: Duration) -> nix::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &10)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &5)?;
    setsockopt(stream, sockopt::TcpKeepCount, &3)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &(deadline.as_millis() as u32))
}

#[cfg(not(target_os = "linux"))]
fn notice_silence(stream: &TcpStream, _deadline: Duration) -> nix::Result<()> {
    nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::KeepAlive, &true)
}

/// A connection that is gone costs nothing; without descriptors it is better to wait a little.
async fn pause(error: &io::Error) {
    let gone = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    );
    if !gone {
        tracing::warn!("cannot accept connections: {error}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

impl Connected<IncomingStream<'_, Tcp>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Tcp>) -> Self {
        Self::Tcp(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, Unix>> for Peer {
    fn connect_info(_: IncomingStream<'_, Unix>) -> Self {
        Self::Unix
    }
}

/// A connection whose writes fail once none has got on for so long (who does not read must not
/// hold memory for ever), and whose reads fail once nothing has gone either way for [`IDLE`].
#[derive(Debug)]
pub(super) struct Timed<S> {
    pub(super) stream: S,
    deadline: Duration,
    /// Runs while a write waits.
    stuck: Option<Pin<Box<Sleep>>>,
    /// The last sign of life, and what was read since.
    lived: Instant,
    read: usize,
    /// Runs while a read waits.
    idle: Pin<Box<Sleep>>,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, deadline: Duration) -> Self {
        let idle = Box::pin(tokio::time::sleep(IDLE));
        Self { stream, deadline, stuck: None, lived: Instant::now(), read: 0, idle }
    }

    fn lives(&mut self) {
        self.lived = Instant::now();
        self.read = 0;
    }

    /// Ready once there was no life for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.idle.as_mut().poll(cx));
            let end = self.lived + IDLE;
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            self.idle.as_mut().reset(end);
        }
    }

    /// What becomes of a write that came to this.
    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            self.lives();
            return written;
        }
        let deadline = self.deadline;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(deadline)));
        ready!(stuck.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buffer) {
            self.read += buffer.filled().len() - before;
            if self.read >= ENOUGH {
                self.lives();
            }
            return Poll::Ready(read);
        }
        ready!(self.poll_idle(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client asks nothing")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    // E04: also who never ends its request holds nothing for ever.
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_byte_by_byte_or_not_at_all_is_closed() {
        for bytes in [0, 1] {
            let (mut client, server) = duplex(64);
            let mut server = Timed::new(server, LONG);
            tokio::spawn(async move {
                while client.write_all(&b"x"[..bytes]).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            });
            let begun = Instant::now();
            let mut all = Vec::new();
            let end = server.read_to_end(&mut all).await.unwrap_err();
            assert_eq!(end.kind(), io::ErrorKind::TimedOut);
            assert_eq!(begun.elapsed().as_secs(), IDLE.as_secs());
        }
    }

    // E07: a healthy quiet link is never churned.
    #[tokio::test(start_paused = true)]
    async fn a_stream_with_comments_and_an_upload_that_takes_its_time_stay() {
        let (client, server) = duplex(64 * 1024);
        let (mut from, mut to) = tokio::io::split(client);
        tokio::spawn(async move { tokio::io::copy(&mut from, &mut tokio::io::sink()).await });
        let mut server = Timed::new(server, LONG);
        for _ in 0..100 {
            server.write_all(b": keepalive\n\n").await.unwrap();
            let read = tokio::time::timeout(Duration::from_secs(5), server.read_u8()).await;
            assert!(read.is_err(), "{read:?}");
        }
        tokio::spawn(async move {
            for _ in 0..100 {
                tokio::time::sleep(IDLE / 2).await;
                to.write_all(&[b'x'; ENOUGH]).await.unwrap();
            }
            to.shutdown().await.unwrap();
        });
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), 100 * ENOUGH);
    }
}
