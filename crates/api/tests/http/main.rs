//! The API as its callers see it: bytes on a socket.

#![forbid(unsafe_code)]

mod openapi;
mod tasks;
mod world;

use api::{EventKind, Limits, Settings, Snapshot, TaskState};
use std::{sync::Arc, time::Duration};
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use world::{Events, Node, TOKEN, TOKEN_FILE, World, exchange, hex, patient, read_all, send, snapshot};

const SHORT: Duration = Duration::from_millis(200);

fn node_heard() -> EventKind {
    EventKind::NodeHeard { node: "n1".to_string() }
}

fn task_changed() -> EventKind {
    EventKind::TaskChanged {
        number: 7,
        id: "report".to_string(),
        account: hex(1),
        state: TaskState::Leased,
        holder: Some("n1".to_string()),
        token: Some(3),
        attempts: 1,
        height: 9,
        reason: None,
    }
}

fn commit_rejected() -> EventKind {
    let reason = "lease 3 is over, 4 holds".to_string();
    EventKind::CommitRejected { number: 7, id: None, node: "n1".to_string(), token: 3, reason }
}

// Reading.

#[tokio::test]
async fn every_read_answers_with_its_schema_and_no_token() {
    let world = World::new().await;
    for (path, schema) in [
        ("/api/v1/status", "unsplit.status/1"),
        ("/api/v1/snapshot", "unsplit.snapshot/1"),
        ("/api/v1/why", "unsplit.why/1"),
        ("/api/v1/nodes", "unsplit.nodes/1"),
    ] {
        let reply = world.get(path).await;
        assert_eq!((reply.status, reply.json()["schema"].as_str()), (200, Some(schema)), "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
    }
    assert_eq!(world.get("/api/v1/nodes").await.json()["nodes"][0]["name"], "n1");
}

#[tokio::test]
async fn reads_follow_the_snapshot() {
    let world = World::new().await;
    world.snapshot.send_modify(|snapshot| Arc::make_mut(snapshot).status.height = 9);
    assert_eq!(world.get("/api/v1/status").await.json()["height"], 9);
}

#[tokio::test]
async fn blocks_are_found_by_height_or_as_the_latest() {
    let world = World::new().await;
    assert_eq!(world.get("/api/v1/blocks/4").await.json()["height"], 4);
    assert_eq!(world.get("/api/v1/blocks/latest").await.json()["height"], 7);
    world.get("/api/v1/blocks/8").await.expect_problem(404, "block_not_found");
    for height in ["-1", "newest", "99999999999999999999", "4%20", "%ff"] {
        assert_eq!(world.get(&format!("/api/v1/blocks/{height}")).await.status, 400, "{height}");
    }
}

#[tokio::test]
async fn accounts_and_transactions_are_found_by_64_hex_digits() {
    let world = World::new().await;
    assert_eq!(world.get(&format!("/api/v1/accounts/{}", hex(0xab))).await.json()["id"], hex(0xab));
    world.get(&format!("/api/v1/tx/{}", hex(0xab))).await.expect_problem(404, "transaction_not_found");
    world.post_transaction("", b"a").await;
    let reply = world.get(&format!("/api/v1/tx/{}", hex(b'a').to_uppercase())).await;
    assert_eq!((reply.status, reply.json()["state"].as_str()), (200, Some("pending")));
    for id in ["00".repeat(31), "00".repeat(33), "0".repeat(63), "zz".repeat(32), format!("0x{}", "00".repeat(31))] {
        world.get(&format!("/api/v1/tx/{id}")).await.expect_problem(400, "bad_transaction_id");
        world.get(&format!("/api/v1/accounts/{id}")).await.expect_problem(400, "bad_account_id");
    }
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let reply = World::new().await.get("/metrics").await;
    assert_eq!(reply.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(reply.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn ready_says_why_not() {
    let world = World::new().await;
    for path in ["/livez", "/healthz", "/readyz"] {
        assert_eq!(world.get(path).await.status, 200, "{path}");
    }
    let reason = "no vote signed for 9 s";
    let not_ready = Snapshot { ready: false, not_ready: Some(reason.to_string()), ..snapshot("x") };
    world.snapshot.send_replace(Arc::new(not_ready));
    let reply = world.get("/readyz").await;
    reply.expect_problem(503, "not_ready");
    assert_eq!(reply.json()["detail"], reason);
    assert_eq!(world.get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_validator_that_has_ended_is_neither_alive_nor_ready() {
    let world = World::with("x", Node::Gone, Limits::default()).await;
    for path in ["/livez", "/readyz", "/api/v1/blocks/latest"] {
        world.get(path).await.expect_problem(503, "stopped");
    }
    assert_eq!(world.get("/api/v1/status").await.status, 200);
}

// What is not there, or not so.

#[tokio::test]
async fn an_unknown_route_is_a_problem() {
    let world = World::new().await;
    for path in ["/", "/api/v1", "/api/v1/statu", "/api/v1/blocks/", "/api/v1/tx/a/b", "/%ff"] {
        world.get(path).await.expect_problem(404, "no_such_route");
    }
    let long = world.get(&format!("/{}", "x".repeat(5_000))).await;
    assert!(long.body.len() < 1_000, "the answer does not grow with the question");
}

#[tokio::test]
async fn a_wrong_method_is_a_problem_that_names_the_right_ones() {
    let world = World::new().await;
    for (line, allowed) in [
        ("POST /api/v1/status", "GET,HEAD"),
        ("GET /api/v1/tx", "POST"),
        ("BREW /livez", "GET,HEAD"),
        ("DELETE /api/v1/events", "GET,HEAD"),
    ] {
        let reply = world.ask(line, "", b"").await;
        reply.expect_problem(405, "wrong_method");
        assert_eq!(reply.header("allow"), Some(allowed), "{line}");
    }
}

// Who may ask.

#[tokio::test]
async fn a_write_needs_the_token() {
    let world = World::new().await;
    for headers in [
        "",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Bearer correct-horsf\r\n",
        "Authorization: Bearer correct-horse2\r\n",
        "Authorization: Basic correct-horse\r\n",
        "Authorization: \u{fe}\r\n",
    ] {
        for line in [
            "POST /api/v1/tx",
            "POST /api/v1/tasks",
            "GET /api/v1/devnet/cuts",
            "POST /api/v1/devnet/cuts",
            "DELETE /api/v1/devnet/cuts",
        ] {
            let reply = world.ask(line, headers, b"").await;
            reply.expect_problem(401, "unauthorized");
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
            assert!(reply.body.contains(TOKEN_FILE), "{}", reply.body);
            assert!(!reply.body.contains(TOKEN), "{}", reply.body);
        }
    }
}

#[tokio::test]
async fn a_host_that_is_a_foreign_name_is_refused() {
    let world = World::new().await;
    for host in ["localhost", "127.0.0.1:7700", "[::1]:7700", "10.0.0.1"] {
        assert_eq!(world.ask("GET /livez", &format!("Host: {host}\r\n"), b"").await.status, 200, "{host}");
    }
    for line in ["GET /livez", "GET /api/v1/status", "GET /nowhere", "POST /api/v1/tx"] {
        world.ask(line, "Host: evil.example\r\n", b"").await.expect_problem(403, "foreign_host");
    }
    world.ask("GET http://evil.example/livez", "", b"").await.expect_problem(403, "foreign_host");
    world.ask("GET /livez", "Host: 127.0.0.1\r\nHost: evil.example\r\n", b"").await.expect_problem(400, "bad_host");
    exchange(world.address, b"GET /livez HTTP/1.0\r\n\r\n").await.expect_problem(400, "bad_host");
}

#[tokio::test]
async fn a_write_from_a_page_of_another_origin_is_refused() {
    let world = World::new().await;
    let post = async |origin: &str| {
        let headers =
            format!("Authorization: Bearer {TOKEN}\r\nOrigin: {origin}\r\nContent-Type: application/octet-stream\r\n");
        world.ask("POST /api/v1/tx", &headers, b"a").await
    };
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "file://"] {
        post(origin).await.expect_problem(403, "foreign_origin");
    }
    assert_eq!(post(&format!("http://{}", world.address)).await.status, 202);
    assert_eq!(world.ask("GET /api/v1/status", "Origin: http://evil.example\r\n", b"").await.status, 200);
}

// Transactions.

#[tokio::test]
async fn a_transaction_is_taken_as_bytes_or_as_hex() {
    let world = World::new().await;
    let bytes = world.post_transaction("", b"a-transaction").await;
    assert_eq!((bytes.status, bytes.json()["state"].as_str()), (202, Some("pending")));
    assert_eq!(bytes.header("location"), Some(format!("/api/v1/tx/{}", hex(b'a')).as_str()));
    let json = world.write("POST /api/v1/tx", "Application/JSON; charset=utf-8", br#"{"transaction":"622D"}"#).await;
    assert_eq!((json.status, json.json()["id"].as_str()), (202, Some(hex(b'b').as_str())));
}

#[tokio::test]
async fn a_transaction_that_is_final_already_is_answered_as_such() {
    let world = World::new().await;
    assert_eq!(world.post_transaction("", b"a").await.status, 202);
    world.finalize(5);
    for query in ["", "?wait=finalized"] {
        let reply = world.post_transaction(query, b"a").await;
        assert_eq!((reply.status, reply.json()["height"].as_u64()), (200, Some(5)));
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_a_problem() {
    let world = World::new().await;
    for (content, body, status, code) in [
        ("application/json", r#"{"transaction":"0"}"#, 400, "bad_hex"),
        ("application/json", r#"{"transaction":"0x00"}"#, 400, "bad_hex"),
        ("application/json", r#"{"transaction":"00""#, 400, "bad_json"),
        ("application/json", r#"{"transaction":7}"#, 400, "bad_json"),
        ("application/json", r#"{"transaction":"00","wait":true}"#, 400, "bad_json"),
        ("application/json", "\u{0}", 400, "bad_json"),
        ("application/json", "", 400, "bad_json"),
        ("text/plain", "00", 415, "wrong_content"),
        ("", "00", 415, "wrong_content"),
    ] {
        world.write("POST /api/v1/tx", content, body.as_bytes()).await.expect_problem(status, code);
    }
}

#[tokio::test]
async fn deeply_nested_json_is_a_problem_and_no_crash() {
    let world = World::new().await;
    let body = "[".repeat(100_000);
    world.write("POST /api/v1/tx", "application/json", body.as_bytes()).await.expect_problem(400, "bad_json");
}

#[tokio::test]
async fn a_transaction_is_too_large_from_one_byte_beyond_the_limit() {
    let world = World::new().await;
    let bytes = vec![b'a'; api::TRANSACTION_BYTES_MAX + 1];
    assert_eq!(world.post_transaction("", &bytes[1..]).await.status, 202);
    world.post_transaction("", &bytes).await.expect_problem(413, "too_large");
    let json = |bytes: &[u8]| format!(r#"{{"transaction":"{}"}}"#, "61".repeat(bytes.len())).into_bytes();
    assert_eq!(world.write("POST /api/v1/tx", "application/json", &json(&bytes[1..])).await.status, 202);
    let reply = world.write("POST /api/v1/tx", "application/json", &json(&bytes)).await;
    reply.expect_problem(413, "too_large");
    world.post_transaction("", &vec![b'a'; 200_000]).await.expect_problem(413, "too_large");
}

#[tokio::test]
async fn a_transaction_may_carry_the_largest_payload() {
    let world = World::new().await;
    assert_eq!(world.post_transaction("", &vec![b'a'; 68 * 1024]).await.status, 202);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_bounded_too() {
    let world = World::new().await;
    let head = format!(
        "POST /api/v1/tx HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: \
         application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n30000\r\n",
        world.address
    );
    let reply = exchange(world.address, &[head.as_bytes(), &vec![b'a'; 0x30000]].concat()).await;
    reply.expect_problem(413, "too_large");
}

#[tokio::test]
async fn a_refusal_is_answered_by_its_class() {
    let world = World::new().await;
    for (first, status) in [(b"0", 422), (b"1", 409), (b"2", 503), (b"3", 404), (b"4", 403)] {
        let reply = world.post_transaction("?wait=finalized", first).await;
        reply.expect_problem(status, "told_to");
        assert_eq!(reply.header("retry-after").is_some(), status == 503);
    }
}

#[tokio::test]
async fn waiting_ends_when_the_transaction_is_final() {
    let world = World::new().await;
    let both = async {
        world.taken(1).await;
        world.log.push(1, EventKind::Finalized { height: 1, digest: String::new(), transactions: 0 });
        world.log.push(2, node_heard());
        world.log.push(3, EventKind::Finalized { height: 2, digest: String::new(), transactions: 1 });
        world.finalize(3);
    };
    let (reply, ()) = tokio::join!(world.post_transaction("?wait=finalized&timeout=1m", b"a"), both);
    assert_eq!((reply.status, reply.json()["state"].as_str()), (200, Some("finalized")));
    assert_eq!(reply.json()["height"], 3);
}

#[tokio::test]
async fn waiting_survives_events_that_were_missed() {
    let world = World::new().await;
    let both = async {
        world.taken(1).await;
        world.finalize(3);
        // The ring holds four, so the block is gone before the waiter looks.
        for time in 0..5 {
            world.log.push(time, node_heard());
        }
    };
    let (reply, ()) = tokio::join!(world.post_transaction("?wait=finalized&timeout=1m", b"a"), both);
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn waiting_in_vain_is_answered_as_pending() {
    let world = World::new().await;
    for limit in ["0ms", "50ms"] {
        let reply = world.post_transaction(&format!("?wait=finalized&timeout={limit}"), b"a").await;
        assert_eq!((reply.status, reply.json()["state"].as_str()), (202, Some("pending")));
    }
}

#[tokio::test]
async fn waiting_for_a_transaction_that_was_dropped_says_so() {
    let world = World::new().await;
    let both = async {
        world.taken(1).await;
        world.drop_transactions();
    };
    let (reply, ()) = tokio::join!(world.post_transaction("?wait=finalized&timeout=1s", b"a"), both);
    reply.expect_problem(409, "transaction_dropped");
}

#[tokio::test]
async fn what_cannot_be_waited_for_is_refused_before_anything_is_submitted() {
    let world = World::new().await;
    for query in [
        "?wait=certain",
        "?wait=finalized&timeout=5",
        "?wait=finalized&timeout=61s",
        "?timeout=5s",
        "?wiat=finalized",
        "?wait=finalized&wait=finalized",
    ] {
        world.post_transaction(query, b"a").await.expect_problem(400, "bad_query");
    }
    assert_eq!(world.submitted.available_permits(), 0);
}

// A validator that is slow.

#[tokio::test]
async fn a_full_mailbox_is_busy_and_says_when_to_come_back() {
    let world = World::with("x", Node::Sleeps, Limits::default()).await;
    let (reply, _answer) = tokio::sync::oneshot::channel();
    world.requests.try_send(api::Request::Cuts { reply }).expect("room for one");
    for reply in [world.get("/api/v1/blocks/latest").await, world.post_transaction("", b"a").await] {
        reply.expect_problem(503, "busy");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    assert_eq!(world.get("/api/v1/why").await.status, 200);
}

#[tokio::test]
async fn a_validator_that_does_not_answer_is_not_waited_for_for_ever() {
    let limits = Limits { answer_timeout: SHORT, ..Limits::default() };
    let world = World::with("x", Node::Hangs, limits).await;
    world.get("/api/v1/blocks/latest").await.expect_problem(503, "no_answer");
    world.post_transaction("?wait=finalized", b"a").await.expect_problem(503, "no_answer");
}

// Events.

#[tokio::test]
async fn events_arrive_as_they_happen() {
    let world = World::new().await;
    world.log.push(1, node_heard());
    let mut events = Events::open(world.address, "", "").await;
    world.finalize(1);
    events.expect(2, "finalized").await;
    world.log.push(3, node_heard());
    events.expect(3, "node_heard").await;
}

#[tokio::test]
async fn events_resume_after_the_offset_seen_last() {
    let world = World::new().await;
    for time in 1..=3 {
        world.log.push(time, node_heard());
    }
    for (query, headers) in [("?since=1", ""), ("", "Last-Event-ID: 1\r\n"), ("?since=0", "Last-Event-ID: 1\r\n")] {
        let mut events = Events::open(world.address, query, headers).await;
        events.expect(2, "node_heard").await;
        events.expect(3, "node_heard").await;
    }
}

#[tokio::test]
async fn events_of_tasks_are_told_and_resumed_like_all_others() {
    let world = World::new().await;
    for (time, kind) in [node_heard(), task_changed(), commit_rejected()].into_iter().enumerate() {
        world.log.push(time as u64, kind);
    }
    let mut events = Events::open(world.address, "", "Last-Event-ID: 1\r\n").await;
    events.expect(2, "task_changed").await;
    let frame = events.next().await;
    let data = frame.lines().find_map(|line| line.strip_prefix("data: ")).expect("an event has data");
    let event: api::Event = serde_json::from_str(data).expect("an event");
    assert_eq!((event.offset, event.kind), (3, commit_rejected()));
}

#[tokio::test]
async fn only_the_kinds_asked_for_arrive_under_the_offsets_of_all() {
    let world = World::new().await;
    for kind in [node_heard(), task_changed(), node_heard()] {
        world.log.push(1, kind);
    }
    let mut events = Events::open(world.address, "?kinds=finalized,task_changed&since=0", "").await;
    events.expect(2, "task_changed").await;
    world.log.push(1, commit_rejected());
    world.finalize(1);
    events.expect(5, "finalized").await;
    let mut one = Events::open(world.address, "?kinds=commit_rejected", "Last-Event-ID: 1\r\n").await;
    one.expect(4, "commit_rejected").await;
}

#[tokio::test]
async fn events_that_were_missed_are_counted_whatever_kind_was_asked_for() {
    let world = World::new().await;
    for _ in 1..=7 {
        world.log.push(1, node_heard());
    }
    world.log.push(1, task_changed());
    let mut events = Events::open(world.address, "?kinds=task_changed&since=1", "").await;
    assert_eq!(events.next().await, "event: missed\ndata: {\"missed\":3}\n\n");
    events.expect(8, "task_changed").await;
}

#[tokio::test]
async fn a_kind_that_does_not_exist_is_refused_with_those_that_do() {
    let world = World::new().await;
    for kinds in ["finalised", "", "finalized,", "missed", "finalized,%20task_changed"] {
        let reply = world.get(&format!("/api/v1/events?kinds={kinds}")).await;
        reply.expect_problem(400, "bad_kinds");
        for name in EventKind::NAMES {
            assert!(reply.body.contains(name), "{}", reply.body);
        }
    }
}

#[tokio::test]
async fn events_that_were_dropped_are_counted_as_missed() {
    let world = World::new().await;
    for time in 1..=7 {
        world.log.push(time, node_heard());
    }
    let mut events = Events::open(world.address, "?since=1", "").await;
    assert_eq!(events.next().await, "event: missed\ndata: {\"missed\":2}\n\n");
    for offset in 4..=7 {
        events.expect(offset, "node_heard").await;
    }
}

#[tokio::test]
async fn events_from_before_a_restart_begin_anew() {
    let world = World::new().await;
    world.log.push(1, node_heard());
    let mut events = Events::open(world.address, "?since=900", "").await;
    assert_eq!(events.next().await, "event: missed\ndata: {\"missed\":0}\n\n");
    events.expect(1, "node_heard").await;
}

#[tokio::test]
async fn an_offset_that_is_no_number_is_refused() {
    let world = World::new().await;
    world.get("/api/v1/events?since=now").await.expect_problem(400, "bad_offset");
    world.ask("GET /api/v1/events", "Last-Event-ID: \u{fe}\r\n", b"").await.expect_problem(400, "bad_offset");
    world.get("/api/v1/events?form=1").await.expect_problem(400, "bad_query");
}

#[tokio::test]
async fn a_quiet_stream_shows_that_it_lives() {
    let limits = Limits { keep_alive: Duration::from_millis(20), ..Limits::default() };
    let world = World::with("x", Node::Answers, limits).await;
    let mut events = Events::open(world.address, "", "").await;
    for _ in 0..3 {
        assert_eq!(events.next().await, ":\n\n");
    }
}

#[tokio::test]
async fn a_stream_too_many_is_refused_until_another_ends() {
    let world = World::with("x", Node::Answers, Limits { streams_max: 1, ..Limits::default() }).await;
    let first = Events::open(world.address, "", "").await;
    world.get("/api/v1/events").await.expect_problem(503, "streams_full");
    drop(first);
    // The server notices a closed connection at its next look, so ask until it has.
    patient(async {
        let head = format!("GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", world.address);
        loop {
            let mut stream = send(world.address, head.as_bytes()).await;
            let mut start = [0; 12];
            stream.read_exact(&mut start).await.expect("an answer");
            if &start == b"HTTP/1.1 200" {
                return;
            }
        }
    })
    .await;
}

// Faults.

#[tokio::test]
async fn cuts_are_made_listed_and_healed_on_a_devnet() {
    let world = World::new().await;
    let json = "application/json";
    let made = world.write("POST /api/v1/devnet/cuts", json, br#"{"inbound":["n1"],"ttl_ms":60000}"#).await;
    assert_eq!((made.status, made.json()["schema"].as_str()), (201, Some("unsplit.cut/1")));
    let cut: api::Cut = serde_json::from_str(&made.body).expect("a cut");
    assert_eq!((cut.id, cut.inbound, cut.remaining_ms), (3, vec!["n1".to_string()], 60_000));
    let all = world.write("GET /api/v1/devnet/cuts", json, b"").await.json();
    assert_eq!((all["schema"].as_str(), all["cuts"][0]["id"].as_u64()), (Some("unsplit.cuts/1"), Some(3)));
    for line in ["DELETE /api/v1/devnet/cuts/3", "DELETE /api/v1/devnet/cuts"] {
        let healed = world.write(line, json, b"").await;
        assert_eq!((healed.status, healed.json()["healed"].as_u64()), (200, Some(1)), "{line}");
    }
    world.write("DELETE /api/v1/devnet/cuts/4", json, b"").await.expect_problem(404, "cut_not_found");
    world.write("DELETE /api/v1/devnet/cuts/x", json, b"").await.expect_problem(400, "bad_cut");
    world.write("PUT /api/v1/devnet/cuts", json, b"").await.expect_problem(405, "wrong_method");
}

#[tokio::test]
async fn a_cut_names_peers_and_ends_by_itself() {
    let world = World::new().await;
    for (body, status, code) in [
        (r#"{"inbound":["n1"],"ttl_ms":0}"#, 422, "bad_ttl"),
        (r#"{"inbound":["n1"],"ttl_ms":3600001}"#, 422, "bad_ttl"),
        (r#"{"inbound":[],"ttl_ms":1000}"#, 422, "empty_cut"),
        (r#"{"inbound":["n1"]}"#, 400, "bad_json"),
        (r#"{"inbuond":["n1"],"ttl_ms":1}"#, 400, "bad_json"),
    ] {
        world.write("POST /api/v1/devnet/cuts", "application/json", body.as_bytes()).await.expect_problem(status, code);
    }
    world.write("POST /api/v1/devnet/cuts", "text/plain", b"{}").await.expect_problem(415, "wrong_content");
}

#[tokio::test]
async fn other_chains_have_no_faults_even_for_who_has_the_token() {
    let world = World::with("unsplit-main-1", Node::Answers, Limits::default()).await;
    for line in ["GET", "POST", "DELETE", "PUT"] {
        for path in ["/api/v1/devnet/cuts", "/api/v1/devnet/cuts/3"] {
            let reply = world.write(&format!("{line} {path}"), "application/json", b"").await;
            reply.expect_problem(404, "no_such_route");
        }
    }
}

// Callers that take too much.

#[tokio::test]
async fn a_caller_that_never_finishes_its_header_is_cut_off() {
    let limits = Limits { header_timeout: SHORT, connections_max: 1, ..Limits::default() };
    let world = World::with("x", Node::Answers, limits).await;
    for start in ["", "GET", "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n"] {
        let slow = send(world.address, start.as_bytes()).await;
        // There is room for one connection: this answer can only come once the slow one is gone.
        assert_eq!(world.get("/livez").await.status, 200);
        assert_eq!(read_all(slow).await, "");
    }
}

#[tokio::test]
async fn a_connection_too_many_waits_until_another_ends() {
    let limits = Limits { connections_max: 1, keep_alive: Duration::from_millis(20), ..Limits::default() };
    let world = World::with("x", Node::Answers, limits).await;
    let mut first = Events::open(world.address, "", "").await;
    let second = send(world.address, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    // Ten signs of life on the first are time enough for an answer on the second, were it served.
    for _ in 0..10 {
        first.next().await;
    }
    let nothing = second.try_read(&mut [0; 16]).expect_err("no answer yet");
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    drop(first);
    assert!(read_all(second).await.ends_with("ok\n"));
}

#[tokio::test]
async fn a_caller_that_rests_between_requests_is_cut_off() {
    let world = World::with("x", Node::Answers, Limits { header_timeout: SHORT, ..Limits::default() }).await;
    let idle = send(world.address, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(read_all(idle).await.ends_with("ok\n"));
}

#[tokio::test]
async fn a_caller_that_never_finishes_its_body_is_told_so() {
    let world = World::with("x", Node::Answers, Limits { body_timeout: SHORT, ..Limits::default() }).await;
    let head = format!(
        "POST /api/v1/tx HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: \
         application/octet-stream\r\nContent-Length: 10\r\n\r\nabc"
    );
    exchange(world.address, head.as_bytes()).await.expect_problem(408, "slow_body");
}

#[tokio::test]
async fn a_caller_that_takes_no_answer_is_cut_off() {
    let limits = Limits { write_timeout: SHORT, connections_max: 1, ..Limits::default() };
    let world = World::with("x", Node::Answers, limits).await;
    // More than any socket buffers.
    world.snapshot.send_modify(|snapshot| Arc::make_mut(snapshot).status.why = "y".repeat(64 << 20));
    let deaf = send(world.address, b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(world.get("/livez").await.status, 200);
    drop(deaf);
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let world = World::new().await;
    let many = "X-A: b\r\n".repeat(100);
    let long = format!("X-A: {}\r\n", "b".repeat(20_000));
    for headers in [many, long] {
        let head = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        assert_eq!(exchange(world.address, head.as_bytes()).await.status, 431);
    }
}

#[tokio::test]
async fn an_endless_header_is_cut_off() {
    use tokio::io::AsyncWriteExt as _;
    let world = World::new().await;
    let mut stream = send(world.address, b"GET /livez HTTP/1.1\r\nX-A: ").await;
    // Ends with an error once the server has closed.
    patient(async { while stream.write_all(&[b'b'; 4096]).await.is_ok() {} }).await;
}

#[tokio::test]
async fn bytes_that_are_no_http_are_refused() {
    let world = World::new().await;
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\0\r\n\r\n"]
    {
        let answer = read_all(send(world.address, bytes).await).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(world.get("/livez").await.status, 200);
}

// Validators.

#[tokio::test]
async fn a_validator_is_shown_by_name_and_an_unknown_one_is_not_found() {
    let world = World::new().await;
    assert_eq!(world.get("/api/v1/nodes/n1").await.json()["node"]["name"], "n1");
    world.get("/api/v1/nodes/nobody").await.expect_problem(404, "unknown_validator");
    assert_eq!(world.get("/api/v1/balance").await.json()["schema"], "unsplit.balance/1");
}

#[tokio::test]
async fn a_change_of_the_set_of_validators_is_looked_at_by_names() {
    let world = World::new().await;
    let view = world.get("/api/v1/validators?leave=n1,n2&remove=n3&join=n5,n6&rotate=n1:n7").await.json();
    assert_eq!(view["next"], serde_json::json!(["n5", "n6"]));
    assert_eq!(
        (&view["validators"], &view["foreseen"]),
        (&serde_json::json!(["n1", "n2"]), &serde_json::json!(["n3"]))
    );
    assert_eq!(world.get("/api/v1/validators").await.json()["validators"], serde_json::json!([]));
    world.get("/api/v1/validators?marry=n1").await.expect_problem(400, "bad_query");
    world.get("/api/v1/validators?rotate=n1").await.expect_problem(400, "bad_query");
}

#[tokio::test]
async fn a_validator_approves_with_its_token_only() {
    let world = World::new().await;
    let route = "POST /api/v1/approve";
    world.ask(route, "", br#"{"node":"n5"}"#).await.expect_problem(401, "unauthorized");
    world.write(route, "application/json", br#"{"name":"n5"}"#).await.expect_problem(400, "bad_json");
    let reply = world.write(route, "application/json", br#"{"node":"n5"}"#).await;
    assert_eq!((reply.status, &reply.json()["id"]), (202, &serde_json::json!("n5")));
}

#[tokio::test]
async fn a_validator_is_drained_and_leaves_with_its_token_only() {
    let world = World::new().await;
    for (route, id) in [("drain", "d"), ("undrain", "u"), ("leave", "l"), ("stay", "s")] {
        world.ask(&format!("POST /api/v1/{route}"), "", b"").await.expect_problem(401, "unauthorized");
        let reply = world.write(&format!("POST /api/v1/{route}"), "application/json", b"").await;
        assert_eq!((reply.status, &reply.json()["id"]), (202, &serde_json::json!(id)));
    }
}

#[tokio::test]
async fn a_restart_is_wanted_with_a_token_only() {
    let world = World::new().await;
    let route = "POST /api/v1/nodes/n1/recovery";
    world.ask(route, "", b"").await.expect_problem(401, "unauthorized");
    let reply = world.write(route, "application/json", b"").await;
    assert_eq!((reply.status, &reply.json()["node"]), (202, &serde_json::json!("n1")));
}

#[tokio::test]
async fn releases_are_proposed_with_a_token_and_as_a_whole_list() {
    let world = World::new().await;
    let route = "POST /api/v1/certified";
    world.ask(route, "", b"").await.expect_problem(401, "unauthorized");
    let reply = world.write(route, "application/json", br#"{"programs":["ab"]}"#).await;
    assert_eq!((reply.status, &reply.json()["id"]), (202, &serde_json::json!("ab")));
    world.write(route, "text/plain", b"ab").await.expect_problem(415, "wrong_content");
    world.write(route, "application/json", br#"{"program":["ab"]}"#).await.expect_problem(400, "bad_json");
}

#[tokio::test]
async fn an_ailment_says_how_and_for_how_long() {
    let world = World::with("devnet-x", Node::Answers, Limits::default()).await;
    for (body, status, code) in [
        (&br#"{"illness":"slow_disk","delay_ms":500,"ttl_ms":1000}"#[..], 201, ""),
        (br#"{"illness":"slow_disk","ttl_ms":0}"#, 422, "bad_ttl"),
        (br#"{"illness":"tired","ttl_ms":1000}"#, 400, "bad_json"),
        (br#"{"ttl_ms":1000}"#, 400, "bad_json"),
    ] {
        let reply = world.write("POST /api/v1/devnet/ailments", "application/json", body).await;
        match status {
            201 => assert_eq!((reply.status, &reply.json()["delay_ms"]), (201, &serde_json::json!(500))),
            _ => reply.expect_problem(status, code),
        }
    }
}

// Starting and stopping.

#[tokio::test]
async fn stopping_finishes_what_waits_and_ends_the_streams() {
    let limits = Limits { grace: Duration::from_secs(60), ..Limits::default() };
    let world = World::with("x", Node::Answers, limits).await;
    let address = world.address;
    let events = Events::open(address, "", "").await;
    let idle = TcpStream::connect(address).await.expect("the server listens");
    let head = format!(
        "POST /api/v1/tx?wait=finalized&timeout=1m HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \
         {TOKEN}\r\nContent-Type: application/octet-stream\r\nContent-Length: 1\r\n\r\na"
    );
    let waiting = send(address, head.as_bytes()).await;
    world.taken(1).await;
    world.stop().await;
    assert!(read_all(waiting).await.starts_with("HTTP/1.1 202"));
    assert!(events.rest().await.ends_with("0\r\n\r\n"), "the stream ends as it should");
    assert_eq!(read_all(idle).await, "");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn stopping_does_not_wait_for_a_validator_that_hangs() {
    let limits = Limits { grace: SHORT, answer_timeout: Duration::from_secs(600), ..Limits::default() };
    let world = World::with("x", Node::Hangs, limits).await;
    let _asked = send(world.address, b"GET /api/v1/blocks/latest HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    world.stop().await;
}

#[tokio::test]
async fn serving_beyond_loopback_or_without_a_token_is_refused() {
    for (address, token, says) in [("0.0.0.0:0", TOKEN, "loopback"), ("127.0.0.1:0", "", TOKEN_FILE)] {
        let listener = tokio::net::TcpListener::bind(address).await.expect("a free port");
        let (_snapshot, seen) = tokio::sync::watch::channel(Arc::new(snapshot("x")));
        let (requests, _mailbox) = tokio::sync::mpsc::channel(1);
        let events = api::EventLog::new(1);
        let backend = api::Backend { snapshot: seen, requests, events, metrics: Arc::new(String::new) };
        let refused = api::serve(listener, backend, Settings::new(token, TOKEN_FILE), std::future::pending()).await;
        assert!(refused.is_err_and(|error| error.to_string().contains(says)));
    }
}
