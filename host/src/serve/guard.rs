//! What is checked before any handler runs (E17): for whom a request is, where it comes from and
//! whether its sender is logged in.
//!
//! A page of a foreign site can make a browser send requests here. Three things stop it:
//! - *Host.* A foreign name that resolves to this machine (DNS rebinding) makes such a page "same
//!   origin". Numbers and `localhost` cannot be rebound, so they pass. Other names pass only if a
//!   password is set: then the page has no session under its own name, and none can be had
//!   without the password. Reverse proxies with a name of their own need that.
//! - *Origin, Referer, Sec-Fetch-Site.* If one of the first two is there it must name the same
//!   place as Host; the third must not say that another site asks.
//! - *The session's token*, if a browser changes something and a password is set.
//!
//! Who sends none of those headers is no browser and needs only to be logged in. Over a Unix
//! socket the kernel has said that it is our own user; a proxy in front of it may still carry
//! requests of browsers, so the second check holds there too.

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::listen::Peer;
use super::{Refusal, Serving};

/// What can be asked without being logged in.
pub(super) const PUBLIC: [&str; 3] = ["/health", "/api/auth/status", "/api/auth/login"];

/// Lets a request through to its handler, or not.
pub(super) async fn check(
    State(serving): State<Serving>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    serving.pulse.beat();
    let local = peer == Peer::Unix;
    let name = serving.name.clone();
    let asked = Asked { method: request.method(), path: request.uri().path() };
    let headers = request.headers();
    let session = serving.auth.session(headers);
    let verdict = if local {
        origin(&asked, headers).map(|_| ())
    } else if serving.auth.is_on() {
        origin(&asked, headers).and_then(|from| {
            let public = PUBLIC.contains(&asked.path);
            let Some(token) = session else {
                return if public { Ok(()) } else { Err(anonymous()) };
            };
            // The page of a hermes-webui sends its token only where the method changes something;
            // that a cancel by GET comes from a page of ours `origin` has seen to.
            let exempt = public || !asked.is_unsafe() || from == From::Program;
            if exempt || carries(headers, &token) { Ok(()) } else { Err(stale_page()) }
        })
    } else {
        host(headers).and_then(|()| origin(&asked, headers)).map(|_| ())
    };
    let mut response = match verdict {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    // A browser must not take an export or an upload for a page.
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response.headers_mut().insert(header::SERVER, name);
    response
}

struct Asked<'a> {
    method: &'a Method,
    path: &'a str,
}

impl Asked<'_> {
    /// Whether it changes something: by its method, or by what it is.
    fn changes(&self) -> bool {
        self.is_unsafe() || self.path == "/api/chat/cancel"
    }

    /// Whether its method says that it does.
    fn is_unsafe(&self) -> bool {
        !matches!(*self.method, Method::GET | Method::HEAD)
    }
}

/// What sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// A page of our own place.
    Browser,
    /// Anything else.
    Program,
}

fn anonymous() -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "Authentication required")
}

fn stale_page() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "Session expired - reload the page")
}

fn foreign() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "Cross-origin mismatch - check reverse proxy headers")
}

fn carries(headers: &HeaderMap, token: &str) -> bool {
    let names = ["x-hermes-csrf-token", "x-csrf-token"].map(HeaderName::from_static);
    names.iter().filter_map(|name| headers.get(name)).any(|value| value == token)
}

/// Whether the name a request uses for this server is one that cannot be bent (see the module).
fn host(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut names = headers.get_all(header::HOST).iter();
    let name = names.next().and_then(|name| Place::of_host(name.to_str().ok()?));
    match name {
        Some(place) if names.next().is_none() && place.is_fixed() => Ok(()),
        Some(_) | None => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "Host not allowed - use an address or localhost, or set a password",
        )),
    }
}

