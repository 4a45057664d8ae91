//! Prompts of a session that is not in view are handed over through a view of their own, which lasts
//! until the host shows that it has them.

use std::time::Duration;

use serde_json::Value;

use super::{COMMANDS, last_row, stream, view_token};
use crate::remote::http::Client;
use crate::remote::pending_prompts::{PendingPrompt, confirmed_by};
use crate::remote::sse::Item;
use protocol::{Command, Event, PromptId, SessionId, Target};

/// How long one handover may take. Prompts that are left are handed over at the next connect.
const PATIENCE: Duration = Duration::from_mins(1);

/// The prompts of one session.
#[derive(Clone, Debug)]
pub(super) struct Handover {
    /// `None` = a session that does not exist yet.
    pub(super) session: Option<SessionId>,
    pub(super) entries: Vec<PendingPrompt>,
}

/// Adds a prompt to the handover of its session.
pub(super) fn add(handovers: &mut Vec<Handover>, session: Option<SessionId>, entry: PendingPrompt) {
    match handovers.iter_mut().find(|handover| handover.session == session) {
        Some(handover) if handover.entries.iter().any(|known| known.id == entry.id) => {}
        Some(handover) => handover.entries.push(entry),
        None => handovers.push(Handover { session, entries: vec![entry] }),
    }
}

/// The result of a handover.
#[derive(Debug, Default)]
pub(super) struct HandedOver {
    /// The prompts that the host has shown.
    pub(super) taken: Vec<PromptId>,
    /// Those whose session is gone: no host will take them.
    pub(super) orphaned: Vec<PendingPrompt>,
}

/// Hands the prompts of one session over.
pub(super) async fn run(client: Client, handover: Handover) -> HandedOver {
    let mut done = HandedOver::default();
    tokio::time::timeout(PATIENCE, hand_over(&client, handover, &mut done)).await.ok();
    done
}

async fn hand_over(client: &Client, mut handover: Handover, done: &mut HandedOver) {
    let target = handover.session.clone().map_or(Target::New, Target::Id);
    let mut events = stream(client, &target);
    let mut view = None;
    while handover.entries.iter().any(|entry| !done.taken.contains(&entry.id)) {
        let data = match events.next().await {
            Some(Item::Event { name, data, .. }) if name == "view" => {
                view = view_token(&data);
                continue;
            }
            Some(Item::Event { data, .. }) => data,
            Some(Item::Refused { status: 404, .. }) => {
                let never_stored = handover.entries.iter().all(|entry| entry.after == 0);
                if target == Target::New || !never_stored {
                    let left = handover.entries.into_iter().filter(|e| !done.taken.contains(&e.id));
                    done.orphaned = left.collect();
                    return;
                }
                handover.session = None;
                return Box::pin(hand_over(client, handover, done)).await;
            }
            Some(Item::Refused { .. }) | None => return,
            Some(Item::Open | Item::Alive | Item::Lost { .. }) => continue,
        };
        let Ok(event) = serde_json::from_str::<Event>(&data) else { continue };
        let is_window = if let Event::Attached { transcript, .. } = &event {
            for entry in &mut handover.entries {
                entry.mark_sent(&transcript.session, last_row(transcript));
            }
            handover.session = Some(transcript.session.clone());
            true
        } else {
            false
        };
        let Some(session) = &handover.session else { continue };
        done.taken.extend(confirmed_by(&handover.entries, session, &event));
        if is_window && let Some(view) = &view {
            let left = handover.entries.iter().filter(|entry| !done.taken.contains(&entry.id));
            let prompts = left
                .map(|entry| Command::Prompt { id: entry.id.clone(), text: entry.text.clone() });
            let prompts: Vec<_> = prompts.filter_map(|p| serde_json::to_value(p).ok()).collect();
            let path = format!("{COMMANDS}?view={view}");
            if let Err(error) = client.post(&path, &Value::Array(prompts)).await {
                tracing::warn!(%error, "prompts of another session could not be handed over");
                return;
            }
        }
    }
}
