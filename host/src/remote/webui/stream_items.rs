//! What the streams of a hermes-webui deliver: connections that open and break, and events.

use serde_json::Value;
use tokio::time::Instant;

use super::super::sse::Item;
use super::Webui;
use super::streams::Source;
use crate::clock::now;
use crate::wire::decode;
use protocol::{Event, Millis};

impl Webui {
    pub(super) fn stream_item(&mut self, source: Source, item: Item) {
        let now = now();
        match item {
            Item::Open => self.stream_opened(source),
            Item::Alive => {}
            Item::Event { name, data, id } => {
                let Ok(data) = serde_json::from_str(&data) else {
                    return tracing::info!(name, "an event that is not JSON is ignored");
                };
                self.stream_event(source, &name, data, id.as_deref(), now);
            }
            Item::Lost { why, attempt, retry_in, is_away: _ } => {
                let count = self.mirror.known_count();
                let retry = i64::try_from(retry_in.as_millis()).unwrap_or(0);
                self.streams.lost(source, why, attempt, now + retry, count);
                if attempt == 1 {
                    self.poll_answered = false;
                } else {
                    self.next_poll = self.next_poll.min(Instant::now());
                }
            }
            Item::Refused { status, message } => self.stream_refused(source, status, message),
        }
    }

    fn stream_opened(&mut self, source: Source) {
        let again = self.streams.opened(source);
        match source {
            Source::Chat => self.mirror.chat_opened(),
            Source::Channel if again => self.fetch_health(),
            Source::List => {
                if again {
                    self.push(Event::SessionsChanged);
                }
                self.fetch_sessions();
            }
            Source::Channel | Source::Approval | Source::Clarify => {}
        }
    }

    fn stream_event(
        &mut self,
        source: Source,
        name: &str,
        data: Value,
        id: Option<&str>,
        now: Millis,
    ) {
        match source {
            Source::Chat => self.mirror.chat(name, data, id, now),
            Source::Channel => self.mirror.channel(name, data),
            Source::Approval => {
                let head: decode::Pending<decode::Approval> = decode::read(data);
                self.mirror.approval(head.pending, name != "initial", now);
            }
            Source::Clarify => {
                let head: decode::Pending<decode::Clarify> = decode::read(data);
                self.mirror.clarify(head.pending, now);
            }
            Source::List => {
                // Whatever its reason: one event may stand for several changes.
                self.push(Event::SessionsChanged);
                self.fetch_status();
                self.fetch_sessions();
            }
        }
    }

    fn stream_refused(&mut self, source: Source, status: u16, message: String) {
        self.streams.refused(source);
        match (source, status) {
            (Source::Chat, 404 | 410) => self.mirror.chat_lost(),
            // A server that lacks the stream is polled instead.
            (_, 404 | 405 | 410 | 501) => {
                tracing::info!(?source, status, "the server has no such stream");
            }
            _ => self.refusal = Some(message),
        }
    }
}
