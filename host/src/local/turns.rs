//! Turns as tasks: starting one, hearing it, and noticing its end.

use std::sync::Arc;

use tokio::task::{Id, JoinError};

use super::hub::Hub;
use super::outbox::Waiting;
use crate::protocol::{Outcome, Row, SessionId};
use crate::session::{Ack, Input, Plan, Say};
use crate::turn::{self, Job, Spoken, Voice};

impl Hub {
    pub(super) fn start_turn(&mut self, id: &SessionId, plan: Plan) {
        let model = match self.model(&plan.model) {
            Ok(model) => model,
            Err(message) => {
                let outcome = Outcome::Failed { class: "model".to_owned() };
                let say = Say::Ended { outcome, failure: Some(message) };
                self.feed(id, Input::Said { turn: plan.turn, ack: Ack(0), say });
                return;
            }
        };
        let rows = self.context(id);
        let Some(live) = self.sessions.get_mut(id) else { return };
        let turn = plan.turn;
        let voice = Voice { session: id.clone(), turn, spoken: self.spoken.clone() };
        let job = Job {
            plan,
            voice,
            model,
            system: live.session.meta().system.clone(),
            rows,
            kit: self.kit.clone(),
            max_requests: self.settings.agent.max_turns,
        };
        let handle = self.turns.spawn(turn::run(job));
        self.turn_of.insert(handle.id(), (id.clone(), turn));
        live.turn = Some((turn, handle));
    }

    /// The session's rows, whole, for the model; read from the store with the first turn.
    fn context(&mut self, id: &SessionId) -> Vec<Arc<Row>> {
        let Some(live) = self.sessions.get_mut(id) else { return Vec::new() };
        if let Some(context) = &live.context {
            return context.clone();
        }
        let window = &live.session.transcript().rows;
        let short = live.session.transcript().earlier == 0 && window.iter().all(|r| r.cut == 0);
        let rows = if short {
            window.clone()
        } else {
            self.reader.rows(id).unwrap_or_else(|error| {
                tracing::error!(session = %id, "the context is cut to the window: {error}");
                window.clone()
            })
        };
        let context: Vec<_> = rows.into_iter().map(Arc::new).collect();
        live.context = Some(context.clone());
        context
    }

    /// A turn said something.
    pub(super) fn heard(&mut self, spoken: Spoken) {
        let Spoken { session, turn, say, reply } = spoken;
        let Some(live) = self.sessions.get_mut(&session) else { return };
        let spawns = match &say {
            Say::Spawn(process) => {
                self.owners.insert(process.id.clone(), session.clone());
                Some(process.id.clone())
            }
            Say::Delta { .. }
            | Say::Status(_)
            | Say::Answered { .. }
            | Say::CallStarted(_)
            | Say::CallOutput { .. }
            | Say::Result(_)
            | Say::Ask { .. }
            | Say::Running { .. }
            | Say::FailedStart { .. }
            | Say::Processes
            | Say::Killing(_)
            | Say::Ended { .. } => None,
        };
        let ack = match reply {
            Some(reply) => {
                let ack = Ack(live.next_ack);
                live.next_ack += 1;
                live.acks.insert(ack, Waiting { reply, spawns });
                ack
            }
            None => Ack(0),
        };
        self.feed(&session, Input::Said { turn, ack, say });
    }

    /// The task of a turn is over. One that was cut off could not say so itself.
    pub(super) fn joined(&mut self, joined: Result<(Id, ()), JoinError>) {
        let (task, end) = match joined {
            Ok((task, ())) => (task, None),
            Err(error) if error.is_cancelled() => (error.id(), Some((Outcome::Cancelled, None))),
            Err(error) => {
                tracing::error!("a turn broke: {error}");
                let outcome = Outcome::Failed { class: "bug".to_owned() };
                let text = "The turn broke because of a bug of the host; its log has more.";
                (error.id(), Some((outcome, Some(text.to_owned()))))
            }
        };
        let Some((session, turn)) = self.turn_of.remove(&task) else { return };
        if let Some(live) = self.sessions.get_mut(&session)
            && live.turn.as_ref().is_some_and(|(t, _)| *t == turn)
        {
            live.turn = None;
        }
        if let Some((outcome, failure)) = end {
            let say = Say::Ended { outcome, failure };
            self.feed(&session, Input::Said { turn, ack: Ack(0), say });
        }
        self.unload_if_unused(&session);
    }
}
