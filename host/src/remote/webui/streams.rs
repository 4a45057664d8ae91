//! The streams of one view: one set of them, whatever sessions it looked at (E09).

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

/// A stream and how it is.
#[derive(Default)]
struct Slot {
    stream: Option<Stream>,
    open: bool,
    /// It was open before.
    known: bool,
    /// Tries that failed in a row.
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
    /// None but that of the list.
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

    /// The streams of this session in place of those of the one before. A turn that runs on
    /// under another id of its session keeps its stream.
    pub(super) fn enter(&mut self, session: &str, known_count: u64) {
        session.clone_into(&mut self.session);
        let query = [("session_id", session)];
        let count = known_count.to_string();
        let counted = [("session_id", session), ("known_count", count.as_str())];
        self.channel = Slot::of(self.stream("/api/session/stream", &counted));
        self.approval = Slot::of(self.stream("/api/approval/stream", &query));
        self.clarify = Slot::of(self.stream("/api/clarify/stream", &query));
    }

    /// The stream of a turn, from its start.
    pub(super) fn open_chat(&mut self, stream: &str) {
        let query = [("stream_id", stream)];
        let stream = self.stream("/api/chat/stream", &query);
        self.chat = Slot::of(stream.at_first(&[("replay", "1")]));
    }

    /// A further stream of this server. That of the list is there longest and knows its pace; in a
    /// turn that talks without a pause no other could learn it.
    fn stream(&self, path: &str, query: &[(&str, &str)]) -> Stream {
        Stream::new(&self.client, path, query).paced_like(self.list.stream.as_ref())
    }

    pub(super) fn close_chat(&mut self) {
        self.chat = Slot::default();
    }

    /// The next item of any. May be dropped and asked again.
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

    /// A connection is open; whether it is not the first one.
    pub(super) fn opened(&mut self, source: Source) -> bool {
        let slot = self.slot(source);
        (slot.open, slot.attempt) = (true, 0);
        std::mem::replace(&mut slot.known, true)
    }

    /// It broke, or was not made.
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
        (slot.open, slot.attempt, slot.why, slot.retry_at) = (false, attempt, why, retry_at);
        if let (Source::Channel, Some(stream)) = (source, &mut slot.stream) {
            let count = known_count.to_string();
            stream.set_query(&[("session_id", &session), ("known_count", &count)]);
        }
    }

    /// It will not come again.
    pub(super) fn refused(&mut self, source: Source) {
        *self.slot(source) = Slot { absent: source != Source::Chat, ..Slot::default() };
    }

    fn all(&self) -> [&Slot; 5] {
        [&self.channel, &self.chat, &self.approval, &self.clarify, &self.list]
    }

    /// Whether the state is to be asked for because streams do not tell it.
    pub(super) fn poll(&self) -> bool {
        self.all()[..4].iter().any(|slot| slot.absent || slot.attempt >= 2)
    }

    /// Whether nothing is heard over it now.
    pub(super) fn is_deaf(&self, source: Source) -> bool {
        let slot = match source {
            Source::List => &self.list,
            Source::Channel => &self.channel,
            Source::Chat => &self.chat,
            Source::Approval => &self.approval,
            Source::Clarify => &self.clarify,
        };
        !slot.open
    }

    /// How the way to the server is; `None` before there is a session. `polled`: the last poll worked.
    pub(super) fn link(&self, polled: bool) -> Option<Link> {
        if self.session.is_empty() {
            return None;
        }
        let worst = self.all().into_iter().max_by_key(|slot| slot.attempt)?;
        Some(match worst.attempt {
            // One that ends and comes back at once is no news.
            0 | 1 if self.channel.open => Link::Up,
            0 if self.channel.absent => {
                Link::Polling { why: "the server has no stream of a session".to_owned() }
            }
            0 => Link::Connecting,
            attempt if attempt >= 2 && polled => Link::Polling { why: worst.why.clone() },
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
    fn the_state_is_asked_for_from_the_second_failure_in_a_row_until_the_stream_is_back() {
        for source in TURNS {
            let mut streams = open();
            assert!(!streams.poll());
            lost(&mut streams, source, 1);
            let down = Link::Down { why: "it broke".to_owned(), attempt: 1, retry_at: 7 };
            let first = if source == Source::Channel { down } else { Link::Up };
            assert!(!streams.poll(), "{source:?}: once is no failure to come back");
            assert_eq!(streams.link(false), Some(first), "{source:?}");
            lost(&mut streams, source, 2);
            assert!(streams.poll(), "{source:?}");
            let down = Link::Down { why: "it broke".to_owned(), attempt: 2, retry_at: 7 };
            assert_eq!(streams.link(false), Some(down), "{source:?}");
            let polling = Link::Polling { why: "it broke".to_owned() };
            assert_eq!(streams.link(true), Some(polling), "{source:?}");
            assert!(streams.opened(source), "not its first connection");
            assert!(!streams.poll() && streams.link(true) == Some(Link::Up), "{source:?}");
        }
    }

    // E08
    #[test]
    fn what_a_stream_would_tell_that_the_server_does_not_have_is_asked_for() {
        for source in [Source::Channel, Source::Approval, Source::Clarify] {
            let mut streams = open();
            streams.refused(source);
            assert!(streams.poll() && streams.is_deaf(source), "{source:?}");
        }
        let mut streams = open();
        streams.refused(Source::Chat);
        assert!(!streams.poll(), "that of a turn is there as long as the turn");
    }
}
