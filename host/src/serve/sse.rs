//! Streams of events as all routes answer them: comments while nothing happens, an end where an
//! event ends when the server stops. What is in them is the routes'.

use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::stream::{self, Stream, StreamExt as _};
use tokio::sync::watch;

use super::{Serving, Shutdown};

/// What a stream says while nothing happens, as a whole frame.
pub(crate) const QUIET: &str = ": keepalive\n\n";

struct State {
    frames: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    comment: &'static str,
    /// After so much silence the comment is sent (E07).
    keepalive: Duration,
    shutdown: watch::Receiver<Shutdown>,
}

/// An endless answer of these frames (each a whole event or several, with its blank line). It ends
/// when they do, when the server stops or when the client is gone; then `frames` is dropped.
pub(crate) fn response(
    serving: &Serving,
    comment: &'static str,
    frames: impl Stream<Item = Bytes> + Send + 'static,
) -> Response {
    let keepalive = serving.settings.timing.keepalive;
    let shutdown = serving.shutdown.clone();
    let state = State { frames: Box::pin(frames), comment, keepalive, shutdown };
    let body = told(state).map(Ok::<_, std::convert::Infallible>);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

fn told(state: State) -> impl Stream<Item = Bytes> + Send {
    stream::unfold(state, |mut state| async move {
        let bytes = tokio::select! {
            biased;
            frame = state.frames.next() => frame?,
            // The word may have come after the frames were asked: they may have a last one for it.
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
    async fn the_last_frame_of_a_stopped_server_goes_out_also_when_the_stop_comes_between() {
        // E13
        let (stop, shutdown) = watch::channel(Shutdown::Serves);
        let mut asked = 0;
        let frames = stream::poll_fn(move |_| {
            asked += 1;
            match asked {
                1 => {
                    stop.send_replace(Shutdown::Stops);
                    Poll::Pending
                }
                2 => Poll::Ready(Some(Bytes::from_static(b"stopped"))),
                _ => Poll::Ready(None),
            }
        });
        let state =
            State { frames: Box::pin(frames), comment: QUIET, keepalive: Duration::MAX, shutdown };
        assert_eq!(told(state).collect::<Vec<_>>().await, ["stopped"]);
    }
}
