//! What the chain has.

use api::{Content, TaskState, TaskView, Tasks};

use super::{account_word, checked_id};
use crate::{
    cli::Global,
    client::Client,
    failure::{Exit, Failure},
    output::{Output, counted, harmless, table},
    status::span,
};

/// Tasks on one page; the most that the API gives.
const PAGE_MAX: u64 = 1_000;

/// What a person reads of a payload or result; the document has all of it.
const CONTENT_SHOWN_MAX: usize = 2_000;

/// What a person reads of a reason in a table.
const REASON_SHOWN_MAX: usize = 60;

/// Which tasks?
pub(crate) struct Filter {
    pub(crate) state: Option<String>,
    pub(crate) holder: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) limit: u64,
}

pub(crate) async fn list(filter: &Filter, global: &Global, output: Output) -> Result<Exit, Failure> {
    let query = filter.query()?;
    let client = Client::of(global)?;
    let mut tasks = Tasks { next: Some(0), ..Tasks::default() };
    while let Some(after) = tasks.next
        && (tasks.tasks.len() as u64) < filter.limit
    {
        let missing = filter.limit - tasks.tasks.len() as u64;
        let mut query = query.clone();
        query.extend([("after", after.to_string()), ("limit", missing.min(PAGE_MAX).to_string())]);
        let page = client.tasks(&query).await?;
        tasks.tasks.extend(page.tasks);
        (tasks.schema, tasks.next, tasks.height) = (page.schema, page.next, page.height);
    }
    output.data(&list_screen(&tasks), &tasks);
    Ok(Exit::Ok)
}

pub(crate) async fn show(id: &str, account: Option<&str>, global: &Global, output: Output) -> Result<Exit, Failure> {
    let (id, account) = (checked_id(id)?, account_word(account)?);
    let task = Client::of(global)?.task(id.as_str(), account.as_deref()).await?;
    output.data(&screen(&task), &task);
    Ok(Exit::Ok)
}

impl Filter {
    /// Its words, none of which needs escaping.
    fn query(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        if let Some(holder) = &self.holder
            && !holder.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            let help = "names are made of a-z, 0-9 and -: unsplit nodes";
            return Err(Failure::usage(format!("no validator is called {holder:?}"), help));
        }
        let account = account_word(self.account.as_deref())?;
        let words = [("state", self.state.clone()), ("holder", self.holder.clone()), ("account", account)];
        Ok(words.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }
}

pub(crate) const fn word(state: TaskState) -> &'static str {
    match state {
        TaskState::Pending => "pending",
        TaskState::Leased => "leased",
        TaskState::Done => "done",
        TaskState::Failed => "failed",
        TaskState::Cancelled => "cancelled",
    }
}

fn list_screen(tasks: &Tasks) -> String {
    if tasks.tasks.is_empty() {
        return format!("no task, at height {}", tasks.height);
    }
    let rows = tasks.tasks.iter().map(|task| {
        vec![
            task.number.to_string(),
            task.id.clone(),
            task.executor.clone(),
            word(task.state).to_owned(),
            task.holder.clone().unwrap_or_default(),
            task.token.map(|token| token.to_string()).unwrap_or_default(),
            task.attempts.to_string(),
            task.reason.as_deref().map(|reason| beginning(&harmless(reason), REASON_SHOWN_MAX)).unwrap_or_default(),
        ]
    });
    let header = ["number", "id", "executor", "state", "holder", "token", "lost leases", ""];
    let more = if tasks.next.is_some() { "\nthere are more: --limit N, or --all" } else { "" };
    format!("{}\n{}, at height {}{more}", table(&header, rows), counted(tasks.tasks.len(), "task"), tasks.height)
}

fn screen(task: &TaskView) -> String {
    let mut lines = vec![headline(task), terms(task)];
    if let Some(reason) = &task.reason {
        let what = if task.state == TaskState::Failed { "failed" } else { "last lease lost" };
        lines.push(format!("{what}: {}", harmless(reason)));
    }
    lines.push(String::new());
    lines.push(content("payload", task.payload_bytes, task.payload.as_ref(), None));
    if let Some(result) = &task.result {
        lines.push(content("result", result.bytes, result.content.as_ref(), result.kept_at.as_deref()));
        lines.push(format!("sha256  {}", result.sha256));
    }
    lines.join("\n")
}

