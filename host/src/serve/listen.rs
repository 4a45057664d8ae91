//! Listeners: TCP and Unix sockets, the peer of a connection, and the timeouts that close a
//! connection whose client accepts no bytes or that is idle. What is served is the router's.

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
use crate::process;

/// A connection without activity for that long is closed. A stream has its comments in between.
const IDLE: Duration = Duration::from_mins(1);
/// Reading counts as activity from so many bytes on: a client that sends a request byte by byte
/// must not hold a connection permanently, and an upload over a slow line may take its time.
const ACTIVITY: usize = 16 * 1024;

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A client at that address.
    Tcp(SocketAddr),
    /// A process of our own user, by its credentials.
    Unix,
}

/// A listener on an address.
#[derive(Debug)]
pub(super) struct Tcp {
    listener: TcpListener,
    address: SocketAddr,
    write_timeout: Duration,
}

impl Tcp {
    pub(super) async fn bind(address: SocketAddr, write_timeout: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, write_timeout })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A listener on a socket file.
#[derive(Debug)]
pub(super) struct Unix {
    listener: UnixListener,
    write_timeout: Duration,
}

/// The file of a socket; removed when this is dropped, unless another socket has replaced it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let current = std::fs::symlink_metadata(&self.path);
        if current.is_ok_and(|file| (file.dev(), file.ino()) == self.identity) {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

impl Unix {
    /// Listens at `path` for processes of our own user. An existing socket file is replaced.
    pub(super) fn bind(path: &Path, write_timeout: Duration) -> io::Result<(Self, SocketFile)> {
        if path.starts_with("/tmp") && path.parent() == Some(&process::private_dir()) {
            process::create_private_dir()?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(file) if file.file_type().is_socket() => std::fs::remove_file(path)?,
            Ok(_) => {
                return Err(io::Error::other(
                    "a file that is not a socket exists there; remove it",
                ));
            }
            Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        // Credentials are checked on accept; this keeps other users from connecting at all.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let meta = std::fs::symlink_metadata(path)?;
        let file = SocketFile { path: path.to_owned(), identity: (meta.dev(), meta.ino()) };
        Ok((Self { listener, write_timeout }, file))
    }
}

/// Serves connections until the server stops and all have ended.
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
                    if let Err(error) = notice_silence(&stream, self.write_timeout) {
                        tracing::debug!("a dead client will be noticed late: {error}");
                    }
                    return (Timed::new(stream, self.write_timeout), address);
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
                            return (Timed::new(stream, self.write_timeout), ());
                        }
                        Ok(peer) => tracing::warn!("refused a process of user {}", peer.uid()),
                        Err(error) => {
                            tracing::warn!("refused a connection without credentials: {error}");
                        }
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

/// Lets the kernel end a connection whose client vanished without closing it: small events fit
/// into its buffers for hours, so no write of ours would ever wait.
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

/// Waits a little before the next accept, unless just that one connection failed: without file
/// descriptors the next attempt would fail at once.
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

/// A connection whose writes fail once none has progressed for `write_timeout` (a client that does
/// not read must not hold memory permanently), and whose reads fail once it was idle for [`IDLE`].
#[derive(Debug)]
pub(super) struct Timed<S> {
    pub(super) stream: S,
    write_timeout: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// The last activity, and how many bytes were read since.
    active_at: Instant,
    read: usize,
    /// Runs while a read waits.
    idle: Pin<Box<Sleep>>,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, write_timeout: Duration) -> Self {
        let idle = Box::pin(tokio::time::sleep(IDLE));
        Self { stream, write_timeout, stalled: None, active_at: Instant::now(), read: 0, idle }
    }

    fn note_activity(&mut self) {
        self.active_at = Instant::now();
        self.read = 0;
    }

    /// Ready once the connection was idle for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.idle.as_mut().poll(cx));
            let end = self.active_at + IDLE;
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            self.idle.as_mut().reset(end);
        }
    }

    /// The result of a write: an error once none has progressed for too long.
    fn check_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            self.note_activity();
            return written;
        }
        let timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client accepts no bytes")))
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
            if self.read >= ACTIVITY {
                self.note_activity();
            }
            return Poll::Ready(read);
        }
        ready!(self.poll_idle(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client sends nothing")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.check_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.check_write(cx, written)
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

    // E04: also a client that never ends its request holds nothing permanently.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_byte_by_byte_or_nothing_is_closed() {
        for bytes in [0, 1] {
            let (mut client, server) = duplex(64);
            let mut server = Timed::new(server, LONG);
            tokio::spawn(async move {
                while client.write_all(&b"x"[..bytes]).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            });
            let started = Instant::now();
            let mut all = Vec::new();
            let end = server.read_to_end(&mut all).await.unwrap_err();
            assert_eq!(end.kind(), io::ErrorKind::TimedOut);
            assert_eq!(started.elapsed().as_secs(), IDLE.as_secs());
        }
    }

    // E07: a healthy quiet link is never churned.
    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_and_a_slow_upload_stay_open() {
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
                to.write_all(&[b'x'; ACTIVITY]).await.unwrap();
            }
            to.shutdown().await.unwrap();
        });
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), 100 * ACTIVITY);
    }
}
