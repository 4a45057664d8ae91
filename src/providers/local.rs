//! Model servers on this machine: are they there, and what do they serve? Bounded: a connection
//! gets 20 ms (a closed port answers at once), an answer 150 ms, all servers at the same time.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const CONNECT: Duration = Duration::from_millis(20);
const ANSWER: Duration = Duration::from_millis(150);
const LONGEST: u64 = 256 * 1024;

/// Where a server may listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    /// The provider of the table that speaks to it.
    pub(crate) name: &'static str,
    /// Its address.
    pub(crate) at: SocketAddr,
}

/// A server that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The provider of the table that speaks to it.
    pub(crate) name: &'static str,
    /// Its address, without a path.
    pub(crate) url: String,
    /// The first model it offers.
    pub(crate) model: Option<String>,
}

/// The usual ones.
pub(crate) const USUAL: [Server; 3] =
    [here("ollama", 11434), here("lmstudio", 1234), here("llamacpp", 8080)];

const fn here(name: &'static str, port: u16) -> Server {
    Server { name, at: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port) }
}

/// Whether this is where the named server usually is.
pub(crate) fn is_usual(name: &str, url: &str) -> bool {
    USUAL.iter().any(|s| s.name == name && format!("http://{}", s.at) == url)
}

/// The first of the servers that answers and offers a model.
pub(crate) fn find(servers: &[Server]) -> Option<Found> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = servers.iter().map(|s| scope.spawn(|| ask(*s))).collect();
        let answers: Vec<_> = asked.into_iter().filter_map(|t| t.join().ok().flatten()).collect();
        answers.into_iter().find(|found| found.model.is_some())
    })
}

fn ask(server: Server) -> Option<Found> {
    let mut stream = TcpStream::connect_timeout(&server.at, CONNECT).ok()?;
    let end = Instant::now() + ANSWER;
    stream.set_write_timeout(Some(ANSWER)).ok()?;
    let host = server.at;
    // HTTP/1.0: the answer comes in one piece and its end is the end of the connection.
    let request =
        format!("GET /v1/models HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero())?;
        stream.set_read_timeout(Some(left)).ok()?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
        // A server that keeps the connection open is done when its JSON is.
        if models(&answer).is_some() || answer.len() as u64 > LONGEST {
            break;
        }
    }
    let list = models(&answer)?;
    // Anybody may listen there: a name that could control a terminal is none.
    let model = list["data"][0]["id"].as_str();
    let model = model.filter(|id| host::redact::plain(id) == *id).map(str::to_owned);
    Some(Found { name: server.name, url: format!("http://{}", server.at), model })
}

fn models(answer: &[u8]) -> Option<serde_json::Value> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?;
    let json = body.get(body.find('{')?..=body.rfind('}')?)?;
    let list: serde_json::Value = serde_json::from_str(json).ok()?;
    (status == "200" && list["data"].is_array()).then_some(list)
}
