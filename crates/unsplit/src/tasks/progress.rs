//! How far is it? A bar on a terminal, a line now and then elsewhere.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

/// How often a log that nobody watches is written to.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Talk about something that takes a while.
pub(crate) struct Progress {
    output: Output,
    /// On a terminal.
    bar: Option<ProgressBar>,
    /// When a line is due elsewhere.
    due: Instant,
}

impl Progress {
    pub(crate) fn new(total: usize, output: Output) -> Self {
        let is_watched = !output.is_quiet() && std::io::stderr().is_terminal();
        let bar = is_watched.then(|| {
            let style = ProgressStyle::with_template("  [{bar:30}] {pos}/{len} {msg}").expect("a template of ours");
            ProgressBar::new(total as u64).with_style(style.progress_chars("=> "))
        });
        Self { output, bar, due: Instant::now() + LINE_EVERY }
    }

    /// So many are there, and this is to be said about it.
    pub(crate) fn tell(&mut self, count: usize, message: String) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(count as u64);
                bar.set_message(message);
            }
            None if Instant::now() >= self.due => {
                self.due = Instant::now() + LINE_EVERY;
                self.output.talk(&message);
            }
            None => {}
        }
    }

    /// Something that cannot wait.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.talk(line)),
            None => self.output.talk(line),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
