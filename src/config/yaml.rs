//! A config file as a tree that remembers its lines, and a reader that collects what is wrong
//! with it. Knows YAML, not what our keys mean.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

use crate::env::Env;

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its line, from 1; 0 when no line is to blame.
    pub(crate) line: u64,
    /// What is wrong, beginning with the key.
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path.display(), self.message),
            line => write!(f, "{}:{line}: {}", self.path.display(), self.message),
        }
    }
}

/// A value and the line it stands on.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) line: u64,
    pub(crate) value: Value,
}

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; of a repeated key the last counts.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Nothing at all: an empty file.
    pub(crate) fn empty() -> Self {
        Self { line: 0, value: Value::Null }
    }

    /// Reads a whole file's text.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, Problem> {
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::LastWins,
            with_snippet: false,
        };
        if text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#')) {
            return Ok(Self::empty());
        }
        serde_saphyr::from_str_with_options::<Self>(text, options).map_err(|e| Problem {
            path: path.to_owned(),
            line: e.location().map_or(0, |at| at.line()),
            message: format!("not valid YAML: {}", e.without_snippet()),
        })
    }

    /// The value at a dotted key, if it is there and not null.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let found = key.split('.').try_fold(self, |node, part| {
            node.entries().iter().rev().find(|(name, _)| name == part).map(|(_, node)| node)
        })?;
        (!matches!(found.value, Value::Null)).then_some(found)
    }

    /// The entries of a map; nothing for anything else.
    pub(crate) fn entries(&self) -> &[(String, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The same as JSON, for showing.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(v) => (*v).into(),
            Value::Int(v) => (*v).into(),
            Value::Float(v) => (*v).into(),
            Value::Text(v) => v.clone().into(),
            Value::List(v) => v.iter().map(Self::to_json).collect(),
            Value::Map(v) => v.iter().map(|(k, v)| (k.clone(), v.to_json())).collect(),
        }
    }

    fn is(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(v) => format!("the switch {v}"),
            Value::Int(v) => format!("the number {v}"),
            Value::Float(v) => format!("the number {v}"),
            Value::Text(_) => "text".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Value>::deserialize(from)?;
        Ok(Self { line: referenced.line(), value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        Value::deserialize(from)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        Value::deserialize(from)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Int(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(i64::try_from(v).map_or(Value::Float(v as f64), Value::Int))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::Float(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::Text(v.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = from.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map: Vec<(String, Node)> = Vec::new();
        while let Some(key) = from.next_key::<Value>()? {
            let key = match key {
                Value::Text(text) => text,
                Value::Bool(v) => v.to_string(),
                Value::Int(v) => v.to_string(),
                Value::Float(v) => v.to_string(),
                Value::Null | Value::List(_) | Value::Map(_) => "?".to_owned(),
            };
            map.retain(|(name, _)| *name != key);
            map.push((key, from.next_value()?));
        }
        Ok(Value::Map(map))
    }
}

/// Reads typed values out of a tree, expands `${NAME}` in them, and collects what is wrong.
pub(crate) struct Reader<'a> {
    path: &'a Path,
    env: &'a Env,
    /// What is wrong, in the order it was found.
    pub(crate) problems: Vec<Problem>,
    /// What the user should be told.
    pub(crate) notes: Vec<String>,
    /// Variables whose values became secrets.
    pub(crate) secrets: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    /// A reader of the file at `path`.
    pub(crate) fn new(path: &'a Path, env: &'a Env) -> Self {
        let (problems, notes, secrets) = Default::default();
        Self { path, env, problems, notes, secrets }
    }

    /// Says what is wrong with a value.
    pub(crate) fn wrong(&mut self, at: &Node, key: &str, message: &str) {
        let message = format!("{key}: {message}");
        self.problems.push(Problem { path: self.path.to_owned(), line: at.line, message });
    }

    fn expected<T>(&mut self, at: &Node, key: &str, what: &str) -> Option<T> {
        self.wrong(at, key, &format!("expected {what}, found {}", at.is()));
        None
    }

    /// Text, not blank.
    pub(crate) fn text(&mut self, node: &Node, key: &str) -> Option<String> {
        let at = node.get(last(key))?;
        let Value::Text(text) = &at.value else {
            return self.expected(at, key, "text (numbers and switches need quotes)");
        };
        let text = self.expand(at, key, text)?;
        (!text.trim().is_empty()).then(|| text.trim().to_owned())
    }

    /// Text that is a secret: the variables it was made of are hidden from children.
    pub(crate) fn secret(&mut self, node: &Node, key: &str) -> Option<String> {
        if let Some(Node { value: Value::Text(text), .. }) = node.get(last(key)) {
            self.secrets.extend(variables(text).map(|(_, name)| name.to_owned()));
        }
        self.text(node, key)
    }

    /// A whole number of at least `least`.
    pub(crate) fn number(&mut self, node: &Node, key: &str, least: i64) -> Option<u64> {
        let at = node.get(last(key))?;
        let number = match &at.value {
            Value::Int(v) => Some(*v),
            Value::Text(text) => self.expand(at, key, text)?.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if number >= least => u64::try_from(number).ok(),
            _ => self.expected(at, key, &format!("a whole number from {least}")),
        }
    }

    /// A part of something: above 0, at most 1.
    pub(crate) fn part(&mut self, node: &Node, key: &str) -> Option<f64> {
        let at = node.get(last(key))?;
        let number = match &at.value {
            Value::Int(v) => Some(*v as f64),
            Value::Float(v) => Some(*v),
            Value::Text(text) => self.expand(at, key, text)?.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if number > 0.0 && number <= 1.0 => Some(number),
            _ => self.expected(at, key, "a number above 0, at most 1"),
        }
    }

    /// A length of time in seconds.
    pub(crate) fn seconds(&mut self, node: &Node, key: &str) -> Option<Duration> {
        let at = node.get(last(key))?;
        let seconds = match &at.value {
            Value::Int(v) => Some(*v as f64),
            Value::Float(v) => Some(*v),
            Value::Text(text) => self.expand(at, key, text)?.trim().parse().ok(),
            _ => None,
        };
        let time = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
        match time {
            Some(time) if !time.is_zero() => Some(time),
            _ => self.expected(at, key, "a number of seconds above 0"),
        }
    }

    /// A switch.
    pub(crate) fn switch(&mut self, node: &Node, key: &str) -> Option<bool> {
        let at = node.get(last(key))?;
        match &at.value {
            Value::Bool(on) => Some(*on),
            Value::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => self.expected(at, key, "true or false"),
        }
    }

    /// A list of texts; a single text is a list of one.
    pub(crate) fn texts(&mut self, node: &Node, key: &str) -> Vec<String> {
        let Some(at) = node.get(last(key)) else { return Vec::new() };
        let items = match &at.value {
            Value::List(items) => items.iter().collect(),
            Value::Text(_) => vec![at],
            _ => {
                self.expected::<()>(at, key, "a list of texts");
                return Vec::new();
            }
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.value {
                Value::Text(text) => texts.extend(self.expand(item, key, text)),
                _ => {
                    self.expected::<()>(item, key, "a list of texts (others need quotes)");
                }
            }
        }
        texts
    }

    /// A map, or nothing.
    pub(crate) fn map<'n>(&mut self, node: &'n Node, key: &str) -> Option<&'n Node> {
        let at = node.get(last(key))?;
        match at.value {
            Value::Map(_) => Some(at),
            _ => self.expected(at, key, "a map"),
        }
    }

    /// Puts the values of `${NAME}` in. A variable that is not set makes the whole value unset.
    fn expand(&mut self, at: &Node, key: &str, text: &str) -> Option<String> {
        let mut expanded = String::new();
        let mut from = 0;
        for (start, name) in variables(text) {
            let Some(value) = self.env.get(name) else {
                self.notes.push(format!(
                    "{}:{}: {key} is not used: ${{{name}}} is not set",
                    self.path.display(),
                    at.line
                ));
                return None;
            };
            expanded.push_str(&text[from..start]);
            expanded.push_str(value);
            from = start + name.len() + 3;
        }
        expanded.push_str(&text[from..]);
        Some(expanded)
    }
}

fn last(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, last)| last)
}

/// The `${NAME}`s of a text, with where they start.
fn variables(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices("${").filter_map(|(start, _)| {
        let (name, _) = text[start + 2..].split_once('}')?;
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (!name.is_empty() && name.chars().all(legal)).then_some((start, name))
    })
}
