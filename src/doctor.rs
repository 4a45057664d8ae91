//! `doctor`.
use std::process::ExitCode;

use crate::args::Doctor;
use crate::config::{Config, Error};
use crate::dirs::Dirs;
use crate::env::Env;

/// Runs it.
pub(crate) fn run(
    _doctor: &Doctor,
    _dirs: &Dirs,
    _env: &Env,
    config: Result<Config, Error>,
) -> anyhow::Result<ExitCode> {
    config?;
    Ok(ExitCode::SUCCESS)
}
