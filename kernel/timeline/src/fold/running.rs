//! Who ran beside whom, and on which worker.

use std::collections::{BTreeMap, BTreeSet};

use super::timeline::{Lane, Nanos, Slice, State, WorkerLane};

/// Which worker carried whom when, as the spans say. A worker that carries another task has let the one before go, whatever that one says.
pub(super) fn workers(lanes: &[Lane]) -> Vec<WorkerLane> {
    let mut by_worker: BTreeMap<u8, Vec<Slice>> = BTreeMap::new();
    for lane in lanes {
        for span in &lane.spans {
            if let Some(worker) = span.worker {
                by_worker.entry(worker).or_default().push(Slice {
                    task: lane.task,
                    from: span.from,
                    until: span.until,
                });
            }
        }
    }
    let lane = |(worker, mut all): (u8, Vec<Slice>)| {
        all.sort_by_key(|slice| slice.from);
        let mut slices: Vec<Slice> = Vec::new();
        for slice in all {
            if let Some(last) = slices.last_mut() {
                if last.task == slice.task && last.until == Some(slice.from) {
                    last.until = slice.until;
                    continue;
                }
                if last.until.is_none_or(|until| until > slice.from) {
                    last.until = Some(slice.from);
                }
            }
            slices.push(slice);
        }
        slices.retain(|slice| slice.until != Some(slice.from));
        WorkerLane { worker, slices }
    };
    by_worker.into_iter().map(lane).collect()
}

/// How many tasks were seen running at once, those on one core counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parallelism {
    /// At most.
    pub most: usize,
    /// How long they ran, together.
    pub together: Nanos,
    /// For how long at least one ran.
    pub any: Nanos,
    /// On how many cores they were seen; 0 where that is not known.
    pub cores: usize,
}

impl Parallelism {
    /// How many ran at once on the average, over the time in which at least one did; 0 when none did.
    pub fn average(&self) -> f64 {
        if self.any.0 == 0 {
            0.0
        } else {
            self.together.0 as f64 / self.any.0 as f64
        }
    }
}

/// How many tasks were seen running at once, `left_out` not counted.
pub(crate) fn running_at_once(lanes: &[Lane], end: Nanos, left_out: u32) -> Parallelism {
    let mut changes: Vec<(Nanos, bool, Option<u16>)> = Vec::new();
    let mut cores = BTreeSet::new();
    for lane in lanes.iter().filter(|lane| lane.task != left_out) {
        for span in &lane.spans {
            if matches!(span.state, State::Running | State::Computing)
                && span.until(end) > span.from
            {
                cores.extend(span.cpu);
                // An open span has one end only: its core may have changed since.
                let cpu = span.cpu.filter(|_| span.until.is_some());
                changes.push((span.from, true, cpu));
                changes.push((span.until(end), false, cpu));
            }
        }
    }
    changes.sort_unstable();
    let (mut anywhere, mut since) = (0_usize, Nanos(0));
    let mut by_cpu: BTreeMap<u16, usize> = BTreeMap::new();
    let mut all = Parallelism {
        cores: cores.len(),
        ..Parallelism::default()
    };
    for (at, begins, cpu) in changes {
        let (running, long) = (anywhere + by_cpu.len(), at.0 - since.0);
        if running > 0 {
            all.any.0 += long;
            all.together.0 = all
                .together
                .0
                .saturating_add(long.saturating_mul(running as u64));
        }
        since = at;
        match (cpu, begins) {
            (None, true) => anywhere += 1,
            (None, false) => anywhere -= 1,
            (Some(cpu), true) => *by_cpu.entry(cpu).or_default() += 1,
            (Some(cpu), false) => {
                let running = by_cpu.entry(cpu).or_default();
                *running -= 1;
                if *running == 0 {
                    by_cpu.remove(&cpu);
                }
            }
        }
        all.most = all.most.max(anywhere + by_cpu.len());
    }
    all
}
