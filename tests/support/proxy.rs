//! What lies between a client and its server and goes wrong: a proxy that delays, cuts, resets,
//! falls silent, or answers in the server's place. It can also hide that a server is one of ours.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Each piece of an answer comes that much later.
    Delay(Duration),
    /// Connections that are open are closed, and new ones at once.
    Drop,
    /// As `Drop`, by a reset.
    Reset,
    /// Connections that are open now stay open and silent for ever; new ones work.
    HalfOpen,
    /// Every request gets this instead of an answer.
    Page(&'static str),
}

/// An error page of something in between.
pub(crate) const BAD_GATEWAY: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\n\
    content-length: 33\r\nconnection: close\r\n\r\n<html><h1>Bad Gateway</h1></html>";

/// A page that wants a login.
pub(crate) const TO_LOGIN: &str = "HTTP/1.1 302 Found\r\nlocation: /login?next=/\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";

/// What of a server is seen through the proxy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Seen {
    /// All of it.
    Whole,
    /// Not that it speaks the seam wire: a client takes it for a hermes-webui.
    Webui,
}

/// See the module.
pub(crate) struct Proxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    taken: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Before that server; where it leads can be changed.
    pub(crate) async fn before(server: Arc<Mutex<SocketAddr>>, seen: Seen) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, faults) = watch::channel(Fault::None);
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                let Ok((client, _)) = listener.accept().await else { return };
                count.fetch_add(1, Ordering::Relaxed);
                let to = *server.lock().unwrap();
                let faults = faults.clone();
                open.spawn(async move {
                    if let Ok(server) = TcpStream::connect(to).await {
                        carry(client, server, faults, seen).await;
                    }
                });
                while open.try_join_next().is_some() {}
            }
        });
        Self { address, fault, taken, task }
    }

    /// On a Unix socket before a Unix socket.
    pub(crate) fn on_socket(path: PathBuf, server: PathBuf, seen: Seen) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (fault, faults) = watch::channel(Fault::None);
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                let Ok((client, _)) = listener.accept().await else { return };
                let server = UnixStream::connect(&server).await.unwrap();
                open.spawn(carry(client, server, faults.clone(), seen));
                while open.try_join_next().is_some() {}
            }
        });
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { address, fault, taken: Arc::default(), task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on this goes wrong.
    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Connections made so far.
    pub(crate) fn connections(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// A connection that can be broken off.
trait Connection: AsyncRead + AsyncWrite + Unpin {
    fn reset(&self) {}
}

impl Connection for UnixStream {}

impl Connection for TcpStream {
    fn reset(&self) {
        self.set_zero_linger().unwrap_or_default();
    }
}

/// Carries one connection until it ends or is made to.
async fn carry<C: Connection>(
    mut client: C,
    mut server: C,
    mut faults: watch::Receiver<Fault>,
    seen: Seen,
) {
    let fault = *faults.borrow_and_update();
    let mut delay = Duration::ZERO;
    match fault {
        Fault::Page(page) => return respond(client, page).await,
        Fault::Drop => return,
        Fault::Reset => return client.reset(),
        Fault::Delay(by) => delay = by,
        Fault::None | Fault::HalfOpen => {}
    }
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(n) if n > 0 && server.write_all(&up[..n]).await.is_ok() => {}
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(n) if n > 0 => {
                    tokio::time::sleep(delay).await;
                    if client.write_all(&shown(&down[..n], seen)).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            changed = faults.changed() => {
                if changed.is_err() {
                    return;
                }
                let fault = *faults.borrow_and_update();
                match fault {
                    Fault::None => delay = Duration::ZERO,
                    Fault::Delay(by) => delay = by,
                    Fault::Drop | Fault::Page(_) => return,
                    Fault::Reset => return client.reset(),
                    Fault::HalfOpen => std::future::pending::<()>().await,
                }
            }
        }
    }
}

/// What the client gets of a piece. The answer that says what a server speaks is one small piece.
fn shown(piece: &[u8], seen: Seen) -> Vec<u8> {
    let (ours, not) = (b"\"tui\":1", b"\"tui\":0");
    let mut shown = piece.to_vec();
    if seen == Seen::Webui
        && let Some(at) = piece.windows(ours.len()).position(|w| w == ours)
    {
        shown[at..at + ours.len()].copy_from_slice(not);
    }
    shown
}

/// Reads one request's head and answers it.
async fn respond(mut client: impl Connection, page: &str) {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        match client.read(&mut piece).await {
            Ok(n) if n > 0 => head.extend_from_slice(&piece[..n]),
            _ => return,
        }
    }
    client.write_all(page.as_bytes()).await.ok();
    client.shutdown().await.ok();
}
