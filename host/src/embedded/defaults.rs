//! How new sessions begin where somebody has said so since the host started. What config.yaml says
//! stays as it is, and holds again for the next host.

use super::SessionDefault as Choice;
use super::host_loop::HostLoop;
use crate::model::EFFORTS;

/// What was chosen; `None` = as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Defaults {
    pub(super) model: Option<String>,
    pub(super) reasoning: Option<String>,
}

impl HostLoop {
    pub(super) fn set_default(&mut self, choice: Choice) -> Result<(), String> {
        match choice {
            Choice::Model(model) => {
                self.model(&model)?;
                self.defaults.model = Some(model);
            }
            Choice::Reasoning(effort) => {
                if let Some(effort) = &effort
                    && !EFFORTS.contains(&effort.as_str())
                {
                    return Err(format!("`{effort}` is none of {}", EFFORTS.join(", ")));
                }
                self.defaults.reasoning = effort;
            }
        }
        Ok(())
    }
}
