//! What lies between a client and its server and goes wrong: a TCP proxy that delays, cuts,
//! resets, falls silent, or answers in the server's place.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
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
    pub(crate) async fn before(server: Arc<Mutex<SocketAddr>>) -> Self {
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
                open.spawn(carry(client, to, faults.clone()));
                while open.try_join_next().is_some() {}
            }
        });
        Self { address, fault, taken, task }
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

/// Carries one connection until it ends or is made to.
async fn carry(mut client: TcpStream, to: SocketAddr, mut faults: watch::Receiver<Fault>) {
    let fault = *faults.borrow_and_update();
    match fault {
        Fault::Page(page) => return respond(client, page).await,
        Fault::Drop => return,
        Fault::Reset => return client.set_zero_linger().unwrap_or_default(),
        Fault::None | Fault::Delay(_) | Fault::HalfOpen => {}
    }
    let Ok(mut server) = TcpStream::connect(to).await else { return };
    let mut delay = match fault {
        Fault::Delay(delay) => delay,
        _ => Duration::ZERO,
    };
    let (mut up, mut down) = ([0; 16 * 1024], [0; 16 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(n) if n > 0 && server.write_all(&up[..n]).await.is_ok() => {}
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(n) if n > 0 => {
                    tokio::time::sleep(delay).await;
                    if client.write_all(&down[..n]).await.is_err() {
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
                    Fault::Reset => return client.set_zero_linger().unwrap_or_default(),
                    Fault::HalfOpen => std::future::pending::<()>().await,
                }
            }
        }
    }
}

/// Reads one request's head and answers it.
async fn respond(mut client: TcpStream, page: &str) {
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
