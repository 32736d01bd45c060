//! The description of the API, held against the API.

use crate::world::World;
use api::{
    AccountView, Affliction, AilmentView, Approval, BalanceView, BlockView, CandidateView, CauseView, CertifiedView,
    ChangeView, Content, Course, Cut, CutRequest, Cuts, DamageView, Departing, Duty, EpisodeView, Event, EventKind,
    Finality, Healed, Illness, LinkView, LoadView, MatrixView, Missed, Missing, NetworkState, NodeRow, NodeView, Nodes,
    PartitionsView, Problem, ProposalView, RecoveryView, Releases, RepairView, SideView, Snapshot, SnapshotView,
    Standing, Status, StoreStatus, Submission, Submitted, SubmittedTask, SuspicionView, SyncView, TaskCounts,
    TaskResult, TaskState, TaskSubmissions, TaskView, Tasks, TasksProblem, TransactionState, TransactionStatus,
    TransactionView, ValidatorsView, Why,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Every address there is, with what may be done there.
const ADDRESSES: &[(&str, &[&str])] = &[
    ("/api/v1/accounts/{id}", &["get"]),
    ("/api/v1/approve", &["post"]),
    ("/api/v1/balance", &["get"]),
    ("/api/v1/blocks/{at}", &["get"]),
    ("/api/v1/certified", &["get", "post"]),
    ("/api/v1/devnet/ailments", &["delete", "post"]),
    ("/api/v1/devnet/cuts", &["delete", "get", "post"]),
    ("/api/v1/devnet/cuts/{id}", &["delete"]),
    ("/api/v1/drain", &["post"]),
    ("/api/v1/events", &["get"]),
    ("/api/v1/leave", &["post"]),
    ("/api/v1/matrix", &["get"]),
    ("/api/v1/nodes", &["get"]),
    ("/api/v1/nodes/{name}", &["get"]),
    ("/api/v1/nodes/{name}/recovery", &["post"]),
    ("/api/v1/openapi.json", &["get"]),
    ("/api/v1/partitions", &["get"]),
    ("/api/v1/snapshot", &["get"]),
    ("/api/v1/status", &["get"]),
    ("/api/v1/stay", &["post"]),
    ("/api/v1/sync", &["get"]),
    ("/api/v1/tasks", &["get", "post"]),
    ("/api/v1/tasks/{id}", &["get"]),
    ("/api/v1/tx", &["post"]),
    ("/api/v1/tx/{id}", &["get"]),
    ("/api/v1/undrain", &["post"]),
    ("/api/v1/validators", &["get"]),
    ("/api/v1/why", &["get"]),
    ("/healthz", &["get"]),
    ("/livez", &["get"]),
    ("/metrics", &["get"]),
    ("/readyz", &["get"]),
];

fn document() -> Value {
    serde_json::from_str(&api::openapi()).expect("a document is JSON")
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}"))
}

/// Every operation with its method and address.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = object(&document["paths"]).iter();
    let all = paths.flat_map(|(path, item)| object(item).iter().map(move |(verb, it)| (format!("{verb} {path}"), it)));
    all.collect()
}

#[tokio::test]
async fn the_document_is_served_as_it_is_published() {
    let reply = World::new().await.get("/api/v1/openapi.json").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert_eq!(reply.body, api::openapi());
    assert_eq!(reply.json()["openapi"], "3.1.0");
}

#[tokio::test]
async fn what_is_described_is_what_is_offered() {
    let document = document();
    let described: Vec<_> = operations(&document).into_iter().map(|(line, _)| line).collect();
    let lines = |(path, verbs): &(&str, &[&str])| verbs.iter().map(|verb| format!("{verb} {path}")).collect::<Vec<_>>();
    assert_eq!(described, ADDRESSES.iter().flat_map(lines).collect::<Vec<_>>());

    let world = World::new().await;
    for (path, verbs) in ADDRESSES {
        let path = path.replace("{at}", "latest").replace("{id}", "5").replace("{name}", "n1");
        for verb in ["delete", "get", "patch", "post", "put"] {
            // A page of another origin: writes end at the guard, and the endless stream is never begun.
            let query = if path.ends_with("events") { "?since=now" } else { "" };
            let line = format!("{} {path}{query}", verb.to_uppercase());
            let reply = world.ask(&line, "Origin: null\r\n", b"").await;
            let offered = !reply.body.contains("no_such_route") && !reply.body.contains("wrong_method");
            let guarded = path.contains("/devnet/");
            assert_eq!(offered, guarded || verbs.contains(&verb), "{line}: {}", reply.body);
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 30, "{found:?}");
    for reference in found {
        let place = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        assert!(place.is_some(), "{reference}");
    }
}

#[test]
fn every_operation_says_what_it_does_under_a_name_of_its_own() {
    let document = document();
    let tags: Vec<_> = document["tags"].as_array().expect("tags").iter().map(|tag| &tag["name"]).collect();
    let mut names = BTreeSet::new();
    for (line, operation) in operations(&document) {
        assert!(names.insert(operation["operationId"].as_str().expect("a name")), "{line}");
        assert!(operation["summary"].as_str().is_some_and(|summary| summary.ends_with('.')), "{line}");
        assert!(tags.contains(&&operation["tags"][0]), "{line}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{line}: {parameter}");
        }
    }
}

