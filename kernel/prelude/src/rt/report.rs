//! What is done about a deadlock: it is told to the kernel and to the trace, and those who would wait for ever are let go on, to unwind.
//!
//! Who unwinds: when all sleep, the cell that is evaluated and its tasks; when some wait for each other in a ring, those. Nobody else: a task of an
//! earlier cell may be somebody's consumer yet.

use std::sync::{Arc, Mutex, MutexGuard};

use threadbook_timeline::format::{Cause, Kind, Reason};

use super::task::{self, Claimed, Task, Token};
use super::{census, lock};
use crate::hooks::{self, Sentence};
use crate::recorder;
use crate::wait::{Holder, Wait, Words};

/// One report at a time: the second may find that the first has let everybody go on.
static REPORTING: Mutex<()> = Mutex::new(());

/// Keeps others from reporting.
pub fn hold() -> MutexGuard<'static, ()> {
    lock(&REPORTING)
}

/// How many tasks a report tells about; it says how many more there are.
pub const TOLD: usize = 12;

/// All threads of the process sleep: reports it, and cuts the tasks of the cell that is evaluated.
pub fn all_asleep() {
    let _one_at_a_time = lock(&REPORTING);
    if !census::all_sleep() {
        return;
    }
    let cell = task::cell();
    let tasks = task::roster();
    // One that was cut already and waits again, in a destructor, can be neither reported anew nor unwound twice.
    let stuck: Vec<(Arc<Task>, &Wait<'static>)> = tasks
        .iter()
        .filter(|task| task.cell() == cell)
        // SAFETY: all threads sleep but this one, and nobody is woken before the report is told.
        .filter_map(|task| unsafe { task.waits_for() }.map(|wait| (task.clone(), wait)))
        .filter(|(task, wait)| can_be_ended(task, wait))
        .collect();
    if stuck.is_empty() {
        return;
    }
    tell(false, &stuck);
    cut(&stuck);
}

/// These tasks wait for each other, each for the next: reports it, and cuts them. Called under the lock of the graph, so that none of them goes away.
pub fn ring(members: &[(Token, &Wait<'static>)]) {
    let _one_at_a_time = lock(&REPORTING);
    if !members.iter().all(|(token, _)| token.is_waiting()) {
        // All were asleep besides, and another thread has reported that a moment ago.
        return;
    }
    let members: Vec<_> = members
        .iter()
        .map(|(token, wait)| (token.task().clone(), *wait))
        .collect();
    if !members.iter().any(|(task, wait)| can_be_ended(task, wait)) {
        // As above: it was told, and they wait in destructors.
        return;
    }
    tell(true, &members);
    cut(&members);
}

/// Whether a report would end this wait. One that waits for the tasks of its scope and was told to end goes on waiting for them, and is not told again.
fn can_be_ended(task: &Task, wait: &Wait<'_>) -> bool {
    task.can_be_ended() && !(wait.reason() == Reason::Scope && task.is_cut())
}

/// Ends all of them, none because another ended: a scope's task is to unwind as its threads do, and not to go on when the last of them is gone.
fn cut(stuck: &[(Arc<Task>, &Wait<'static>)]) {
    let held: Vec<Claimed> = stuck
        .iter()
        .filter(|(task, wait)| can_be_ended(task, wait))
        .filter_map(|(task, _)| task.hold_for_cut(Cause::Deadlock))
        .collect();
    for wait in held {
        wait.cut();
    }
}

fn tell(ring: bool, stuck: &[(Arc<Task>, &Wait<'static>)]) {
    for (task, wait) in stuck {
        recorder::record(
            Kind::Deadlocked,
            wait.object(),
            u32::from(ring),
            task.id(),
            Some(wait.here()),
        );
    }
    let sentences = sentences(stuck);
    with_names(|names| hooks::tell_deadlock(ring, &sentences, stuck.len(), names));
}

/// What the first of these tasks wait for.
pub fn sentences(stuck: &[(Arc<Task>, &Wait<'static>)]) -> Vec<Sentence> {
    let told = stuck.iter().take(TOLD);
    told.map(|(task, wait)| sentence(task.id(), wait)).collect()
}

/// Hands the names of all tasks on, since a sentence may name one that it is not about.
pub fn with_names(tell: impl FnOnce(&[(u32, &str)])) {
    let known = task::roster();
    let names: Vec<(u32, &str)> = known
        .iter()
        .filter_map(|task| Some((task.id(), task.name()?)))
        .collect();
    tell(&names);
}

/// What one task waits for, who could let it go on, and what to do about it.
fn sentence(task: u32, wait: &Wait<'static>) -> Sentence {
    let mut words: Sentence = vec![Words::Task(task), wanting(wait.reason()).into()];
    if let Some(object) = wait.subject().and_then(|subject| subject.object()) {
        words.push(Words::Object(object.id(), object.in_words()));
    }
    if wait.reason() == Reason::Join {
        words.push(Words::Task(wait.object()));
        words.push(" to end".into());
    }
    words.push(" at ".into());
    words.push(Words::At(wait.here()));
    let Some(subject) = wait.subject() else {
        return words;
    };
    if wait.reason() != Reason::Join && wait.reason() != Reason::Scope {
        for owner in subject.owners(wait.reason()).iter().take(3) {
            held(task, owner, &mut words);
        }
    }
    words.extend(subject.advice(wait.reason(), task));
    words
}

fn held(task: u32, holder: &Holder, words: &mut Sentence) {
    if holder.task == task {
        words.push(", which it has itself".into());
    } else {
        words.push(", which ".into());
        words.push(Words::Task(holder.task));
        words.push(" has".into());
    }
    if let Some(since) = holder.since {
        words.push(" since ".into());
        words.push(Words::At(since));
    }
}

fn wanting(reason: Reason) -> &'static str {
    match reason {
        Reason::Send => " waits for room in ",
        Reason::Recv => " waits for a message on ",
        Reason::Lock => " waits for ",
        Reason::Wait => " waits for zero in ",
        Reason::Join => " waits for ",
        Reason::Sleep => " sleeps",
        Reason::Scope => " waits for the threads of its scope",
        Reason::Read => " waits to read ",
        Reason::Write => " waits to write ",
        Reason::Notify => " waits to be notified by ",
        Reason::Barrier => " waits for the others at ",
        Reason::Select => " waits for the first of several channels",
        Reason::Once => " waits for another task to fill ",
    }
}
