//! When to ask the host for a list again: at every change, and never twice at once.

/// Whether an answer is on its way, and whether it will be out of date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refresh {
    asked: bool,
    outdated: bool,
}

impl Refresh {
    /// Of a list that has just been asked for.
    pub(crate) fn asked() -> Self {
        Self { asked: true, outdated: false }
    }

    /// Something has changed; true = ask now.
    pub(crate) fn on_change(&mut self) -> bool {
        if std::mem::replace(&mut self.asked, true) {
            self.outdated = true;
            return false;
        }
        true
    }

    /// The answer has come; true = ask once more for what has changed meanwhile.
    pub(crate) fn on_answer(&mut self) -> bool {
        self.asked = false;
        std::mem::take(&mut self.outdated) && self.on_change()
    }

    /// No answer will come.
    pub(crate) fn on_refusal(&mut self) {
        self.asked = false;
    }
}
