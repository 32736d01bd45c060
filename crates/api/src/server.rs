//! Connections, and how much of us each may take.
//!
//! A connection is always in one of four waits, and each has a deadline: for a header (idle ones included), for a
//! body, for the validator's answer, for the reader to take what we write. Event streams may last, but are few.

use crate::{
    Backend,
    routes::{Window, router},
};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};

/// Browsers send about twenty.
const HEADERS_MAX: usize = 64;

/// Ours are a few hundred bytes; a browser with cookies of every other service on localhost may need some thousand.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Out of file descriptors is the likely reason; a pause lets some come back instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the server needs to know besides its [`Backend`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// The secret that writes must carry.
    pub token: String,
    /// Where an operator finds the token; empty if there is no such file.
    pub token_file: String,
    /// How much a caller may take.
    pub limits: Limits,
}

/// How much a caller may take. The defaults are meant for every validator; tests shorten them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections served at once; further ones wait in the kernel until one ends. More than any honest use of one
    /// machine, and a small part of the usual 1,024 file descriptors.
    pub connections_max: usize,
    /// Event streams at once: they are the only connections that may stay for ever.
    pub streams_max: usize,
    /// From accepting, or the end of the last answer, until a complete header.
    pub header_timeout: Duration,
    /// From the header until a complete body.
    pub body_timeout: Duration,
    /// Until a full mailbox has room. A block full of transactions makes every waiting client ask at once; that is
    /// no reason to turn anybody away.
    pub mailbox_timeout: Duration,
    /// Until the validator answers what is in its mailbox.
    pub answer_timeout: Duration,
    /// Until a reader takes at least one byte of what is written to it.
    pub write_timeout: Duration,
    /// Between two signs of life on a quiet event stream. A dashboard gives up after two are missing.
    pub keep_alive: Duration,
    /// Until everything begun is finished when the server stops.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 256,
            streams_max: 64,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            mailbox_timeout: Duration::from_millis(200),
            answer_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(20),
            keep_alive: Duration::from_secs(5),
            grace: Duration::from_secs(3),
        }
    }
}

impl Settings {
    /// The default limits with this token, found in this file.
    pub fn new(token: impl Into<String>, token_file: impl Into<String>) -> Self {
        Self { token: token.into(), token_file: token_file.into(), limits: Limits::default() }
    }
}

/// Serves until `shutdown`, then finishes what was begun, within the grace.
///
/// Fails at once if the listener is not on loopback, because reads are free to whoever reaches the port, or if the
/// token is empty, because then everybody has it.
pub async fn serve(
    listener: TcpListener,
    backend: Backend,
    settings: Settings,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    check(&listener, &settings)?;
    let limits = settings.limits.clone();
    let (closing, closed) = watch::channel(false);
    let router = router(Arc::new(Window::new(backend, settings, closed.clone())));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => report(ended),
            stream = accept(&listener), if connections.len() < limits.connections_max => {
                connections.spawn(converse(stream, router.clone(), limits.clone(), closed.clone()));
            }
        }
    }
    drop(listener);
    closing.send_replace(true);
    let finished = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if timeout(limits.grace, finished).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

fn check(listener: &TcpListener, settings: &Settings) -> io::Result<()> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        let message = format!("the API cannot listen on {address}: reads need no token, so use a loopback address");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    if settings.token.is_empty() {
        let message = format!("the API token is empty: write one into {:?}", settings.token_file);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(())
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the API");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection to the API ended by a bug of ours");
    }
}

/// Serves one connection until either side has had enough.
async fn converse(stream: TcpStream, router: Router, limits: Limits, mut closed: watch::Receiver<bool>) {
    // Answers are small and wanted at once; without it, each could wait for the last one's acknowledgement.
    let _ = stream.set_nodelay(true);
    let stream = Patient { stream, patience: limits.write_timeout, stalled: None };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = async { let _ = closed.wait_for(|closed| *closed).await; } => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the API broke off");
    }
}

/// A stream whose reader must take something now and then: hyper itself would wait for ever.
struct Patient {
    stream: TcpStream,
    patience: Duration,
    /// Runs while the reader takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the reader takes nothing")))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
