//! A stream of server-sent events that reconnects. One connection is one client of the crate
//! `eventsource-client`; everything across connections is done here.
//!
//! The crate
//! - builds the request: URL, `Accept: text/event-stream`, `Cache-Control: no-cache`;
//! - reads the lines of a body, cut anywhere and ended by LF, CR or CRLF, without a leading BOM;
//! - makes events of the fields `event`, `data` (several are joined by LF) and `id` (carried on to
//!   events without one, on the same connection), and reports comments, which are keepalives.
//!
//! Its transport is ours ([`Transport`]), because a request needs what the rest of the client has: the
//! cookies, the certificates, the Unix socket. Beyond that we do ourselves:
//! - the reconnecting, because the crate's repeats every refusal, a final 401 too, does not obey
//!   `Retry-After`, and reports no attempt that cannot connect. So it is off;
//! - the cursor, because the crate keeps the id of the last event, which is none for an event that
//!   comes first on a new connection and has no id: the second reconnect would start over;
//! - the check of the answer: the crate takes every 2xx for a stream, a login page too;
//! - the death by silence ([`pace`]): the crate waits as long as the body does;
//! - the bytes ([`lines`]): the crate ends a connection over a character that is no UTF-8, over an
//!   event of nothing but unknown or unusable fields, takes a field named `comment` for a comment, and
//!   has no limit to the size of an event. So whole lines of known fields reach it, as UTF-8. That
//!   filter must see lines, so it ends them by LF and removes the BOM by itself. `retry` is removed
//!   too: it would only pace the crate's own reconnecting.

pub(crate) mod lines;
pub(crate) mod pace;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use eventsource_client::{Client as _, ClientBuilder, ReconnectOptions, SSE};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderValue, Method, Request, header};
use launchdarkly_sdk_transport::{ByteStream, HttpTransport, ResponseFuture, TransportError};
use sync_wrapper::{SyncFuture, SyncStream};
use tokio::time::Instant;

use self::lines::{LARGEST, LineFilter};
use self::pace::{Backoff, Pace};
use super::http::{Client, Error, not_a_stream, unreachable};

/// Longest wait for the head of an answer.
const HEAD: Duration = Duration::from_secs(30);
/// How many times in a row something else than a stream may answer (a login page, any page): a proxy
/// shows one while its server restarts.
pub(crate) const MAX_STRAYS: u32 = 5;
/// Longest pause that a server can ask for.
const LONGEST_PUT_OFF: Duration = Duration::from_mins(2);

/// What a stream delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A connection is open; what follows comes over it.
    Open,
    /// An event.
    Event {
        /// Its name; `message` if it has none.
        name: String,
        /// Its data.
        data: String,
        /// The last id that was seen, also on an earlier event.
        id: Option<String>,
    },
    /// A sign of life.
    Alive,
    /// The connection broke or was not made; it is tried again.
    Lost {
        /// What went wrong, in one line.
        why: String,
        /// How many attempts have failed in a row.
        attempt: u32,
        /// When the next one is made.
        retry_in: Duration,
        /// Nothing answered: no other server is in its place.
        is_away: bool,
    },
    /// No further attempt is made. Nothing follows.
    Refused {
        /// The HTTP status; 0 if there is none.
        status: u16,
        /// What to do, or what is wrong.
        message: String,
    },
}

/// See the module.
pub(crate) struct Stream {
    client: Client,
    path: String,
    query: Vec<(String, String)>,
    /// Asked for as long as there is no cursor.
    first: Vec<(String, String)>,
    cursor: Option<String>,
    backoff: Backoff,
    pace: Arc<Mutex<Pace>>,
    state: State,
    attempt: u32,
    strays: u32,
    opened: Option<Instant>,
}

enum State {
    Waiting(Instant),
    Connected(eventsource_client::BoxStream<eventsource_client::Result<SSE>>),
    Over,
}

impl Stream {
    /// A stream of that server. Nothing is sent before the first [`Stream::next`].
    pub(crate) fn new(client: &Client, path: &str, query: &[(&str, &str)]) -> Self {
        Self {
            client: client.clone(),
            path: path.to_owned(),
            query: owned(query),
            first: Vec::new(),
            cursor: None,
            backoff: client.backoff(),
            pace: Arc::default(),
            state: State::Waiting(Instant::now()),
            attempt: 0,
            strays: 0,
            opened: None,
        }
    }

