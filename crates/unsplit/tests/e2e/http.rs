//! One request, written out in full: so that it can be as wrong as a test wants it.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

/// Long enough for a busy machine, short enough to notice a validator that hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// The `code` of a problem document.
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// A request to be.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// Below `/api/v1/`.
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a str>,
    pub(crate) content: &'a str,
    pub(crate) body: &'a [u8],
}

/// Asks `http://HOST:PORT` for `/api/v1/PATH`.
pub(crate) fn get(api: &str, path: &str) -> io::Result<Answer> {
    send(api, &Request { method: "GET", path, token: None, content: "", body: &[] })
}

/// The metrics, as text.
pub(crate) fn metrics(api: &str) -> io::Result<String> {
    let host = api.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

pub(crate) fn send(api: &str, request: &Request<'_>) -> io::Result<Answer> {
    let host = api.trim_start_matches("http://");
    let mut head = format!(
        "{} /api/v1/{} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n",
        request.method,
        request.path,
        request.body.len()
    );
    if let Some(token) = request.token {
        head += &format!("Authorization: Bearer {token}\r\n");
    }
    if !request.content.is_empty() {
        head += &format!("Content-Type: {}\r\n", request.content);
    }
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[head.as_bytes(), b"\r\n", request.body].concat())?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    read(&text).ok_or_else(|| io::Error::other(format!("no HTTP: {}", String::from_utf8_lossy(&text))))
}

fn read(text: &[u8]) -> Option<Answer> {
    let end = text.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&text[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: serde_json::from_slice(&text[end + 4..]).unwrap_or(Value::Null) })
}
