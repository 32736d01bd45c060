//! Runs one task.

use crate::{Failed, Settings, SettingsError, command, matmul, task::Task};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Runs tasks within what the operator allows. Clones share one set of settings.
///
/// As many tasks run at once as there are futures of [`Executors::execute`]; bounding them is up to the caller.
#[derive(Clone, Debug)]
pub struct Executors {
    settings: Arc<Settings>,
}

impl Executors {
    /// Looks for every program and checks every limit; says what the operator has to mend.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        Ok(Self { settings: Arc::new(settings.checked()?) })
    }

    /// Runs a task to its end and gives its result, at most [`crate::RESULT_BYTES_MAX`] bytes. Dropping the future
    /// cancels the task: a multiplication stops at its next row, a program and everything it has started is killed.
    ///
    /// A program ends at its time limit; should its launcher be stuck, that is noticed 20 s later. Needs a tokio
    /// runtime with I/O and time.
    pub async fn execute(&self, executor: &str, payload: &[u8]) -> Result<Vec<u8>, Failed> {
        let task = Task::parse(executor, payload).map_err(|unfit| Failed::task(&unfit.to_string()))?;
        match task {
            Task::Matmul { seed, n } => multiply(seed, n).await,
            Task::Command(payload) => command::run(&self.settings, &payload).await,
        }
    }
}

/// On a thread of its own: a second without an answer would be long for everybody else.
async fn multiply(seed: u64, n: usize) -> Result<Vec<u8>, Failed> {
    let interest = Interest::default();
    let gone = interest.gone.clone();
    let digest = tokio::task::spawn_blocking(move || matmul::digest(seed, n, &|| gone.load(Ordering::Relaxed)));
    match digest.await {
        Ok(Some(digest)) => Ok(matmul::shown(&digest)),
        Ok(None) | Err(_) => Err(Failed::host("this host stopped the multiplication before its end")),
    }
}

/// Somebody still waits. When this is dropped, nobody does.
#[derive(Default)]
struct Interest {
    gone: Arc<AtomicBool>,
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;
    use std::time::{Duration, Instant};

    fn executors() -> Executors {
        Executors::new(Settings::default()).expect("nothing to mend")
    }

    #[tokio::test]
    async fn a_product_is_the_one_checkers_compute() {
        let result = executors().execute("matmul", br#"{"seed": 3, "n": 40}"#).await;
        assert_eq!(result, Ok(matmul::result(3, 40)));
    }

    #[tokio::test]
    async fn a_task_that_makes_no_sense_is_its_own_fault() {
        for (executor, payload, words) in [
            ("shell", "{}", "there is no executor `shell`"),
            ("matmul", "{", "the payload is not JSON"),
            ("matmul", r#"{"seed": 3, "n": 0}"#, "n is 0"),
        ] {
            let failed = executors().execute(executor, payload.as_bytes()).await.expect_err("makes no sense");
            assert!(failed.reason().contains(words), "{failed}");
            assert_eq!(failed.fault(), Fault::Task);
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_allowed_is_refused_and_may_be_allowed_elsewhere() {
        let failed = executors().execute("command", br#"{"program": "nope"}"#).await.expect_err("not allowed");
        assert_eq!(failed.reason(), r#"program "nope" is not allowed here (allowed: none)"#);
        assert_eq!(failed.fault(), Fault::Host);
    }

    /// On a single thread for blocking work, the next multiplication waits for all abandoned ones.
    #[test]
    fn an_abandoned_multiplication_stops() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.max_blocking_threads(1).build().expect("a runtime").block_on(async {
            let executors = executors();
            let whole = multiply_timed(&executors).await;
            let abandoned: Vec<_> = (0..40)
                .map(|_| {
                    let executors = executors.clone();
                    tokio::spawn(async move { multiply_timed(&executors).await })
                })
                .collect();
            tokio::task::yield_now().await;
            abandoned.iter().for_each(tokio::task::JoinHandle::abort);
            let with_abandoned = multiply_timed(&executors).await;
            assert!(with_abandoned < 20 * whole, "{with_abandoned:?}, alone {whole:?}");
        });
    }

    async fn multiply_timed(executors: &Executors) -> Duration {
        let start = Instant::now();
        executors.execute("matmul", br#"{"seed": 3, "n": 256}"#).await.expect("a fine task");
        start.elapsed()
    }

    #[test]
    fn it_can_be_moved_to_other_threads() {
        fn check<T: Clone + Send + Sync + 'static>(_: T) {}
        fn check_future<T: Send>(_: T) {}
        check(executors());
        check_future(executors().execute("matmul", b""));
    }
}
