//! The streams of one view: one set of them, whatever sessions it has shown (E09).

use super::super::http::Client;
use super::super::sse::{Item, Stream};
use protocol::{Link, Millis};

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Changes of the list of sessions.
    List,
    /// The session, across its turns.
    Channel,
    /// The running turn.
    Chat,
    /// Approvals of the session.
    Approval,
    /// Clarify questions of the session.
    Clarify,
}

/// A stream and its state.
#[derive(Default)]
struct Slot {
    stream: Option<Stream>,
    is_open: bool,
    /// It was open before.
    was_open: bool,
    /// Attempts that failed in a row.
    attempt: u32,
    why: String,
    retry_at: Millis,
    /// The server does not have it.
    absent: bool,
}

impl Slot {
    fn of(stream: Stream) -> Self {
        Self { stream: Some(stream), ..Self::default() }
    }

    async fn next(&mut self) -> Item {
        if let Some(stream) = &mut self.stream
            && let Some(item) = stream.next().await
        {
            return item;
        }
        std::future::pending().await
    }
}

/// See the module.
pub(super) struct Streams {
    client: Client,
    list: Slot,
    channel: Slot,
    chat: Slot,
    approval: Slot,
    clarify: Slot,
    session: String,
}

impl Streams {
    /// The stream of the list alone.
    pub(super) fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            list: Slot::of(Stream::new(client, "/api/sessions/events", &[])),
            channel: Slot::default(),
            chat: Slot::default(),
            approval: Slot::default(),
            clarify: Slot::default(),
            session: String::new(),
        }
    }

    /// Replaces the streams of the session before. A turn that goes on under another id of its
    /// session keeps its stream.
    pub(super) fn enter(&mut self, session: &str, known_count: u64) {
        session.clone_into(&mut self.session);
        let query = [("session_id", session)];
        let count = known_count.to_string();
        let counted = [("session_id", session), ("known_count", count.as_str())];
        self.channel = Slot::of(self.stream("/api/session/stream", &counted));
        self.approval = Slot::of(self.stream("/api/approval/stream", &query));
        self.clarify = Slot::of(self.stream("/api/clarify/stream", &query));
    }

    /// Opens the stream of a turn, from its start.
    pub(super) fn open_chat(&mut self, stream: &str) {
        let query = [("stream_id", stream)];
        let stream = self.stream("/api/chat/stream", &query);
        self.chat = Slot::of(stream.at_first(&[("replay", "1")]));
    }

    /// Another stream of this server. That of the list has been open longest and knows the pace of
    /// its keepalives; in a turn that streams without a pause no other could learn it.
    fn stream(&self, path: &str, query: &[(&str, &str)]) -> Stream {
        Stream::new(&self.client, path, query).paced_like(self.list.stream.as_ref())
    }

    pub(super) fn close_chat(&mut self) {
        self.chat = Slot::default();
    }

    /// The next item of any stream. Cancel safe.
    pub(super) async fn next(&mut self) -> (Source, Item) {
        tokio::select! {
            item = self.list.next() => (Source::List, item),
            item = self.channel.next() => (Source::Channel, item),
            item = self.chat.next() => (Source::Chat, item),
            item = self.approval.next() => (Source::Approval, item),
            item = self.clarify.next() => (Source::Clarify, item),
        }
    }

    fn slot(&mut self, source: Source) -> &mut Slot {
        match source {
            Source::List => &mut self.list,
            Source::Channel => &mut self.channel,
            Source::Chat => &mut self.chat,
            Source::Approval => &mut self.approval,
            Source::Clarify => &mut self.clarify,
        }
    }

    /// A connection is open. Returns whether the stream was open before.
    pub(super) fn opened(&mut self, source: Source) -> bool {
        let slot = self.slot(source);
        (slot.is_open, slot.attempt) = (true, 0);
        std::mem::replace(&mut slot.was_open, true)
    }

    /// A connection broke, or was not made.
    pub(super) fn lost(
        &mut self,
        source: Source,
        why: String,
        attempt: u32,
        retry_at: Millis,
        known_count: u64,
    ) {
        let session = self.session.clone();
        let slot = self.slot(source);
        (slot.is_open, slot.attempt, slot.why, slot.retry_at) = (false, attempt, why, retry_at);
        if let (Source::Channel, Some(stream)) = (source, &mut slot.stream) {
            let count = known_count.to_string();
            stream.set_query(&[("session_id", &session), ("known_count", &count)]);
        }
    }

    /// The stream will not be opened again.
    pub(super) fn refused(&mut self, source: Source) {
        *self.slot(source) = Slot { absent: source != Source::Chat, ..Slot::default() };
    }

    fn all(&self) -> [&Slot; 5] {
        [&self.channel, &self.chat, &self.approval, &self.clarify, &self.list]
    }

    /// Whether the state must be polled because streams do not work.
    pub(super) fn need_polling(&self) -> bool {
        self.all()[..4].iter().any(|slot| slot.absent || slot.attempt >= 2)
    }

    /// Whether the stream is not connected now.
    pub(super) fn is_down(&self, source: Source) -> bool {
        let slot = match source {
            Source::List => &self.list,
            Source::Channel => &self.channel,
            Source::Chat => &self.chat,
            Source::Approval => &self.approval,
            Source::Clarify => &self.clarify,
        };
        !slot.is_open
    }

    /// The state of the link; `None` before there is a session. `poll_answered`: the last poll
    /// worked.
    pub(super) fn link(&self, poll_answered: bool) -> Option<Link> {
        if self.session.is_empty() {
            return None;
        }
        let worst = self.all().into_iter().max_by_key(|slot| slot.attempt)?;
        Some(match worst.attempt {
            // A stream that ends and is back at once is not worth a report.
            0 | 1 if self.channel.is_open => Link::Up,
            0 if self.channel.absent => {
                Link::Polling { why: "the server has no stream of a session".to_owned() }
            }
            0 => Link::Connecting,
            attempt if attempt >= 2 && poll_answered => Link::Polling { why: worst.why.clone() },
            attempt => Link::Down { why: worst.why.clone(), attempt, retry_at: worst.retry_at },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Server;
    use super::*;
    use crate::state_dir::StateDir;

    const TURNS: [Source; 4] = [Source::Channel, Source::Chat, Source::Approval, Source::Clarify];

    /// The streams of a session, all open.
    fn open() -> Streams {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::parse("http://127.0.0.1:9", &StateDir::new(dir.path())).unwrap();
        let mut streams = Streams::new(&Client::new(&server).unwrap());
        streams.enter("s1", 0);
        streams.open_chat("t1");
        for source in TURNS.into_iter().chain([Source::List]) {
            assert!(!streams.opened(source), "its first connection");
        }
        streams
    }

    fn lost(streams: &mut Streams, source: Source, attempt: u32) {
        streams.lost(source, "it broke".to_owned(), attempt, 7, 0);
    }

    // E08
    #[test]
    fn the_state_is_polled_from_the_second_failure_until_it_is_back() {
        for source in TURNS {
            let mut streams = open();
            assert!(!streams.need_polling());
            lost(&mut streams, source, 1);
            let down = Link::Down { why: "it broke".to_owned(), attempt: 1, retry_at: 7 };
            let first = if source == Source::Channel { down } else { Link::Up };
            assert!(!streams.need_polling(), "{source:?}: one failure is not enough");
            assert_eq!(streams.link(false), Some(first), "{source:?}");
            lost(&mut streams, source, 2);
            assert!(streams.need_polling(), "{source:?}");
            let down = Link::Down { why: "it broke".to_owned(), attempt: 2, retry_at: 7 };
            assert_eq!(streams.link(false), Some(down), "{source:?}");
            let polling = Link::Polling { why: "it broke".to_owned() };
            assert_eq!(streams.link(true), Some(polling), "{source:?}");
            assert!(streams.opened(source), "not its first connection");
            assert!(!streams.need_polling() && streams.link(true) == Some(Link::Up), "{source:?}");
        }
    }

    // E08
    #[test]
    fn a_stream_that_the_server_lacks_is_replaced_by_polling() {
        for source in [Source::Channel, Source::Approval, Source::Clarify] {
            let mut streams = open();
            streams.refused(source);
            assert!(streams.need_polling() && streams.is_down(source), "{source:?}");
        }
        let mut streams = open();
        streams.refused(Source::Chat);
        assert!(!streams.need_polling(), "the stream of a turn ends with the turn");
    }
}
