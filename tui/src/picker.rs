//! A panel to pick one of a few values: a model, a directory, a profile, a reasoning effort.

use protocol::{Command, Subject};
use ratatui::text::Line;

use crate::clean::one_line;
use crate::keymap::Action;
use crate::select::{Select, SelectEvent, SelectItem};
use crate::theme::Theme;

/// The reasoning efforts.
const EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];

/// The entry for the configured effort.
pub(crate) const DEFAULT: &str = "default";

/// The kind of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PickerKind {
    Model,
    Workspace,
    Profile,
    Reasoning,
}

impl PickerKind {
    /// The subject of a failure to list the values.
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
    kind: PickerKind,
    select: Select,
    values: Vec<String>,
}

/// The result of a key.
#[derive(Debug, PartialEq)]
pub(crate) enum PickerEvent {
    /// The panel stays open.
    StayOpen,
    /// Close it.
    Close,
    /// Close it and send this command.
    Picked(Command),
}

impl Picker {
    /// Fills in the values; `current` is the one in use. Text that was typed meanwhile narrows them.
    pub(crate) fn fill(&mut self, values: &[String], current: &str) {
        let entry = |value: &String| {
            let detail = if value == current { "current" } else { "" };
            SelectItem {
                label: one_line(value),
                detail: detail.to_owned(),
                ..SelectItem::default()
            }
        };
        self.values = values.to_vec();
        self.select.refill(values.iter().map(entry).collect());
        if let Some(at) = values.iter().position(|value| value == current) {
            self.select.choose(at);
        }
    }

    /// A picker whose values were requested from the host.
    pub(crate) fn asking(kind: PickerKind) -> Self {
        Self { kind, select: Select::asking(), values: Vec::new() }
    }

    /// The kind of the values it waits for, if they have not come yet.
    pub(crate) fn awaited(&self) -> Option<PickerKind> {
        self.select.is_asking().then_some(self.kind)
    }

    /// A picker of the reasoning efforts.
    pub(crate) fn efforts(current: Option<&str>) -> Self {
        let values: Vec<String> =
            std::iter::once(DEFAULT).chain(EFFORTS).map(str::to_owned).collect();
        let mut picker = Self::asking(PickerKind::Reasoning);
        picker.fill(&values, current.unwrap_or(DEFAULT));
        picker
    }

    pub(crate) fn title(&self) -> &'static str {
        match self.kind {
            PickerKind::Model => "Models · Enter selects · Esc",
            PickerKind::Workspace => "Directories · Enter selects · Esc",
            PickerKind::Profile => "Profiles · Enter selects · Esc",
            PickerKind::Reasoning => "Reasoning · Enter selects · Esc",
        }
    }

    pub(crate) fn on_action(&mut self, action: Action) -> PickerEvent {
        match self.select.on_action(action) {
            SelectEvent::StayOpen => PickerEvent::StayOpen,
            SelectEvent::Close => PickerEvent::Close,
            SelectEvent::Pick(index) => match self.values.get(index) {
                Some(value) => PickerEvent::Picked(command(self.kind, value)),
                None => PickerEvent::StayOpen,
            },
        }
    }

    /// Narrows the values by pasted text.
    pub(crate) fn on_paste(&mut self, text: &str) {
        for c in text.chars().filter(|c| !c.is_control()) {
            self.on_action(Action::Text(c));
        }
    }

    pub(crate) fn lines(&self, width: usize, height: usize, theme: &Theme) -> Vec<Line<'static>> {
        self.select.lines("", width, height, theme)
    }
}

/// The command that sets this value.
pub(crate) fn command(kind: PickerKind, value: &str) -> Command {
    let value = value.to_owned();
    match kind {
        PickerKind::Model => Command::SetModel { model: value },
        PickerKind::Workspace => Command::SetCwd { cwd: value },
        PickerKind::Profile => Command::SetProfile { name: value },
        PickerKind::Reasoning => {
            Command::SetReasoning { effort: Some(value).filter(|value| value != DEFAULT) }
        }
    }
}
