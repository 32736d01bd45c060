//! Server-sent events: what happens, as it happens, and nothing lost unsaid.

use super::{Window, number, unavailable};
use crate::{Heard, Missed, Problem};
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::{
        IntoResponse as _, Response,
        sse::{Event as Frame, KeepAlive, Sse},
    },
};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use std::{convert::Infallible, sync::Arc};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resume {
    since: Option<String>,
}

pub(super) async fn events(
    State(window): State<Arc<Window>>,
    query: Result<Query<Resume>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let log = &window.backend.events;
    let events = match query?.after(&headers)? {
        Some(offset) => log.subscribe_after(offset),
        None => log.subscribe(),
    };
    let seat = window.streams.clone().try_acquire_owned().map_err(|_| {
        unavailable("streams_full", "all event streams are taken", "close one, or read /api/v1/snapshot instead")
    })?;
    // The seat travels with the stream and is given back when the connection ends.
    let frames = stream::unfold((events, seat), |(mut events, seat)| async move {
        let frame = frame(events.next().await);
        Some((Ok::<_, Infallible>(frame), (events, seat)))
    });
    let frames = frames.take_until(Box::pin(window.closed()));
    let keep_alive = KeepAlive::new().interval(window.settings.limits.keep_alive);
    Ok(Sse::new(frames).keep_alive(keep_alive).into_response())
}

fn frame(heard: Heard) -> Frame {
    let frame = match heard {
        Heard::Event(event) => Frame::default().id(event.offset.to_string()).event(event.kind.name()).json_data(&event),
        Heard::Missed(missed) => Frame::default().event("missed").json_data(Missed { missed }),
    };
    frame.expect("an event is strings and numbers")
}

impl Resume {
    /// The last offset the reader has seen. The header wins: a browser that reconnects sends it beside its first address.
    fn after(&self, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
        let header = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("unreadable"));
        header.or(self.since.as_deref()).map(|offset| number("offset", offset)).transpose()
    }
}