#[tokio::test]
async fn who_needs_the_token_is_told_so() {
    let document = document();
    let world = World::new().await;
    for (line, operation) in operations(&document) {
        let guarded = operation.get("security").is_some();
        assert_eq!(operation["responses"].get("401").is_some(), guarded, "{line}");
        if guarded {
            let (verb, path) = line.split_once(' ').expect("a verb and a path");
            let line = format!("{} {}", verb.to_uppercase(), path.replace("{id}", "3"));
            world.ask(&line, "", b"").await.expect_problem(401, "unauthorized");
        } else {
            assert!(line.starts_with("get "), "{line} writes without a token");
        }
    }
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
}

#[test]
fn every_problem_is_one_and_says_when_to_come_back() {
    let document = document();
    for (line, operation) in operations(&document) {
        let responses = object(&operation["responses"]);
        assert!(responses.keys().any(|status| status.starts_with('2')), "{line}");
        for (status, response) in responses.iter().filter(|(status, _)| !status.starts_with('2')) {
            let response = match response["$ref"].as_str() {
                Some(reference) => document.pointer(&reference[1..]).expect("it leads somewhere"),
                None => response,
            };
            assert!(response["content"]["application/problem+json"].is_object(), "{line} {status}");
            assert_eq!(response["headers"]["Retry-After"].is_object(), status == "503", "{line} {status}");
        }
    }
}

// Documents and their schemas.

/// The schemas of which a value has to fit one: references followed, `oneOf` taken apart, `allOf` joined.
fn choices(schema: &Value, document: &Value) -> Vec<Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        return choices(document.pointer(&reference[1..]).expect("it leads somewhere"), document);
    }
    if let Some(any) = schema["oneOf"].as_array() {
        return any.iter().flat_map(|schema| choices(schema, document)).collect();
    }
    let Some(all) = schema["allOf"].as_array() else { return vec![schema.clone()] };
    let nothing = json!({"type": "object", "properties": {}, "required": []});
    all.iter().fold(vec![nothing], |joined, schema| {
        let more = choices(schema, document);
        joined.iter().flat_map(|one| more.iter().map(|other| join(one, other))).collect()
    })
}

/// What has the members of both.
fn join(one: &Value, other: &Value) -> Value {
    let mut properties = object(&one["properties"]).clone();
    properties.extend(object(&other["properties"]).clone());
    let required: Vec<_> = [one, other].iter().filter_map(|it| it["required"].as_array()).flatten().collect();
    json!({"type": "object", "properties": properties, "required": required})
}

/// Whether the value is what the schema says, with all it requires and nothing it does not name.
fn fits(value: &Value, schema: &Value, document: &Value) -> bool {
    let fitting = choices(schema, document).iter().filter(|choice| fits_choice(value, choice, document)).count();
    assert!(fitting < 2, "{value} may be either of {fitting}");
    fitting == 1
}

