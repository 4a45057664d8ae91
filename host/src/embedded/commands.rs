//! The commands of views: which are inputs of a session, and which the host answers itself.

use super::host_loop::HostLoop;
use crate::session::{Attendance, Input};
use protocol::{Command, SessionId, Subject, ViewId};

impl HostLoop {
    /// Handles a command of a view. It concerns the session the view is attached to, unless it
    /// names another one: that is loaded for it.
    pub(super) fn handle_command(&mut self, view: ViewId, command: Command) {
        let Some(attached) = self.views.get(view) else { return };
        let (attendance, label) = (attached.attendance, attached.label.to_string());
        let session = match named_session(&command) {
            None => attached.session().clone(),
            Some(named) => {
                let session = named.clone();
                if let Err(error) = self.load(&session) {
                    return self.fail(view, Subject::of(&command), error.to_string());
                }
                session
            }
        };
        if let Command::Prompt { .. } | Command::Goal(_) = &command
            && let Err(message) = self.prepare_prompt(&session)
        {
            return self.fail(view, Subject::of(&command), message);
        }
        // A view of the session sees the result; one of another session is notified (C07).
        if let Command::Answer { session: Some(named), id, .. } = &command {
            self.report_late_answer(view, named, id);
        }
        match session_input(command, attendance, label) {
            Ok(input) => {
                self.feed(&session, input);
                // It may be in memory for this command alone.
                self.unload_if_unused(&session);
            }
            Err(command) => self.answer(view, &session, attendance, command),
        }
    }

    /// Handles a command that is not one for the session alone.
    fn answer(
        &mut self,
        view: ViewId,
        session: &SessionId,
        attendance: Attendance,
        command: Command,
    ) {
        match command {
            Command::Open(target) => self.switch(view, session, &target),
            Command::Branch => self.branch(view, session),
            Command::Duplicate => self.duplicate(view, session),
            Command::Delete { session } => self.delete(view, &session),
            Command::Kill { id: Some(id) } => self.kill(view, id),
            Command::SetModel { model } => self.set_model(view, session, model),
            Command::SetCwd { cwd } => self.set_cwd(view, session, &cwd),
            Command::SetProfile { name } => self.set_profile(view, &name),
            Command::Undo => self.undo(view, session, None),
            Command::Retry { id } => self.undo(view, session, Some((id, attendance))),
            Command::Truncate { after } => self.truncate(view, session, after),
            Command::Aside { id, question } => {
                self.ask_side_question(view, session, id, &question);
            }
            Command::Retitle { latest } => self.retitle(view, session, latest),
            Command::Upload { name, data } => self.upload(view, session, &name, data.0),
            Command::Page { before, limit } => self.page(view, session, before, limit),
            Command::Tail { id } => self.tail(view, id),
            Command::Search { query } => self.search(view, query),
            Command::Export => self.export(view, session),
            Command::ListSessions => self.list_sessions(view),
            Command::ListProcesses => self.list_processes(view),
            Command::ListModels => self.list_models(view),
            Command::ListWorkspaces => self.list_workspaces(view),
            Command::ListProfiles => self.list_profiles(view),
            // Inputs of the session: see `session_input`.
            Command::Prompt { .. }
            | Command::Unqueue { .. }
            | Command::Steer { .. }
            | Command::Cancel
            | Command::Answer { .. }
            | Command::Shown { .. }
            | Command::Kill { id: None }
            | Command::WakeNow
            | Command::SetTitle { .. }
            | Command::Compress { .. }
            | Command::Archive { .. }
            | Command::Pin { .. }
            | Command::SetYolo { .. }
            | Command::SetReasoning { .. }
            | Command::SetToolsets { .. }
            | Command::DropUploads
            | Command::Goal(_) => {}
        }
    }

    /// Lets the turns of a session use another model.
    fn set_model(&mut self, view: ViewId, session: &SessionId, model: String) {
        match self.models.open(&model) {
            Ok(opened) => {
                let context = opened.context_length();
                let fingerprint = self.models.fingerprint(&model);
                self.feed(session, Input::SetModel { model, context, fingerprint });
                self.unload_if_unused(session);
            }
            Err(message) => self.fail(view, Subject::Model, message),
        }
    }
}

/// The session that a command names, if it need not be the one in view.
fn named_session(command: &Command) -> Option<&SessionId> {
    match command {
        Command::Answer { session, .. }
        | Command::Shown { session, .. }
        | Command::SetTitle { session, .. }
        | Command::Archive { session, .. }
        | Command::Pin { session, .. } => session.as_ref(),
        _ => None,
    }
}

/// The input that a command is for its session. `Err` returns the command: the host answers it.
fn session_input(
    command: Command,
    attendance: Attendance,
    label: String,
) -> Result<Input, Command> {
    let input = match command {
        Command::Prompt { id, text } => Input::Prompt { id, text, attendance },
        Command::Unqueue { id } => Input::Unqueue(id),
        Command::Steer { text } => Input::Steer(text),
        Command::Cancel => Input::Cancel,
        Command::Answer { session: _, id, answer } => Input::Answer { id, answer, by: Some(label) },
        Command::Shown { session: _, id } => Input::Shown(id),
        Command::Kill { id: None } => Input::Kill(None),
        Command::WakeNow => Input::WakeNow,
        Command::SetTitle { session: _, title } => Input::SetTitle(title),
        Command::Compress { focus } => Input::Compress { focus },
        Command::Archive { session: _, archived } => Input::Archive(archived),
        Command::Pin { session: _, pinned } => Input::Pin(pinned),
        Command::SetYolo { yolo } => Input::SetYolo { yolo, by: Some(label) },
        Command::SetReasoning { effort } => Input::SetReasoning(effort),
        Command::SetToolsets { toolsets } => Input::SetToolsets(toolsets),
        Command::DropUploads => Input::DropUploads,
        Command::Goal(ask) => Input::Goal(ask),
        command @ (Command::Kill { id: Some(_) }
        | Command::Tail { .. }
        | Command::Open(_)
        | Command::Page { .. }
        | Command::Branch
        | Command::Duplicate
        | Command::Delete { .. }
        | Command::ListProcesses
        | Command::ListSessions
        | Command::ListModels
        | Command::ListWorkspaces
        | Command::ListProfiles
        | Command::SetModel { .. }
        | Command::SetCwd { .. }
        | Command::SetProfile { .. }
        | Command::Undo
        | Command::Retry { .. }
        | Command::Truncate { .. }
        | Command::Export
        | Command::Search { .. }
        | Command::Aside { .. }
        | Command::Retitle { .. }
        | Command::Upload { .. }) => return Err(command),
    };
    Ok(input)
}