fn headline(task: &TaskView) -> String {
    let state = word(task.state);
    let stands = match (task.state, &task.holder) {
        (_, _) if task.number == 0 => "waits to become part of a block".to_owned(),
        (TaskState::Leased, Some(holder)) => format!("leased to {holder}"),
        (TaskState::Done, Some(holder)) => format!("done by {holder}"),
        (_, _) => state.to_owned(),
    };
    let token = task.token.map(|token| format!(" · token {token}")).unwrap_or_default();
    let attempts = match task.attempts {
        0 => String::new(),
        lost => format!(" · {} lost", counted(usize::try_from(lost).unwrap_or(usize::MAX), "lease")),
    };
    format!("task {} · number {} · {stands}{token}{attempts}", task.id, task.number)
}

fn terms(task: &TaskView) -> String {
    let finished = task.finished_height.map(|height| format!(", finished in block {height}")).unwrap_or_default();
    format!(
        "{} · {} · lease {} · at most {} · submitted in block {}{finished}\naccount {}",
        task.executor,
        counted(usize::try_from(task.units).unwrap_or(usize::MAX), "unit"),
        span(task.lease_ms),
        counted(usize::try_from(task.retries).unwrap_or(usize::MAX).saturating_add(1), "lease"),
        task.submitted_height,
        task.account,
    )
}

fn content(what: &str, bytes: u64, content: Option<&Content>, kept_at: Option<&str>) -> String {
    let head = format!("{what}, {}", counted(usize::try_from(bytes).unwrap_or(usize::MAX), "byte"));
    match (content, kept_at) {
        (Some(Content::Text(text)), _) => format!("{head}:\n{}", piece(harmless(text).trim_end())),
        (Some(Content::Hex(bytes)), _) => {
            let digits: String = bytes.iter().take(CONTENT_SHOWN_MAX).map(|byte| format!("{byte:02x}")).collect();
            format!("{head}, in hex:\n{}", piece(&digits))
        }
        (None, Some(place)) => format!("{head}, kept at {}", harmless(place)),
        (None, None) => format!("{head}, not here: this validator no longer has the block it is in"),
    }
}

fn piece(text: &str) -> String {
    let shown = beginning(text, CONTENT_SHOWN_MAX);
    if shown == text { shown } else { format!("{shown}\n(all of it: -o json)") }
}

/// At most so many characters.
fn beginning(text: &str, characters_max: usize) -> String {
    match text.char_indices().nth(characters_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::TaskResult;

    fn task() -> TaskView {
        TaskView {
            number: 12,
            id: "sort-1".into(),
            account: "ab".repeat(32),
            executor: "command".into(),
            units: 1,
            lease_ms: 10_000,
            retries: 5,
            payload_bytes: 3,
            ..TaskView::default()
        }
    }

    #[test]
    fn a_task_is_shown_with_what_came_out() {
        let content = Some(Content::Text("a\u{1b}[2J\nb\n".into()));
        let result = TaskResult { sha256: "cd".into(), bytes: 8, content, kept_at: None };
        let (holder, token) = (Some("n3".into()), Some(7));
        let done = TaskView { state: TaskState::Done, holder, token, result: Some(result), attempts: 1, ..task() };
        let text = screen(&done);
        for words in ["done by n3 · token 7 · 1 lease lost", "at most 6 leases", "result, 8 bytes:\na\\u{1b}[2J\nb\n"]
        {
            assert!(text.contains(words), "{words:?} is not in: {text}");
        }
        assert!(text.contains("payload, 3 bytes, not here"), "{text}");
        let waiting = screen(&TaskView { number: 0, ..task() });
        assert!(waiting.contains("waits to become part of a block"), "{waiting}");
    }

    #[test]
    fn a_list_says_that_there_is_more() {
        let reason = Some("x".repeat(100));
        let one = Tasks { tasks: vec![TaskView { reason, ..task() }], next: Some(12), height: 9, ..Tasks::default() };
        let text = list_screen(&one);
        assert!(text.contains("1 task, at height 9\nthere are more: --limit N, or --all"), "{text}");
        assert!(text.contains("xxx…") && !text.contains(&"x".repeat(61)), "{text}");
        assert_eq!(list_screen(&Tasks { height: 9, ..Tasks::default() }), "no task, at height 9");
    }

    #[test]
    fn only_words_get_into_an_address() {
        let filter = |holder: &str| Filter { state: None, holder: Some(holder.into()), account: None, limit: 1 };
        assert_eq!(filter("n1").query().expect("a name"), [("holder", "n1".to_owned())]);
        assert_eq!(filter("n1&limit=5").query().expect_err("no name").exit, Exit::Usage);
    }
}
