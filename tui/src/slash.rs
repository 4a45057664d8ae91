//! The commands that begin with a slash: one table for parsing, completion and help.

use protocol::GoalAsk;

/// An entry of the table of commands.
#[derive(Debug)]
pub(crate) struct CommandSpec {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) args: &'static str,
    pub(crate) help: &'static str,
    make: fn(&str) -> Option<SlashCommand>,
}

/// A parsed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SlashCommand {
    Help,
    New,
    Sessions,
    Inbox,
    Resume(String),
    Models,
    Model(String),
    Workspaces,
    Workspace(String),
    Profiles,
    Profile(String),
    /// Lists the efforts.
    Efforts,
    Reasoning(String),
    Title(String),
    Steer(String),
    Goal(GoalCommand),
    Undo,
    Retry,
    Processes,
    Stop,
    Wake,
    ClearQueue,
    Compress(Option<String>),
    Branch,
    Duplicate,
    Pin,
    Unpin,
    Archive,
    Unarchive,
    Delete,
    /// To this file or directory; empty = the working directory, under the name the host gives.
    Export(String),
    Upload(String),
    Drop,
    Yolo(Switch),
    Quit,
}

/// The argument of a command that switches something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    On,
    Off,
    /// Switch it over.
    Toggle,
}

/// The argument of `/goal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GoalCommand {
    /// Show its state.
    Status,
    Ask(GoalAsk),
}

/// All commands.
pub(crate) const COMMANDS: &[CommandSpec] = &[
    entry("help", &["?", "keys"], "", "keys and commands", |_| Some(SlashCommand::Help)),
    entry("new", &["reset", "clear"], "", "start a new session", |_| Some(SlashCommand::New)),
    entry("resume", &[], "[id or title]", "open a session", |args| {
        Some(list_or(args, SlashCommand::Sessions, SlashCommand::Resume))
    }),
    entry("sessions", &[], "", "list the sessions", |_| Some(SlashCommand::Sessions)),
    entry("inbox", &["questions"], "", "questions from all sessions", |_| {
        Some(SlashCommand::Inbox)
    }),
    entry("model", &[], "[name]", "list models, or switch to one", |args| {
        Some(list_or(args, SlashCommand::Models, SlashCommand::Model))
    }),
    entry(
        "workspace",
        &["cwd", "cd"],
        "[directory]",
        "list directories, or switch to one",
        |args| Some(list_or(args, SlashCommand::Workspaces, SlashCommand::Workspace)),
    ),
    entry("reasoning", &["effort"], "[effort]", "how hard the model thinks", |args| {
        Some(list_or(args, SlashCommand::Efforts, SlashCommand::Reasoning))
    }),
    entry("profile", &[], "[name]", "list profiles, or switch to one", |args| {
        Some(list_or(args, SlashCommand::Profiles, SlashCommand::Profile))
    }),
    entry("title", &["rename"], "TEXT", "rename the session", |args| {
        (!args.is_empty()).then(|| SlashCommand::Title(args.to_owned()))
    }),
    entry("steer", &[], "TEXT", "send a message to the running turn", |args| {
        (!args.is_empty()).then(|| SlashCommand::Steer(args.to_owned()))
    }),
    entry("goal", &[], "[TEXT]", "work towards a goal; status, pause, resume, clear", |args| {
        Some(SlashCommand::Goal(match args {
            "" | "status" => GoalCommand::Status,
            "pause" => GoalCommand::Ask(GoalAsk::Pause),
            "resume" => GoalCommand::Ask(GoalAsk::Resume),
            "clear" => GoalCommand::Ask(GoalAsk::Clear),
            text => GoalCommand::Ask(GoalAsk::Set { text: text.to_owned() }),
        }))
    }),
    entry("undo", &[], "", "remove the last prompt and everything after it", |_| {
        Some(SlashCommand::Undo)
    }),
    entry("retry", &[], "", "run the last prompt again", |_| Some(SlashCommand::Retry)),
    entry("upload", &[], "PATH", "attach a file to the next prompt", |args| {
        (!args.is_empty()).then(|| SlashCommand::Upload(args.to_owned()))
    }),
    entry("drop", &[], "", "remove the attached files", |_| Some(SlashCommand::Drop)),
    entry("processes", &["ps", "agents", "tasks"], "", "background processes", |_| {
        Some(SlashCommand::Processes)
    }),
    entry("stop", &[], "", "kill all background processes", |_| Some(SlashCommand::Stop)),
    entry("wake", &[], "", "run held wakeups now", |_| Some(SlashCommand::Wake)),
    entry("queue", &[], "clear", "remove all queued prompts", |args| {
        (args == "clear").then_some(SlashCommand::ClearQueue)
    }),
    entry("compress", &["compact"], "[focus]", "summarise older parts of the context", |args| {
        Some(SlashCommand::Compress((!args.is_empty()).then(|| args.to_owned())))
    }),
    entry("branch", &["fork"], "", "continue in a copy of this session up to here", |_| {
        Some(SlashCommand::Branch)
    }),
    entry("duplicate", &["copy"], "", "continue in a full copy of this session", |_| {
        Some(SlashCommand::Duplicate)
    }),
    entry("export", &["save"], "[file]", "export this session to a file", |args| {
        Some(SlashCommand::Export(args.to_owned()))
    }),
    entry("pin", &[], "", "pin this session to the top of lists", |_| Some(SlashCommand::Pin)),
    entry("unpin", &[], "", "unpin this session", |_| Some(SlashCommand::Unpin)),
    entry("archive", &[], "", "hide this session from lists", |_| Some(SlashCommand::Archive)),
    entry("unarchive", &[], "", "show this session in lists again", |_| {
        Some(SlashCommand::Unarchive)
    }),
    entry("delete", &[], "", "delete this session (asks first)", |_| Some(SlashCommand::Delete)),
    entry("yolo", &[], "[on|off]", "run all commands without asking", |args| match args {
        "" => Some(SlashCommand::Yolo(Switch::Toggle)),
        "on" => Some(SlashCommand::Yolo(Switch::On)),
        "off" => Some(SlashCommand::Yolo(Switch::Off)),
        _ => None,
    }),
    entry("quit", &["exit", "q"], "", "quit hermes-tui", |_| Some(SlashCommand::Quit)),
];

