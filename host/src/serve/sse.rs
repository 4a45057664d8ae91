//! Server-sent events as all routes send them: comments while nothing happens, and an end between
//! two events when the server stops. The events themselves are the routes'.

use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::stream::{self, Stream, StreamExt as _};
use tokio::sync::watch;

use super::{ServerState, Shutdown};

/// The comment of most streams, as a whole frame.
pub(crate) const KEEPALIVE_COMMENT: &str = ": keepalive\n\n";

struct State {
    frames: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    comment: &'static str,
    /// After so much silence the comment is sent (E07).
    keepalive: Duration,
    shutdown: watch::Receiver<Shutdown>,
}

/// A streamed response of these frames (each one or several whole events, with their blank lines),
/// with `comment` after each `timing.keepalive` of silence. It ends when they do, when the server stops
/// or when the client disconnects; then `frames` is dropped.
pub(crate) fn response(
    server: &ServerState,
    comment: &'static str,
    frames: impl Stream<Item = Bytes> + Send + 'static,
) -> Response {
    let state = State {
        frames: Box::pin(frames),
        comment,
        keepalive: server.settings.timing.keepalive,
        shutdown: server.shutdown.clone(),
    };
    let body = with_keepalive(state).map(Ok::<_, std::convert::Infallible>);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

fn with_keepalive(state: State) -> impl Stream<Item = Bytes> + Send {
    stream::unfold(state, |mut state| async move {
        let bytes = tokio::select! {
            biased;
            frame = state.frames.next() => frame?,
            // The frames may have been polled before the shutdown: they may have a last one for it.
            _ = state.shutdown.wait_for(|shutdown| shutdown.is_over()) => {
                state.frames.next().now_or_never().flatten()?
            }
            () = tokio::time::sleep(state.keepalive) => Bytes::from_static(state.comment.as_bytes()),
        };
        Some((bytes, state))
    })
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn the_last_frame_is_sent_also_if_the_stop_comes_between() {
        // E13
        let (stop, shutdown) = watch::channel(Shutdown::Running);
        let mut polls = 0;
        let frames = stream::poll_fn(move |_| {
            polls += 1;
            match polls {
                1 => {
                    stop.send_replace(Shutdown::Stop);
                    Poll::Pending
                }
                2 => Poll::Ready(Some(Bytes::from_static(b"stopped"))),
                _ => Poll::Ready(None),
            }
        });
        let state = State {
            frames: Box::pin(frames),
            comment: KEEPALIVE_COMMENT,
            keepalive: Duration::MAX,
            shutdown,
        };
        assert_eq!(with_keepalive(state).collect::<Vec<_>>().await, ["stopped"]);
    }
}
