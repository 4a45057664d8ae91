//! Requests to one server: over TCP, TLS or a Unix socket, with its cookies, bounded in time and
//! size. Knows no endpoint; what is long-lived is [`super::sse`]'s.

use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::http::{HeaderMap, Method, header};
use reqwest::{RequestBuilder, Response, Url};
use serde_json::Value;

use super::auth::Jar;
use super::sse::pace::Backoff;
use super::{LOG_IN, Server};
use crate::settings::Timing;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for a whole answer.
const ANSWER: Duration = Duration::from_mins(1);
/// Longest time an upload may take.
const UPLOAD: Duration = Duration::from_mins(10);
/// Largest answer.
const LARGEST: usize = 64 * 1024 * 1024;
/// As much of an answer that is no JSON as is looked at.
const GLANCE: usize = 64 * 1024;

/// Requests to one server. Clones share connections and cookies.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Arc<str>,
    jar: Arc<Mutex<Jar>>,
    timing: Timing,
}

/// An answer in JSON, whatever its status.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// Why there is no answer. The texts are for the user.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The address makes no sense.
    #[error("{0}")]
    Url(String),
    /// Something on this side is wrong: a certificate file.
    #[error("{0}")]
    Setup(String),
    /// The server was not reached, or broke off.
    #[error("{why}")]
    Unreachable {
        /// Why.
        why: String,
        /// Whether it may have got the request all the same. What must not be done twice is then
        /// not simply sent again.
        sent: bool,
    },
    /// It refuses. 401 is [`Error::Auth`].
    #[error("{message}")]
    Status {
        /// The HTTP status.
        code: u16,
        /// The server's words, else the meaning of the status.
        message: String,
        /// The whole answer; null if it was no JSON.
        body: Value,
        /// When to try again, if it says.
        retry_after: Option<Duration>,
    },
    /// The answer is not that of a hermes server.
    #[error("{0}")]
    NotWebui(String),
    /// A login is needed (401): no attempt without one will succeed.
    #[error("{0}")]
    Auth(String),
    /// A redirect, to a login page or another address. A proxy may send one only for a while.
    #[error("{0}")]
    Redirected(String),
}

impl Error {
    /// Whether the same request may succeed later, with nothing changed on this side.
    pub fn is_passing(&self) -> bool {
        match self {
            // A page in place of an answer: a proxy whose server restarts shows one.
            Self::Unreachable { .. } | Self::NotWebui(_) | Self::Redirected(_) => true,
            Self::Status { code, .. } => *code >= 500 || matches!(code, 408 | 425 | 429),
            Self::Url(_) | Self::Setup(_) | Self::Auth(_) => false,
        }
    }
}

