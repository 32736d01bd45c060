use super::*;
use commonware_runtime::{Blob as _, Supervisor as _, WriteOptions, deterministic};

const IDENTITY: [u8; 32] = [7; 32];

fn vote(view: u64, kind: Kind, message: u8) -> Vote {
    Vote { round: (0, view), kind, message: [message; 32] }
}

/// After these votes, what is said to that one?
fn check(recorded: &[(u64, Kind, u8)], asked: (u64, Kind, u8), expected: Verdict) {
    let mut book = Book::default();
    for (view, kind, message) in recorded {
        let vote = vote(*view, *kind, *message);
        assert_eq!(book.judge(&vote), Verdict::New, "{vote:?}");
        book.record(&vote);
    }
    let (view, kind, message) = asked;
    assert_eq!(book.judge(&vote(view, kind, message)), expected, "{asked:?} after {recorded:?}");
}

#[test]
fn a_second_proposal_in_one_view_and_kind_is_refused_and_the_same_one_is_a_repeat() {
    for kind in [Kind::Notarize, Kind::Finalize] {
        check(&[(3, kind, 1)], (3, kind, 2), Verdict::Refused);
        check(&[(3, kind, 1)], (3, kind, 1), Verdict::Repeat);
    }
}

#[test]
fn finalize_and_nullify_in_one_view_exclude_each_other() {
    check(&[(3, Kind::Finalize, 1)], (3, Kind::Nullify, 2), Verdict::Refused);
    check(&[(3, Kind::Nullify, 1)], (3, Kind::Finalize, 2), Verdict::Refused);
    check(&[(3, Kind::Notarize, 1)], (3, Kind::Nullify, 2), Verdict::New);
}

#[test]
fn notarize_and_nullify_never_go_back_below_a_view_voted_in_but_finalize_may() {
    for kind in [Kind::Notarize, Kind::Nullify] {
        check(&[(5, Kind::Notarize, 1)], (4, kind, 2), Verdict::Refused);
        check(&[(5, Kind::Finalize, 1)], (4, kind, 2), Verdict::Refused);
        check(&[(5, Kind::Notarize, 1)], (6, kind, 2), Verdict::New);
    }
    check(&[(5, Kind::Notarize, 1)], (4, Kind::Finalize, 2), Verdict::New);
}

#[test]
fn nothing_is_signed_at_the_floor_and_everything_above_it() {
    let mut book = Book::default();
    book.raise((0, 9));
    for kind in [Kind::Notarize, Kind::Nullify, Kind::Finalize] {
        assert_eq!(book.judge(&vote(9, kind, 1)), Verdict::Refused);
        assert_eq!(book.judge(&vote(10, kind, 1)), Verdict::New);
        assert_eq!(book.judge(&Vote { round: (1, 1), kind, message: [1; 32] }), Verdict::New);
    }
}

#[test]
fn what_the_bound_forgets_cannot_be_contradicted() {
    let mut book = Book::default();
    for view in 1..=VOTES_MAX as u64 + 1 {
        book.record(&vote(view, Kind::Nullify, 1));
    }
    assert!(book.votes.len() <= VOTES_MAX);
    assert_eq!(book.judge(&vote(1, Kind::Finalize, 2)), Verdict::Refused);
    assert_eq!(book.judge(&vote(2, Kind::Finalize, 2)), Verdict::Refused);
    assert_eq!(book.judge(&vote(VOTES_MAX as u64 + 2, Kind::Finalize, 2)), Verdict::New);
}

/// Runs `life` with the storage that earlier lives left behind.
fn live<F, Fut>(before: Option<deterministic::Checkpoint>, life: F) -> deterministic::Checkpoint
where
    F: FnOnce(deterministic::Context) -> Fut,
    Fut: Future<Output = ()>,
{
    let runner = before.map_or_else(|| deterministic::Runner::seeded(1), deterministic::Runner::from);
    runner.start_and_recover(life).1
}

async fn open(context: &deterministic::Context, fresh: bool) -> (Guard, Found) {
    Guard::open(context.child("guard"), "", IDENTITY, fresh).await.expect("our own guard")
}

/// A life that signs in views 1 to 3 and waits until that is durable.
fn signed_three() -> deterministic::Checkpoint {
    live(None, |context| async move {
        let (guard, found) = open(&context, true).await;
        assert_eq!(found, Found::Fresh);
        for view in 1..=3 {
            assert!(guard.admit(&vote(view, Kind::Notarize, 1)));
            guard.durable(guard.recorded()).await;
        }
    })
}

async fn overwrite(context: &deterministic::Context, partition: &str, offset: u64, bytes: &[u8]) {
    let names = context.scan(partition).await.expect("written before");
    let (blob, _) = context.open(partition, &names[0]).await.expect("written before");
    blob.write_at(offset, bytes.to_vec(), WriteOptions::default()).await.expect("simulated disk");
    blob.sync().await.expect("simulated disk");
}

/// Three votes, then `damage` while down: what does the next start find, and does it still know the votes?
fn check_damage<F, Fut>(damage: F, expected: fn(&Found) -> bool, remembers: bool)
where
    F: FnOnce(deterministic::Context) -> Fut,
    Fut: Future<Output = ()>,
{
    let damaged = live(Some(signed_three()), damage);
    live(Some(damaged), |context| async move {
        let (guard, found) = open(&context, false).await;
        assert!(expected(&found), "{found:?}");
        assert_eq!(guard.observing().is_none(), remembers);
        assert!(!guard.admit(&vote(3, Kind::Notarize, 2)), "a conflict is never signed");
        assert_eq!(guard.admit(&vote(4, Kind::Notarize, 2)), remembers);
    });
}

