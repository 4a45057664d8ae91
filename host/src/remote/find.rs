//! Finds the session of a server that a name stands for. Done before a view is opened, so that the
//! first view is on the right session, and a wrong name can be reported on the plain terminal.

use super::api::Api;
use super::http::{Client, Error};
use super::{Server, translate};
use crate::wire::decode;
use protocol::{SessionId, SessionRow};

/// The session of that id, of the only id that begins so, or of that title, as
/// [`crate::store::Reader::find`] does it here. `tui` says which wire the server speaks.
///
/// # Errors
/// See [`Error`].
pub async fn find(server: &Server, tui: bool, name: &str) -> Result<Option<SessionId>, Error> {
    let client = Client::new(server)?;
    if tui {
        return match client.get("/api/tui/v1/find", &[("name", name)]).await {
            Ok(found) => Ok(found["session"].as_str().map(|id| SessionId(id.to_owned()))),
            // An older host looks names up when it opens a view.
            Err(Error::Status { code: 404 | 405, .. }) => Ok(Some(SessionId(name.to_owned()))),
            Err(error) => Err(error),
        };
    }
    let api = Api::new(client);
    let sessions = api.sessions().await?;
    if let Some(id) = match_name(&sessions, name) {
        return Ok(Some(id));
    }
    // Lists leave some out: sessions that were compressed since, and those of another profile.
    match api.session(name, 1, None).await {
        Ok(_) => Ok(Some(SessionId(name.to_owned()))),
        Err(Error::Status { code: 400 | 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The listed session that a name stands for.
fn match_name(sessions: &[decode::Session], name: &str) -> Option<SessionId> {
    let rows = translate::list(sessions);
    let id = |row: &SessionRow| row.id.clone();
    if let Some(row) = rows.iter().find(|row| row.id.0 == name) {
        return Some(id(row));
    }
    let mut begun = rows.iter().filter(|row| !name.is_empty() && row.id.0.starts_with(name));
    if let (Some(row), None) = (begun.next(), begun.next()) {
        return Some(id(row));
    }
    // The newest of that title.
    rows.iter().filter(|row| row.title == name).max_by_key(|row| row.active_at).map(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str, title: &str, at: i64) -> decode::Session {
        decode::Session {
            session_id: id.to_owned(),
            title: title.to_owned(),
            message_count: 2,
            last_message_at: at,
            updated_at: at,
            ..decode::Session::default()
        }
    }

    #[test]
    fn a_session_is_found_by_id_unique_prefix_or_newest_title() {
        let sessions =
            [session("abc1", "Fix it", 1), session("abc2", "Fix it", 3), session("abd", "abc1", 2)];
        let found = |name: &str| match_name(&sessions, name).map(|id| id.0);
        assert_eq!(found("abc1").as_deref(), Some("abc1"), "an id goes before a title");
        assert_eq!(found("abd").as_deref(), Some("abd"));
        assert_eq!(found("abd1"), None);
        assert_eq!(found("abc"), None, "two begin so");
        assert_eq!(found("Fix it").as_deref(), Some("abc2"));
        assert_eq!(found("Fix"), None);
        assert_eq!(found(""), None);
    }
}
