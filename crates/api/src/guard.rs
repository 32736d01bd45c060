//! Who may ask?
//!
//! Reads are free on loopback, writes need the token. Loopback alone protects nothing from a page in the operator's
//! browser: such a page can let its own name point at 127.0.0.1 (so the Host must be an address or `localhost`), and it
//! can post blindly (so a write from another Origin is refused even before its token is looked at).

use crate::{Problem, routes::Window};
use axum::{
    extract::{FromRequestParts, Request, State},
    http::{
        HeaderMap, StatusCode,
        header::{AUTHORIZATION, HOST, ORIGIN},
        request::Parts,
        uri::Authority,
    },
    middleware::Next,
    response::Response,
};
use std::{net::IpAddr, sync::Arc};
use subtle::ConstantTimeEq as _;

/// In a handler's arguments: the caller may write.
pub(crate) struct Writer;

impl FromRequestParts<Arc<Window>> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, window: &Arc<Window>) -> Result<Self, Problem> {
        may_write(&parts.headers, window)?;
        Ok(Self)
    }
}

/// Lets only requests through that were meant for this machine.
pub(crate) async fn this_host(request: Request, next: Next) -> Result<Response, Problem> {
    let named = named_host(request.headers())?;
    let asked = request.uri().authority().map_or(named, Authority::as_str);
    for host in [named, asked] {
        if !is_address(host) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "foreign_host",
                format!("this is not `{host}`"),
                "call it by its address, for example 127.0.0.1, or as localhost",
            ));
        }
    }
    Ok(next.run(request).await)
}

/// Lets only writers through, and nobody at all unless this is a devnet.
pub(crate) async fn devnet(
    State(window): State<Arc<Window>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let chain_id = window.snapshot().status.chain_id.clone();
    if !chain_id.contains("devnet") {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no_such_route",
            format!("chain `{chain_id}` is not a devnet"),
            "faults can be injected only on chains whose id contains `devnet`",
        ));
    }
    may_write(request.headers(), &window)?;
    Ok(next.run(request).await)
}

fn may_write(headers: &HeaderMap, window: &Window) -> Result<(), Problem> {
    let host = named_host(headers)?;
    if let Some(origin) = headers.get(ORIGIN)
        && !is_origin(origin.as_bytes(), host)
    {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "foreign_origin",
            "a page of another origin may not write here",
            format!("write from http://{host}, or without a browser"),
        ));
    }
    let Some(token) = bearer(headers) else {
        return Err(unauthorized("the request carries no token", &window.settings.token_file));
    };
    if bool::from(token.ct_eq(window.settings.token.as_bytes())) {
        Ok(())
    } else {
        Err(unauthorized("the token is not the one of this validator", &window.settings.token_file))
    }
}

fn unauthorized(detail: &str, token_file: &str) -> Problem {
    let place = if token_file.is_empty() { "the validator's token file" } else { token_file };
    let help = format!("send `Authorization: Bearer <token>`; the token is in {place}");
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail, help)
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Exactly one: where there are two, a proxy and we might each believe another.
fn named_host(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next().map(|host| host.to_str()), hosts.next()) {
        (Some(Ok(host)), None) => Ok(host),
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_host",
            "the request needs one readable header `Host`",
            "send `Host: 127.0.0.1`",
        )),
    }
}

/// An address can only be called on purpose; a name can be made to point here by whoever owns it.
fn is_address(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    if host.contains('@') {
        return false;
    }
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

fn is_origin(origin: &[u8], host: &str) -> bool {
    origin.strip_prefix(b"http://").is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_this_machine() {
        for host in ["127.0.0.1", "127.0.0.1:7700", "localhost", "LocalHost:1", "[::1]:7700", "[::1]", "192.168.1.5:80"]
        {
            assert!(is_address(host), "{host}");
        }
        for host in ["", "evil.example", "127.0.0.1.evil.example:7700", "localhost.evil.example", "x@127.0.0.1", ":80"]
        {
            assert!(!is_address(host), "{host}");
        }
    }

    #[test]
    fn an_origin_is_ours_if_scheme_host_and_port_are() {
        assert!(is_origin(b"http://127.0.0.1:7700", "127.0.0.1:7700"));
        for origin in
            ["null", "http://127.0.0.1:7701", "https://127.0.0.1:7700", "http://evil.example", "127.0.0.1:7700"]
        {
            assert!(!is_origin(origin.as_bytes(), "127.0.0.1:7700"), "{origin}");
        }
    }
}
