//! Compression of the model's context: what a summary does to the session.

use super::{Ack, Aim, Attendance, Effect, Out, Reply, Session, Stored, Turn, TurnKind};
use protocol::Subject;
use protocol::{Body, Event, Failure, Millis, Source, Summary, TurnId};

/// What the user reads when the automatic is switched off.
const POOR: &str = "Compressing the context has saved next to nothing twice, so it is not \
                    compressed by itself any more in this session. /compress still does it; a \
                    new session (/new) has all the room.";

/// So many compressions in a row that save next to nothing switch the automatic off.
pub(crate) const POOR_COMPRESSIONS: u32 = 2;

impl Session {
    /// A front end wants the context compressed: a turn of its own that answers nothing. It is
    /// not recorded before its summary is, so that a host that dies meanwhile leaves no trace.
    pub(super) fn compress(&mut self, focus: Option<String>, now: Millis, out: &mut Out) {
        if self.turn.is_some() {
            let why = "A turn is running: wait for its end or interrupt it, then send /compress \
                       again.";
            return self.not_now(why.to_owned(), out);
        }
        if self.stored != Stored::Yes {
            return self.not_now("There is nothing to compress yet.".to_owned(), out);
        }
        if self.stopping {
            return;
        }
        let id = TurnId(self.turns.0 + 1);
        self.turns = id;
        self.publish(Event::TurnStarted { turn: id, source: Source::User, at: now }, out);
        self.turn = Some(Turn { aim: Aim::Compress, ..self.begun(id, Vec::new(), now) });
        let kind = TurnKind::Compress { focus };
        let plan = self.plan(id, Source::User, Attendance::Attended, kind);
        out.effects.push(Effect::Start(plan));
    }

    /// A turn has compressed the context.
    pub(super) fn compressed(&mut self, summary: Summary, ack: Ack, now: Millis, out: &mut Out) {
        let poor = is_poor(&summary);
        self.meta.compressions += 1;
        self.meta.compression_failed_at = None;
        self.meta.poor_compressions = if poor { self.meta.poor_compressions + 1 } else { 0 };
        self.meta.gauge.used = Some(summary.after);
        let row = self.add_row(self.turns, now, Body::Summary(summary), out);
        self.touch(now, out);
        if self.meta.poor_compressions == POOR_COMPRESSIONS {
            self.not_now(POOR.to_owned(), out);
        }
        out.reply(ack, Reply::Row(row));
    }

    /// A turn has not compressed the context. After a failure the automatic rests.
    pub(super) fn not_compressed(
        &mut self,
        message: String,
        failed: bool,
        now: Millis,
        out: &mut Out,
    ) {
        if failed {
            self.meta.compression_failed_at = Some(now);
            self.touch(now, out);
        }
        self.not_now(message, out);
    }

    fn not_now(&mut self, message: String, out: &mut Out) {
        self.publish(Event::Failed(Failure { about: Subject::Compress, message }), out);
    }
}

/// Whether a compression saved next to nothing.
pub(crate) fn is_poor(summary: &Summary) -> bool {
    summary.before.saturating_sub(summary.after) * 10 < summary.before
}
