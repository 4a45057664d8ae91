//! Health: that this server lives, what runs, and, if asked for, whether host and store do their
//! work.
//!
//! The path is public. So it tells numbers: no session, no folder, no text; and which models run
//! only to those who may ask everything else too.

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
use super::{Params, Serving, answer};
use crate::clock::now;
use crate::embedded::{Phase, Run, Runs};
use crate::model::catalog;
use crate::state_dir::StateDir;
use crate::store;
use protocol::{Millis, Storage};

/// How long host and store may take to answer.
const BOUND: Duration = Duration::from_secs(2);
/// What a look at the store has found holds for that long: everybody may ask.
const KEPT: Duration = Duration::from_secs(1);

pub(super) fn routes() -> Router<Serving> {
    Router::new().route("/health", get(health))
}

/// What is counted of a server, and its last look at the store.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    requests: AtomicU64,
    last_at: AtomicI64,
    /// When the store was looked at, and what was found. One look at a time.
    store: Mutex<Option<(Instant, Check)>>,
}

impl Pulse {
    /// A request has come.
    pub(super) fn beat(&self) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        self.0.last_at.store(now(), Ordering::Relaxed);
    }

    /// Looks whether the store can be written, unless somebody has just done so.
    async fn look(self, state: StateDir) -> Check {
        let mut last = self.0.store.lock().await;
        if let Some((at, found)) = *last
            && at.elapsed() < KEPT
        {
            return found;
        }
        let begun = Instant::now();
        let written = tokio::task::spawn_blocking(move || store::probe(&state, BOUND)).await;
        let wrong = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                tracing::warn!("the store cannot be written: {error}");
                Some("unwritable")
            }
            Err(_) => Some("panic"),
        };
        let found = Check { wrong, took: begun.elapsed() };
        *last = Some((Instant::now(), found));
        found
    }
}

/// What a check has found.
#[derive(Clone, Copy, Debug)]
struct Check {
    /// A word for what is wrong.
    wrong: Option<&'static str>,
    took: Duration,
}

impl Check {
    fn told(self) -> Value {
        let ms = (self.took.as_secs_f64() * 10_000.0).round() / 10.0;
        match self.wrong {
            None => json!({ "status": "ok", "ms": ms }),
            Some(word) => json!({ "status": "error", "error": word, "ms": ms }),
        }
    }
}

/// Whether this server lives and what it speaks.
async fn health(
    State(serving): State<Serving>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    params: Params,
    headers: HeaderMap,
) -> Response {
    let trusted =
        peer == Peer::Unix || !serving.auth.is_on() || serving.auth.session(&headers).is_some();
    let begun = Instant::now();
    let runs = timeout(BOUND, serving.access.runs()).await;
    let host = Check {
        wrong: match &runs {
            Ok(Some(_)) => None,
            Ok(None) => Some("stopped"),
            Err(_) => Some("timeout"),
        },
        took: begun.elapsed(),
    };
    let runs = runs.ok().flatten();
    let pulse = &serving.pulse.0;
    let now = now();
    let mut body = json!({
        "status": "ok",
        "server_started_at": seconds(serving.started_at),
        "uptime_seconds": seconds(now - serving.started_at),
        "accept_loop": {
            "requests_total": pulse.requests.load(Ordering::Relaxed),
            "last_request_at": seconds(pulse.last_at.load(Ordering::Relaxed)),
        },
        "version": &*serving.version,
        "tui": 1,
    });
    let mut sound = host.wrong.is_none();
    if let Some(runs) = &runs {
        tell_runs(&mut body, &serving, runs, trusted, now);
    }
    if matches!(params.get("deep"), Some("1" | "true" | "yes" | "on")) {
        let store = look(&serving, runs.as_ref()).await;
        sound &= store.wrong.is_none();
        body["checks"] = json!({ "host": host.told(), "store": store.told() });
    }
    if sound {
        return answer(&body);
    }
    body["status"] = json!("degraded");
    (StatusCode::SERVICE_UNAVAILABLE, answer(&body)).into_response()
}

fn tell_runs(body: &mut Value, serving: &Serving, runs: &Runs, trusted: bool, now: Millis) {
    let age = |since: Millis| seconds((now - since).max(0));
    let run = |run: &Run| {
        let own = &serving.settings.model;
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
    // A turn that is being interrupted has no stream to attach to.
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

/// Whether the store can be written. What the host itself has met counts first.
async fn look(serving: &Serving, runs: Option<&Runs>) -> Check {
    if runs.is_some_and(|runs| runs.storage != Storage::Ok) {
        return Check { wrong: Some("failing"), took: Duration::ZERO };
    }
    let begun = Instant::now();
    // A task of its own: who goes away meanwhile does not let the next one begin another look.
    let look = tokio::spawn(serving.pulse.clone().look(serving.access.state().to_owned()));
    let panicked = |_| Check { wrong: Some("panic"), took: begun.elapsed() };
    look.await.unwrap_or_else(panicked)
}

fn seconds(at: Millis) -> f64 {
    at as f64 / 1000.0
}
