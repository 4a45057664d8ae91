//! Requests to the model beside the turns of a session: side questions and titles. They end with
//! the view that asked.

use std::sync::Arc;

use super::background::BackgroundResult;
use super::host_loop::HostLoop;
use crate::agent::{side_question, title};
use crate::model::{Model, Request};
use crate::session::Attendance;
use crate::tool;
use crate::turn_link::TurnLink;
use protocol::{Event, PromptId, Row, SessionId, Subject, TurnId, ViewId};

/// Requests that one view may have under way.
const MOST: usize = 4;

/// The inputs of a request beside the turns of a session.
struct SideRequest {
    model: Arc<dyn Model>,
    /// The conversation so far.
    rows: Vec<Arc<Row>>,
    /// Where the request reports its usage.
    link: TurnLink,
}

impl HostLoop {
    /// Asks the model a side question for one view, which gets the answer as it is streamed.
    pub(super) fn ask_side_question(
        &mut self,
        view: ViewId,
        session: &SessionId,
        id: PromptId,
        question: &str,
    ) {
        let SideRequest { model, rows, link } = match self.side_request(view, session) {
            Ok(request) => request,
            Err(text) => {
                return self.push(view, Event::AsideEnded { id, text, failed: true, usage: None });
            }
        };
        let Some(frame) = self.frame(session) else { return };
        let request = side_question::request(frame, &rows, question);
        let background = self.background.clone();
        let Some(attached) = self.views.get_mut(view) else { return };
        attached.side_requests.spawn(async move {
            let push = |event| {
                let answer = Ok(Box::new(event));
                background
                    .send(BackgroundResult::Answer { view, about: Subject::SideQuestion, answer })
                    .ok();
            };
            let on_text = |part, text| push(Event::AsideSaid { id: id.clone(), part, text });
            let answer = side_question::ask(model.as_ref(), request, &link, on_text).await;
            let (text, failed, usage) = match answer {
                Ok((text, usage)) => (text, false, usage),
                Err(why) => (why, true, None),
            };
            push(Event::AsideEnded { id: id.clone(), text, failed, usage });
        });
    }

    /// Lets the model make a title: of the latest exchange, or of the first.
    pub(super) fn retitle(&mut self, view: ViewId, session: &SessionId, latest: bool) {
        let SideRequest { model, rows, link } = match self.side_request(view, session) {
            Ok(request) => request,
            Err(why) => return self.fail(view, Subject::Title, why),
        };
        let (background, session) = (self.background.clone(), session.clone());
        let Some(attached) = self.views.get_mut(view) else { return };
        attached.side_requests.spawn(async move {
            let title = title::title(model.as_ref(), &rows, latest, &link).await;
            background.send(BackgroundResult::Titled { view, session, title }).ok();
        });
    }

    /// The beginning that all requests of a session share, so that providers can cache it.
    fn frame(&self, session: &SessionId) -> Option<Request> {
        let meta = self.sessions.get(session)?.session.meta();
        let system = match meta.system.as_str() {
            "" => self.system_prompt(meta),
            system => system.to_owned(),
        };
        Some(Request {
            system,
            tools: tool::schemas(Attendance::Attended, meta.toolsets.as_deref()),
            reasoning: meta.reasoning.clone(),
            session: session.0.clone(),
            ..Request::default()
        })
    }

    fn side_request(&mut self, view: ViewId, session: &SessionId) -> Result<SideRequest, String> {
        let rows = self.context(session);
        let live = self.sessions.get(session).ok_or("the session is gone")?;
        let model = self.models.open(&live.session.meta().model)?;
        let attached = self.views.get_mut(view).ok_or("the view is gone")?;
        while attached.side_requests.try_join_next().is_some() {}
        if attached.side_requests.len() >= MOST {
            return Err(format!("{MOST} requests of this view run already; wait for one"));
        }
        // No turn has that number, so that nothing it reports counts as the event of a turn.
        let link = self.turns.link(session, TurnId(0));
        Ok(SideRequest { model, rows, link })
    }
}