/// Where record `index` begins.
const fn record(index: u64) -> u64 {
    128 + 96 * index
}

#[test]
fn a_restart_remembers_every_vote() {
    check_damage(|_| async {}, |found| *found == Found::Intact, true);
}

#[test]
fn one_missing_copy_is_written_anew() {
    let remove =
        |context: deterministic::Context| async move { context.remove("guard-a", None).await.expect("exists") };
    check_damage(remove, |found| matches!(found, Found::Repaired(_)), true);
}

#[test]
fn a_rotten_record_header_or_middle_costs_one_copy_and_no_vote() {
    for offset in [0, 60, record(0) + 8, record(1) + 40] {
        let rot = move |context: deterministic::Context| async move {
            overwrite(&context, "guard-b", offset, &[0xff; 4]).await
        };
        check_damage(rot, |found| matches!(found, Found::Repaired(_)), true);
    }
}

#[test]
fn rot_in_both_copies_makes_an_observer() {
    let rot = |context: deterministic::Context| async move {
        overwrite(&context, "guard-a", record(0) + 8, &[0xff; 4]).await;
        overwrite(&context, "guard-b", record(1) + 8, &[0xff; 4]).await;
    };
    check_damage(rot, |found| matches!(found, Found::Lost(_)), false);
}

#[test]
fn a_lost_guard_makes_an_observer() {
    let remove = |context: deterministic::Context| async move {
        context.remove("guard-a", None).await.expect("exists");
        context.remove("guard-b", None).await.expect("exists");
    };
    check_damage(remove, |found| matches!(found, Found::Lost(_)), false);
}

#[test]
fn a_torn_last_record_is_not_damage() {
    let tear = |context: deterministic::Context| async move {
        for partition in ["guard-a", "guard-b"] {
            overwrite(&context, partition, record(3), &[0xee; 50]).await;
        }
    };
    check_damage(tear, |found| *found == Found::Intact, true);
}

#[test]
fn a_rotten_last_record_in_one_copy_is_remembered_by_the_other() {
    let rot = |context: deterministic::Context| async move {
        overwrite(&context, "guard-a", record(2) + 20, &[0xff; 4]).await
    };
    check_damage(rot, |_| true, true);
}

#[test]
fn a_guard_of_another_key_is_refused() {
    live(Some(signed_three()), |context| async move {
        let opened = Guard::open(context.child("guard"), "", [8; 32], true).await;
        assert_eq!(opened.err(), Some(GuardError::Foreign));
    });
}

#[test]
fn votes_that_were_never_durable_are_forgotten_and_were_never_settled() {
    let crashed = live(Some(signed_three()), |context| async move {
        let (guard, _) = open(&context, false).await;
        assert!(guard.admit(&vote(4, Kind::Notarize, 1)));
        assert!(!guard.settled(), "nothing may leave yet");
    });
    live(Some(crashed), |context| async move {
        let (guard, found) = open(&context, false).await;
        assert_eq!(found, Found::Intact);
        assert!(guard.admit(&vote(4, Kind::Notarize, 2)), "the first one left no trace anywhere");
    });
}

#[test]
fn a_released_observer_signs_above_its_floor_and_remembers_that() {
    let released = live(None, |context| async move {
        let (guard, found) = open(&context, false).await;
        assert!(matches!(found, Found::Lost(_)));
        guard.release((0, 8)).await;
        assert!(!guard.admit(&vote(8, Kind::Notarize, 1)));
        assert!(guard.admit(&vote(9, Kind::Notarize, 1)));
        guard.durable(guard.recorded()).await;
    });
    live(Some(released), |context| async move {
        let (guard, found) = open(&context, false).await;
        assert_eq!(found, Found::Intact);
        assert!(!guard.admit(&vote(8, Kind::Notarize, 1)));
        assert!(!guard.admit(&vote(9, Kind::Notarize, 2)));
    });
}

#[test]
fn a_long_record_is_rewritten_without_what_finality_made_moot() {
    let long = live(None, |context| async move {
        let (guard, _) = open(&context, true).await;
        for view in 1..=RECORDS_MAX as u64 + 10 {
            assert!(guard.admit(&vote(view, Kind::Notarize, 1)));
            guard.durable(guard.recorded()).await;
            guard.finalized((0, view.saturating_sub(2)));
        }
    });
    live(Some(long), |context| async move {
        for partition in ["guard-a", "guard-b"] {
            let names = context.scan(partition).await.expect("written");
            assert_eq!(names.len(), 1, "old generations are removed");
            let (_, length) = context.open(partition, &names[0]).await.expect("written");
            assert!(length < record(100), "{length}");
        }
        let (guard, found) = open(&context, false).await;
        assert_eq!(found, Found::Intact);
        assert!(!guard.admit(&vote(RECORDS_MAX as u64 + 10, Kind::Notarize, 2)));
        assert!(!guard.admit(&vote(1, Kind::Finalize, 2)));
    });
}
