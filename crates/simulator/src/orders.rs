//! What do clients order?
//!
//! Everything follows from the seed, the client and how many orders it has given, apart from the time and from which of its
//! tasks it believes to be open.

use crate::{
    work::{Task, Temper},
    world::draw,
};
use ledger::{Kind, Policy, Submission, TaskId, Timestamp};
use rand::{RngExt as _, rngs::StdRng};

/// One order in so many cancels a task rather than submit one.
const ORDERS_PER_CANCELLATION: u32 = 16;

/// One task in so many is of no use after some seconds.
const TASKS_PER_URGENT_ONE: u32 = 15;

/// The deadline of all others, in milliseconds: no run lasts for an hour.
const FAR: u64 = 3_600_000;

/// The order number `count` of a client about tasks: to do one, or to let one of its `open` ones be.
pub(crate) fn about_tasks(seed: u64, client: usize, count: u64, now: Timestamp, open: &[TaskId]) -> Kind {
    let mut rng = draw(seed, "order", &[client as u64, count]);
    let is_cancellation = rng.random_ratio(1, ORDERS_PER_CANCELLATION);
    // The newest has perhaps not begun, and the oldest may be done by now.
    let ends = if rng.random() { open.last() } else { open.first() };
    match ends {
        Some(id) if is_cancellation => Kind::CancelTask { id: id.clone() },
        Some(_) | None => Kind::SubmitTask(submission(&mut rng, client, count, now)),
    }
}

fn submission(rng: &mut StdRng, client: usize, count: u64, now: Timestamp) -> Submission {
    let task = Task::any(rng);
    let retries = match task.temper() {
        Temper::Willing | Temper::Moody if rng.random_bool(0.7) => 15,
        Temper::Willing | Temper::Moody => rng.random_range(3..15),
        Temper::Unwilling => rng.random_range(0..3),
    };
    let urgent = rng.random_ratio(1, TASKS_PER_URGENT_ONE);
    Submission {
        id: format!("c{client}-{count}").parse().expect("letters, digits and a dash"),
        executor: task.executor().parse().expect("one of the executors there are"),
        payload: task.payload(),
        units: if rng.random_ratio(1, 20) { 16 } else { rng.random_range(1..=4) },
        lease_ms: rng.random_range(2_000..=6_000),
        retries,
        deadline: now.after(if urgent { rng.random_range(2_000..10_000) } else { FAR }),
        policy: match rng.random_range(0..10) {
            0 => Policy::Wait,
            1 if urgent => Policy::Keep,
            _ => Policy::Replace,
        },
        region: None,
    }
}
