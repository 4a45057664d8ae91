//! What the commands that begin with a slash do.

use protocol::{Command, Delivery, GoalAsk, Link, Process, PromptId, Row, Target};

use super::{App, Effect, Notice, Panel, TakingBack};
use crate::clean::one_line;
use crate::confirm::Confirm;
use crate::files::Saved;
use crate::goal;
use crate::numbers::count;
use crate::picker::{self, Kind, Picker};
use crate::processes::Processes;
use crate::sessions::Sessions;
use crate::slash::{self, Goals, Slash, Switch};

impl App {
    pub(super) fn command(&mut self) -> Vec<Effect> {
        let menu = slash::completions(self.composer.text());
        if let Some(entry) = menu.get(self.completion)
            && slash::parse(self.composer.text()).is_err()
            && menu.iter().all(|entry| format!("/{}", entry.name) != self.composer.text())
        {
            // The beginning of a name: the menu shows what it stands for.
            let runs = entry.args.is_empty();
            self.complete();
            if !runs {
                return Vec::new();
            }
        }
        let command = match slash::parse(&self.composer.expanded()) {
            Ok(command) => command,
            Err(message) => {
                self.tell(Notice::Error(message));
                return Vec::new();
            }
        };
        if matches!(command, Slash::Steer(_)) && self.transcript.running.is_none() {
            self.tell(Notice::Error("nothing runs: send it as a prompt".to_owned()));
            return Vec::new();
        }
        self.notice = None;
        self.composer.take();
        let effects = self.run(command);
        if effects.iter().any(|effect| matches!(effect, Effect::Send(_))) {
            self.note_absence();
        }
        effects
    }

    /// What was asked waits for the link: nobody is to think that it is done.
    fn note_absence(&mut self) {
        match self.link {
            Link::Connecting | Link::Down { .. } | Link::Stopped { .. } => {}
            // A host that refuses us says so of each command.
            Link::Up | Link::Polling { .. } | Link::Refused { .. } => return,
        }
        let text = match self.notice.take().map(|said| said.notice) {
            Some(Notice::Info(text)) => format!("once the link is back: {text}"),
            Some(Notice::Waiting(_) | Notice::Error(_)) | None => {
                "this waits until the link is back".to_owned()
            }
        };
        self.tell(Notice::Waiting(text));
    }

    fn run(&mut self, command: Slash) -> Vec<Effect> {
        let send = |command| vec![Effect::Send(command)];
        match command {
            Slash::Help => {
                self.panel = Some(Panel::Help { up: 0 });
                Vec::new()
            }
            Slash::New => send(Command::Open(Target::New)),
            Slash::Sessions => self.list_sessions(),
            Slash::Inbox => {
                self.open_inbox();
                Vec::new()
            }
            Slash::Resume(name) => {
                self.wanted = Some(name);
                send(Command::ListSessions)
            }
            Slash::Models => {
                self.panel = Some(Panel::Picker(Picker::asking(Kind::Model)));
                send(Command::ListModels)
            }
            Slash::Model(model) => send(Command::SetModel { model }),
            Slash::Workspaces => {
                self.panel = Some(Panel::Picker(Picker::asking(Kind::Workspace)));
                send(Command::ListWorkspaces)
            }
            Slash::Workspace(path) => {
                let cwd = self.at_home(path);
                self.moving = Some(cwd.clone());
                send(Command::SetCwd { cwd })
            }
            Slash::Profiles => {
                self.panel = Some(Panel::Picker(Picker::asking(Kind::Profile)));
                send(Command::ListProfiles)
            }
            Slash::Profile(name) => send(Command::SetProfile { name }),
            Slash::Efforts => {
                let picker = Picker::of_efforts(self.transcript.reasoning.as_deref());
                self.panel = Some(Panel::Picker(picker));
                Vec::new()
            }
            Slash::Reasoning(effort) => send(picker::command(Kind::Reasoning, &effort)),
            Slash::Title(title) => send(Command::SetTitle { session: None, title }),
            Slash::Steer(text) => send(Command::Steer { text }),
            Slash::Goal(goal) => self.goal(goal),
            Slash::Undo => {
                self.taking_back = Some(TakingBack::Undo);
                send(Command::Undo)
            }
            Slash::Retry => {
                self.taking_back = Some(TakingBack::Retry);
                send(Command::Retry { id: PromptId::fresh() })
            }
            Slash::Processes => self.list_processes(),
            Slash::Stop => {
                let live = self.transcript.processes.iter().filter(|p| p.is_live()).count();
                self.inform(match live {
                    0 => "no background process runs".to_owned(),
                    1 => "stopping 1 background process".to_owned(),
                    _ => format!("stopping {live} background processes"),
                });
                send(Command::Kill { id: None })
            }
            Slash::Wake => {
                let held = |process: &Process| matches!(process.delivery, Delivery::Held(_));
                if self.transcript.held.is_none() && !self.transcript.processes.iter().any(held) {
                    self.inform("no wakeup is held".to_owned());
                }
                send(Command::WakeNow)
            }
            Slash::ClearQueue => self.clear_queue(),
            Slash::Compress(focus) => {
                self.inform("compressing: a summary will stand for the older rows".to_owned());
                send(Command::Compress { focus })
            }
            Slash::Branch => send(Command::Branch),
            Slash::Duplicate => send(Command::Duplicate),
            Slash::Pin => {
                self.inform("pinned: on top of lists; /unpin undoes it".to_owned());
                send(Command::Pin { session: None, pinned: true })
            }
            Slash::Unpin => {
                self.inform("no longer on top of lists".to_owned());
                send(Command::Pin { session: None, pinned: false })
            }
            Slash::Archive => {
                let text = "archived: lists leave it out, wakeups still come; /unarchive undoes it";
                self.inform(text.to_owned());
                send(Command::Archive { session: None, archived: true })
            }
            Slash::Unarchive => {
                self.inform("listed again".to_owned());
                send(Command::Archive { session: None, archived: false })
            }
            Slash::Delete => {
                self.ask_to_delete();
                Vec::new()
            }
            Slash::Export(path) => {
                self.export = Some(path);
                send(Command::Export)
            }
            Slash::Upload(path) => {
                self.uploading.push(name_of(&path));
                vec![Effect::Upload { path }]
            }
            Slash::Drop => {
                self.uploading.clear();
                send(Command::DropUploads)
            }
            Slash::Yolo(switch) => self.yolo(switch),
            Slash::Quit => self.quit(),
        }
    }

