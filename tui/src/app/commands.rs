//! What the slash commands do.

use protocol::{Command, Delivery, GoalAsk, Link, Process, PromptId, Row, Target};

use super::pending::Rewind;
use super::{App, Effect, Notice, Panel};
use crate::clean::one_line;
use crate::confirm::Confirm;
use crate::files::Saved;
use crate::goal;
use crate::inbox::Inbox;
use crate::numbers::count;
use crate::picker::{self, Picker, PickerKind};
use crate::slash::{self, GoalCommand, SlashCommand, Switch};

impl App {
    /// Runs the command in the input.
    pub(super) fn run_input(&mut self) -> Vec<Effect> {
        if !self.input.complete_name() {
            return Vec::new();
        }
        let command = match slash::parse(&self.input.composer.expanded()) {
            Ok(command) => command,
            Err(message) => {
                self.notify(Notice::Error(message));
                return Vec::new();
            }
        };
        if matches!(command, SlashCommand::Steer(_)) && self.transcript.running.is_none() {
            let text = "no turn is running: send it as a prompt instead";
            self.notify(Notice::Error(text.to_owned()));
            return Vec::new();
        }
        self.feedback.take_notice();
        self.input.composer.take();
        let effects = self.run(command);
        if effects.iter().any(|effect| matches!(effect, Effect::Send(_))) {
            self.note_waits_for_link();
        }
        effects
    }

    /// Notes that a command waits for the link, so that it does not look done.
    fn note_waits_for_link(&mut self) {
        match self.link {
            Link::Connecting | Link::Down { .. } | Link::Stopped { .. } => {}
            // A host that refuses us reports that for each command.
            Link::Up | Link::Polling { .. } | Link::Refused { .. } => return,
        }
        let text = match self.feedback.take_notice() {
            Some(Notice::Info(text)) => format!("once reconnected: {text}"),
            Some(Notice::Waiting(_) | Notice::Error(_)) | None => {
                "this will be sent once reconnected".to_owned()
            }
        };
        self.notify(Notice::Waiting(text));
    }

    fn run(&mut self, command: SlashCommand) -> Vec<Effect> {
        match command {
            SlashCommand::Help => self.open(Panel::Help { top: 0 }),
            SlashCommand::New => send(Command::Open(Target::New)),
            SlashCommand::Sessions => self.list_sessions(),
            SlashCommand::Inbox => self.open(Panel::Inbox(Inbox::default())),
            SlashCommand::Resume(name) => self.resume(name),
            SlashCommand::Models => self.open_picker(PickerKind::Model, Command::ListModels),
            SlashCommand::Model(model) => send(Command::SetModel { model }),
            SlashCommand::Workspaces => {
                self.open_picker(PickerKind::Workspace, Command::ListWorkspaces)
            }
            SlashCommand::Workspace(path) => self.set_workspace(path),
            SlashCommand::Profiles => self.open_picker(PickerKind::Profile, Command::ListProfiles),
            SlashCommand::Profile(name) => send(Command::SetProfile { name }),
            SlashCommand::Efforts => self.open_efforts(),
            SlashCommand::Reasoning(effort) => {
                send(picker::command(PickerKind::Reasoning, &effort))
            }
            SlashCommand::Title(title) => send(Command::SetTitle { session: None, title }),
            SlashCommand::Steer(text) => send(Command::Steer { text }),
            SlashCommand::Goal(goal) => self.goal(goal),
            SlashCommand::Undo => self.rewind(Rewind::Undo),
            SlashCommand::Retry => self.rewind(Rewind::Retry),
            SlashCommand::Processes => self.list_processes(),
            SlashCommand::Stop => self.stop_processes(),
            SlashCommand::Wake => self.wake(),
            SlashCommand::ClearQueue => self.clear_queue(),
            SlashCommand::Compress(focus) => self.compress(focus),
            SlashCommand::Branch => send(Command::Branch),
            SlashCommand::Duplicate => send(Command::Duplicate),
            SlashCommand::Pin => self.pin(true),
            SlashCommand::Unpin => self.pin(false),
            SlashCommand::Archive => self.archive(true),
            SlashCommand::Unarchive => self.archive(false),
            SlashCommand::Delete => self.confirm_delete(),
            SlashCommand::Export(path) => self.export(path),
            SlashCommand::Upload(path) => self.upload(path),
            SlashCommand::Drop => self.drop_uploads(),
            SlashCommand::Yolo(switch) => self.yolo(switch),
            SlashCommand::Quit => self.quit(),
        }
    }

