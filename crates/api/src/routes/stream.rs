//! Server-sent events: what happens, as it happens, and nothing lost unsaid.

use super::{Window, number, unavailable};
use crate::{EventKind, Heard, Missed, Problem, Subscription, openapi::Asked};
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse as _, Response,
        sse::{Event as Frame, KeepAlive, Sse},
    },
};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use std::{convert::Infallible, sync::Arc};
use utoipa::IntoParams;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Listening {
    /// Begin after this offset instead of with what happens from now on. The header `Last-Event-ID` goes before.
    #[param(value_type = Option<u64>)]
    since: Option<String>,
    /// Only these kinds of events, separated by commas, for example `finalized,task_changed`. The frame `missed` comes
    /// nevertheless, and counts events of every kind.
    kinds: Option<String>,
}

/// What happens, as it happens.
///
/// Server-sent events. A frame carries an `Event` as JSON, its kind as `event:` and its offset as `id:`, so that a browser
/// resumes by itself where it was cut off. One more frame, `missed`, carries a `Missed`: so many events were dropped
/// before this reader took them. It should then read `/api/v1/snapshot` once; what follows is complete again.
#[utoipa::path(get, path = "/api/v1/events", tag = "events",
    params(
        Listening,
        ("Last-Event-ID" = Option<u64>, Header, description = "The offset this reader has seen last.")
    ),
    responses(
        (status = 200, description = "Frames without end, and a comment now and then while nothing happens. The data \
            of a frame is an `Event`, or a `Missed` where the frame is called `missed`.",
            body = String, content_type = "text/event-stream"),
        Asked
    )
)]
pub(super) async fn events(
    State(window): State<Arc<Window>>,
    query: Result<Query<Listening>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let listening = query?.0;
    let kinds = listening.kinds()?;
    let log = &window.backend.events;
    let events = match listening.after(&headers)? {
        Some(offset) => log.subscribe_after(offset),
        None => log.subscribe(),
    };
    let seat = window.streams.clone().try_acquire_owned().map_err(|_| {
        unavailable("streams_full", "all event streams are taken", "close one, or read /api/v1/snapshot instead")
    })?;
    // The seat travels with the stream and is given back when the connection ends.
    let frames = stream::unfold((events, kinds, seat), |(mut events, kinds, seat)| async move {
        let frame = frame(next(&mut events, &kinds).await);
        Some((Ok::<_, Infallible>(frame), (events, kinds, seat)))
    });
    let frames = frames.take_until(Box::pin(window.closed()));
    let keep_alive = KeepAlive::new().interval(window.settings.limits.keep_alive);
    Ok(Sse::new(frames).keep_alive(keep_alive).into_response())
}

async fn next(events: &mut Subscription, kinds: &[&str]) -> Heard {
    loop {
        let heard = events.next().await;
        match &heard {
            Heard::Event(event) if !kinds.contains(&event.kind.name()) => {}
            Heard::Event(_) | Heard::Missed(_) => return heard,
        }
    }
}

fn frame(heard: Heard) -> Frame {
    let frame = match heard {
        Heard::Event(event) => Frame::default().id(event.offset.to_string()).event(event.kind.name()).json_data(&event),
        Heard::Missed(missed) => Frame::default().event("missed").json_data(Missed { missed }),
    };
    frame.expect("an event is strings and numbers")
}

impl Listening {
    /// The last offset the reader has seen. The header wins: a browser that reconnects sends it beside its first address.
    fn after(&self, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
        let header = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("unreadable"));
        header.or(self.since.as_deref()).map(|offset| number("offset", offset)).transpose()
    }

    fn kinds(&self) -> Result<Vec<&'static str>, Problem> {
        match &self.kinds {
            Some(wanted) => wanted.split(',').map(kind).collect(),
            None => Ok(EventKind::NAMES.to_vec()),
        }
    }
}

fn kind(wanted: &str) -> Result<&'static str, Problem> {
    EventKind::NAMES.into_iter().find(|name| *name == wanted).ok_or_else(|| {
        let help = format!("separate by commas what you want of {}", EventKind::NAMES.join(", "));
        Problem::new(StatusCode::BAD_REQUEST, "bad_kinds", format!("there are no events called `{wanted}`"), help)
    })
}
