//! `todo`: the agent's list of steps. Pure: the list comes in and the new one goes out; who keeps
//! it is the session's business.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CallContext, Error, Run, Tool, ToolOutput, parse};
use crate::toolset::Toolset;

/// Items kept at most; more is a sign of a model gone wrong.
const MOST_ITEMS: usize = 200;
/// Characters of an item at most.
const LONGEST: usize = 2000;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Item {
    /// Its name in later calls.
    id: String,
    /// What is to be done.
    content: String,
    /// How far it is.
    status: Status,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// Not begun.
    Pending,
    /// Being worked on.
    InProgress,
    /// Done.
    Completed,
    /// Given up.
    Cancelled,
}

#[derive(Deserialize)]
struct Args {
    todos: Option<Vec<Change>>,
    #[serde(default)]
    merge: bool,
}

#[derive(Deserialize)]
struct Change {
    id: String,
    content: Option<String>,
    status: Option<Status>,
}

/// The list as the session keeps it; anything else is an empty list.
fn stored(value: &Value) -> Vec<Item> {
    Vec::deserialize(value).unwrap_or_default()
}

pub(super) const TOOL: Tool = Tool {
    name: "todo",
    description: "Keep a list of steps for work of three steps or more. Without arguments: \
                  read it. Keep one step in_progress; mark it completed as soon as it is.",
    parameters,
    toolset: Toolset::Todo,
    run: Run::Alone(|args, ctx| Box::pin(async move { run(args, &ctx) })),
};

fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "todos": {
                "type": "array",
                "description": "The steps in order of priority",
                "items": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string"},
                        "content": {"type": "string"},
                        "status": {"type": "string", "enum": ["pending", "in_progress", "completed", "cancelled"]}
                    },
                    "required": ["id", "content", "status"]
                }
            },
            "merge": {"type": "boolean", "default": false, "description": "Update by id and add, instead of replacing the list"}
        },
        "required": []
    })
}

fn run(args: &Value, ctx: &CallContext) -> Result<ToolOutput, Error> {
    let (items, value) = update(args, &stored(&ctx.plan.todo))?;
    Ok(ToolOutput { value, todo: Some(json!(items)), ..ToolOutput::default() })
}

/// The list after the call, and the result for the model.
fn update(args: &Value, current: &[Item]) -> Result<(Vec<Item>, Value), Error> {
    let Args { todos, merge } = parse(args)?;
    let items = match todos {
        None => current.to_vec(),
        Some(changes) => {
            let start = if merge { current.to_vec() } else { Vec::new() };
            changes.into_iter().try_fold(start, apply)?
        }
    };
    if items.len() > MOST_ITEMS {
        return Err(Error(format!("{} items are too many; at most {MOST_ITEMS}", items.len())));
    }
    let result = json!({"todos": items, "summary": summary(&items)});
    Ok((items, result))
}

fn apply(mut items: Vec<Item>, change: Change) -> Result<Vec<Item>, Error> {
    let id = change.id.trim().to_owned();
    if id.is_empty() {
        return Err(Error("an item has an empty id".to_owned()));
    }
    let content = change.content.map(|text| text.trim().to_owned());
    match &content {
        Some(text) if text.is_empty() => {
            return Err(Error(format!("item {id} has no content")));
        }
        Some(text) if text.chars().count() > LONGEST => {
            return Err(Error(format!("item {id} is longer than {LONGEST} characters")));
        }
        Some(_) | None => {}
    }
    if let Some(item) = items.iter_mut().find(|item| item.id == id) {
        item.content = content.unwrap_or_else(|| item.content.clone());
        item.status = change.status.unwrap_or(item.status);
        return Ok(items);
    }
    let Some(content) = content else {
        return Err(Error(format!("item {id} is new and needs content")));
    };
    items.push(Item { id, content, status: change.status.unwrap_or(Status::Pending) });
    Ok(items)
}

fn summary(items: &[Item]) -> Value {
    let count = |status| items.iter().filter(|item| item.status == status).count();
    json!({
        "total": items.len(),
        "pending": count(Status::Pending),
        "in_progress": count(Status::InProgress),
        "completed": count(Status::Completed),
        "cancelled": count(Status::Cancelled),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<Item> {
        let item = |id: &str, status| Item { id: id.into(), content: format!("do {id}"), status };
        vec![item("a", Status::InProgress), item("b", Status::Pending)]
    }

    #[test]
    fn without_arguments_the_list_is_read_and_unchanged() {
        let (items, result) = update(&json!({}), &list()).unwrap();
        assert_eq!(items, list());
        assert_eq!(
            result,
            json!({
                "todos": [
                    {"id": "a", "content": "do a", "status": "in_progress"},
                    {"id": "b", "content": "do b", "status": "pending"}
                ],
                "summary": {"total": 2, "pending": 1, "in_progress": 1, "completed": 0, "cancelled": 0}
            })
        );
    }

    #[test]
    fn replacing_drops_the_old_list_and_the_last_of_an_id_counts() {
        let todos = json!({"todos": [
            {"id": "x", "content": "one", "status": "pending"},
            {"id": "x", "content": "two", "status": "cancelled"}
        ]});
        let (items, result) = update(&todos, &list()).unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].content, "two");
        assert_eq!(result["summary"]["cancelled"], 1);
        let (items, _) = update(&json!({"todos": []}), &list()).unwrap();
        assert_eq!(items, []);
    }

    #[test]
    fn merging_updates_by_id_in_place_and_appends() {
        let todos = json!({"merge": true, "todos": [
            {"id": "c", "content": "new", "status": "pending"},
            {"id": "a", "status": "completed"}
        ]});
        let (items, result) = update(&todos, &list()).unwrap();
        let seen: Vec<(&str, &str)> =
            items.iter().map(|item| (item.id.as_str(), item.content.as_str())).collect();
        assert_eq!(seen, [("a", "do a"), ("b", "do b"), ("c", "new")]);
        assert_eq!(items[0].status, Status::Completed);
        assert_eq!(result["summary"]["total"], 3);
    }

    #[test]
    fn wrong_items_are_refused_by_name() {
        let error = |todos: Value| update(&json!({"todos": todos}), &[]).unwrap_err().0;
        assert!(
            error(json!([{"id": " ", "content": "x", "status": "pending"}])).contains("empty id")
        );
        assert!(error(json!([{"id": "q", "status": "pending"}])).contains("item q"));
        assert!(
            error(json!([{"id": "q", "content": " ", "status": "pending"}])).contains("item q")
        );
        assert!(error(json!([{"id": "q", "content": "x", "status": "done"}])).contains("done"));
        let many: Vec<Value> = (0..=MOST_ITEMS)
            .map(|n| json!({"id": n.to_string(), "content": "x", "status": "pending"}))
            .collect();
        assert!(error(json!(many)).contains("too many"));
        assert!(update(&json!("x"), &[]).is_err());
    }

    #[test]
    fn the_schema_is_small() {
        let schema = TOOL.schema();
        assert!(schema.description.len() <= 300, "{}", schema.description.len());
        assert!(schema.parameters.to_string().len() <= 1200, "{}", schema.parameters);
    }
}
