//! The sessions that are not in view. The server has a stream for the one in view alone; of the others
//! it says that something has changed, and the list shows how they are.

use std::collections::{HashMap, HashSet};

use super::super::translate;
use super::{Reply, Webui};
use crate::wire::decode;
use protocol::{Attention, Event, News, SessionId, SessionRow, Toast};

/// Messages of a session that tell what its last turn was.
const TAIL: u32 = 12;
/// Turns that ended at once and are asked about.
const MOST: usize = 16;

/// What the list has shown.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// Those that wait for the user.
    asking: HashSet<SessionId>,
    /// All, as they were.
    seen: HashMap<SessionId, SessionRow>,
    /// A list is asked for.
    asked: bool,
    /// Something has changed since.
    again: bool,
}

impl Elsewhere {
    /// Whether a list is to be asked for now: never two at once.
    pub(super) fn asks(&mut self) -> bool {
        self.again = self.asked;
        !std::mem::replace(&mut self.asked, true)
    }

    /// It came, or did not; whether it is to be asked for again.
    pub(super) fn answered(&mut self) -> bool {
        self.asked = false;
        std::mem::take(&mut self.again)
    }

    /// A session goes out of view.
    pub(super) fn left(&mut self, session: &SessionId) {
        self.seen.remove(session);
    }

    /// Whether a turn runs in one that is not in view: its end need not be told.
    pub(super) fn is_working(&self, view: &str) -> bool {
        self.seen.values().any(|row| row.running && row.id.0 != view)
    }

    /// The list: which sessions have begun to ask, and in which a turn has ended.
    fn listed(&mut self, rows: Vec<SessionRow>, view: &str) -> (Vec<SessionRow>, Vec<SessionRow>) {
        let others = || rows.iter().filter(|row| row.id.0 != view);
        let asks = others().filter(|row| row.attention.is_some());
        let asks = asks.filter(|row| !self.asking.contains(&row.id)).cloned().collect();
        let ended = others().filter(|row| {
            let grew = |seen: &SessionRow| row.rows > seen.rows && row.active_at > seen.active_at;
            let seen = self.seen.get(&row.id);
            !row.running && seen.is_some_and(|seen| seen.running || grew(seen))
        });
        let ended = ended.cloned().collect();
        let asking = rows.iter().filter(|row| row.attention.is_some());
        self.asking = asking.map(|row| row.id.clone()).collect();
        self.seen = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        (asks, ended)
    }
}

impl Webui {
    /// Says what is new in sessions that are not in view.
    pub(super) fn others(&mut self, sessions: &[decode::Session]) {
        let view = self.id();
        let (asks, ended) = self.elsewhere.listed(translate::list(sessions), &view);
        for row in asks {
            let text = match row.attention {
                Some((Attention::Approval, _)) => "it wants an approval",
                Some((Attention::Clarify, _)) | None => "it wants an answer",
            };
            self.push(Event::Toast(toast(row, News::Asked, text)));
        }
        let (asked, told) = apart(ended);
        for row in told {
            self.push(Event::Toast(self::ended(row, None)));
        }
        for row in asked {
            let (api, id) = (self.api.clone(), row.id.0.clone());
            self.spawn(async move {
                let tail = api.session(&id, TAIL, None).await;
                Reply::Ended { row: Box::new(row), tail }
            });
        }
    }
}

/// Of which of these turns is asked what they were, and which just have ended: after a link was
/// away for long it may be all there are.
fn apart(mut ended: Vec<SessionRow>) -> (Vec<SessionRow>, Vec<SessionRow>) {
    let told = ended.split_off(ended.len().min(MOST));
    (ended, told)
}

/// What the end of a turn is told as: by what was behind it, if that was no word of the user.
pub(super) fn ended(row: SessionRow, tail: Option<&decode::Session>) -> Toast {
    match tail.and_then(translate::woken) {
        Some((process, news, text)) => Toast { process: Some(process), ..toast(row, news, &text) },
        None => toast(row, News::Unknown, "a turn has ended"),
    }
}

fn toast(row: SessionRow, news: News, text: &str) -> Toast {
    Toast { session: row.id, name: row.title, process: None, news, text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, rows: u64, running: bool) -> SessionRow {
        let active_at = i64::try_from(rows).unwrap();
        SessionRow {
            id: SessionId(id.to_owned()),
            rows,
            active_at,
            running,
            ..SessionRow::default()
        }
    }

    fn ended(elsewhere: &mut Elsewhere, rows: Vec<SessionRow>) -> Vec<String> {
        elsewhere.listed(rows, "here").1.into_iter().map(|row| row.id.0).collect()
    }

    #[test]
    fn a_turn_that_ended_elsewhere_is_news_once_also_when_nobody_saw_it_run() {
        let mut all = Elsewhere::default();
        let first = vec![row("ran", 3, true), row("slept", 2, false), row("here", 1, false)];
        assert!(ended(&mut all, first).is_empty(), "a first look has nothing to compare");
        assert!(all.is_working("here") && !all.is_working("ran"));
        let then = vec![row("ran", 3, false), row("slept", 4, false), row("here", 9, false)];
        assert_eq!(ended(&mut all, then.clone()), ["ran", "slept"]);
        assert!(ended(&mut all, then).is_empty() && !all.is_working("here"));
    }

    #[test]
    fn what_began_went_away_or_was_taken_back_elsewhere_is_no_end() {
        let mut all = Elsewhere::default();
        ended(&mut all, vec![row("a", 4, false), row("b", 4, false)]);
        let now = vec![row("a", 5, true), row("b", 2, false), row("new", 7, false)];
        assert!(ended(&mut all, now).is_empty());
    }

    #[test]
    fn what_happened_while_a_session_was_in_view_is_no_news_once_it_is_left() {
        let mut all = Elsewhere::default();
        ended(&mut all, vec![row("here", 1, false), row("b", 1, false)]);
        all.left(&SessionId("here".to_owned()));
        assert!(all.listed(vec![row("here", 5, false), row("b", 1, false)], "b").1.is_empty());
    }

    // E09
    #[test]
    fn of_a_thousand_turns_that_ended_at_once_a_few_are_asked_about() {
        let mut all = Elsewhere::default();
        let list = |n| (0..1_000).map(|id| row(&id.to_string(), n, false)).collect();
        ended(&mut all, list(1));
        let (asked, told) = apart(all.listed(list(2), "here").1);
        assert_eq!((asked.len(), told.len()), (MOST, 1_000 - MOST), "all of them are news");
    }

    #[test]
    fn a_list_is_asked_for_once_at_a_time_and_again_for_what_changed_meanwhile() {
        let mut all = Elsewhere::default();
        assert!(all.asks() && !all.asks() && !all.asks());
        assert!(all.answered());
        assert!(all.asks() && !all.answered());
    }
}
