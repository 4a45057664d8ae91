//! Work that would block the loop, done beside it: the loop gets the result as a message.

use super::host_loop::HostLoop;
use crate::session::Input;
use crate::store::{Error, Reader};
use protocol::{Attachment, Event, SessionId, Subject, ViewId};

/// The result of work beside the loop; errors are texts for the user.
pub(super) enum BackgroundResult {
    /// An event for one view.
    Answer { view: ViewId, about: Subject, answer: Result<Box<Event>, String> },
    /// A file for the next prompt of a session.
    Uploaded { view: ViewId, session: SessionId, written: Result<Attachment, String> },
    /// A title of a session, made by the model.
    Titled { view: ViewId, session: SessionId, title: Result<String, String> },
}

impl HostLoop {
    /// Reads the store for a view; the event is sent to it, or a failure about `about`.
    pub(super) fn read_for(
        &self,
        view: ViewId,
        about: Subject,
        read: impl FnOnce(&Reader) -> Result<Event, Error> + Send + 'static,
    ) {
        let (store, background) = (self.store.handle(), self.background.clone());
        tokio::task::spawn_blocking(move || {
            let answer = store.reader().and_then(|reader| read(&reader));
            let answer = answer.map(Box::new).map_err(|error| error.to_string());
            background.send(BackgroundResult::Answer { view, about, answer }).ok();
        });
    }

    /// Handles the result of work beside the loop.
    pub(super) fn handle_background_result(&mut self, result: BackgroundResult) {
        match result {
            BackgroundResult::Answer { view, answer: Ok(mut event), .. } => {
                if let Event::SessionsFound { found, .. } = event.as_mut() {
                    found.retain(|hit| !self.sessions.is_deleted(&hit.session));
                }
                self.push(view, *event);
            }
            BackgroundResult::Answer { view, about, answer: Err(message) } => {
                self.fail(view, about, message);
            }
            BackgroundResult::Uploaded { view, session, written } => {
                self.handle_upload(view, &session, written);
            }
            BackgroundResult::Titled { session, title: Ok(title), .. } => {
                self.feed(&session, Input::SetTitle(title));
            }
            BackgroundResult::Titled { view, title: Err(why), .. } => {
                self.fail(view, Subject::Title, why);
            }
        }
    }
}
