//! The checks that run before any handler (E17): of the Host and the origin of a request, and of
//! its login.
//!
//! A page of another site can make a browser send requests here. Three checks stop it:
//! - *Host.* A foreign name that resolves to this machine (DNS rebinding) makes such a page "same
//!   origin". IP addresses and `localhost` cannot be rebound, so they pass. Other names pass only
//!   if a password is set: then the page has no session under its own name, and gets none without
//!   the password. Reverse proxies with a name of their own need that.
//! - *Origin, Referer, Sec-Fetch-Site.* The first two, if present, must name the same authority as
//!   Host; the third must not name another site.
//! - *The session's token*, if a browser changes something and a password is set.
//!
//! A client that sends none of those headers is no browser and needs only a login. Over a Unix
//! socket the kernel has vouched for our own user; a proxy in front of it may still forward
//! requests of browsers, so the second check applies there too.

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::listen::Peer;
use super::{ApiError, ServerState};

/// The paths that need no login.
pub(super) const PUBLIC: [&str; 3] = ["/health", "/api/auth/status", "/api/auth/login"];

/// Passes a request on to its handler, or refuses it.
pub(super) async fn check(
    State(server): State<ServerState>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    server.health.count_request();
    let local = peer == Peer::Unix;
    let name = server.name.clone();
    let line = RequestLine { method: request.method(), path: request.uri().path() };
    let headers = request.headers();
    let session = server.auth.session(headers);
    let checked = if local {
        check_origin(&line, headers).map(|_| ())
    } else if server.auth.is_on() {
        check_origin(&line, headers).and_then(|client| {
            let public = PUBLIC.contains(&line.path);
            let Some(token) = session else {
                return if public { Ok(()) } else { Err(unauthenticated()) };
            };
            // The page of a hermes-webui sends its token only with an unsafe method; that a cancel
            // by GET comes from our own origin `check_origin` has ensured.
            let exempt = public || !line.is_unsafe() || client == Client::Program;
            if exempt || has_token(headers, &token) { Ok(()) } else { Err(stale_page()) }
        })
    } else {
        check_host(headers).and_then(|()| check_origin(&line, headers)).map(|_| ())
    };
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    // A browser must not render an export or an upload as a page.
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response.headers_mut().insert(header::SERVER, name);
    response
}

/// The method and path of a request.
struct RequestLine<'a> {
    method: &'a Method,
    path: &'a str,
}

impl RequestLine<'_> {
    /// Whether it changes something: by its method, or although that says otherwise.
    fn changes(&self) -> bool {
        self.is_unsafe() || self.path == "/api/chat/cancel"
    }

    /// Whether its method is one that changes something.
    fn is_unsafe(&self) -> bool {
        !matches!(*self.method, Method::GET | Method::HEAD)
    }
}

/// The kind of client that sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// A page of our own origin.
    Browser,
    /// Anything else.
    Program,
}

fn unauthenticated() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "Authentication required")
}

fn stale_page() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "Session expired - reload the page")
}

fn cross_origin() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "Cross-origin mismatch - check reverse proxy headers")
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let names = ["x-hermes-csrf-token", "x-csrf-token"].map(HeaderName::from_static);
    names.iter().filter_map(|name| headers.get(name)).any(|value| value == token)
}

/// Refuses a Host that DNS rebinding can produce (see the module).
fn check_host(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut names = headers.get_all(header::HOST).iter();
    let name = names.next().and_then(|name| Authority::from_host(name.to_str().ok()?));
    match name {
        Some(authority) if names.next().is_none() && authority.is_fixed() => Ok(()),
        Some(_) | None => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "Host not allowed - use an address or localhost, or set a password",
        )),
    }
}

/// Refuses a request of another origin; returns the kind of client that sent it.
fn check_origin(line: &RequestLine<'_>, headers: &HeaderMap) -> Result<Client, ApiError> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let site = text(HeaderName::from_static("sec-fetch-site"));
    match site {
        Some("same-origin") | None => {}
        // Typed by the user, to see something and not to change it.
        Some("none") if !line.changes() => {}
        Some(_) => return Err(cross_origin()),
    }
    let named = [text(header::ORIGIN), text(header::REFERER)];
    let own = text(header::HOST).and_then(Authority::from_host);
    for url in named.iter().flatten() {
        let origin = Authority::from_url(url).ok_or_else(cross_origin)?;
        if !own.as_ref().is_some_and(|own| own.serves(&origin)) {
            return Err(cross_origin());
        }
    }
    let browser = site.is_some() || named.iter().any(Option::is_some);
    Ok(if browser { Client::Browser } else { Client::Program })
}

/// A host name and a port.
#[derive(Debug, PartialEq, Eq)]
struct Authority {
    name: String,
    port: Option<u16>,
    /// The default port of the URL's scheme; `None` = it comes from a Host header.
    default_port: Option<u16>,
}

