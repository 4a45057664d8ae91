//! The health report: that this server is alive, what runs, and, if requested, whether host and
//! store work.
//!
//! The path is public, so the report has numbers only: no session, no directory, no text. Which
//! models run is in it only for clients that may use the other routes too.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::listen::Peer;
use super::{QueryParams, ServerState, ok_json};
use crate::clock::now;
use crate::embedded::{Phase, Run, Runs};
use crate::model::catalog;
use crate::store;
use crate::wire::encode::seconds;
use protocol::{Millis, Storage};

/// How long host and store may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long the result of a check of the store is reused: anybody may request one.
const CHECK_TTL: Duration = Duration::from_secs(1);

pub(super) fn routes() -> Router<ServerState> {
    Router::new().route("/health", get(health))
}

/// The request counters of a server and its last check of the store.
#[derive(Clone, Debug, Default)]
pub(super) struct Monitor(Arc<Stats>);

#[derive(Debug, Default)]
struct Stats {
    requests: AtomicU64,
    last_request_at: AtomicI64,
    /// When the store was checked last, and the result. One check at a time.
    store: Mutex<Option<(Instant, Check)>>,
}

impl Monitor {
    /// Counts a request.
    pub(super) fn count_request(&self) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        self.0.last_request_at.store(now(), Ordering::Relaxed);
    }

    /// Checks whether the store can be written, unless that was checked just now.
    async fn check_store(self, state: PathBuf) -> Check {
        let mut last = self.0.store.lock().await;
        if let Some((at, check)) = *last
            && at.elapsed() < CHECK_TTL
        {
            return check;
        }
        let started = Instant::now();
        let written = tokio::task::spawn_blocking(move || store::probe(&state, TIMEOUT)).await;
        let error = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                tracing::warn!("the store cannot be written: {error}");
                Some("unwritable")
            }
            Err(_) => Some("panic"),
        };
        let check = Check { error, took: started.elapsed() };
        *last = Some((Instant::now(), check));
        check
    }
}

/// The result of a check.
#[derive(Clone, Copy, Debug)]
struct Check {
    /// A code for what is wrong; `None` = nothing.
    error: Option<&'static str>,
    took: Duration,
}

impl Check {
    fn to_json(self) -> Value {
        let ms = (self.took.as_secs_f64() * 10_000.0).round() / 10.0;
        match self.error {
            None => json!({ "status": "ok", "ms": ms }),
            Some(code) => json!({ "status": "error", "error": code, "ms": ms }),
        }
    }
}

/// Whether this server is alive and what it speaks.
async fn health(
    State(server): State<ServerState>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    params: QueryParams,
    headers: HeaderMap,
) -> Response {
    let trusted =
        peer == Peer::Unix || !server.auth.is_on() || server.auth.session(&headers).is_some();
    let started = Instant::now();
    let runs = timeout(TIMEOUT, server.host.runs()).await;
    let host = Check {
        error: match &runs {
            Ok(Some(_)) => None,
            Ok(None) => Some("stopped"),
            Err(_) => Some("timeout"),
        },
        took: started.elapsed(),
    };
    let runs = runs.ok().flatten();
    let stats = &server.health.0;
    let now = now();
    let mut body = json!({
        "status": "ok",
        "server_started_at": seconds(server.started_at),
        "uptime_seconds": seconds(now - server.started_at),
        "accept_loop": {
            "requests_total": stats.requests.load(Ordering::Relaxed),
            "last_request_at": seconds(stats.last_request_at.load(Ordering::Relaxed)),
        },
        "version": &*server.version,
        "tui": 1,
    });
    let mut is_healthy = host.error.is_none();
    if let Some(runs) = &runs {
        add_runs(&mut body, &server, runs, trusted, now);
    }
    if matches!(params.get("deep"), Some("1" | "true" | "yes" | "on")) {
        let store = check_store(&server, runs.as_ref()).await;
        is_healthy &= store.error.is_none();
        body["checks"] = json!({ "host": host.to_json(), "store": store.to_json() });
    }
    if is_healthy {
        return ok_json(&body);
    }
    body["status"] = json!("degraded");
    (StatusCode::SERVICE_UNAVAILABLE, ok_json(&body)).into_response()
}

/// Adds the counts and the state of the running turns to a report.
fn add_runs(body: &mut Value, server: &ServerState, runs: &Runs, trusted: bool, now: Millis) {
    let age = |since: Millis| seconds((now - since).max(0));
    let run = |run: &Run| {
        let own = &server.settings.model;
        let provider = catalog::select(own, &run.model).map_or(own.provider, |m| m.provider);
        json!({
            "started_at": seconds(run.started_at),
            "phase": match run.phase {
                Phase::Running => "running",
                Phase::Waiting => "waiting",
                Phase::Cancelling => "cancelling",
            },
            "model": trusted.then_some(&run.model),
            "provider": trusted.then(|| catalog::provider_name(provider)),
            // Every session that runs is stored.
            "ephemeral": false,
            "age_seconds": age(run.started_at),
        })
    };
    // A turn that is being cancelled has no stream to attach to.
    let streams = runs.runs.iter().filter(|run| run.phase != Phase::Cancelling).count();
    body["sessions"] = json!(runs.sessions);
    body["active_streams"] = json!(streams);
    body["active_runs"] = json!(runs.runs.len());
    body["runs"] = runs.runs.iter().map(run).collect();
    body["last_run_finished_at"] = json!(runs.last_ended.map(seconds));
    match (runs.runs.first(), runs.last_ended) {
        (Some(oldest), _) => body["oldest_run_age_seconds"] = json!(age(oldest.started_at)),
        (None, Some(ended)) => body["idle_seconds_since_last_run"] = json!(age(ended)),
        (None, None) => {}
    }
}

/// Whether the store can be written. An error that the host itself has met counts first.
async fn check_store(server: &ServerState, runs: Option<&Runs>) -> Check {
    if runs.is_some_and(|runs| runs.storage != Storage::Ok) {
        return Check { error: Some("failing"), took: Duration::ZERO };
    }
    let started = Instant::now();
    // A task of its own: a client that disconnects meanwhile does not abort the check, so the next
    // request does not start another one.
    let check = tokio::spawn(server.health.clone().check_store(server.host.state().to_owned()));
    let panicked = |_| Check { error: Some("panic"), took: started.elapsed() };
    check.await.unwrap_or_else(panicked)
}