/// Where a request says that it comes from.
fn origin(asked: &Asked<'_>, headers: &HeaderMap) -> Result<From, Refusal> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let site = text(HeaderName::from_static("sec-fetch-site"));
    match site {
        Some("same-origin") | None => {}
        // Typed by the user, who wants to see something and not to change it.
        Some("none") if !asked.changes() => {}
        Some(_) => return Err(foreign()),
    }
    let named = [text(header::ORIGIN), text(header::REFERER)];
    let own = text(header::HOST).and_then(Place::of_host);
    for place in named.iter().flatten() {
        let place = Place::of_url(place).ok_or_else(foreign)?;
        if !own.as_ref().is_some_and(|own| own.is(&place)) {
            return Err(foreign());
        }
    }
    let browser = site.is_some() || named.iter().any(Option::is_some);
    Ok(if browser { From::Browser } else { From::Program })
}

/// A name and a port.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    name: String,
    port: Option<u16>,
    /// The port of its scheme, where it has one.
    usual: Option<u16>,
}

impl Place {
    fn of_host(text: &str) -> Option<Self> {
        Self::read(text.parse().ok()?, None)
    }

    fn of_url(text: &str) -> Option<Self> {
        let url: Uri = text.parse().ok()?;
        let usual = match url.scheme_str()? {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        Self::read(url.authority()?.clone(), Some(usual))
    }

    fn read(authority: http::uri::Authority, usual: Option<u16>) -> Option<Self> {
        if authority.as_str().contains('@') {
            return None;
        }
        let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
        // A port that is no number leaves nothing to compare.
        let rest = &authority.as_str()[authority.host().len()..];
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None => None,
        };
        (!name.is_empty()).then_some(Self { name, port, usual })
    }

    /// Whether no name server decides where it is.
    fn is_fixed(&self) -> bool {
        let bare = self.name.trim_start_matches('[').trim_end_matches(']');
        self.name == "localhost"
            || self.name.ends_with(".localhost")
            || bare.parse::<Ipv6Addr>().is_ok()
            || bare.parse::<IpAddr>().is_ok()
    }

    /// Whether a page of `origin` is at home here. A Host without a port means the usual one.
    fn is(&self, origin: &Self) -> bool {
        let theirs = origin.port.or(origin.usual);
        self.name == origin.name && self.port.or(origin.usual) == theirs
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
    fn only_names_that_no_name_server_decides_pass_without_a_password() {
        for name in
            ["localhost", "LOCALHOST:8787", "a.localhost", "127.0.0.1:1", "[::1]:8787", "10.1.2.3"]
        {
            assert_eq!(host(&headers(&[("host", name)])), Ok(()), "{name}");
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
            assert!(host(&headers(&[("host", name)])).is_err(), "{name}");
        }
        assert!(host(&headers(&[])).is_err());
        assert!(host(&headers(&[("host", "localhost"), ("host", "evil.example")])).is_err());
    }

    #[test]
    fn a_page_may_ask_from_the_place_it_asks_and_from_no_other() {
        let get = Asked { method: &Method::GET, path: "/api/sessions" };
        let from = |host: &str, name: &'static str, value: &str| {
            origin(&get, &headers(&[("host", host), (name, value)])).is_ok()
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
    fn another_site_asks_nothing_and_what_changes_something_is_asked_by_a_page_of_ours() {
        let site = |method: &Method, path: &str, site: &str| {
            origin(&Asked { method, path }, &headers(&[("host", "h"), ("sec-fetch-site", site)]))
        };
        let (list, cancel) = ("/api/sessions", "/api/chat/cancel");
        assert_eq!(site(&Method::GET, list, "none"), Ok(From::Browser));
        assert_eq!(site(&Method::GET, list, "same-origin"), Ok(From::Browser));
        assert_eq!(site(&Method::GET, cancel, "same-origin"), Ok(From::Browser));
        for other in ["cross-site", "same-site", "", "nonsense"] {
            assert_eq!(site(&Method::GET, list, other), Err(foreign()), "{other}");
        }
        // A link that somebody follows must not interrupt a turn.
        for other in ["cross-site", "same-site", "none"] {
            assert_eq!(site(&Method::GET, cancel, other), Err(foreign()), "{other}");
            assert_eq!(site(&Method::POST, list, other), Err(foreign()), "{other}");
        }
        let none = origin(&Asked { method: &Method::POST, path: list }, &headers(&[("host", "h")]));
        assert_eq!(none, Ok(From::Program));
    }
}
