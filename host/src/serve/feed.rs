//! What the streams of the WebUI protocol share.

use std::sync::Arc;

use crate::local::Access;
use crate::settings::Settings;

/// The shared state of the streams.
#[derive(Clone, Debug)]
pub(crate) struct Feeds {}

impl Feeds {
    pub(super) fn new(_access: &Access, _settings: &Arc<Settings>) -> Self {
        Self {}
    }
}
