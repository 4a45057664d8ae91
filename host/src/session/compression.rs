//! Compression of the model's context: what a summary does to the session.

use super::turn::Purpose;
use super::{Ack, Effects, Reply, Session, Stored, TurnKind};
use protocol::{Body, Event, Failure, Millis, Subject, Summary};

/// The message to the user when automatic compression is switched off.
const POOR: &str = "Compressing the context has saved next to nothing twice, so it is not \
                    compressed by itself any more in this session. /compress still does it; a \
                    new session (/new) has all the room.";

/// So many compressions in a row that save next to nothing switch automatic compression off.
pub(crate) const POOR_COMPRESSIONS: u32 = 2;

impl Session {
    /// The user wants the context compressed: a turn of its own that answers nothing.
    pub(super) fn compress(&mut self, focus: Option<String>, now: Millis, out: &mut Effects) {
        if self.turn.is_some() {
            let reason = "A turn is running: wait for its end or interrupt it, then send /compress \
                          again.";
            return self.report_compression(reason.to_owned(), out);
        }
        if self.stored != Stored::Yes {
            return self.report_compression("There is nothing to compress yet.".to_owned(), out);
        }
        if self.stopping {
            return;
        }
        self.start_internal(Purpose::Compress, TurnKind::Compress { focus }, now, out);
    }

    /// A turn has compressed the context.
    pub(super) fn compressed(
        &mut self,
        summary: Summary,
        ack: Ack,
        now: Millis,
        out: &mut Effects,
    ) {
        let poor = is_poor(&summary);
        self.meta.compressions += 1;
        self.meta.compression_failed_at = None;
        self.meta.poor_compressions = if poor { self.meta.poor_compressions + 1 } else { 0 };
        self.meta.gauge.used = Some(summary.after);
        let row = self.add_row(self.turns, now, Body::Summary(summary), out);
        self.touch(now, out);
        if self.meta.poor_compressions == POOR_COMPRESSIONS {
            self.report_compression(POOR.to_owned(), out);
        }
        out.reply(ack, Reply::Row(row));
    }

    /// A turn has not compressed the context. After a failure it is not compressed automatically for a while.
    pub(super) fn not_compressed(
        &mut self,
        message: String,
        failed: bool,
        now: Millis,
        out: &mut Effects,
    ) {
        if failed {
            self.meta.compression_failed_at = Some(now);
            self.touch(now, out);
        }
        self.report_compression(message, out);
    }

    fn report_compression(&mut self, message: String, out: &mut Effects) {
        self.publish(Event::Failed(Failure { about: Subject::Compress, message }), out);
    }
}

/// Whether a compression saved next to nothing.
pub(crate) fn is_poor(summary: &Summary) -> bool {
    summary.before.saturating_sub(summary.after) * 10 < summary.before
}