    /// Opens the panel of background processes. Not every host elsewhere tells of them: it is
    /// asked, so that nobody takes its silence for "none".
    pub(super) fn list_processes(&mut self) -> Vec<Effect> {
        self.panel = Some(Panel::Processes(Processes::default()));
        let asks = self.options.place.is_some() && self.transcript.processes.is_empty();
        asks.then_some(Effect::Send(Command::ListProcesses)).into_iter().collect()
    }

    /// Opens the list of sessions.
    pub(super) fn list_sessions(&mut self) -> Vec<Effect> {
        let sessions = Sessions::asking(&self.transcript.session, self.now);
        self.panel = Some(Panel::Sessions(sessions));
        vec![Effect::Send(Command::ListSessions)]
    }

    fn inform(&mut self, text: String) {
        self.tell(Notice::Info(text));
    }

    /// A folder as it was typed, on this machine's host with `~` made out.
    fn at_home(&self, path: String) -> String {
        match (path.strip_prefix('~'), self.home()) {
            (Some(rest), Some(home))
                if self.options.place.is_none() && (rest.is_empty() || rest.starts_with('/')) =>
            {
                format!("{home}{rest}")
            }
            (_, _) => path,
        }
    }

    fn goal(&mut self, goal: Goals) -> Vec<Effect> {
        let ask = match goal {
            Goals::Status => {
                self.inform(goal::status(self.transcript.goal.as_ref()));
                return Vec::new();
            }
            Goals::Ask(ask) => ask,
        };
        let needs_one = ask != GoalAsk::Clear && !matches!(ask, GoalAsk::Set { .. });
        if needs_one && self.transcript.goal.is_none() {
            self.tell(Notice::Error(goal::status(None)));
            return Vec::new();
        }
        vec![Effect::Send(Command::Goal(ask))]
    }

    /// Asks again at once; no longer asking needs a yes.
    fn yolo(&mut self, switch: Switch) -> Vec<Effect> {
        let on = match switch {
            Switch::On => true,
            Switch::Off => false,
            Switch::Over => !self.transcript.yolo,
        };
        if !on {
            return vec![Effect::Send(Command::SetYolo { yolo: false })];
        }
        if self.transcript.yolo {
            self.inform("approvals are off already; /yolo switches them on".to_owned());
        } else {
            self.confirm = Some(Confirm::yolo(self.now));
        }
        Vec::new()
    }

    /// A file that was to be uploaded could not be read (S05).
    pub(crate) fn on_unread(&mut self, path: &str, why: &str) {
        let name = name_of(path);
        if let Some(at) = self.uploading.iter().position(|uploading| *uploading == name) {
            self.uploading.remove(at);
        }
        self.tell(Notice::Error(format!("{}: {why}", one_line(path))));
    }

    /// An export was written, or could not be.
    pub(crate) fn on_saved(&mut self, saved: Result<Saved, String>) {
        self.tell(match saved {
            Ok(Saved { path, taken: None }) => {
                Notice::Info(format!("saved as {}", one_line(&path)))
            }
            Ok(Saved { path, taken: Some(taken) }) => Notice::Info(format!(
                "saved as {}; {} was there already and is as it was",
                one_line(&path),
                one_line(&taken)
            )),
            Err(why) => Notice::Error(format!("not saved: {}", one_line(&why))),
        });
    }

    /// Takes all waiting prompts back; their texts stay in the history of the input.
    fn clear_queue(&mut self) -> Vec<Effect> {
        let queued = self.transcript.queued.clone();
        self.inform(match queued.len() {
            0 => "no prompt waits".to_owned(),
            n => format!("{} taken back; Up brings the texts", count(n, "waiting prompt")),
        });
        for prompt in &queued {
            self.composer.remember(&prompt.text);
        }
        queued.into_iter().map(|prompt| Effect::Send(Command::Unqueue { id: prompt.id })).collect()
    }

    /// Opens the question whether the session in view is to be deleted.
    fn ask_to_delete(&mut self) {
        let transcript = &self.transcript;
        let live = transcript.processes.iter().filter(|process| process.is_live()).count();
        let also = match (transcript.running.is_some(), live) {
            (false, 0) => "All it holds is gone then.".to_owned(),
            (true, 0) => "Its turn is ended, and all it holds is gone then.".to_owned(),
            (_, n) => {
                let commands = count(n, "background command");
                format!("Its work is ended ({commands}), and all it holds is gone then.")
            }
        };
        let first = transcript.rows.first().filter(|_| transcript.earlier == 0);
        let name = transcript.title.as_deref().or_else(|| first.map(Row::text)).unwrap_or_default();
        let session = transcript.session.clone();
        self.confirm = Some(Confirm::delete(session, name, also, self.now));
    }
}

/// The last part of a path as it was typed: the name of the file.
fn name_of(path: &str) -> String {
    let path = path.trim().trim_matches(['"', '\'']);
    path.rsplit('/').next().unwrap_or(path).replace("\\ ", " ")
}
