//! What time brings: repeated tries, and polls in place of streams that do not work.

use std::time::Duration;

use tokio::time::Instant;

use super::streams::Source;
use super::{IDLE_POLL, POLL, Webui};
use crate::clock::now;

impl Webui {
    /// When [`Self::tick`] is due.
    pub(super) fn due(&self) -> Instant {
        let mut due = self.next_poll;
        if let Some((at, _)) = &self.retry {
            due = due.min(*at);
        }
        if let Some(at) = self.mirror.wants_tick().filter(|_| self.refusal.is_none()) {
            let wait = u64::try_from(at - now()).unwrap_or(0);
            due = due.min(Instant::now() + Duration::from_millis(wait));
        }
        due
    }

    pub(super) fn tick(&mut self) {
        if self.refusal.is_none() {
            self.mirror.tick(now());
        }
        let at = Instant::now();
        if let Some((_, target)) = self.retry.take_if(|(due, _)| *due <= at) {
            self.open(target);
        }
        if at < self.next_poll {
            return;
        }
        self.next_poll = at + if self.streams.need_polling() { POLL } else { IDLE_POLL };
        if self.mirror.is_attached() && self.refusal.is_none() {
            self.poll();
        }
    }

    fn poll(&mut self) {
        if self.streams.need_polling() {
            self.fetch_questions();
            self.fetch_status();
            if self.streams.is_down(Source::Channel) {
                self.fetch_health();
            }
        } else if self.mirror.stream().is_none() {
            self.fetch_status();
        }
        if self.streams.is_down(Source::List) || self.background.is_working(&self.id()) {
            self.fetch_sessions();
        }
        if self.reload || self.mirror.is_uncertain() {
            self.mirror.reload();
        }
    }
}
