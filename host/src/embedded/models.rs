//! The models of a host: opened on first use, listed from the cached catalog, and the defaults
//! that new sessions start with.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::model::cached::Cached;
use crate::model::{EFFORTS, Model, catalog};
use crate::settings::{self, Settings};
use protocol::Millis;

/// A default of new sessions, as long as the host lives; config.yaml stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SessionDefault {
    /// Their model.
    Model(String),
    /// Their reasoning effort; `None` = the model's own.
    Reasoning(Option<String>),
}

/// The models of a host.
pub(super) struct Models {
    settings: settings::Model,
    opened: HashMap<String, Arc<dyn Model>>,
    catalog: Cached,
    /// The model of new sessions.
    default_model: String,
    /// The reasoning effort of new sessions; `None` = as configured.
    default_reasoning: Option<String>,
}

impl Models {
    pub(super) fn new(settings: &Settings) -> Self {
        let catalog =
            Cached::new(&settings.state, settings.model.clone(), settings.sources.clone());
        Self {
            settings: settings.model.clone(),
            opened: HashMap::new(),
            catalog,
            default_model: settings.model_name(),
            default_reasoning: None,
        }
    }

    /// The model of that name, opened on first use; the empty name is the configured one. An error
    /// is a text for the user.
    pub(super) fn open(&mut self, name: &str) -> Result<Arc<dyn Model>, String> {
        if let Some(model) = self.opened.get(name) {
            return Ok(model.clone());
        }
        let settings = if name.is_empty() {
            self.settings.clone()
        } else {
            catalog::select(&self.settings, name)?
        };
        let model = catalog::open(&settings)?;
        self.opened.insert(name.to_owned(), model.clone());
        Ok(model)
    }

    /// The context length of a model in tokens, if it is known.
    pub(super) fn context_length(&mut self, name: &str) -> Option<u64> {
        self.open(name).ok()?.context_length()
    }

    /// The configured limit of a model's answers in tokens; 0 = none.
    pub(super) fn max_tokens(&self, name: &str) -> u64 {
        let settings = catalog::select(&self.settings, name);
        settings.ok().and_then(|settings| settings.max_tokens).unwrap_or(0).into()
    }

    /// A digest of the model, its provider and its credentials, from which the key cannot be read
    /// (W20).
    pub(super) fn fingerprint(&self, name: &str) -> String {
        let own = &self.settings;
        let mut hasher = DefaultHasher::new();
        (name, format!("{:?}", own.provider), &own.base_url, &own.api_key).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// The names to offer, the configured model first.
    pub(super) fn names(&self, now: Millis) -> Vec<String> {
        self.catalog.names(now)
    }

    /// The configured name of the model, possibly empty.
    pub(super) fn configured_name(&self) -> &str {
        &self.settings.name
    }

    pub(super) fn default_model(&self) -> &str {
        &self.default_model
    }

    pub(super) fn default_reasoning(&self) -> Option<&str> {
        self.default_reasoning.as_deref()
    }

    /// Changes a default of new sessions. An error is a text for the user.
    pub(super) fn set_default(&mut self, default: SessionDefault) -> Result<(), String> {
        match default {
            SessionDefault::Model(model) => {
                self.open(&model)?;
                self.default_model = model;
            }
            SessionDefault::Reasoning(effort) => {
                if let Some(effort) = &effort
                    && !EFFORTS.contains(&effort.as_str())
                {
                    return Err(format!("`{effort}` is none of {}", EFFORTS.join(", ")));
                }
                self.default_reasoning = effort;
            }
        }
        Ok(())
    }
}