    fn inform(&mut self, text: impl Into<String>) {
        self.notify(Notice::Info(text.into()));
    }

    fn open(&mut self, panel: Panel) -> Vec<Effect> {
        self.overlays.panel = Some(panel);
        Vec::new()
    }

    fn open_efforts(&mut self) -> Vec<Effect> {
        let picker = Picker::efforts(self.transcript.reasoning.as_deref());
        self.open(Panel::Picker(picker))
    }

    /// Looks the session up by its name once the host has listed the sessions.
    fn resume(&mut self, name: String) -> Vec<Effect> {
        self.pending.resume = Some(name);
        send(Command::ListSessions)
    }

    fn set_workspace(&mut self, path: String) -> Vec<Effect> {
        let cwd = self.expand_home(path);
        self.pending.workspace = true;
        send(Command::SetCwd { cwd })
    }

    /// A directory as it was typed; `~` is expanded for a host on this machine.
    fn expand_home(&self, path: String) -> String {
        match (path.strip_prefix('~'), self.home()) {
            (Some(rest), Some(home))
                if self.options.host_name.is_none()
                    && (rest.is_empty() || rest.starts_with('/')) =>
            {
                format!("{home}{rest}")
            }
            (_, _) => path,
        }
    }

    fn goal(&mut self, goal: GoalCommand) -> Vec<Effect> {
        let ask = match goal {
            GoalCommand::Status => {
                self.inform(goal::describe(self.transcript.goal.as_ref()));
                return Vec::new();
            }
            GoalCommand::Ask(ask) => ask,
        };
        let needs_one = ask != GoalAsk::Clear && !matches!(ask, GoalAsk::Set { .. });
        if needs_one && self.transcript.goal.is_none() {
            self.notify(Notice::Error(goal::describe(None)));
            return Vec::new();
        }
        send(Command::Goal(ask))
    }

    fn rewind(&mut self, rewind: Rewind) -> Vec<Effect> {
        self.pending.rewind = Some(rewind);
        send(match rewind {
            Rewind::Undo => Command::Undo,
            Rewind::Retry => Command::Retry { id: PromptId::fresh() },
        })
    }

    fn stop_processes(&mut self) -> Vec<Effect> {
        let live = self.transcript.processes.iter().filter(|process| process.is_live()).count();
        self.inform(match live {
            0 => "no background process is running".to_owned(),
            1 => "stopping 1 background process".to_owned(),
            _ => format!("stopping {live} background processes"),
        });
        send(Command::Kill { id: None })
    }

    fn wake(&mut self) -> Vec<Effect> {
        let is_held = |process: &Process| matches!(process.delivery, Delivery::Held(_));
        if self.transcript.held.is_none() && !self.transcript.processes.iter().any(is_held) {
            self.inform("no wakeups are held");
        }
        send(Command::WakeNow)
    }

    /// Takes all queued prompts back; their texts stay in the history of the input.
    fn clear_queue(&mut self) -> Vec<Effect> {
        let queued = self.transcript.queued.clone();
        self.inform(match queued.len() {
            0 => "the queue is empty".to_owned(),
            n => format!("removed {} from the queue; Up recalls them", count(n, "prompt")),
        });
        for prompt in &queued {
            self.input.composer.remember(&prompt.text);
        }
        queued.into_iter().map(|prompt| Effect::Send(Command::Unqueue { id: prompt.id })).collect()
    }

    fn compress(&mut self, focus: Option<String>) -> Vec<Effect> {
        self.inform("compressing: a summary will replace the older rows in the context");
        send(Command::Compress { focus })
    }

    fn pin(&mut self, pinned: bool) -> Vec<Effect> {
        self.inform(if pinned {
            "pinned to the top of session lists; /unpin undoes this"
        } else {
            "no longer pinned"
        });
        send(Command::Pin { session: None, pinned })
    }