impl Authority {
    fn from_host(text: &str) -> Option<Self> {
        Self::parse(text.parse().ok()?, None)
    }

    fn from_url(text: &str) -> Option<Self> {
        let url: Uri = text.parse().ok()?;
        let default_port = match url.scheme_str()? {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        Self::parse(url.authority()?.clone(), Some(default_port))
    }

    fn parse(authority: http::uri::Authority, default_port: Option<u16>) -> Option<Self> {
        if authority.as_str().contains('@') {
            return None;
        }
        let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
        // With a port that is not a number there is nothing to compare.
        let rest = &authority.as_str()[authority.host().len()..];
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None => None,
        };
        (!name.is_empty()).then_some(Self { name, port, default_port })
    }

    /// Whether no name server decides what it resolves to.
    fn is_fixed(&self) -> bool {
        let bare = self.name.trim_start_matches('[').trim_end_matches(']');
        self.name == "localhost"
            || self.name.ends_with(".localhost")
            || bare.parse::<Ipv6Addr>().is_ok()
            || bare.parse::<IpAddr>().is_ok()
    }

    /// Whether a page of `origin` was served by this Host. Without a port it means the default one.
    fn serves(&self, origin: &Self) -> bool {
        let theirs = origin.port.or(origin.default_port);
        self.name == origin.name && self.port.or(origin.default_port) == theirs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        pairs.collect()
    }

    // E17: DNS rebinding.
    #[test]
    fn without_a_password_only_unresolvable_names_pass() {
        for name in
            ["localhost", "LOCALHOST:8787", "a.localhost", "127.0.0.1:1", "[::1]:8787", "10.1.2.3"]
        {
            assert_eq!(check_host(&headers(&[("host", name)])), Ok(()), "{name}");
        }
        for name in [
            "evil.example",
            "evil.example:8787",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "evil.example:127.0.0.1",
            "",
            ":80",
        ] {
            assert!(check_host(&headers(&[("host", name)])).is_err(), "{name}");
        }
        assert!(check_host(&headers(&[])).is_err());
        assert!(check_host(&headers(&[("host", "localhost"), ("host", "evil.example")])).is_err());
    }

    #[test]
    fn a_page_may_send_requests_only_to_its_own_origin() {
        let get = RequestLine { method: &Method::GET, path: "/api/sessions" };
        let from = |host: &str, name: &'static str, value: &str| {
            check_origin(&get, &headers(&[("host", host), (name, value)])).is_ok()
        };
        assert!(from("localhost:8787", "origin", "http://localhost:8787"));
        assert!(from("localhost:8787", "referer", "http://LOCALHOST:8787/a?b"));
        assert!(from("h.example", "origin", "https://h.example"));
        assert!(from("h.example", "origin", "https://h.example:443"));
        assert!(from("h.example:443", "origin", "https://h.example"));
        assert!(!from("localhost:8787", "origin", "http://localhost:8788"));
        assert!(!from("localhost:8787", "origin", "http://localhost"));
        assert!(!from("localhost:8787", "origin", "http://evil.example:8787"));
        assert!(!from("h.example", "origin", "https://h.example:8443"));
        assert!(!from("localhost:8787", "origin", "null"));
        assert!(!from("localhost:8787", "origin", "http://localhost:8787@evil.example"));
        assert!(!from("localhost:8787", "referer", "http://evil.example/localhost:8787"));
        assert!(!from("localhost:8787", "origin", ""));
    }

    #[test]
    fn another_site_may_request_nothing_and_a_link_changes_nothing() {
        let site = |method: &Method, path: &str, site: &str| {
            check_origin(
                &RequestLine { method, path },
                &headers(&[("host", "h"), ("sec-fetch-site", site)]),
            )
        };
        let (list, cancel) = ("/api/sessions", "/api/chat/cancel");
        assert_eq!(site(&Method::GET, list, "none"), Ok(Client::Browser));
        assert_eq!(site(&Method::GET, list, "same-origin"), Ok(Client::Browser));
        assert_eq!(site(&Method::GET, cancel, "same-origin"), Ok(Client::Browser));
        for other in ["cross-site", "same-site", "", "nonsense"] {
            assert_eq!(site(&Method::GET, list, other), Err(cross_origin()), "{other}");
        }
        // Following a link must not cancel a turn.
        for other in ["cross-site", "same-site", "none"] {
            assert_eq!(site(&Method::GET, cancel, other), Err(cross_origin()), "{other}");
            assert_eq!(site(&Method::POST, list, other), Err(cross_origin()), "{other}");
        }
        let line = RequestLine { method: &Method::POST, path: list };
        let none = check_origin(&line, &headers(&[("host", "h")]));
        assert_eq!(none, Ok(Client::Program));
    }
}
