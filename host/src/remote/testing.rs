//! A server for tests that sends what its scripts hold, byte by byte: one script per connection.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::Server;
use super::http::Client;
use crate::state_dir::StateDir;

/// What is done on a connection, after its request was read.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Send(Vec<u8>),
    Wait(Duration),
    /// Sends nothing more and keeps the connection.
    Hold,
}

pub(crate) fn send(text: impl AsRef<[u8]>) -> Action {
    Action::Send(text.as_ref().to_vec())
}

/// The head of an event stream and what follows.
pub(crate) fn events(text: impl AsRef<[u8]>) -> Vec<Action> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\r\n";
    vec![send(head), send(text)]
}

/// A whole answer.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Vec<Action> {
    let length = body.len();
    vec![send(format!(
        "HTTP/1.1 {status} x\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))]
}

/// See the module. Beyond its scripts it takes no connection.
pub(crate) struct Fake {
    pub(crate) client: Client,
    requests: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(crate) async fn start(scripts: Vec<Vec<Action>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let address = listener.local_addr().unwrap();
        let server =
            Server::parse(&format!("http://{address}/pre/fix/"), &StateDir::new(dir.path()))
                .unwrap();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = requests.clone();
        let task = tokio::spawn(async move {
            for script in scripts {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match socket.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                log.lock().unwrap().push(String::from_utf8(head).unwrap().to_lowercase());
                for step in script {
                    match step {
                        Action::Send(bytes) => {
                            socket.write_all(&bytes).await.ok();
                        }
                        Action::Wait(time) => tokio::time::sleep(time).await,
                        Action::Hold => std::future::pending().await,
                    }
                }
                socket.shutdown().await.ok();
            }
        });
        Self { client: Client::new(&server).unwrap(), requests, task, _dir: dir }
    }

    /// The heads of the requests so far, in small letters.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}
