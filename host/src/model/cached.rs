//! The models that the provider's server names, kept in a file for a day. Reads never wait for
//! the server: they get the stored list, or the built-in names, and it is rebuilt in the background.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::catalog;
use crate::settings::{self, Provider};
use protocol::Millis;

/// How long a list is valid.
const KEPT: Millis = 24 * 60 * 60 * 1000;
/// How long a rebuild may take.
const REBUILD: Duration = Duration::from_secs(4);
/// A server that gave no list is asked again after this time.
const AGAIN: Duration = Duration::from_mins(1);
/// Longest answer that is read, in bytes.
const LONGEST: usize = 4 * 1024 * 1024;
/// The file, below the state directory.
const FILE: &str = "models.json";

/// The list of models of one provider.
#[derive(Clone, Debug)]
pub struct Cached {
    path: PathBuf,
    model: settings::Model,
    /// The files that decide which models there are.
    sources: Vec<PathBuf>,
    rebuild: Arc<Mutex<Rebuild>>,
}

/// Whether a server is being asked; one at a time.
#[derive(Debug, Default)]
struct Rebuild {
    running: bool,
    failed_at: Option<Instant>,
}

/// The stored list.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredList {
    digest: String,
    at: Millis,
    models: Vec<String>,
}

impl Cached {
    /// The list for that model's provider. `sources` are config.yaml and auth.json, whether they
    /// exist or not.
    pub fn new(state: &Path, model: settings::Model, sources: Vec<PathBuf>) -> Self {
        Self { path: state.join(FILE), model, sources, rebuild: Arc::default() }
    }