    /// Asks for this too as long as no event with an id has come (`replay=1`: a server that sees
    /// it does not look at the cursor).
    pub(crate) fn at_first(mut self, query: &[(&str, &str)]) -> Self {
        self.first = owned(query);
        self
    }

    /// What the next connections ask for.
    pub(crate) fn set_query(&mut self, query: &[(&str, &str)]) {
        self.query = owned(query);
    }

    /// The id of the last event that had one.
    #[cfg(test)]
    pub(crate) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Starts with the pace of keepalives that another stream of the same server has learned (E07).
    pub(crate) fn paced_like(self, other: Option<&Self>) -> Self {
        if let Some(other) = other {
            let known = lock(&other.pace).clone();
            lock(&self.pace).learn(&known);
        }
        self
    }

    /// Makes the next attempt at once.
    pub(crate) fn hurry(&mut self) {
        if let State::Waiting(at) = &mut self.state {
            *at = Instant::now();
        }
    }

    /// Makes the next attempt after that pause, also after a refusal.
    pub(crate) fn put_off(&mut self, pause: Duration) {
        self.state = State::Waiting(Instant::now() + pause);
    }

    /// The next item; `None` after a refusal. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Item> {
        loop {
            match &mut self.state {
                State::Over => return None,
                State::Waiting(at) => {
                    tokio::time::sleep_until(*at).await;
                    match self.connect() {
                        Ok(stream) => self.state = State::Connected(stream),
                        Err(error) => return Some(self.lost(error)),
                    }
                }
                State::Connected(stream) => {
                    let item = stream.next().await;
                    match item {
                        Some(Ok(SSE::Connected(_))) => {
                            self.opened = Some(Instant::now());
                            self.strays = 0;
                            return Some(Item::Open);
                        }
                        Some(Ok(SSE::Comment(_))) => return Some(Item::Alive),
                        Some(Ok(SSE::Event(event))) => {
                            let id = event.id.filter(|id| !id.is_empty());
                            if id.is_some() {
                                self.cursor.clone_from(&id);
                            }
                            let (name, data) = (event.event_type, event.data);
                            return Some(Item::Event { name, data, id });
                        }
                        Some(Err(error)) => return Some(self.lost(from_crate(&error))),
                        None => return Some(self.lost(ended())),
                    }
                }
            }
        }
    }

    /// One connection, read by one client.
    fn connect(
        &self,
    ) -> Result<eventsource_client::BoxStream<eventsource_client::Result<SSE>>, Error> {
        let mut query: Vec<(&str, &str)> =
            self.query.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        if self.cursor.is_none() {
            query.extend(self.first.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        }
        let url = self.client.url(&self.path, &query)?;
        let once = ReconnectOptions::reconnect(false).retry_initial(false).build();
        let builder =
            ClientBuilder::for_url(url.as_str()).map_err(|e| Error::Url(e.to_string()))?;
        let transport = Transport {
            client: self.client.clone(),
            cursor: self.cursor.as_ref().and_then(|id| HeaderValue::from_bytes(id.as_bytes()).ok()),
            pace: self.pace.clone(),
        };
        let client = builder.reconnect(once).redirect_limit(0).build_with_transport(transport);
        Ok(client.stream())
    }

    /// Decides what follows from an error: another attempt, or the end.
    fn lost(&mut self, error: Error) -> Item {
        if let Some(opened) = self.opened.take()
            && self.backoff.forgets(opened.elapsed())
        {
            self.attempt = 0;
        }
        self.attempt = self.attempt.saturating_add(1);
        let stray = matches!(error, Error::NotWebui(_) | Error::Redirected(_));
        self.strays = if stray { self.strays + 1 } else { 0 };
        let is_final = !error.is_passing() || self.strays > MAX_STRAYS;
        if is_final {
            self.state = State::Over;
            let status = match &error {
                Error::Status { code, .. } => *code,
                Error::Auth(_) => 401,
                Error::Url(_)
                | Error::Setup(_)
                | Error::Unreachable { .. }
                | Error::NotWebui(_)
                | Error::Redirected(_) => 0,
            };
            return Item::Refused { status, message: error.to_string() };
        }
        let put_off = match &error {
            Error::Status { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let dice = uuid::Uuid::new_v4().as_bytes()[0];
        let pause = self.backoff.pause(self.attempt, dice);
        let retry_in = pause.max(put_off.min(LONGEST_PUT_OFF));
        self.state = State::Waiting(Instant::now() + retry_in);
        let is_away = matches!(error, Error::Unreachable { .. });
        Item::Lost { why: error.to_string(), attempt: self.attempt, retry_in, is_away }
    }
}

fn owned(query: &[(&str, &str)]) -> Vec<(String, String)> {
    query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn ended() -> Error {
    Error::Unreachable { why: "the server ended the stream".to_owned(), sent: true }
}

/// An error of the crate as one of ours. Errors of our own transport come through it unchanged.
fn from_crate(error: &eventsource_client::Error) -> Error {
    use eventsource_client::Error as E;
    match error {
        E::Transport(error) => match error.inner().downcast_ref::<Error>() {
            Some(ours) => ours.clone(),
            None => Error::Unreachable { why: error.to_string(), sent: true },
        },
        E::Eof | E::UnexpectedEof => ended(),
        _ => Error::Unreachable { why: error.to_string(), sent: true },
    }
}

/// Sends the crate's request with our own HTTP client, and gives it the bytes of the answer.
#[derive(Clone)]
struct Transport {
    client: Client,
    /// The crate's own takes ASCII alone, and ends over anything else.
    cursor: Option<HeaderValue>,
    pace: Arc<Mutex<Pace>>,
}

impl HttpTransport for Transport {
    fn request(&self, request: Request<Option<Bytes>>) -> ResponseFuture {
        let open = self.clone().open(request);
        Box::pin(SyncFuture::new(async move { open.await.map_err(TransportError::new) }))
    }
}

impl Transport {
    async fn open(
        self,
        request: Request<Option<Bytes>>,
    ) -> Result<http::Response<ByteStream>, Error> {
        let url = reqwest::Url::parse(&request.uri().to_string())
            .map_err(|e| Error::Url(e.to_string()))?;
        let mut request = self
            .client
            .request_to(Method::GET, url)
            .headers(request.headers().clone())
            // Compression collects bytes: events would come late.
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(cursor) = self.cursor {
            request = request.header("last-event-id", cursor);
        }
        let response =
            tokio::time::timeout(HEAD, self.client.send(request)).await.map_err(|_| {
                Error::Unreachable { why: "no answer in time".to_owned(), sent: true }
            })??;
        let kind = response.headers().get(header::CONTENT_TYPE);
        let is_stream = kind
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"));
        if response.status() != http::StatusCode::OK || !is_stream {
            return Err(not_a_stream(response).await);
        }
        let pace = self.pace;
        lock(&pace).opened();
        let body = PacedBody {
            bytes: Box::pin(response.bytes_stream().map_err(|e| unreachable(&e))),
            lines: LineFilter::new(LARGEST),
            pace,
            last: Instant::now(),
        };
        let body = stream::try_unfold(body, |mut body| async move {
            let next = body.next().await.map_err(TransportError::new)?;
            Ok(next.map(|bytes| (bytes, body)))
        });
        let body: ByteStream = Box::pin(SyncStream::new(body));
        http::Response::builder().body(body).map_err(|e| Error::Setup(e.to_string()))
    }
}

/// The body of an open connection.
struct PacedBody {
    bytes: stream::BoxStream<'static, Result<Bytes, Error>>,
    lines: LineFilter,
    pace: Arc<Mutex<Pace>>,
    /// When the last byte came.
    last: Instant,
}

impl PacedBody {
    /// Whole lines; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let limit = lock(&self.pace).limit();
            let chunk = match tokio::time::timeout(limit, self.bytes.next()).await {
                Ok(Some(chunk)) => chunk?,
                Ok(None) => return Ok(None),
                Err(_) => {
                    let why = format!("nothing was received for {} s", limit.as_secs());
                    return Err(Error::Unreachable { why, sent: true });
                }
            };
            let after = self.last.elapsed();
            self.last = Instant::now();
            let filtered = self.lines.feed(&chunk).map_err(|_| Error::Unreachable {
                why: format!("an event is larger than {} MB", LARGEST / 1024 / 1024),
                sent: true,
            })?;
            let mut pace = lock(&self.pace);
            if filtered.has_fields {
                pace.event();
            } else if filtered.has_comment {
                pace.comment(after);
            }
            drop(pace);
            if !filtered.lines.is_empty() {
                return Ok(Some(filtered.lines.into()));
            }
        }
    }
}

fn lock(pace: &Mutex<Pace>) -> std::sync::MutexGuard<'_, Pace> {
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