impl Client {
    /// A client with the cookies that are kept for that server. Nothing is sent yet.
    ///
    /// # Errors
    /// The URL or a certificate file cannot be used.
    pub fn new(server: &Server) -> Result<Self, Error> {
        let url = Url::parse(&server.url)
            .map_err(|e| Error::Url(format!("`{}` is no URL: {e}", server.url)))?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("hermes-tui/", env!("CARGO_PKG_VERSION")))
            // A redirect is a login page or another address: both are for the user to know.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(server.timing.idle)
            .tcp_keepalive(Duration::from_secs(30));
        if server.socket.is_some() || is_loopback(&url) {
            http = http.no_proxy();
        }
        if let Some(path) = &server.socket {
            http = http.unix_socket(path.clone());
        }
        if let Some(path) = &server.ca {
            let wrong = |e: String| {
                Error::Setup(format!("cannot use the certificate file {}: {e}", path.display()))
            };
            let pem = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
            let certs =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| wrong(e.to_string()))?;
            if certs.is_empty() {
                return Err(wrong("there is no certificate in it".to_owned()));
            }
            http = http.tls_certs_merge(certs);
        }
        if server.insecure {
            http = http.tls_danger_accept_invalid_certs(true);
        }
        let http = http.build().map_err(|e| Error::Setup(cause(&e)))?;
        let jar = Jar::open(server.file("cookie"), &server.name());
        Ok(Self {
            http,
            base: server.url.as_str().into(),
            jar: Arc::new(Mutex::new(jar)),
            timing: server.timing,
        })
    }

    /// The pauses between two tries to connect.
    pub(super) fn backoff(&self) -> Backoff {
        Backoff::from(self.timing)
    }

    /// Sends a GET request. `path` begins with `/`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Error> {
        let request = self.request(Method::GET, path, query)?.timeout(ANSWER);
        self.ask(request).await?.accepted()
    }

    /// Sends a POST request with a JSON body.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        let request = self.request(Method::POST, path, &[])?.json(body).timeout(ANSWER);
        self.ask(request).await?.accepted()
    }

    /// Sends a file as a form, in the field `file`, after the other fields.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn upload(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        name: &str,
        content: Vec<u8>,
    ) -> Result<Value, Error> {
        let mut form = reqwest::multipart::Form::new();
        for (key, value) in fields {
            form = form.text((*key).to_owned(), (*value).to_owned());
        }
        let part = reqwest::multipart::Part::bytes(content).file_name(name.to_owned());
        let request = self.request(Method::POST, path, &[])?.multipart(form.part("file", part));
        self.ask(request.timeout(UPLOAD)).await?.accepted()
    }

    /// Whether any cookie is kept.
    pub fn has_cookie(&self) -> bool {
        self.jar().header().is_some()
    }

    /// Uses a cookie that was copied from a browser; false if the text is none.
    pub fn paste_cookie(&self, text: &str) -> bool {
        self.jar().paste(text)
    }

    /// A request with the cookies. It has no time limit yet.
    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<RequestBuilder, Error> {
        Ok(self.request_to(method, self.url(path, query)?))
    }

    /// As [`Self::request`], to a whole address of this server.
    pub(super) fn request_to(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match self.jar().header() {
            Some(cookie) => request.header(header::COOKIE, cookie),
            None => request,
        }
    }

    /// The whole address of a path.
    pub(super) fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, Error> {
        let mut url = Url::parse(&format!("{}{path}", self.base))
            .map_err(|e| Error::Url(format!("`{}{path}` is no URL: {e}", self.base)))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// Sends a request and takes its cookies. A redirect is an error.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|e| unreachable(&e))?;
        let cookies = response.headers().get_all(header::SET_COOKIE);
        self.jar().take(cookies.iter().filter_map(|value| value.to_str().ok()));
        if response.status().is_redirection() {
            let to = response.headers().get(header::LOCATION).and_then(|v| v.to_str().ok());
            return Err(redirected(to.unwrap_or_default()));
        }
        Ok(response)
    }

    /// Sends a request and reads what is answered, if that is JSON or a refusal.
    pub(super) async fn ask(&self, request: RequestBuilder) -> Result<Reply, Error> {
        let response = self.send(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = read(response, LARGEST).await?;
        let body = match serde_json::from_slice(&text) {
            Ok(body) => body,
            Err(_) if !status.is_success() => Value::Null,
            Err(_) if looks_like_html(&text) => {
                return Err(Error::NotWebui(
                    "a web page came back where data was expected: this is no hermes server, or \
                     a proxy in front of it shows a page of its own"
                        .to_owned(),
                ));
            }
            Err(error) => {
                return Err(Error::NotWebui(format!(
                    "what came back is not the JSON of a hermes server ({error})"
                )));
            }
        };
        Ok(Reply { status: status.as_u16(), headers, body })
    }

    fn jar(&self) -> MutexGuard<'_, Jar> {
        self.jar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reply {
    /// The answer, unless it is a refusal.
    pub(crate) fn accepted(self) -> Result<Value, Error> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        Err(refusal(self.status, &self.headers, self.body))
    }
}