    /// What to offer now, the configured model first, the demo model last. Asks the server
    /// in the background when the list is old or of another configuration; must be called inside a
    /// tokio runtime.
    pub fn names(&self, now: Millis) -> Vec<String> {
        let digest = digest(&self.sources, &self.model);
        let kept = self.read().filter(|kept| kept.digest == digest);
        let fresh = kept.as_ref().is_some_and(|kept| (0..KEPT).contains(&(now - kept.at)));
        if !fresh {
            self.start(digest, now);
        }
        let mut names = catalog::names(&self.model);
        if let Some(kept) = kept {
            let at = names.len().min(1);
            let mut all: Vec<String> = names.drain(..at).collect();
            all.extend(kept.models);
            all.push(super::demo::NAME.to_owned());
            names = all;
        }
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    /// Deletes the list below a state directory: the next read asks the server.
    pub fn forget(state: &Path) -> io::Result<()> {
        match fs::remove_file(state.join(FILE)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn read(&self) -> Option<StoredList> {
        serde_json::from_slice(&fs::read(&self.path).ok()?).ok()
    }

    fn start(&self, digest: String, now: Millis) {
        let Some(request) = request(&self.model) else { return };
        {
            let mut rebuild = self.rebuild.lock().unwrap_or_else(PoisonError::into_inner);
            if rebuild.running || rebuild.failed_at.is_some_and(|at| at.elapsed() < AGAIN) {
                return;
            }
            rebuild.running = true;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let asked = tokio::time::timeout(REBUILD, ask(request)).await;
            let listed = asked.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            let failed = match listed {
                Ok(ids) => {
                    let models = ids.iter().filter_map(|id| named(&this.model, id)).collect();
                    this.keep(&StoredList { digest, at: now, models }).err().map(|e| e.to_string())
                }
                Err(error) => Some(error),
            };
            if let Some(error) = &failed {
                tracing::info!("cannot update the list of models: {error}");
            }
            let mut rebuild = this.rebuild.lock().unwrap_or_else(PoisonError::into_inner);
            *rebuild = Rebuild { running: false, failed_at: failed.map(|_| Instant::now()) };
        });
    }

    /// Writes beside and renames, so that a reader sees the old list or the new one.
    fn keep(&self, kept: &StoredList) -> io::Result<()> {
        let beside = self.path.with_extension("json.new");
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        serde_json::to_writer(file, kept)?;
        fs::rename(&beside, &self.path)
    }
}

/// A list request: address and key.
struct Request {
    url: String,
    key: Option<String>,
}

/// How the provider is asked for its models; `None` = only the built-in names are known.
fn request(model: &settings::Model) -> Option<Request> {
    let base = match (model.provider, &model.base_url) {
        (Provider::OpenAi, Some(url)) => url.trim().trim_end_matches('/').to_owned(),
        (Provider::OpenAi, None) => "https://api.openai.com/v1".to_owned(),
        (Provider::Ollama, Some(url)) => {
            let url = url.trim().trim_end_matches('/');
            if url.ends_with("/v1") { url.to_owned() } else { format!("{url}/v1") }
        }
        (Provider::Ollama, None) => "http://localhost:11434/v1".to_owned(),
        (Provider::Anthropic | Provider::Gemini | Provider::Demo, _) => return None,
    };
    Some(Request { url: format!("{base}/models"), key: model.api_key.clone() })
}

async fn ask(request: Request) -> Result<Vec<String>, String> {
    let plain = |error: reqwest::Error| error.without_url().to_string();
    let client = reqwest::Client::builder().build().map_err(plain)?;
    let mut get = client.get(&request.url);
    if let Some(key) = request.key {
        get = get.bearer_auth(key);
    }
    let mut answer = get.send().await.map_err(plain)?.error_for_status().map_err(plain)?;
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(plain)? {
        body.extend_from_slice(&piece);
        if body.len() > LONGEST {
            return Err("the answer is too long".to_owned());
        }
    }
    let body: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let list = body.get("data").and_then(Value::as_array).ok_or("the answer lists no models")?;
    let ids = list.iter().filter_map(|entry| entry.get("id")?.as_str());
    let mut ids: Vec<String> = ids.map(str::to_owned).collect();
    ids.sort();
    Ok(ids)
}

/// A name by which `/model` finds a model of the provider, if there is one.
fn named(current: &settings::Model, id: &str) -> Option<String> {
    let title = catalog::title(&settings::Model { name: id.to_owned(), ..current.clone() });
    let finds = |name: &String| {
        let found = catalog::select(current, name);
        found.is_ok_and(|found| found.name == id && found.provider == current.provider)
    };
    [title, id.to_owned()].into_iter().find(finds)
}

/// A hash of all that decides which models there are: the files and the address of the model.
/// Fields that only rotate (tokens, expiry, counters) do not count; unknown ones do.
pub fn digest(sources: &[PathBuf], model: &settings::Model) -> String {
    let mut hasher = DefaultHasher::new();
    for path in sources {
        mark(path, &mut hasher);
    }
    let asked = (model.provider as u8, &model.name, &model.base_url, &model.api_key);
    asked.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Hashes the content of a file, as far as it counts.
fn mark(path: &Path, hasher: &mut DefaultHasher) {
    match fs::read(path) {
        Ok(bytes) => match serde_json::from_slice::<Value>(&bytes) {
            Ok(value) => (2_u8, settled(&value)).hash(hasher),
            Err(_) => (1_u8, bytes).hash(hasher),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => 3_u8.hash(hasher),
        // It cannot be read, but a change still shows.
        Err(_) => {
            let seen = fs::metadata(path).ok().map(|m| (m.len(), m.modified().ok()));
            (4_u8, seen).hash(hasher);
        }
    }
}

/// JSON in one spelling, without what only rotates.
fn settled(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let members: BTreeMap<&String, String> = map
                .iter()
                .filter(|(name, _)| !rotates(name))
                .map(|(name, value)| (name, settled(value)))
                .collect();
            format!("{members:?}")
        }
        Value::Array(list) => format!("{:?}", list.iter().map(settled).collect::<Vec<_>>()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// Whether a member changes by itself while the account stays the same.
fn rotates(name: &str) -> bool {
    const NAMES: [&str; 6] =
        ["request_count", "updated_at", "expiry", "expiration", "token", "tokens"];
    NAMES.contains(&name)
        || ["last_", "expires"].iter().any(|start| name.starts_with(start))
        || ["_token", "_tokens", "_expires_at", "_expires_in", "_expiry"]
            .iter()
            .any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests;
