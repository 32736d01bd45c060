//! Who may not do what: bad transactions, wrong tokens, faults on a chain that is none to play with, noise.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use ledger::{SecretKey, Signature, Transaction};

use crate::{
    http::{self, Request},
    network::{Devnet, Node, Solo, encoded, transfer, transfer_until},
    world::World,
};

const CUT: &str = r#"{"inbound":["n1"],"outbound":["n1"],"ttl_ms":60000}"#;

/// Hands in bytes that must be refused: with this status, this code, and a way to mend it.
#[track_caller]
fn check(node: &Node, bytes: &[u8], status: u16, code: &str) {
    let answer = node.submit(bytes, Some(&node.token));
    assert_eq!((answer.status, answer.code()), (status, code), "{:?}", answer.body);
    assert!(answer.body["help"].as_str().is_some_and(|help| !help.is_empty()), "{:?}", answer.body);
}

#[test]
fn bad_transactions_are_refused_by_name_and_good_ones_are_final_once() {
    let world = World::shared("transactions");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let mut process = solo.start();
    let (node, key) = (solo.node(), solo.account());
    let chain = node.chain_id();
    let good = transfer(&key, chain.clone(), 0);
    let bytes = encoded(&good);

    check(&node, b"", 422, "malformed");
    check(&node, b"nonsense", 422, "malformed");
    check(&node, &bytes[..bytes.len() - 1], 422, "malformed");
    check(&node, &[bytes.clone(), vec![0]].concat(), 422, "malformed");
    check(&node, &vec![0; 71 * 1024], 413, "too_large");
    check(&node, &encoded(&transfer(&key, "other-chain".parse().expect("a chain id"), 0)), 422, "wrong_chain");
    check(&node, &encoded(&transfer_until(&key, chain.clone(), 0, 1)), 409, "expired");
    check(&node, &encoded(&Transaction { signature: Signature([9; 64]), ..good.clone() }), 422, "bad_signature");
    let thief = Transaction { account: SecretKey::from_bytes([3; 32]).public(), ..good };
    check(&node, &encoded(&thief), 422, "bad_signature");

    // The same bytes, before and after they are final, are the same transaction.
    for _ in 0..2 {
        let answer = node.submit(&bytes, Some(&node.token));
        assert_eq!((answer.status, answer.body["state"].as_str()), (200, Some("finalized")), "{:?}", answer.body);
    }
    check(&node, &encoded(&transfer_until(&key, chain, 0, 1 << 40)), 409, "nonce_too_low");
    let account = node.ask(&format!("accounts/{}", key.public())).expect("an account");
    assert_eq!((account["nonce"].as_u64(), account["balance"].as_u64()), (Some(1), Some(999_999_999)));
    assert!(process.is_running());
    node.wait_for_blocks(2);
}

#[test]
fn a_write_needs_the_token_of_that_validator() {
    let world = World::shared("token");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let _process = solo.start();
    let (node, key) = (solo.node(), solo.account());
    let bytes = encoded(&transfer(&key, node.chain_id(), 0));
    for token in [None, Some("wrong"), Some("")] {
        let answer = node.submit(&bytes, token);
        assert_eq!((answer.status, answer.code()), (401, "unauthorized"), "{token:?}: {:?}", answer.body);
    }
    let wrong = world.path("wrong.token");
    std::fs::write(&wrong, "wrong\n").expect("our own folder");
    std::fs::set_permissions(&wrong, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("our own file");
    let line = |more: &str| {
        let (api, to) = (&node.api, "ab".repeat(32));
        let key = solo.dir.join("accounts/a0.key");
        world.unsplit(&format!("--api {api} tx transfer --key {} --to {to} --amount 1 {more}", key.display()))
    };
    line("").refused(5, &["needs the validator's token", "--token-file"]);
    line(&format!("--token-file {}", wrong.display())).refused(5, &["token", "--token-file"]);
    let right = solo.file("data/api.token");
    let done = line(&format!("--wait --token-file {}", right.display())).ok();
    assert!(done.contains("is final in block"), "{done}");
}

#[test]
fn faults_need_the_token_and_a_chain_that_is_called_a_devnet() {
    let world = World::shared("cuts");
    let devnet = Devnet::up(&world, 4);
    let node = devnet.row("n0").node();
    assert_eq!(node.cut(CUT, None).status, 401);
    assert_eq!(node.cut(CUT, Some("wrong")).status, 401);
    assert_eq!(node.cut(CUT, Some(&node.token)).status, 201);
    devnet.run("down").ok();

    let solo = Solo::write(&world, "real", "unsplit-test");
    let _process = solo.start();
    let node = solo.node();
    for token in [None, Some("wrong"), Some(node.token.as_str())] {
        assert_eq!(node.cut(CUT, token).status, 404, "{token:?}");
    }
}

#[test]
fn noise_on_the_port_for_peers_does_not_hurt_a_validator() {
    let world = World::shared("noise");
    let devnet = Devnet::up(&world, 4);
    let row = devnet.row("n0");
    let before = row.height.expect("it answers");
    let mut held = Vec::new();
    for number in 0..300_u32 {
        // Some say nothing, some speak another protocol, some send noise; some hang up and some stay.
        let Ok(mut stream) = TcpStream::connect(&row.listen) else { continue };
        let words = match number % 4 {
            0 => Vec::new(),
            1 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            2 => noise(number, 64 * 1024),
            _ => [&0xffff_ffff_u32.to_be_bytes()[..], &noise(number, 500)].concat(),
        };
        // Whether it listens to the end is its own affair.
        let _ = stream.write_all(&words);
        if number % 2 == 0 {
            held.push(stream);
        }
    }
    let after = row.node().wait_for_blocks(10);
    assert!(after >= before + 10);
    let now = devnet.row("n0");
    assert_eq!((now.pid, now.state.as_str()), (row.pid, "running"), "the same process as before");
    let nodes = row.node().ask("nodes").expect("it answers");
    let heard = nodes["nodes"].as_array().expect("rows").iter().filter(|node| node["reachable"] == true).count();
    assert_eq!(heard, 4, "its peers are still heard: {nodes}");
    // Whoever stays silent is hung up on.
    let mut silent = held.swap_remove(0);
    silent.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
    assert_eq!(silent.read(&mut [0; 16]).unwrap_or(0), 0);
}

/// Bytes without meaning, the same in each run.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn noise_on_the_api_is_answered_or_hung_up_on_and_does_not_hurt() {
    let world = World::shared("api-noise");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let mut process = solo.start();
    let node = solo.node();
    let host = node.api.trim_start_matches("http://");
    for number in 0..50 {
        let mut stream = TcpStream::connect(host).expect("it listens");
        let _ = stream.write_all(&noise(number, 10_000));
    }
    let body = vec![b'x'; 1 << 20];
    let request = Request { method: "POST", path: "tx", token: Some(&node.token), content: "", body: &body };
    // It may hang up before it has heard everything.
    if let Ok(answer) = http::send(&node.api, &request) {
        assert!(matches!(answer.status, 413 | 415), "{answer:?}");
    }
    assert!(process.is_running());
    node.wait_for_blocks(2);
}