/// A refusal in the server's words.
pub(super) fn refusal(code: u16, headers: &HeaderMap, body: Value) -> Error {
    let said = body["error"].as_str().filter(|text| !text.is_empty());
    if code == 401 {
        return Error::Auth(format!("{}: {LOG_IN}", said.unwrap_or("the server wants a login")));
    }
    let message = said.map_or_else(
        || {
            let meaning = ::http::StatusCode::from_u16(code).ok();
            let meaning = meaning.and_then(|c| c.canonical_reason()).unwrap_or("an odd status");
            format!("the server answers {code} ({meaning})")
        },
        str::to_owned,
    );
    let retry_after = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    Error::Status { code, message, body, retry_after }
}

/// Where a redirect leads is either a login or another address.
fn redirected(to: &str) -> Error {
    let to = crate::redact::plain(to);
    if to.is_empty() || to.contains("login") || to.contains("auth") || to.contains("signin") {
        return Error::Redirected(format!(
            "the server sends us to a login page: {LOG_IN}; where the login needs a browser, \
                 log in there and attach with its cookie (`--cookie`)"
        ));
    }
    Error::Redirected(format!("the server has moved to {to}: attach to that address"))
}

/// A body, up to `most` bytes.
pub(super) async fn read(mut response: Response, most: usize) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(&e))? {
        if text.len() + chunk.len() > most {
            return Err(Error::NotWebui(format!("the answer is larger than {most} bytes")));
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

/// What a response that is no event stream says: a refusal, or something else.
pub(super) async fn not_a_stream(response: Response) -> Error {
    let (status, headers) = (response.status(), response.headers().clone());
    let reading = tokio::time::timeout(CONNECT, read(response, GLANCE)).await;
    let text = reading.map_or_else(|_| Vec::new(), Result::unwrap_or_default);
    if status.is_success() && status != ::http::StatusCode::NO_CONTENT {
        let what = if looks_like_html(&text) { "a web page" } else { "something else" };
        return Error::NotWebui(format!("{what} came back where a stream was expected"));
    }
    refusal(status.as_u16(), &headers, serde_json::from_slice(&text).unwrap_or_default())
}

/// A failure to reach the server, in words for the user.
pub(super) fn unreachable(error: &reqwest::Error) -> Error {
    Error::Unreachable { why: cause(error), sent: !(error.is_connect() || error.is_builder()) }
}

/// The innermost cause of an error, without addresses: those may hold ids.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        let what = if error.is_connect() { "no connection" } else { "no answer" };
        return format!("{what} in time");
    }
    let mut cause = error.source();
    let mut said = None;
    while let Some(inner) = cause {
        said = Some(inner.to_string());
        cause = inner.source();
    }
    let said = said.unwrap_or_else(|| "the request failed".to_owned());
    if error.is_connect() && said.contains("InvalidContentType") {
        return "what answers there speaks no TLS; is it http:// in place of https://?".to_owned();
    }
    if let Some(advice) = distrust(&said) {
        return advice;
    }
    // How the parts of a body were framed helps nobody.
    if said.contains("chunk size") || said.contains("before message completed") {
        return "the connection broke off".to_owned();
    }
    // The number of the error neither.
    match said.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => said,
    }
}

/// What to do about a certificate that is not trusted here.
fn distrust(said: &str) -> Option<String> {
    let what = ["UnknownIssuer", "CaUsedAsEndEntity", "BadSignature"];
    what.iter().any(|what| said.contains(what)).then(|| {
        "its certificate is not signed by an authority that is trusted here: if the server has one \
         of its own, name its file with --ca FILE; if not, somebody may be intercepting the \
         connection"
            .to_owned()
    })
}

fn looks_like_html(text: &[u8]) -> bool {
    text.trim_ascii_start().first() == Some(&b'<')
}

/// Whether a URL leads to this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::distrust;

    #[test]
    fn an_untrusted_certificate_comes_with_advice() {
        let advice = distrust("invalid peer certificate: UnknownIssuer").unwrap();
        assert!(advice.contains("--ca FILE"), "{advice}");
        // Which name it is for, or that it is too old, says enough.
        assert_eq!(distrust("certificate not valid for name \"a\"; it is for \"b\""), None);
    }
}
