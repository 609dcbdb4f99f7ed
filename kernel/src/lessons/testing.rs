//! Proves all lessons, several at once: each on one core, and on two.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::proof::Proof;
use super::prove::{Runner, Wish, prove};
use super::{Lesson, Mistake, check_source, list, proofs_of};

/// What is to be proven, and on what.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How often each demo is run in a row.
    pub runs: u32,
    /// Only the lessons of these names or numbers; all, when there is none.
    pub only: Vec<String>,
    /// The numbers of the cores that may be used; none where nobody can choose.
    pub cores: Vec<usize>,
}

/// What is heard while lessons are proven.
#[derive(Debug)]
pub enum News<'a> {
    /// This worker is about to do something for a lesson.
    Doing {
        /// Which worker, from 0.
        worker: usize,
        /// The lesson's name.
        lesson: &'a str,
        /// On what: "one core".
        place: &'a str,
        /// What, in a few words.
        what: &'a str,
    },
    /// This worker is done with a lesson.
    Done {
        /// Which worker.
        worker: usize,
        /// The lesson's name.
        lesson: &'a str,
        /// On what.
        place: &'a str,
        /// How many mistakes there were.
        mistakes: usize,
        /// How long it took.
        took: Duration,
    },
}

/// Starts a kernel on some cores.
pub type Start<'a> = &'a (dyn Fn(&[usize]) -> anyhow::Result<Box<dyn Runner>> + Sync);

struct Job<'a> {
    lesson: &'a Lesson,
    proofs: &'a [Proof],
    cores: usize,
}

/// Checks the lessons of a folder and proves each of them. As many kernels run at once as there are cores.
///
/// A lesson whose source has mistakes is not run.
///
/// # Errors
/// When a kernel does not start, or `only` names no lesson.
pub fn test(
    folder: &Path,
    plan: &Plan,
    start: Start<'_>,
    hear: &(dyn Fn(News<'_>) + Sync),
) -> anyhow::Result<Vec<Mistake>> {
    let all = match list(folder) {
        Ok(lessons) => lessons,
        Err(mistakes) => return Ok(mistakes),
    };
    let chosen = chosen(&all, &plan.only)?;
    let mut mistakes = Vec::new();
    let mut sound: Vec<(&Lesson, Vec<Proof>)> = Vec::new();
    for lesson in chosen {
        let found = check_source(lesson, &all);
        match proofs_of(lesson) {
            Ok(proofs) if found.is_empty() => sound.push((lesson, proofs)),
            _ => mistakes.extend(found),
        }
    }
    // Where cores cannot be chosen, or there is one only, a lesson is run once.
    let counts: &[usize] = match plan.cores.len() {
        0 => &[0],
        1 => &[1],
        _ => &[1, 2],
    };
    let jobs = sound.iter().flat_map(|(lesson, proofs)| {
        counts.iter().map(move |cores| Job {
            lesson,
            proofs,
            cores: *cores,
        })
    });
    mistakes.extend(all_of(jobs.collect(), plan, start, hear)?);
    mistakes.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Ok(mistakes)
}

/// The lessons of these names or numbers.
///
/// # Errors
/// When there is none of such a name.
pub fn chosen<'a>(lessons: &'a [Lesson], only: &[String]) -> anyhow::Result<Vec<&'a Lesson>> {
    let is = |lesson: &Lesson, wish: &str| lesson.name == wish || wish.parse() == Ok(lesson.number);
    for wish in only {
        anyhow::ensure!(
            lessons.iter().any(|lesson| is(lesson, wish)),
            "there is no lesson `{wish}`; there are {}",
            lessons
                .iter()
                .map(|lesson| lesson.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    Ok(lessons
        .iter()
        .filter(|lesson| only.is_empty() || only.iter().any(|wish| is(lesson, wish)))
        .collect())
}

fn all_of(
    jobs: VecDeque<Job<'_>>,
    plan: &Plan,
    start: Start<'_>,
    hear: &(dyn Fn(News<'_>) + Sync),
) -> anyhow::Result<Vec<Mistake>> {
    let workers = plan.cores.len().clamp(1, jobs.len().max(1));
    let jobs = Mutex::new(jobs);
    let next = || {
        jobs.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .pop_front()
    };
    let results: Vec<anyhow::Result<Vec<Mistake>>> = thread::scope(|scope| {
        let started: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || {
                    let mut mistakes = Vec::new();
                    while let Some(job) = next() {
                        mistakes.extend(one(&job, worker, plan, start, hear)?);
                    }
                    Ok(mistakes)
                })
            })
            .collect();
        started
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| {
                    Err(anyhow::anyhow!("a thread that proved lessons has panicked"))
                })
            })
            .collect()
    });
    let mut mistakes = Vec::new();
    for result in results {
        mistakes.extend(result?);
    }
    Ok(mistakes)
}

fn one(
    job: &Job<'_>,
    worker: usize,
    plan: &Plan,
    start: Start<'_>,
    hear: &(dyn Fn(News<'_>) + Sync),
) -> anyhow::Result<Vec<Mistake>> {
    let began = Instant::now();
    let place = match job.cores {
        0 => "this machine",
        1 => "one core",
        _ => "two cores",
    };
    let lesson = job.lesson.name.as_str();
    let told = |what: &str| {
        hear(News::Doing {
            worker,
            lesson,
            place,
            what,
        });
    };
    told("starting the kernel");
    let mut runner = start(&cores_for(worker, job.cores, &plan.cores))?;
    let wish = Wish {
        runs: plan.runs,
        place,
    };
    let mistakes = prove(job.lesson, job.proofs, &mut *runner, wish, &told)?;
    hear(News::Done {
        worker,
        lesson,
        place,
        mistakes: mistakes.len(),
        took: began.elapsed(),
    });
    Ok(mistakes)
}

/// The cores of a worker: one of its own, and its neighbour's for a job on two.
fn cores_for(worker: usize, count: usize, usable: &[usize]) -> Vec<usize> {
    if count == 0 || usable.is_empty() {
        return Vec::new();
    }
    let own = worker % usable.len();
    let neighbour = if own + 1 < usable.len() && own.is_multiple_of(2) {
        own + 1
    } else {
        own.saturating_sub(1)
    };
    let mut cores = vec![usable[own]];
    if count > 1 && neighbour != own {
        cores.push(usable[neighbour]);
    }
    cores
}

#[cfg(test)]
mod tests {
    use super::cores_for;

    #[test]
    fn each_worker_has_a_core_of_its_own_and_two_share_a_pair() {
        for (worker, count, usable, want) in [
            (0, 1, &[0, 1][..], &[0][..]),
            (1, 1, &[0, 1], &[1]),
            (0, 2, &[4, 7], &[4, 7]),
            (1, 2, &[4, 7], &[7, 4]),
            (2, 2, &[0, 1, 2], &[2, 1]),
            (0, 2, &[3], &[3]),
            (0, 0, &[], &[]),
        ] {
            assert_eq!(
                cores_for(worker, count, usable),
                want,
                "{worker} {count} {usable:?}"
            );
        }
    }
}
