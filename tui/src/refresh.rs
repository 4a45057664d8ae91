//! When to request a list again: at every change, and never twice at once.

/// Whether a list was requested, and whether it will be outdated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refresh {
    asked: bool,
    outdated: bool,
}

impl Refresh {
    /// For a list that has just been requested.
    pub(crate) fn asked() -> Self {
        Self { asked: true, outdated: false }
    }

    /// Something has changed; true = request the list now.
    pub(crate) fn on_change(&mut self) -> bool {
        if std::mem::replace(&mut self.asked, true) {
            self.outdated = true;
            return false;
        }
        true
    }

    /// The list has come; true = request it again, since something has changed meanwhile.
    pub(crate) fn on_answer(&mut self) -> bool {
        self.asked = false;
        std::mem::take(&mut self.outdated) && self.on_change()
    }

    /// No list will come.
    pub(crate) fn on_refusal(&mut self) {
        self.asked = false;
    }
}
