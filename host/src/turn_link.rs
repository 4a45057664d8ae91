//! The link from a running turn to the loop that feeds its session: it carries events and the
//! replies to them, without interpreting them.

use tokio::sync::{mpsc, oneshot};

use crate::session::{Reply, TurnEvent};
use protocol::{SessionId, TurnId};

/// An event of a turn on its way to the loop.
#[derive(Debug)]
pub(crate) struct TurnMessage {
    pub(crate) session: SessionId,
    pub(crate) turn: TurnId,
    pub(crate) event: TurnEvent,
    /// Where the reply goes, if the turn waits for one.
    pub(crate) reply: Option<oneshot::Sender<Reply>>,
}

/// The sending end of a running turn.
#[derive(Clone, Debug)]
pub(crate) struct TurnLink {
    pub(crate) session: SessionId,
    pub(crate) turn: TurnId,
    pub(crate) messages: mpsc::UnboundedSender<TurnMessage>,
}

impl TurnLink {
    /// Reports an event without waiting.
    pub(crate) fn report(&self, event: TurnEvent) {
        self.send(event, None);
    }

    /// Reports an event and waits for the reply: that it is stored, or the answer.
    pub(crate) async fn ask(&self, event: TurnEvent) -> Reply {
        let (tx, rx) = oneshot::channel();
        self.send(event, Some(tx));
        // The loop is gone only when the host stops, and then this future is dropped too.
        rx.await.unwrap_or_else(|_| Reply::Refused("the host is stopping".to_owned()))
    }

    fn send(&self, event: TurnEvent, reply: Option<oneshot::Sender<Reply>>) {
        let message = TurnMessage { session: self.session.clone(), turn: self.turn, event, reply };
        self.messages.send(message).ok();
    }
}
