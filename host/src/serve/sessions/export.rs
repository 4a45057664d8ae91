//! The export of a whole session as a document, JSON or HTML.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::Value;

use crate::serve::request_view::RequestView;
use crate::serve::{ApiError, QueryParams, ServerState, ok_json};
use crate::store::Reader;
use crate::wire::encode::session::{head, messages};
use protocol::Row;

pub(super) fn routes() -> Router<ServerState> {
    Router::new().route("/api/session/export", get(export))
}

async fn export(
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let id =
        params.get("session_id").ok_or_else(|| ApiError::bad_request("session_id is required"))?;
    let mut view = RequestView::open(&server, id).await?;
    let row = view.list_row().await?;
    let (state, id) = (server.host.state().to_owned(), view.transcript.session.clone());
    // From the store: there texts are whole, however long.
    let read = tokio::task::spawn_blocking(move || Reader::open(&state)?.rows(&id)).await;
    let rows = read.ok().and_then(Result::ok).ok_or_else(|| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the session cannot be read")
    })?;
    let session = head(&view.transcript, row.as_ref());
    let id = &view.transcript.session;
    let mut response = if params.get("format") == Some("html") {
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        let title = session["title"].as_str().unwrap_or_default();
        ([(header::CONTENT_TYPE, kind)], page(title, &rows)).into_response()
    } else {
        let mut document = session;
        document["messages"] = Value::Array(messages(&rows));
        ok_json(&document)
    };
    let extension = if params.get("format") == Some("html") { "html" } else { "json" };
    let name = format!("attachment; filename=\"hermes-{id}.{extension}\"");
    if let Ok(name) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// A plain page; the text of the session is escaped.
fn page(title: &str, rows: &[Row]) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n"
    );
    for message in messages(rows) {
        let text = |key: &str| escape(message[key].as_str().unwrap_or_default());
        page.push_str("<h2>");
        page.push_str(&text("role"));
        page.push_str("</h2>\n<pre>");
        page.push_str(&text("content"));
        page.push_str("</pre>\n");
    }
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Body, TurnId};

    #[test]
    fn the_page_of_a_session_escapes_its_text() {
        let body = Body::User { text: "<script>x</script> & \"y\"".to_owned() };
        let rows = [Row { n: 1, turn: TurnId(1), at: 0, cut: 0, body }];
        let page = page("<b>", &rows);
        assert!(page.contains("&lt;script&gt;x&lt;/script&gt; &amp; &quot;y&quot;"), "{page}");
        assert!(!page.contains("<script>") && !page.contains("<b>"), "{page}");
    }
}
