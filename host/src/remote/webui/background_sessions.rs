//! The sessions that are not in view. The server has streams for the one in view alone; of the others
//! it reports that something has changed, and the list of sessions shows how they are.

use std::collections::{HashMap, HashSet};

use super::super::translate;
use super::Webui;
use super::replies::Reply;
use crate::wire::decode;
use protocol::{Attention, Event, News, SessionId, SessionRow, Toast};

/// Messages that are loaded to see what the last turn of a session was.
const TAIL: u32 = 12;
/// Most turns whose messages are loaded when many have ended at once.
const MOST: usize = 16;

/// The background sessions as the list showed them last.
#[derive(Debug, Default)]
pub(super) struct BackgroundSessions {
    /// Those that wait for the user.
    waiting: HashSet<SessionId>,
    /// All of them.
    known: HashMap<SessionId, SessionRow>,
    /// A list is being fetched.
    is_listing: bool,
    /// Something has changed since that began.
    is_stale: bool,
}

/// What a new list shows.
struct Changes {
    /// Sessions that have begun to wait for the user.
    waiting: Vec<SessionRow>,
    /// Sessions in which a turn has ended.
    ended: Vec<SessionRow>,
}

impl BackgroundSessions {
    /// Whether a list is to be fetched now: never two at once.
    pub(super) fn start_listing(&mut self) -> bool {
        self.is_stale = self.is_listing;
        !std::mem::replace(&mut self.is_listing, true)
    }

    /// The list came, or failed. Returns whether it is to be fetched again.
    pub(super) fn listing_done(&mut self) -> bool {
        self.is_listing = false;
        std::mem::take(&mut self.is_stale)
    }

    /// A session goes out of view: the next list is where its news begin.
    pub(super) fn forget(&mut self, session: &SessionId) {
        self.known.remove(session);
    }

    /// Whether a turn runs in a session that is not in view: its end may not be reported.
    pub(super) fn is_working(&self, view: &str) -> bool {
        self.known.values().any(|row| row.running && row.id.0 != view)
    }

    fn update(&mut self, rows: Vec<SessionRow>, view: &str) -> Changes {
        let others = || rows.iter().filter(|row| row.id.0 != view);
        let waiting = others().filter(|row| row.attention.is_some());
        let waiting = waiting.filter(|row| !self.waiting.contains(&row.id)).cloned().collect();
        let ended = others().filter(|row| {
            let grew = |old: &SessionRow| row.rows > old.rows && row.active_at > old.active_at;
            let old = self.known.get(&row.id);
            !row.running && old.is_some_and(|old| old.running || grew(old))
        });
        let ended = ended.cloned().collect();
        let all_waiting = rows.iter().filter(|row| row.attention.is_some());
        self.waiting = all_waiting.map(|row| row.id.clone()).collect();
        self.known = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        Changes { waiting, ended }
    }
}

impl Webui {
    /// Reports what is new in background sessions.
    pub(super) fn background_listed(&mut self, sessions: &[decode::Session]) {
        let view = self.id();
        let Changes { waiting, ended } = self.background.update(translate::list(sessions), &view);
        for row in waiting {
            let text = match row.attention {
                Some((Attention::Approval, _)) => "it wants an approval",
                Some((Attention::Clarify, _)) | None => "it wants an answer",
            };
            self.push(Event::Toast(toast(row, News::Asked, text)));
        }
        let (detailed, plain) = split_ended(ended);
        for row in plain {
            self.push(Event::Toast(turn_ended(row, None)));
        }
        for row in detailed {
            let (api, id) = (self.api.clone(), row.id.0.clone());
            self.spawn(async move {
                let tail = api.session(&id, TAIL, None).await;
                Reply::TurnEnded { row: Box::new(row), tail }
            });
        }
    }
}

/// The turns whose messages are loaded, and those that are reported without: after a long time
/// without a link all sessions may have news.
fn split_ended(mut ended: Vec<SessionRow>) -> (Vec<SessionRow>, Vec<SessionRow>) {
    let plain = ended.split_off(ended.len().min(MOST));
    (ended, plain)
}

/// The news of a turn that has ended: what woke the session, if it was not the user.
pub(super) fn turn_ended(row: SessionRow, tail: Option<&decode::Session>) -> Toast {
    match tail.and_then(translate::woken_by) {
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

    fn ended(background: &mut BackgroundSessions, rows: Vec<SessionRow>) -> Vec<String> {
        background.update(rows, "here").ended.into_iter().map(|row| row.id.0).collect()
    }

    #[test]
    fn the_end_of_a_background_turn_is_news_once_seen_to_run_or_not() {
        let mut all = BackgroundSessions::default();
        let first = vec![row("ran", 3, true), row("slept", 2, false), row("here", 1, false)];
        assert!(ended(&mut all, first).is_empty(), "the first list has nothing to compare with");
        assert!(all.is_working("here") && !all.is_working("ran"));
        let later = vec![row("ran", 3, false), row("slept", 4, false), row("here", 9, false)];
        assert_eq!(ended(&mut all, later.clone()), ["ran", "slept"]);
        assert!(ended(&mut all, later).is_empty() && !all.is_working("here"));
    }

    #[test]
    fn a_turn_begun_or_taken_back_is_not_the_end_of_one() {
        let mut all = BackgroundSessions::default();
        ended(&mut all, vec![row("a", 4, false), row("b", 4, false)]);
        let now = vec![row("a", 5, true), row("b", 2, false), row("new", 7, false)];
        assert!(ended(&mut all, now).is_empty());
    }

    #[test]
    fn what_happened_in_view_is_not_news_after_the_session_is_left() {
        let mut all = BackgroundSessions::default();
        ended(&mut all, vec![row("here", 1, false), row("b", 1, false)]);
        all.forget(&SessionId("here".to_owned()));
        assert!(all.update(vec![row("here", 5, false), row("b", 1, false)], "b").ended.is_empty());
    }

    // E09
    #[test]
    fn of_a_thousand_turns_ended_at_once_the_messages_of_a_few_load() {
        let mut all = BackgroundSessions::default();
        let list = |n| (0..1_000).map(|id| row(&id.to_string(), n, false)).collect();
        ended(&mut all, list(1));
        let (detailed, plain) = split_ended(all.update(list(2), "here").ended);
        assert_eq!((detailed.len(), plain.len()), (MOST, 1_000 - MOST), "all of them are news");
    }

    #[test]
    fn lists_are_fetched_one_at_a_time_and_again_after_a_change() {
        let mut all = BackgroundSessions::default();
        assert!(all.start_listing() && !all.start_listing() && !all.start_listing());
        assert!(all.listing_done());
        assert!(all.start_listing() && !all.listing_done());
    }
}
