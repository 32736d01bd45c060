//! Tasks, as their submitters and readers see them.

use crate::world::{Node, Reply, World, hex};
use api::{Limits, SUBMISSIONS_BYTES_MAX, SUBMISSIONS_MAX, TRANSACTION_BYTES_MAX, TaskQuery, TaskState};

const JSON: &str = "application/json";

/// A body that submits these, as hex.
fn body(transactions: &[&str]) -> String {
    let hex = |text: &&str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let transactions: Vec<String> = transactions.iter().map(hex).collect();
    serde_json::json!({ "transactions": transactions }).to_string()
}

async fn submit(world: &World, body: &str) -> Reply {
    world.write("POST /api/v1/tasks", JSON, body.as_bytes()).await
}

#[tokio::test]
async fn each_of_several_tasks_is_answered_in_order() {
    let world = World::new().await;
    let reply = submit(&world, &body(&["a-task", "0-bad", "2-full", "b-task"])).await;
    assert_eq!((reply.status, reply.header("retry-after")), (200, None));
    let submitted: api::Submitted = serde_json::from_str(&reply.body).expect("a document");
    assert_eq!(submitted.schema, "unsplit.submitted/1");
    let said = submitted.tasks.into_iter().map(|entry| (entry.task.map(|task| task.id), entry.problem));
    let said: Vec<_> = said.map(|(id, problem)| (id, problem.map(|problem| problem.status))).collect();
    let taken = |id: &str| (Some(id.to_string()), None);
    assert_eq!(said, [taken("a-task"), (None, Some(422)), (None, Some(503)), taken("b-task")]);
}

#[tokio::test]
async fn tasks_of_which_none_is_taken_are_answered_by_the_problem_that_may_pass() {
    let world = World::new().await;
    for (transactions, status, stands_for) in [
        (&["0"][..], 422, 0),
        (&["1", "0"], 409, 0),
        (&["0", "1"], 422, 0),
        (&["3", "4", "0"], 404, 0),
        (&["0", "2", "2"], 503, 1),
    ] {
        let reply = submit(&world, &body(transactions)).await;
        reply.expect_problem(status, "told_to");
        assert_eq!(reply.header("retry-after").is_some(), status == 503);
        let refused: api::TasksProblem = serde_json::from_str(&reply.body).expect("a problem with a list");
        assert_eq!(refused.problem.detail, format!("transaction {stands_for}: no"));
        assert_eq!(refused.tasks.len(), transactions.len());
        assert!(refused.tasks.iter().all(|entry| entry.task.is_none() && entry.problem.is_some()));
    }
}

