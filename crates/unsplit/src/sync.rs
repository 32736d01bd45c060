//! How far behind is it, and how fast does it catch up?

use api::{Course, SyncView};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::{io::IsTerminal as _, time::Duration};

use crate::{
    cli::Global,
    client::Client,
    failure::{Exit, Failure},
    output::Output,
    status::span,
};

/// How often a watched validator is asked.
const EVERY: Duration = Duration::from_millis(500);

/// Once, or until nothing is missing.
pub(crate) async fn show(global: &Global, watch: bool, output: Output) -> Result<Exit, Failure> {
    let client = Client::of(global)?;
    let mut view = client.sync().await?;
    if watch {
        let mut bar = Bar::new(output);
        while view.course != Course::Live || view.behind > 0 {
            bar.tell(&view);
            tokio::time::sleep(EVERY).await;
            view = client.sync().await?;
        }
    }
    output.data(&page(&view), &view);
    Ok(Exit::Ok)
}

fn page(view: &SyncView) -> String {
    let mut lines = vec![sentence(view)];
    if view.blocks_from > 1 {
        lines.push(format!("  keeps blocks from {} on", view.blocks_from));
    }
    lines.push(match view.offers {
        Some(height) => format!("  gives others the state at {height}"),
        None => "  has no state to give to others yet".into(),
    });
    lines.extend(view.failed.as_ref().map(|why| format!("  the last attempt to fetch a state came to nothing: {why}")));
    lines.join("\n")
}

/// All of it in one sentence.
fn sentence(view: &SyncView) -> String {
    let SyncView { height, target, behind, .. } = view;
    let left = view.left_ms.map_or_else(String::new, |left| format!(", about {} left", span(left)));
    match (view.course, &view.snapshot) {
        (Course::Live, _) => format!("LIVE at {height}"),
        (Course::Snapshot, Some(snapshot)) => format!(
            "FETCHES THE STATE at {}: {} of {}, {} pieces, {} to come",
            snapshot.height,
            HumanBytes(snapshot.bytes),
            HumanBytes(snapshot.bytes_total),
            snapshot.pieces,
            snapshot.pieces_open,
        ),
        (Course::Snapshot, None) => format!("LOOKS FOR A STATE to fetch, {behind} blocks behind at {height}"),
        (Course::Blocks, _) => format!(
            "CATCHES UP at {height} of {target}: {behind} blocks behind, {} blocks/s{left}",
            view.blocks_per_second
        ),
    }
}

/// A bar on a terminal, and lines elsewhere when something else is said.
struct Bar {
    output: Output,
    bar: Option<ProgressBar>,
    said: Option<Course>,
}

impl Bar {
    fn new(output: Output) -> Self {
        let is_watched = !output.is_quiet() && std::io::stderr().is_terminal();
        let bar = is_watched.then(|| {
            let style = ProgressStyle::with_template("  [{bar:30}] {percent}% {msg}").expect("a template of ours");
            ProgressBar::new(1).with_style(style.progress_chars("=> "))
        });
        Self { output, bar, said: None }
    }

    fn tell(&mut self, view: &SyncView) {
        let (done, all) = match &view.snapshot {
            Some(snapshot) => (snapshot.bytes, snapshot.bytes_total),
            None => (view.height, view.target),
        };
        match &self.bar {
            Some(bar) => {
                bar.set_length(all.max(1));
                bar.set_position(done);
                bar.set_message(sentence(view));
            }
            None if self.said != Some(view.course) => {
                self.said = Some(view.course);
                self.output.talk(&sentence(view));
            }
            None => {}
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::SnapshotView;

    fn view(course: Course) -> SyncView {
        SyncView { course, height: 100, target: 2_100, behind: 2_000, ..SyncView::default() }
    }

    #[test]
    fn one_sentence_says_how_it_follows() {
        assert_eq!(sentence(&SyncView { height: 7, ..SyncView::default() }), "LIVE at 7");
        let blocks = SyncView { blocks_per_second: 500, left_ms: Some(4_000), ..view(Course::Blocks) };
        let expected = "CATCHES UP at 100 of 2100: 2000 blocks behind, 500 blocks/s, about 4 s left";
        assert_eq!(sentence(&blocks), expected);
        let snapshot =
            SnapshotView { height: 2_000, bytes: 1 << 20, bytes_total: 2 << 20, pieces: 3, ..Default::default() };
        let snapshot = SyncView { snapshot: Some(snapshot), ..view(Course::Snapshot) };
        assert_eq!(sentence(&snapshot), "FETCHES THE STATE at 2000: 1.00 MiB of 2.00 MiB, 3 pieces, 0 to come");
        assert_eq!(sentence(&view(Course::Snapshot)), "LOOKS FOR A STATE to fetch, 2000 blocks behind at 100");
    }
}
