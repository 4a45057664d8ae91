//! A panel to pick one of a few values from: a model, a folder, a profile, an effort.

use protocol::{Command, Subject};
use ratatui::text::Line;

use crate::clean::one_line;
use crate::keymap::Action;
use crate::select::{self, Entry, Select};
use crate::theme::Theme;

/// How hard a model can think.
const EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];

/// The word for the configured effort.
pub(crate) const DEFAULT: &str = "default";

/// What is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Model,
    Workspace,
    Profile,
    Reasoning,
}

impl Kind {
    /// What a failure to list the values is about.
    pub(crate) fn subject(self) -> Subject {
        match self {
            Self::Model => Subject::Models,
            Self::Workspace => Subject::Workspaces,
            Self::Profile => Subject::Profiles,
            Self::Reasoning => Subject::Reasoning,
        }
    }
}

/// The panel.
#[derive(Debug)]
pub(crate) struct Picker {
    kind: Kind,
    select: Select,
    values: Vec<String>,
}

/// What a key did.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The panel stays.
    Open,
    /// It is to be closed.
    Closed,
    /// It is to be closed, and this is wanted.
    Picked(Command),
}

impl Picker {
    /// The values are known: `current` is the one in use. What was typed meanwhile narrows them.
    pub(crate) fn fill(&mut self, values: &[String], current: &str) {
        let entry = |value: &String| {
            let detail = if value == current { "in use" } else { "" };
            Entry { label: one_line(value), detail: detail.to_owned(), ..Entry::default() }
        };
        self.values = values.to_vec();
        self.select.refill(values.iter().map(entry).collect());
        if let Some(at) = values.iter().position(|value| value == current) {
            self.select.choose(at);
        }
    }

    /// The values, which the host has been asked for.
    pub(crate) fn asking(kind: Kind) -> Self {
        Self { kind, select: Select::asking(), values: Vec::new() }
    }

    /// What it waits for, if the values have not come yet.
    pub(crate) fn asks_for(&self) -> Option<Kind> {
        self.select.is_asking().then_some(self.kind)
    }

    /// The efforts.
    pub(crate) fn of_efforts(current: Option<&str>) -> Self {
        let values: Vec<String> =
            std::iter::once(DEFAULT).chain(EFFORTS).map(str::to_owned).collect();
        let mut picker = Self::asking(Kind::Reasoning);
        picker.fill(&values, current.unwrap_or(DEFAULT));
        picker
    }

    pub(crate) fn title(&self) -> &'static str {
        match self.kind {
            Kind::Model => "Models · Enter uses · Esc",
            Kind::Workspace => "Folders · Enter works there · Esc",
            Kind::Profile => "Profiles · Enter uses · Esc",
            Kind::Reasoning => "Reasoning · Enter uses · Esc",
        }
    }

    pub(crate) fn on_action(&mut self, action: Action) -> Outcome {
        match self.select.on_action(action) {
            select::Outcome::Open => Outcome::Open,
            select::Outcome::Closed => Outcome::Closed,
            select::Outcome::Picked(index) => match self.values.get(index) {
                Some(value) => Outcome::Picked(command(self.kind, value)),
                None => Outcome::Open,
            },
        }
    }

    pub(crate) fn lines(&self, width: usize, height: usize, theme: &Theme) -> Vec<Line<'static>> {
        self.select.lines("", width, height, theme)
    }
}

/// What asks for this value.
pub(crate) fn command(kind: Kind, value: &str) -> Command {
    let value = value.to_owned();
    match kind {
        Kind::Model => Command::SetModel { model: value },
        Kind::Workspace => Command::SetCwd { cwd: value },
        Kind::Profile => Command::SetProfile { name: value },
        Kind::Reasoning => {
            Command::SetReasoning { effort: Some(value).filter(|value| value != DEFAULT) }
        }
    }
}
