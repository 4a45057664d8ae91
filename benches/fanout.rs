//! Many who look at many sessions: 1 000 subscribers over 200 sessions that stream, a tenth of
//! them slow. The model stamps each piece with the moment it was written; a subscriber subtracts.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Barrier, Semaphore};

use crate::home::Home;
use crate::model::Model;
use crate::procfs;
use crate::stats::{Samples, figure};

const SESSIONS: usize = 200;
const SUBSCRIBERS: usize = 1_000;
/// Every tenth reads 64 bytes a second, through a small window.
const SLOW: usize = 10;
/// Pieces of an answer, and how many a second.
const PIECES: usize = 150;
const RATE: usize = 10;

/// From the moment a piece was written by the model to the moment a subscriber has it.
pub(crate) fn load() {
    let model = Model::start();
    let home = Home::on(&model);
    let mut server = Serving::start(&home);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (latencies, complete, fast) = runtime.block_on(subscribe(&server.address));
    let memory = procfs::memory(server.child.id());
    let peak = procfs::peak(server.child.id());
    latencies.print(&format!("{SUBSCRIBERS} subscribers, {SESSIONS} streams: fan-out"));
    figure("pieces that reached the fast ones", &format!("{complete} of {}", fast * PIECES));
    figure("memory of the host", &format!("RSS {} kB, peak {peak} kB", memory.rss));
    let cpu = procfs::cpu(server.child.id());
    figure("its processor time", &format!("{:.1} s", cpu.as_secs_f64()));
    server.child.kill().unwrap();
    server.child.wait().unwrap();
}

struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(home: &Home) -> Self {
        let mut command = home.command(&["serve", "--port", "0"]);
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The line names the address; the rest of the output is not waited for.
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| {
                Some(line.split_once("http://")?.1.split('/').next()?.trim().to_owned())
            })
            .expect("it says where it listens");
        Self { child, address }
    }
}

/// Runs all of it; what the fast ones measured, how many pieces they got, how many they are.
async fn subscribe(address: &str) -> (Samples, usize, usize) {
    let address: Arc<str> = address.into();
    let (at_once, begin) = (Arc::new(Semaphore::new(32)), Arc::new(Barrier::new(SUBSCRIBERS)));
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let made = post(&address, "/api/session/new", &json!({ "worktree": false })).await;
        sessions.push(made["session"]["session_id"].as_str().unwrap().to_owned());
    }
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..SUBSCRIBERS {
        let session = sessions[n % SESSIONS].clone();
        let (address, at_once, begin) = (address.clone(), at_once.clone(), begin.clone());
        let slow = n % SLOW == 0;
        tasks.spawn(async move {
            // The relay of a session waits for its next turn, so all are there when it begins.
            let path = format!("/api/sessions/{session}/events");
            let permit = at_once.acquire().await.unwrap();
            let socket = TcpSocket::new_v4().unwrap();
            if slow {
                socket.set_recv_buffer_size(4 * 1024).unwrap();
            }
            let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
            let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            drop(permit);
            begin.wait().await;
            if n < SESSIONS {
                let prompt = format!("STAMPS {PIECES} {RATE}");
                let body = json!({ "session_id": session, "message": prompt });
                let started = post(&address, "/api/chat/start", &body).await;
                assert!(started["stream_id"].is_string(), "{started}");
            }
            (slow, read(stream, slow).await)
        });
    }
    let mut all = Samples::default();
    let (mut complete, mut fast) = (0, 0);
    while let Some(done) = tasks.join_next().await {
        let (slow, samples) = done.unwrap();
        if slow {
            continue;
        }
        fast += 1;
        complete += samples.len();
        for sample in samples {
            all.add(sample);
        }
    }
    (all, complete, fast)
}

/// Reads until the last piece; how late each stamp was.
async fn read(mut stream: TcpStream, slow: bool) -> Vec<Duration> {
    let mut samples = Vec::new();
    let mut text = String::new();
    let mut piece = vec![0; if slow { 64 } else { 64 * 1024 }];
    let begun = tokio::time::Instant::now();
    let deadline = tokio::time::Instant::now() + Duration::from_mins(2);
    loop {
        let read = tokio::time::timeout_at(deadline, stream.read(&mut piece)).await;
        let Ok(Ok(n)) = read else { return samples };
        if n == 0 {
            return samples;
        }
        let now = micros();
        text.push_str(&String::from_utf8_lossy(&piece[..n]));
        while let Some((_, after)) = text.split_once('<') {
            let Some((stamp, rest)) = after.split_once('>') else { break };
            let stamp = stamp.parse::<u64>().ok();
            samples.extend(stamp.map(|at| Duration::from_micros(now.saturating_sub(at))));
            text = rest.to_owned();
        }
        if samples.len() >= PIECES || text.contains("event: stream_end") {
            return samples;
        }
        if slow {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if begun.elapsed() > Duration::from_secs(PIECES as u64 / RATE as u64 + 5) {
                return samples;
            }
        }
    }
}

pub(crate) fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

async fn post(address: &str, path: &str, body: &Value) -> Value {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
}