    fn archive(&mut self, archived: bool) -> Vec<Effect> {
        self.inform(if archived {
            "archived: hidden from session lists, wakeups still run; /unarchive undoes this"
        } else {
            "back in session lists"
        });
        send(Command::Archive { session: None, archived })
    }

    /// Opens the dialog that asks whether to delete the session on the screen.
    fn confirm_delete(&mut self) -> Vec<Effect> {
        let transcript = &self.transcript;
        let live = transcript.processes.iter().filter(|process| process.is_live()).count();
        let loss = match (transcript.running.is_some(), live) {
            (false, 0) => "This deletes everything in it.".to_owned(),
            (true, 0) => "This ends the running turn and deletes everything in it.".to_owned(),
            (true, n) => {
                let commands = count(n, "background command");
                format!("This ends the running turn and {commands}, and deletes everything in it.")
            }
            (false, n) => {
                let commands = count(n, "background command");
                format!("This ends {commands} and deletes everything in it.")
            }
        };
        let first = transcript.rows.first().filter(|_| transcript.earlier == 0);
        let name = transcript.title.as_deref().or_else(|| first.map(Row::text)).unwrap_or_default();
        let session = transcript.session.clone();
        self.overlays.confirm = Some(Confirm::delete(session, name, loss, self.now));
        Vec::new()
    }

    fn export(&mut self, path: String) -> Vec<Effect> {
        self.pending.export = Some(path);
        send(Command::Export)
    }

    /// The host exported the session: the document goes to the file that was requested.
    pub(super) fn on_exported(&mut self, name: &str, text: &str) -> Vec<Effect> {
        let path = self.pending.export.take();
        let save =
            path.map(|path| Effect::Save { path, name: file_name(name), text: text.to_owned() });
        save.into_iter().collect()
    }

    /// An export was written, or could not be.
    pub(crate) fn on_saved(&mut self, saved: Result<Saved, String>) {
        self.notify(match saved {
            Ok(Saved { path, existing: None }) => {
                Notice::Info(format!("saved as {}", one_line(&path)))
            }
            Ok(Saved { path, existing: Some(existing) }) => Notice::Info(format!(
                "saved as {}; {} already existed and was left as it is",
                one_line(&path),
                one_line(&existing)
            )),
            Err(why) => Notice::Error(format!("not saved: {}", one_line(&why))),
        });
    }

    fn upload(&mut self, path: String) -> Vec<Effect> {
        self.pending.uploads.add(base_name(&path));
        vec![Effect::Upload { path }]
    }

    /// A file that was to be uploaded could not be read (S05).
    pub(crate) fn on_unread(&mut self, path: &str, why: &str) {
        self.pending.uploads.on_unread(&base_name(path));
        self.notify(Notice::Error(format!("{}: {why}", one_line(path))));
    }

    fn drop_uploads(&mut self) -> Vec<Effect> {
        self.pending.uploads.clear();
        send(Command::DropUploads)
    }

    /// Turns approvals on at once; turning them off needs a confirmation.
    fn yolo(&mut self, switch: Switch) -> Vec<Effect> {
        let on = match switch {
            Switch::On => true,
            Switch::Off => false,
            Switch::Toggle => !self.transcript.yolo,
        };
        if !on {
            return send(Command::SetYolo { yolo: false });
        }
        if self.transcript.yolo {
            self.inform("approvals are already off; /yolo turns them on");
        } else {
            self.overlays.confirm = Some(Confirm::yolo(self.now));
        }
        Vec::new()
    }
}

fn send(command: Command) -> Vec<Effect> {
    vec![Effect::Send(command)]
}

/// The name of the file in a path as it was typed.
fn base_name(path: &str) -> String {
    let path = path.trim().trim_matches(['"', '\'']);
    path.rsplit('/').next().unwrap_or(path).replace("\\ ", " ")
}

/// A safe name for a file, from one that the host gives: no directory, not hidden, printable.
fn file_name(name: &str) -> String {
    let name = one_line(name);
    let name: String =
        name.chars().map(|c| if matches!(c, '/' | '\\' | ':') { '-' } else { c }).collect();
    let name = name.trim_start_matches(['.', '-', ' ']);
    let name = crate::clean::head(name, 120);
    if name.is_empty() { "session.md".to_owned() } else { name.to_owned() }
}