const fn entry(
    name: &'static str,
    aliases: &'static [&'static str],
    args: &'static str,
    help: &'static str,
    make: fn(&str) -> Option<SlashCommand>,
) -> CommandSpec {
    CommandSpec { name, aliases, args, help, make }
}

/// The list without arguments, the item itself with one.
fn list_or(args: &str, list: SlashCommand, one: fn(String) -> SlashCommand) -> SlashCommand {
    if args.is_empty() { list } else { one(args.to_owned()) }
}

/// Whether a text is a command: a slash and a word. A path is not.
pub(crate) fn is_command(text: &str) -> bool {
    text.trim_start().strip_prefix('/').is_some_and(|rest| {
        let word = rest.split_whitespace().next().unwrap_or_default();
        !word.contains('/') && !rest.starts_with(char::is_whitespace)
    })
}

/// Parses a command; the error says what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<SlashCommand, String> {
    let text = text.trim().trim_start_matches('/');
    let (word, args) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let entry = COMMANDS.iter().find(|entry| entry.name == word || entry.aliases.contains(&word));
    let Some(entry) = entry else {
        return Err(format!("unknown command /{word}; /help lists all commands"));
    };
    (entry.make)(args.trim()).ok_or_else(|| format!("usage: /{} {}", entry.name, entry.args))
}

/// The commands that complete the name being typed.
pub(crate) fn completions(text: &str) -> Vec<&'static CommandSpec> {
    let Some(word) = text.strip_prefix('/') else { return Vec::new() };
    if word.contains(char::is_whitespace) || word.contains('/') {
        return Vec::new();
    }
    let fits = |entry: &&CommandSpec| {
        entry.name.starts_with(word) || entry.aliases.iter().any(|alias| alias.starts_with(word))
    };
    COMMANDS.iter().filter(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood_with_their_arguments_and_aliases() {
        assert_eq!(parse("/title a  b "), Ok(SlashCommand::Title("a  b".into())));
        assert_eq!(parse("/exit"), Ok(SlashCommand::Quit));
        assert_eq!(parse("/resume"), Ok(SlashCommand::Sessions));
        assert_eq!(parse("/resume 2026"), Ok(SlashCommand::Resume("2026".into())));
        assert!(parse("/title").is_err_and(|e| e.contains("usage")));
        assert!(parse("/nope").is_err_and(|e| e.contains("/nope")));
    }

    #[test]
    fn a_path_is_not_a_command() {
        assert!(!is_command("/etc/hosts is wrong"));
        assert!(!is_command("/ alone"));
        assert!(is_command("/nope"));
    }

    #[test]
    fn completion_stops_with_the_name() {
        let names: Vec<_> = completions("/s").iter().map(|e| e.name).collect();
        assert_eq!(names, ["sessions", "steer", "stop", "export"]);
        assert!(completions("/steer x").is_empty());
        assert_eq!(completions("/").len(), COMMANDS.len());
    }
}
