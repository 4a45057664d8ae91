//! The life of a view of one of our own hosts: it is lost with its stream, and opened again on the
//! same session, on a new one if that is gone, or never again.

use std::time::Duration;

use serde_json::Value;

use super::window::is_empty;
use super::{HostStop, Seam, session_param, stream};
use crate::clock::now;
use crate::remote::http::Error;
use crate::remote::sse::MAX_STRAYS;
use crate::remote::{LOCAL_RETRY, is_prompt, probe_with, report_link};
use protocol::{Link, Millis, Subject, Target};

impl Seam {
    /// The stream broke or could not be opened; it is tried again after `retry_in`.
    pub(super) fn lost(
        &mut self,
        why: String,
        attempt: u32,
        mut retry_in: Duration,
        is_away: bool,
    ) {
        self.disconnected(&why);
        if self.is_local && retry_in > LOCAL_RETRY {
            retry_in = LOCAL_RETRY;
            self.stream.put_off(LOCAL_RETRY);
        }
        let retry_at = now() + retry_in.as_millis() as Millis;
        // If something else answers in its place, that is reported; if nobody does, the host has
        // stopped as it announced.
        let stop = if is_away { self.host_stop } else { HostStop::No };
        match stop {
            HostStop::No => report_link(&self.sink, Link::Down { why, attempt, retry_at }),
            HostStop::Reported if self.is_local => {}
            HostStop::Announced | HostStop::Reported => {
                self.host_stop = HostStop::Reported;
                let retry_at = (!self.is_local).then_some(retry_at);
                report_link(&self.sink, Link::Stopped { retry_at });
            }
        }
    }

    /// Reports a host of another version than before: it explains why something is different.
    pub(super) fn note_version(&mut self, hello: &str) {
        let hello: Value = serde_json::from_str(hello).unwrap_or_default();
        let Some(version) = hello["version"].as_str() else { return };
        let before = self.version.replace(version.to_owned());
        if before.is_some_and(|before| before != version) && version != env!("CARGO_PKG_VERSION") {
            self.toast(format!(
                "the host runs {version} now, this is {}",
                env!("CARGO_PKG_VERSION")
            ));
        }
    }

    /// The view is gone with its stream.
    pub(super) fn disconnected(&mut self, why: &str) {
        self.view = None;
        let was_ready = std::mem::replace(&mut self.is_ready, false);
        self.pause = None;
        if self.in_flight.take().is_some() {
            self.report_doubtful(why);
        }
        self.outbox.disconnected();
        if was_ready && self.host_stop == HostStop::Announced && self.outbox.contains(is_prompt) {
            // It was sent while the host was stopping, and is not confirmed.
            self.prompt_waiting.set(true);
        }
        if let Some(known) = &self.known {
            self.target = Target::Id(known.session.clone());
        }
        self.stream.set_query(&[("session", session_param(&self.target))]);
    }

    /// Opens another view at once.
    pub(super) fn reopen(&mut self) {
        self.disconnected("the view ended");
        report_link(&self.sink, Link::Connecting);
        self.stream = stream(&self.client, &self.target);
    }

    /// The host has no such session.
    pub(super) async fn session_gone(&mut self, message: String) {
        self.disconnected(&message);
        let Target::Id(session) = self.target.clone() else { return self.refuse(message) };
        match probe_with(&self.client).await {
            Ok(probe) if !probe.tui => {
                return self
                    .refuse("another server answers there now: quit and attach again".to_owned());
            }
            Err(error) if !error.is_passing() => return self.refuse(error.to_string()),
            Err(error) => return self.host_unreachable(&error),
            Ok(_) => {}
        }
        match &self.known {
            // Nothing shows yet: the session that was asked for does not exist.
            None => self.fail(Subject::Open, &message),
            // It was never stored: another empty one is as good.
            Some(known) if is_empty(known) => self.gone_session = Some(session),
            Some(_) => {
                self.fail(Subject::Open, "the session is gone from the host; this is a new one");
            }
        }
        self.target = Target::New;
        self.stream = stream(&self.client, &self.target);
    }

    /// Something that is not the host answered that the session is gone: perhaps a proxy whose
    /// server restarts.
    pub(super) fn host_unreachable(&mut self, error: &Error) {
        self.strays = self.strays.saturating_add(1);
        let why = error.to_string();
        if self.strays > MAX_STRAYS && matches!(error, Error::NotWebui(_) | Error::Redirected(_)) {
            return self.refuse(why);
        }
        let pause = self.pause_after(self.strays);
        self.stream.put_off(pause);
        let retry_at = now() + pause.as_millis() as Millis;
        report_link(&self.sink, Link::Down { why, attempt: self.strays, retry_at });
    }

    pub(super) fn refuse(&mut self, message: String) {
        self.is_over = true;
        self.is_ready = false;
        report_link(&self.sink, Link::Refused { message });
    }
}
