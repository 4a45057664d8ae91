//! A server for tests that says word for word what it is told to: one script a connection.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::Server;
use super::http::Client;
use crate::state_dir::StateDir;

/// What is done on a connection, after its request was read.
#[derive(Clone, Debug)]
pub(crate) enum Do {
    TurnEvent(Vec<u8>),
    Wait(Duration),
    /// Says nothing more and keeps the connection.
    Hold,
}

pub(crate) fn say(text: impl AsRef<[u8]>) -> Do {
    Do::TurnEvent(text.as_ref().to_vec())
}

/// The head of an event stream and what follows.
pub(crate) fn events(text: impl AsRef<[u8]>) -> Vec<Do> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\r\n";
    vec![say(head), say(text)]
}

/// A whole answer.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Vec<Do> {
    let length = body.len();
    vec![say(format!(
        "HTTP/1.1 {status} x\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))]
}

/// See the module. Beyond its scripts it takes no connection.
pub(crate) struct Fake {
    pub(crate) client: Client,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(crate) async fn start(scripts: Vec<Vec<Do>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let address = listener.local_addr().unwrap();
        let server =
            Server::parse(&format!("http://{address}/pre/fix/"), &StateDir::new(dir.path()))
                .unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = asked.clone();
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
                        Do::TurnEvent(bytes) => {
                            socket.write_all(&bytes).await.ok();
                        }
                        Do::Wait(time) => tokio::time::sleep(time).await,
                        Do::Hold => std::future::pending().await,
                    }
                }
                socket.shutdown().await.ok();
            }
        });
        Self { client: Client::new(&server).unwrap(), asked, task, _dir: dir }
    }

    /// The heads of the requests so far, in small letters.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}
