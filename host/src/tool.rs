//! The tools: one file each with its schema and its work, and this table.

use serde_json::Value;

use crate::model::Schema;

mod disk;
pub(crate) mod patch;
pub(crate) mod read_file;
pub(crate) mod search_files;
pub(crate) mod todo;
pub(crate) mod write_file;

/// Why a tool could not do what it was asked; the text is written for the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Error(pub(crate) String);

/// The schemas of all tools, in the order the model gets them.
pub(crate) fn schemas() -> Vec<Schema> {
    vec![
        read_file::schema(),
        write_file::schema(),
        patch::schema(),
        search_files::schema(),
        todo::schema(),
    ]
}

/// Reads a tool's arguments into its own type; the error names what is wrong for the model.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(args: &Value) -> Result<T, Error> {
    if !args.is_object() {
        return Err(Error("the arguments must be a JSON object".to_owned()));
    }
    T::deserialize(args).map_err(|e| Error(format!("invalid arguments: {e}")))
}
