//! What time is it, on a machine whose wall clock may be set?
//!
//! The engine's clock is wall time: a step of it moves every time-out, and a step back can keep a rate-limited sender
//! waiting for as long as the step was. [`Steady`] is the same runtime with another clock. It reads the wall clock once,
//! at the start, and adds what the machine's monotonic clock says has passed since, suspensions included. A step of the
//! wall clock after that changes nothing here; a validator that has to follow one is restarted.
//!
//! Everything else is handed to the runtime underneath.

use commonware_runtime::{
    BlobVersion, Clock, Error, Handle, Metrics, Name, Network, Resolver, SinkOf, Spawner, Storage, StreamOf,
    Supervisor,
    signal::Signal,
    telemetry::metrics::{Metric, Registered},
    tokio::Context,
};
use governor::clock::{Clock as GovernorClock, ReasonablyRealtime};
use rand_core::{TryCryptoRng, TryRng};
use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

/// The runtime, with a clock that only goes forward.
pub(crate) struct Steady {
    inner: Context,
    anchor: Anchor,
}

/// What both clocks said at the start.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    wall: SystemTime,
    monotonic: Duration,
}

impl Anchor {
    fn now() -> Self {
        Self { wall: SystemTime::now(), monotonic: monotonic() }
    }

    fn current(&self) -> SystemTime {
        self.wall + monotonic().saturating_sub(self.monotonic)
    }
}

/// Time since some moment in the past. On Linux it counts suspensions, as peers do not stand still meanwhile.
fn monotonic() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    rustix::time::clock_gettime(clock).try_into().expect("a monotonic clock is never negative")
}

impl Steady {
    /// From here on, time goes forward only.
    pub(crate) fn new(inner: Context) -> Self {
        Self { inner, anchor: Anchor::now() }
    }

    /// How far the wall clock was set ahead of this one since the start, in milliseconds; negative when it was set back.
    pub(crate) fn wall_ahead_ms(&self) -> i64 {
        let (wall, steady) = (SystemTime::now(), self.current());
        let milliseconds = |gap: Duration| i64::try_from(gap.as_millis()).unwrap_or(i64::MAX);
        wall.duration_since(steady).map_or_else(|behind| -milliseconds(behind.duration()), milliseconds)
    }
}

impl Clock for Steady {
    fn current(&self) -> SystemTime {
        self.anchor.current()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.inner.sleep(duration)
    }

    fn sleep_until(&self, deadline: SystemTime) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.inner.sleep(deadline.duration_since(self.current()).unwrap_or_default())
    }
}

impl GovernorClock for Steady {
    type Instant = SystemTime;

    fn now(&self) -> SystemTime {
        self.current()
    }
}

impl ReasonablyRealtime for Steady {}

impl Clone for Steady {
    fn clone(&self) -> Self {
        Self { inner: self.inner.child("clone"), anchor: self.anchor }
    }
}

impl Supervisor for Steady {
    fn name(&self) -> Name {
        self.inner.name()
    }

    fn child(&self, label: &'static str) -> Self {
        Self { inner: self.inner.child(label), anchor: self.anchor }
    }

    fn with_attribute(self, key: &'static str, value: impl Display) -> Self {
        Self { inner: self.inner.with_attribute(key, value), anchor: self.anchor }
    }
}

impl Spawner for Steady {
    fn shared(self, blocking: bool) -> Self {
        Self { inner: self.inner.shared(blocking), anchor: self.anchor }
    }

    fn dedicated(self) -> Self {
        Self { inner: self.inner.dedicated(), anchor: self.anchor }
    }

    fn spawn<F, Fut, T>(self, f: F) -> Handle<T>
    where
        F: FnOnce(Self) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let anchor = self.anchor;
        self.inner.spawn(move |inner| f(Self { inner, anchor }))
    }

    async fn stop(self, value: i32, timeout: Option<Duration>) -> Result<(), Error> {
        self.inner.stop(value, timeout).await
    }

    fn stopped(&self) -> Signal {
        self.inner.stopped()
    }
}

impl Metrics for Steady {
    fn register<N: Into<String>, H: Into<String>, M: Metric>(&self, name: N, help: H, metric: M) -> Registered<M> {
        self.inner.register(name, help, metric)
    }

    fn encode(&self) -> String {
        self.inner.encode()
    }
}

impl Network for Steady {
    type Listener = <Context as Network>::Listener;

    async fn bind(&self, socket: SocketAddr) -> Result<Self::Listener, Error> {
        self.inner.bind(socket).await
    }

    async fn dial(&self, socket: SocketAddr) -> Result<(SinkOf<Self>, StreamOf<Self>), Error> {
        self.inner.dial(socket).await
    }
}

impl Resolver for Steady {
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, Error> {
        self.inner.resolve(host).await
    }
}

impl TryRng for Steady {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.inner.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.inner.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.inner.try_fill_bytes(bytes)
    }
}

impl TryCryptoRng for Steady {}

impl Storage for Steady {
    type Blob = <Context as Storage>::Blob;

    async fn open_versioned(
        &self,
        partition: &str,
        name: &[u8],
        versions: RangeInclusive<BlobVersion>,
    ) -> Result<(Self::Blob, u64, BlobVersion), Error> {
        self.inner.open_versioned(partition, name, versions).await
    }

    async fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        self.inner.remove(partition, name).await
    }

    async fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        self.inner.scan(partition).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_from_the_start_at_the_pace_of_the_monotonic_clock() {
        let hour = Duration::from_secs(3_600);
        let then = SystemTime::now() - Duration::from_secs(86_400);
        let anchor = Anchor { wall: then, monotonic: monotonic().saturating_sub(hour) };
        let passed = anchor.current().duration_since(then).expect("later");
        assert!((hour..hour + Duration::from_secs(60)).contains(&passed), "{passed:?}");
    }
}
