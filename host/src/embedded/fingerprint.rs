//! Fingerprints of what requests are made with: provider, address, model and key. A pause of
//! wakeups stores one, to notice that the user has changed any of it (W20).

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;

use crate::digest;
use crate::settings::{self, Provider};
use crate::state_dir::{StateDir, Sync, create_private};

/// Makes fingerprints with the key of a state directory: without that key nobody can try
/// guesses of an API key against a fingerprint, which exported sessions contain.
#[derive(Clone, Debug)]
pub(super) struct Fingerprints {
    key: String,
}

impl Fingerprints {
    /// Reads the key of a state directory and creates it where there is none. If neither works,
    /// fingerprints hold for this run only: paused wakeups are tried once more after the next
    /// start.
    pub(super) fn open(state: &StateDir) -> Self {
        let key = stored_key(state).unwrap_or_else(|error| {
            tracing::warn!("the key of fingerprints cannot be stored: {error}");
            random()
        });
        Self { key }
    }

    /// The fingerprint of requests to `model`, a name of the session's, with these settings.
    pub(super) fn of(&self, model: &str, settings: &settings::Model) -> String {
        let base_url = settings.base_url.as_deref().unwrap_or_default();
        let api_key = settings.api_key.as_deref().unwrap_or_default();
        let parts = [model, provider(settings.provider), base_url, api_key];
        digest::keyed(self.key.as_bytes(), &parts)
    }
}

/// The fingerprint that earlier versions made of the same.
pub(super) fn legacy(model: &str, settings: &settings::Model) -> String {
    let mut hasher = DefaultHasher::new();
    (model, provider(settings.provider), &settings.base_url, &settings.api_key).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn stored_key(state: &StateDir) -> io::Result<String> {
    let path = state.fingerprint_key();
    let is_usable = |key: &String| !key.is_empty();
    if let Some(key) = std::fs::read_to_string(&path).ok().filter(is_usable) {
        return Ok(key);
    }
    // Another process may create it at the same time: the first one counts.
    create_private(&path, random().as_bytes(), Sync::Now)?;
    let key = std::fs::read_to_string(&path)?;
    if is_usable(&key) { Ok(key) } else { Err(io::Error::other("the file is empty")) }
}

/// 122 random bits.
fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Part of stored digests: these words never change.
fn provider(provider: Provider) -> &'static str {
    match provider {
        Provider::OpenAi => "OpenAi",
        Provider::Anthropic => "Anthropic",
        Provider::Gemini => "Gemini",
        Provider::Ollama => "Ollama",
        Provider::Demo => "Demo",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;

    fn model(key: Option<&str>) -> settings::Model {
        settings::Model {
            provider: Provider::OpenAi,
            name: "m".to_owned(),
            base_url: Some("http://box/v1".to_owned()),
            api_key: key.map(str::to_owned),
            context_length: None,
            max_tokens: None,
            retries: 0,
            stale: Duration::ZERO,
        }
    }

    // W20
    #[test]
    fn a_fingerprint_changes_with_the_credentials_and_not_with_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().join("state"));
        let first = Fingerprints::open(&state);
        let of = first.of("m", &model(Some("sk-1")));
        assert_eq!(of, Fingerprints::open(&state).of("m", &model(Some("sk-1"))));
        assert!(!digest::is_legacy(&of));
        for (name, key) in [("m", Some("sk-2")), ("m", None), ("n", Some("sk-1"))] {
            assert_ne!(of, first.of(name, &model(key)), "{name} {key:?}");
        }
        let mode = std::fs::metadata(state.fingerprint_key()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = StateDir::new(dir.path().join("other"));
        assert_ne!(of, Fingerprints::open(&other).of("m", &model(Some("sk-1"))));
    }

    #[test]
    fn the_fingerprint_of_earlier_versions_is_known() {
        let mut hasher = DefaultHasher::new();
        let own = model(Some("sk-1"));
        ("m", format!("{:?}", own.provider), &own.base_url, &own.api_key).hash(&mut hasher);
        assert_eq!(legacy("m", &own), format!("{:016x}", hasher.finish()));
        assert!(digest::is_legacy(&legacy("m", &own)));
    }
}