#[tokio::test]
async fn tasks_that_cannot_be_read_are_refused_together_and_by_name() {
    let world = World::new().await;
    let large = "61".repeat(TRANSACTION_BYTES_MAX) + "6";
    let large = format!(r#"{{"transactions":["61","{large}"]}}"#);
    let many = body(&vec!["a"; SUBMISSIONS_MAX + 1]);
    for (content, body, status, code, names) in [
        (JSON, r#"{"transactions":["61","6"]}"#, 400, "bad_hex", "transaction 1"),
        (JSON, r#"{"transactions":["61","62","0x63"]}"#, 400, "bad_hex", "transaction 2"),
        (JSON, &large, 413, "too_large", "transaction 1"),
        (JSON, r#"{"transactions":[]}"#, 422, "bad_count", "256"),
        (JSON, &many, 422, "bad_count", "257"),
        (JSON, r#"{"transactions":["61",7]}"#, 400, "bad_json", "column 23"),
        (JSON, r#"{"transactions":["61"],"wait":true}"#, 400, "bad_json", "wait"),
        (JSON, r#"{"transaction":"61"}"#, 400, "bad_json", "transactions"),
        (JSON, "", 400, "bad_json", "column 0"),
        ("application/octet-stream", "a", 415, "wrong_content", "application/json"),
    ] {
        let reply = world.write("POST /api/v1/tasks", content, body.as_bytes()).await;
        reply.expect_problem(status, code);
        assert!(reply.body.contains(names), "{}", reply.body);
    }
    assert_eq!(world.submitted.available_permits(), 0);
}

#[tokio::test]
async fn tasks_are_taken_up_to_each_limit() {
    let world = World::new().await;
    assert_eq!(submit(&world, &body(&vec!["a"; SUBMISSIONS_MAX])).await.status, 200);
    assert_eq!(submit(&world, &body(&["a".repeat(TRANSACTION_BYTES_MAX).as_str(), "b"])).await.status, 200);
    let short = body(&["a"]);
    let padded = short.clone() + &" ".repeat(SUBMISSIONS_BYTES_MAX - short.len());
    assert_eq!(submit(&world, &padded).await.status, 200);
    let reply = submit(&world, &(padded + " ")).await;
    reply.expect_problem(413, "too_large");
    assert!(reply.body.contains(&SUBMISSIONS_BYTES_MAX.to_string()), "{}", reply.body);
}

#[tokio::test]
async fn other_bodies_have_not_grown_with_those_of_tasks() {
    let world = World::new().await;
    let long = vec![b' '; 200_000];
    for line in ["POST /api/v1/tx", "POST /api/v1/devnet/cuts"] {
        world.write(line, JSON, &long).await.expect_problem(413, "too_large");
    }
}

#[tokio::test]
async fn tasks_are_not_waited_for_when_the_validator_is_slow() {
    let world = World::with("x", Node::Sleeps, Limits::default()).await;
    let (reply, _answer) = tokio::sync::oneshot::channel();
    world.requests.try_send(api::Request::Cuts { reply }).expect("room for one");
    for reply in
        [submit(&world, &body(&["a"])).await, world.get("/api/v1/tasks").await, world.get("/api/v1/tasks/a").await]
    {
        reply.expect_problem(503, "busy");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
}

#[tokio::test]
async fn a_list_holds_what_was_asked_for() {
    let world = World::new().await;
    let all = TaskQuery { limit: 100, ..TaskQuery::default() };
    for (query, asked) in [
        ("", all.clone()),
        ("?state=leased", TaskQuery { state: Some(TaskState::Leased), ..all.clone() }),
        ("?state=cancelled", TaskQuery { state: Some(TaskState::Cancelled), ..all.clone() }),
        ("?holder=n1", TaskQuery { holder: Some("n1".to_string()), ..all.clone() }),
        (&format!("?account={}", hex(0xab)), TaskQuery { account: Some([0xab; 32]), ..all.clone() }),
        ("?after=0", TaskQuery { after: Some(0), ..all.clone() }),
        ("?limit=1", TaskQuery { limit: 1, ..all.clone() }),
        ("?limit=1000&after=18446744073709551615", TaskQuery { limit: 1000, after: Some(u64::MAX), ..all.clone() }),
    ] {
        let reply = world.get(&format!("/api/v1/tasks{query}")).await;
        let page: api::Tasks = serde_json::from_str(&reply.body).unwrap_or_else(|_| panic!("{query}: {}", reply.body));
        assert_eq!(page.tasks[0].id, format!("{asked:?}"), "{query}");
        assert_eq!((reply.status, page.schema.as_str(), page.next, page.height), (200, "unsplit.tasks/1", Some(9), 7));
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_asked_for_is_refused_with_what_can() {
    let world = World::new().await;
    for (query, code, names) in [
        ("?state=running", "bad_query", "`pending`, `leased`, `done`, `failed`, `cancelled`"),
        ("?state=", "bad_query", "`pending`"),
        ("?State=done", "bad_query", "`state`, `holder`, `account`, `after`, `limit`"),
        ("?state=done&state=failed", "bad_query", "state"),
        ("?holder=n2", "bad_holder", "the validators are n1"),
        ("?holder=", "bad_holder", "n1"),
        ("?account=00", "bad_account_id", "64"),
        ("?after=-1", "bad_after", "0 to"),
        ("?limit=0", "bad_limit", "1 to 1000"),
        ("?limit=1001", "bad_limit", "1 to 1000"),
        ("?limit=ten", "bad_limit", "number"),
    ] {
        let reply = world.get(&format!("/api/v1/tasks{query}")).await;
        reply.expect_problem(400, code);
        assert!(reply.body.contains(names), "{query}: {}", reply.body);
    }
}

#[tokio::test]
async fn a_task_is_found_by_its_id_and_its_account() {
    let world = World::new().await;
    for (path, id, account) in [
        ("report".to_string(), "report", String::new()),
        (format!("report?account={}", hex(0xab)), "report", hex(0xab)),
        ("gr%C3%BCn%2Fblau".to_string(), "grün/blau", String::new()),
    ] {
        let reply = world.get(&format!("/api/v1/tasks/{path}")).await;
        let task: api::TaskView = serde_json::from_str(&reply.body).expect("a task");
        assert_eq!((reply.status, task.id.as_str(), task.account), (200, id, account));
    }
    world.get("/api/v1/tasks/3-none").await.expect_problem(404, "told_to");
    world.get("/api/v1/tasks/1-several").await.expect_problem(409, "told_to");
    world.get("/api/v1/tasks/a?account=00").await.expect_problem(400, "bad_account_id");
    world.get("/api/v1/tasks/a?acount=00").await.expect_problem(400, "bad_query");
    assert_eq!(world.get("/api/v1/tasks/%ff").await.status, 400);
}
