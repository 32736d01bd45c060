//! What is offered, for machines to read.
//!
//! A handler is described where it stands, and registered with its description: no address can be served and go
//! unsaid. Here is what the descriptions share, above all the problems that any of them may end in.

use crate::{Event, Missed, Problem, TasksProblem, routes};
use std::collections::BTreeMap;
use utoipa::{
    IntoResponses, OpenApi,
    openapi::{
        Components, Content, Header, Object, Ref, RefOr, Response, ResponseBuilder, Type,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

/// The OpenAPI 3.1 document of this API, as it is served at `/api/v1/openapi.json`.
pub fn openapi() -> String {
    let mut document = Shared::openapi();
    document.merge(routes::addresses());
    let components = document.components.get_or_insert_default();
    add_problems(components);
    let token = SecurityScheme::Http(
        Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("What is in the validator's token file, which only its user may read."))
            .build(),
    );
    components.add_security_scheme("token", token);
    document.to_pretty_json().expect("a document is strings and numbers") + "\n"
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Unsplit",
        description = "One validator of an Unsplit network, on its own loopback port: what it knows, and what its \
                       users send.\n\n\
                       Every document carries a `schema` tag; within a major version only additions are made, so \
                       readers should ignore members they do not know. What is absent is `null`. Reads are free on \
                       loopback, writes carry the token. Every error is an RFC 9457 problem with a stable `code`, \
                       whatever the status. With status 503 the same request may be sent again after `Retry-After` \
                       seconds: everything that is submitted takes effect once."
    ),
    components(schemas(Event, Missed, Problem, TasksProblem)),
    tags(
        (name = "state", description = "How this validator is, and how it sees the others."),
        (name = "chain", description = "Blocks, accounts and transactions."),
        (name = "tasks", description = "Work for the validators, and what came of it."),
        (name = "events", description = "What happens, as it happens."),
        (name = "operation", description = "For monitors and tools."),
        (name = "devnet", description = "Faults on purpose. Only on chains whose id contains `devnet`; elsewhere there \
                                         is nothing here.")
    )
)]
struct Shared;

/// Problems of whoever shows what is at hand.
pub(crate) enum Shown {}

/// Problems of whoever has to ask the validator.
pub(crate) enum Asked {}

/// Problems of whoever asks the validator for one thing that may be missing.
pub(crate) enum Found {}

/// Problems of whoever commands the validator.
pub(crate) enum Commanded {}

/// Problems of whoever hands the validator something.
pub(crate) enum Written {}

/// As [`Written`], of whoever hands it several things at once.
pub(crate) enum WrittenAtOnce {}

type Responses = BTreeMap<String, RefOr<Response>>;

impl IntoResponses for Shown {
    fn responses() -> Responses {
        shared([400, 403])
    }
}

impl IntoResponses for Asked {
    fn responses() -> Responses {
        shared([400, 403, 503])
    }
}

impl IntoResponses for Found {
    fn responses() -> Responses {
        shared([400, 403, 404, 503])
    }
}

impl IntoResponses for Commanded {
    fn responses() -> Responses {
        shared([400, 401, 403, 404, 409, 503])
    }
}

impl IntoResponses for Written {
    fn responses() -> Responses {
        shared([400, 401, 403, 404, 408, 409, 413, 415, 422, 503])
    }
}

impl IntoResponses for WrittenAtOnce {
    /// Any class of refusal may come with the list.
    fn responses() -> Responses {
        let mut responses = Written::responses();
        for (status, _, description) in PROBLEMS {
            if [403, 404, 409, 422, 503].contains(&status) {
                responses.insert(status.to_string(), problem(status, description, "TasksProblem").into());
            }
        }
        responses
    }
}

/// Status, name among the components, and what it means.
const PROBLEMS: [(u16, &str, &str); 10] = [
    (400, "BadRequest", "What is asked cannot be read: the address, a parameter, a header or the body."),
    (401, "Unauthorized", "The token is missing, or is not the one of this validator."),
    (
        403,
        "Forbidden",
        "The header `Host` is not an address of this machine, a page of another origin tries to write, or it is \
         not done on this chain.",
    ),
    (404, "NotFound", "What is named is not here."),
    (408, "SlowBody", "The body was not complete in time."),
    (409, "Conflict", "What is asked does not fit the present state."),
    (413, "TooLarge", "The body, or something in it, is too large."),
    (415, "WrongContent", "The content type is not one that is taken here."),
    (422, "Invalid", "What is asked can never be done."),
    (503, "Unavailable", "There is no room for it now, or the validator behind this API does not answer."),
];

fn add_problems(components: &mut Components) {
    for (status, name, description) in PROBLEMS {
        components.responses.insert(name.to_string(), problem(status, description, "Problem").into());
    }
}

fn shared<const N: usize>(statuses: [u16; N]) -> Responses {
    let named = PROBLEMS.into_iter().filter(|(status, ..)| statuses.contains(status));
    named.map(|(status, name, _)| (status.to_string(), Ref::from_response_name(name).into())).collect()
}

fn problem(status: u16, description: &str, schema: &str) -> Response {
    let content = Content::new(Some(Ref::from_schema_name(schema)));
    let response = ResponseBuilder::new().description(description).content("application/problem+json", content);
    let header = |kind: Type, description: &str| {
        Header::builder().schema(Some(Object::with_type(kind))).description(Some(description)).build()
    };
    match status {
        401 => response.header("WWW-Authenticate", header(Type::String, "`Bearer`.")),
        503 => response.header("Retry-After", header(Type::Integer, "After so many seconds it may go better.")),
        _ => response,
    }
    .build()
}
