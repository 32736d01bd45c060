//! Which task is with whom, and where do those of failed workers go?
//!
//! A lease is a slot in one dense table, and the slots of each worker form a list through it (doubly linked, so that one
//! ends in O(1)). When workers fail, only their own leases are touched: they are taken oldest first, by task number, and
//! each goes to the least loaded of the others, or waits if nobody has room.

use super::{Board, Choice};
use crate::types::TaskNumber;

/// No slot.
const NIL: u32 = u32::MAX;

/// Where a lease is in the table; it stays there when it moves to another worker. Given out again after the lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u32);

/// Leases by worker, and the board that they load. See the module.
#[derive(Clone, Debug)]
pub struct Leases {
    board: Board,
    leases: Vec<Lease>,
    free: Vec<u32>,
    /// The newest lease of each worker.
    newest: Vec<u32>,
    leases_max: u32,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    task: TaskNumber,
    units: u32,
    /// The index of the worker, or [`NIL`] for a slot that is free.
    holder: u32,
    older: u32,
    newer: u32,
}

/// Why a task is with nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There are as many leases as there may be.
    #[error("there are {max} leases, and no more may be")]
    Full {
        /// The most leases.
        max: u32,
    },
    /// Whoever could take it is full.
    #[error("worker {worker} will be the first to have room")]
    Later {
        /// The index of the one to wait for.
        worker: u32,
    },
    /// Nobody is open, or it is greater than every window.
    #[error("no worker takes it")]
    Nobody,
}

/// A task that lost its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// The task.
    pub task: TaskNumber,
    /// Its units.
    pub units: u32,
    /// Where its lease was.
    slot: Slot,
}

/// A task that has another holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relet {
    /// The task.
    pub task: TaskNumber,
    /// Where its lease is.
    pub slot: Slot,
    /// The index of the worker.
    pub holder: u32,
}

/// What became of the leases of failed workers, the oldest task first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// These went to others.
    pub leased: Vec<Relet>,
    /// Nobody has room for these: they are in the table no more.
    pub waiting: Vec<Evicted>,
}

impl Leases {
    /// No leases yet on these workers, and never more than `leases_max`.
    pub fn new(board: Board, leases_max: u32) -> Self {
        let newest = vec![NIL; board.workers() as usize];
        Self { board, leases: Vec::new(), free: Vec::new(), newest, leases_max }
    }

    /// Who is how loaded.
    pub const fn board(&self) -> &Board {
        &self.board
    }

    /// How many leases there are.
    pub fn count(&self) -> usize {
        self.leases.len() - self.free.len()
    }

    /// The task in a slot and the index of the worker that holds it; `None` if its lease ended.
    pub fn get(&self, slot: Slot) -> Option<(TaskNumber, u32)> {
        let lease = self.leases.get(slot.0 as usize).filter(|lease| lease.holder != NIL)?;
        Some((lease.task, lease.holder))
    }

    /// The slots of a worker, the newest first.
    ///
    /// # Panics
    /// If there is no such worker.
    pub fn held_by(&self, worker: u32) -> impl Iterator<Item = Slot> + '_ {
        let listed = |slot: u32| (slot != NIL).then_some(slot);
        std::iter::successors(listed(self.newest[worker as usize]), move |slot| {
            listed(self.leases[*slot as usize].older)
        })
        .map(Slot)
    }

    /// Leases a task of so many units that these had before, the last one last.
    ///
    /// # Errors
    /// See [`Refusal`]; nothing has changed then.
    pub fn lease(&mut self, task: TaskNumber, units: u32, lost_by: &[u32]) -> Result<Slot, Refusal> {
        if self.count() >= self.leases_max as usize {
            return Err(Refusal::Full { max: self.leases_max });
        }
        let holder = match self.board.choose(units, lost_by) {
            Choice::Now(worker) => worker,
            Choice::Later(worker) => return Err(Refusal::Later { worker }),
            Choice::Nobody => return Err(Refusal::Nobody),
        };
        let slot = self.free.pop().unwrap_or(self.leases.len() as u32);
        let lease = Lease { task, units, holder, older: NIL, newer: NIL };
        match self.leases.get_mut(slot as usize) {
            Some(free) => *free = lease,
            None => self.leases.push(lease),
        }
        self.link(slot, holder);
        self.board.take(holder, units);
        Ok(Slot(slot))
    }

    /// Ends a lease, however it ends, and says whose it was; `None` if it ended before.
    pub fn end(&mut self, slot: Slot) -> Option<u32> {
        let (_, holder) = self.get(slot)?;
        let Lease { units, older, newer, .. } = self.leases[slot.0 as usize];
        if older != NIL {
            self.leases[older as usize].newer = newer;
        }
        if newer == NIL {
            self.newest[holder as usize] = older;
        } else {
            self.leases[newer as usize].older = older;
        }
        self.board.complete(holder, units);
        self.free(slot.0);
        Some(holder)
    }

    /// Closes these workers, and gives what they hold to others.
    ///
    /// As when a block leases its tasks: where an older one waits for room, no younger one takes it.
    ///
    /// # Panics
    /// If there is no such worker.
    pub fn redistribute(&mut self, failed: &[u32]) -> Moved {
        let evicted = self.evict(failed);
        let mut waiting = Vec::new();
        // All are chosen before any is listed: who is next hangs on the choice before, and what lists touch does not.
        let choose = |evicted: Evicted| {
            let Evicted { task, units, slot } = evicted;
            match self.board.choose(units, &[]) {
                Choice::Now(holder) => {
                    self.board.take(holder, units);
                    return Some(Relet { task, slot, holder });
                }
                Choice::Later(worker) => self.board.keep(worker),
                Choice::Nobody => {}
            }
            waiting.push(evicted);
            None
        };
        let leased: Vec<Relet> = evicted.into_iter().filter_map(choose).collect();
        self.board.release();
        leased.iter().for_each(|Relet { slot, holder, .. }| self.link(slot.0, *holder));
        waiting.iter().for_each(|Evicted { slot, .. }| self.free(slot.0));
        Moved { leased, waiting }
    }

    /// Takes all leases of these workers from them, and closes them. The oldest task comes first.
    fn evict(&mut self, failed: &[u32]) -> Vec<Evicted> {
        let mut count = 0;
        for worker in failed {
            self.board.set_open(*worker, false);
            count += self.board.end_all(*worker) as usize;
        }
        let heads = failed.iter().map(|worker| std::mem::replace(&mut self.newest[*worker as usize], NIL));
        let mut slots: Vec<u32> = heads.filter(|slot| *slot != NIL).collect();
        let mut evicted = Vec::with_capacity(count);
        // One step along every list at a time, not one list after the other: the steps of a round do not wait for each
        // other's memory.
        while !slots.is_empty() {
            for slot in &mut slots {
                let lease = &self.leases[*slot as usize];
                evicted.push(Evicted { task: lease.task, units: lease.units, slot: Slot(*slot) });
                *slot = lease.older;
            }
            slots.retain(|slot| *slot != NIL);
        }
        evicted.sort_unstable_by_key(|evicted| evicted.task);
        evicted
    }

    /// Puts a slot at the head of a worker's list.
    fn link(&mut self, slot: u32, holder: u32) {
        let older = std::mem::replace(&mut self.newest[holder as usize], slot);
        if older != NIL {
            self.leases[older as usize].newer = slot;
        }
        let lease = &mut self.leases[slot as usize];
        (lease.holder, lease.older, lease.newer) = (holder, older, NIL);
    }

    fn free(&mut self, slot: u32) {
        self.leases[slot as usize].holder = NIL;
        self.free.push(slot);
    }
}