fn fits_choice(value: &Value, schema: &Value, document: &Value) -> bool {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = &schema["type"];
    if kinds != kind && !kinds.as_array().is_some_and(|kinds| kinds.contains(&kind.into())) {
        return false;
    }
    if schema["enum"].as_array().is_some_and(|allowed| !allowed.contains(value)) {
        return false;
    }
    match value {
        Value::Array(items) => items.iter().all(|item| fits(item, &schema["items"], document)),
        Value::Object(members) => {
            let mut required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let properties = &schema["properties"];
            let named = |(name, member)| properties.get(name).is_some_and(|schema| fits(member, schema, document));
            required.all(|name| members.contains_key(name)) && members.iter().all(named)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

fn text() -> String {
    "text".to_string()
}

fn full_task() -> TaskView {
    let result = TaskResult { content: Some(Content::of(b"\xff")), kept_at: Some(text()), ..TaskResult::default() };
    TaskView {
        holder: Some(text()),
        token: Some(1),
        until_height: Some(1),
        left_ms: Some(1),
        region: Some(text()),
        finished_height: Some(1),
        reason: Some(text()),
        payload: Some(Content::of(b"text")),
        result: Some(result),
        ..TaskView::default()
    }
}

fn full_snapshot() -> Snapshot {
    let missing = vec![Missing { since_ms: Some(1), ..Missing::default() }];
    let causes = vec![CauseView { nodes: vec![text()], ..CauseView::default() }];
    let reachable = vec![text()];
    let why = Why { fix: Some(text()), halted_since_ms: Some(1), missing, reachable, causes, ..Why::default() };
    let node = NodeRow {
        silent_ms: Some(1),
        missing_since_ms: Some(1),
        duty: Some(Duty::Voting),
        height: Some(1),
        version: Some(text()),
        problem: Some(text()),
        reason: Some(text()),
        trial_left: Some(1),
        suspected_by: vec![text()],
        rtt_us: Some(1),
        clock_ahead_ms: Some(-1),
        disk_ms: Some(1),
        lag_ms: Some(1),
        running: Some(1),
        ailments: vec![AilmentView::default()],
        votes_from: Some(1),
        votes_until: Some(2),
        ..NodeRow::default()
    };
    let store = StoreStatus { out_of_reach: Some(1), scrubbed_ms: Some(1), ..StoreStatus::default() };
    let sync = SyncView {
        left_ms: Some(1),
        offers: Some(1),
        snapshot: Some(SnapshotView::default()),
        failed: Some(text()),
        ..SyncView::default()
    };
    let status = Status { last_signed_ms_ago: Some(1), slack: -1, store, sync, ..Status::default() };
    Snapshot { status, nodes: vec![node], why, not_ready: Some(text()), ..Snapshot::default() }
}

fn every_kind() -> Vec<EventKind> {
    let (node, fault) = (text(), text());
    vec![
        EventKind::Finalized { height: 1, digest: text(), transactions: 1 },
        EventKind::FinalityChanged { finality: Finality::Live, why: text() },
        EventKind::StateChanged { state: NetworkState::Normal, why: text() },
        EventKind::SlackChanged { slack: -1, floor: 0, alarm: true, why: text() },
        EventKind::NodeHeard { node: text() },
        EventKind::NodeSilent { node: text() },
        EventKind::DutyChanged { duty: Duty::Voting, reason: text() },
        EventKind::PeerBlocked { node, component: text(), grounds: text(), ttl_ms: 1 },
        EventKind::FaultInjected { fault: text() },
        EventKind::FaultEnded { fault },
        EventKind::PartitionChanged { sentence: text() },
        EventKind::StoreDamaged {
            part: text(),
            damage: text(),
            from: Some(1),
            to: Some(2),
            kept: Some(text()),
            what: text(),
        },
        EventKind::StoreRepaired { part: text(), from: 1, to: 2, count: 2 },
        EventKind::StoreOutOfReach { height: 1 },
        EventKind::SyncChanged { course: Course::Blocks, height: 1, target: 2, why: text() },
        EventKind::SnapshotTaken { height: 1, bytes: 1, pieces: 1, took_ms: 1 },
        EventKind::RecoveryWanted { node: text(), reason: text() },
        EventKind::NodeAiling { node: text(), ailments: vec![AilmentView::default()] },
        EventKind::StandingChanged {
            node: text(),
            standing: Standing::Unresponsive,
            reason: Some(text()),
            accusers: vec![text()],
            network_event: true,
            height: 1,
        },
        EventKind::SetDecided {
            epoch: 1,
            validators: 4,
            going: vec![Departing::default()],
            coming: vec![text()],
            postponed: vec![departing()],
        },
        EventKind::EpochBegan { epoch: 1, validators: 4, gone: vec![text()], came: vec![text()] },
        EventKind::JoinRequested { node: text(), key: text() },
        EventKind::Learner { node: text(), key: text() },
        EventKind::CaughtUp { node: text(), key: text() },
        EventKind::JoinEnded { node: text(), key: text(), reason: text() },
        EventKind::ScalingChanged { capacity: 1, desired: 2 },
        crate::task_changed(),
        crate::commit_rejected(),
    ]
}

fn candidate() -> CandidateView {
    CandidateView {
        replaces: Some(text()),
        approvals: vec![text()],
        learner_since: Some(1),
        level_at: Some(1),
        ..CandidateView::default()
    }
}

fn departing() -> Departing {
    Departing { node: text(), why: text(), postponed: Some(text()) }
}

fn full_node(node: NodeRow) -> NodeView {
    NodeView {
        node,
        suspicions: vec![SuspicionView::default()],
        changes: vec![ChangeView::default(), ChangeView { reason: Some(text()), ..ChangeView::default() }],
        dwell_ms: Some(1),
        risk: Some(1),
        advice: Some(text()),
        supervisor_asked_ms: Some(1),
        recovery_wanted: Some(text()),
        ..NodeView::default()
    }
}

/// Documents by the names of their schemas: as empty and as full as they come.
fn documents() -> BTreeMap<&'static str, Vec<Value>> {
    fn values<T: serde::Serialize>(documents: impl IntoIterator<Item = T>) -> Vec<Value> {
        documents.into_iter().map(|document| serde_json::to_value(document).expect("a document is JSON")).collect()
    }
    let transaction = TransactionView {
        to: Some(text()),
        amount: Some(1),
        task: Some(text()),
        number: Some(1),
        token: Some(1),
        result_sha256: Some(text()),
        node: Some(text()),
        reason: Some(text()),
        ..TransactionView::default()
    };
    let taken = SubmittedTask { task: Some(full_task()), problem: None };
    let refused = SubmittedTask { task: None, problem: Some(Problem::default()) };
    let both = vec![taken.clone(), refused.clone()];
    let cut = Cut { inbound: vec![text()], outbound: vec![text()], ..Cut::default() };
    let snapshot = full_snapshot();
    let result = full_task().result.expect("a full task has one");
    let event = |kind| Event { offset: 1, time_ms: 1, kind };
    let status = TransactionStatus { height: Some(1), halted: Some(text()), ..TransactionStatus::default() };
    BTreeMap::from([
        ("AccountView", values([AccountView::default()])),
        ("Affliction", values([Affliction::default(), Affliction { node: Some(text()), ..Affliction::default() }])),
        ("Approval", values([Approval { node: text() }])),
        ("AilmentView", values([AilmentView::default()])),
        ("BalanceView", {
            let full =
                BalanceView { loads: vec![LoadView::default()], oldest_pending_ms: Some(1), ..Default::default() };
            values([BalanceView::default(), full])
        }),
        ("BlockView", values([BlockView { transactions: vec![transaction.clone()], ..BlockView::default() }])),
        ("CauseView", values(snapshot.why.causes.clone())),
        ("CertifiedView", {
            let full = CertifiedView { proposals: vec![ProposalView::default()], ..CertifiedView::default() };
            values([CertifiedView::default(), full])
        }),
        ("ChangeView", values(full_node(NodeRow::default()).changes)),
        ("Content", values([Content::of(b"text"), Content::of(b"\xff")])),
        ("Course", values([Course::Live, Course::Blocks, Course::Snapshot])),
        ("Cut", values([Cut::default(), cut.clone()])),
        ("CutRequest", values([CutRequest { inbound: vec![text()], ..CutRequest::default() }])),
        ("Cuts", values([Cuts { cuts: vec![cut], ..Cuts::default() }])),
        ("DamageView", values([DamageView::default()])),
        ("CandidateView", values([CandidateView::default(), candidate()])),
        ("Departing", values([Departing::default(), departing()])),
        ("Duty", values([Duty::Voting, Duty::Observing])),
        ("EpisodeView", values([EpisodeView::default()])),
        ("Event", values(every_kind().into_iter().map(event))),
        ("EventKind", values(every_kind())),
        ("Finality", values([Finality::Starting, Finality::Live, Finality::Degraded, Finality::Halted])),
        ("Healed", values([Healed::default()])),
        ("Illness", values([Illness::WedgedExecutor, Illness::SlowDisk, Illness::FalseAccuser])),
        ("LinkView", values([LinkView::Alive, LinkView::Doubted, LinkView::Suspect])),
        ("LoadView", values([LoadView::default()])),
        ("MatrixView", values([MatrixView { rows: vec![vec![text()]], ..MatrixView::default() }])),
        ("Missed", values([Missed::default()])),
        ("Missing", values(snapshot.why.missing.clone())),
        ("NetworkState", {
            use NetworkState::{Normal, Partitioned, Recovering, UnderAttack};
            values([Normal, Recovering, Partitioned, UnderAttack])
        }),
        ("NodeRow", values([NodeRow::default(), snapshot.nodes[0].clone()])),
        ("NodeView", values([NodeView::default(), full_node(snapshot.nodes[0].clone())])),
        ("Nodes", values([Nodes { nodes: snapshot.nodes.clone(), ..Nodes::default() }])),
        ("PartitionsView", {
            let repair = RepairView { links: vec![[text(), text()]], ..RepairView::default() };
            let full = PartitionsView {
                sides: vec![SideView { nodes: vec![text()], class: text() }],
                damaged: vec![DamageView::default()],
                repair: Some(repair),
                history: vec![EpisodeView::default()],
                ..PartitionsView::default()
            };
            values([PartitionsView::default(), full])
        }),
        ("Problem", values([Problem::default()])),
        ("ProposalView", values([ProposalView::default()])),
        (
            "RecoveryView",
            values([RecoveryView::default(), RecoveryView { supervisor_asked_ms: Some(1), ..Default::default() }]),
        ),
        ("Releases", values([Releases { programs: vec![text()], models: vec![text()] }])),
        ("RepairView", values([RepairView { links: vec![[text(), text()]], ..RepairView::default() }])),
        ("SideView", values([SideView::default()])),
        ("Snapshot", values([Snapshot::default(), snapshot.clone()])),
        ("SnapshotView", values([SnapshotView::default()])),
        ("Standing", values([Standing::Active, Standing::Unresponsive, Standing::Trial])),
        ("Status", values([Status::default(), snapshot.status.clone()])),
        ("StoreStatus", values([StoreStatus::default(), snapshot.status.store])),
        ("Submission", values([Submission::default()])),
        ("Submitted", values([Submitted { tasks: both, ..Submitted::default() }])),
        ("SubmittedTask", values([taken, refused.clone()])),
        ("SuspicionView", values([SuspicionView::default()])),
        ("SyncView", values([SyncView::default(), snapshot.status.sync])),
        ("TaskCounts", values([TaskCounts::default()])),
        ("TaskResult", values([TaskResult::default(), result])),
        ("TaskState", {
            use TaskState::{Cancelled, Done, Failed, Leased, Pending};
            values([Pending, Leased, Done, Failed, Cancelled])
        }),
        ("TaskSubmissions", values([TaskSubmissions { transactions: vec![text()] }])),
        ("TaskView", values([TaskView::default(), full_task()])),
        ("Tasks", values([Tasks::default(), Tasks { tasks: vec![full_task()], next: Some(1), ..Tasks::default() }])),
        ("TasksProblem", {
            let problem = TasksProblem { tasks: vec![refused], ..TasksProblem::default() };
            values([TasksProblem::default(), problem])
        }),
        ("TransactionState", values([TransactionState::Pending, TransactionState::Finalized])),
        ("TransactionStatus", values([TransactionStatus::default(), status])),
        ("TransactionView", values([TransactionView::default(), transaction])),
        ("ValidatorsView", {
            let (next, going) = (Some(vec![text()]), vec![departing()]);
            let (coming, candidates) = (vec![text()], vec![candidate()]);
            let view = ValidatorsView { next, going, coming, candidates, ..ValidatorsView::default() };
            values([ValidatorsView::default(), view])
        }),
        ("Why", values([Why::default(), snapshot.why])),
    ])
}

#[tokio::test]
async fn every_document_is_as_its_schema_says() {
    let document = document();
    let mut documents = documents();
    let cut = br#"{"inbound":["n1"],"ttl_ms":60000}"#;
    let cut = World::new().await.write("POST /api/v1/devnet/cuts", "application/json", cut).await;
    documents.insert("NewCut", vec![cut.json()]);

    let schemas = object(&document["components"]["schemas"]);
    assert!(schemas.keys().eq(documents.keys()), "a schema without a document, or the other way round");
    for (name, values) in documents {
        let schema = &schemas[name];
        assert!(schema["description"].is_string(), "{name}");
        for value in values {
            assert!(fits(&value, schema, &document), "{name}: {value}");
        }
    }
}

#[test]
fn a_document_that_differs_from_its_schema_is_noticed() {
    let document = document();
    let schema = |name: &str| document["components"]["schemas"][name].clone();
    let whole = serde_json::to_value(full_task()).expect("a document is JSON");
    let changed = |change: fn(&mut Value)| {
        let mut value = whole.clone();
        change(&mut value);
        fits(&value, &schema("TaskView"), &document)
    };
    assert!(changed(|_| {}));
    assert!(!changed(|task| task["colour"] = "red".into()));
    assert!(!changed(|task| task["state"] = "running".into()));
    assert!(!changed(|task| task["number"] = "7".into()));
    assert!(!changed(|task| task["result"]["content"] = json!({"text": "", "hex": ""})));
    assert!(!changed(|task| drop(task.as_object_mut().expect("an object").remove("number"))));
    let event = json!({"offset": 1, "time_ms": 1, "event": "node_heard", "node": "n1"});
    assert!(fits(&event, &schema("Event"), &document));
    assert!(!fits(&json!({"event": "node_heard", "node": "n1"}), &schema("Event"), &document));
}
