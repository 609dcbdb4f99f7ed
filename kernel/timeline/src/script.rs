//! A tiny language for making traces by hand, so that a test shows its events in one line.
//!
//! `main spawn ada; ada take till; grace want till; ada release till; grace take till`: statements `task verb object`, apart by `;` or line ends, each
//! 10 µs after the one before it, or at `@N` microseconds. A line number may follow as `:7`, a number as `=3`, a worker as `^1`. Objects are made by
//! their first use. A name that begins with `_` is known to the script only. For tests of this crate and of what draws; panics at what it does not understand.
//!
//! | verb | events |
//! |---|---|
//! | `spawn T`, `go T` | a thread, a green task is made |
//! | `start`, `exit`, `panic TEXT`, `end` | `Start` (else by the task's first statement), `Exit` (wakes who joins), `Panic`, `CellEnd` |
//! | `want M`, `take M`, `release M` | waits for a lock, has it, gives it back (wakes who waits longest) |
//! | `wantread L`, `read L`, `wantwrite L`, `write L`, `release L` | the same for a read-write lock (wakes all who wait once nobody has it) |
//! | `await V`, `notify V`, `meet B`, `trip B`, `lack O`, `fill O` | waits for a condition variable, wakes `=N`; waits at a barrier, wakes all; waits for a once lock, wakes all |
//! | `select`, `load X`, `store X` | waits for the first of several channels; reads a cell, writes `=N` |
//! | `full C`, `send C`, `recv C`, `got C`, `close C` | waits for room, sends (wakes a receiver), waits for a message, has it (wakes a sender), closes |
//! | `add W`, `done W`, `wait W`, `pass W` | the counter goes up by `=N`, down (at zero wakes who waits), waits for zero, finds it at zero |
//! | `join T`, `joined T`, `scope S` | waits for a task, has its result, waits for a scope |
//! | `load X`, `store X`, `swap X` | reads a cell, writes it, both in one step |
//! | `observe`, `observed` | begins and ends to observe, with the number `=N` |
//! | `sleep`, `on`, `wake T` | waits for time, goes on after any wait, lets `T` go on |
//! | `deadlock T`, `cut` | finds that `T` waits in vain (`=1` in a ring, `=0` with all others), is ended from outside by cause `=N` |
//! | `hogged`, `resumed` | had its worker for `=N` µs too long, runs on after `yield` |
//! | `gap` | what it did from here to its next statement is missing |
//! | `work`, `worked`, `offcore`, `yield`, `mark TEXT`, `region TEXT`, `leave`, `make K X` | as the events are called; `make` takes `channel` (with room for `=N`), `lock`, `group`, `cell`, `barrier` (for `=N`) |

use std::collections::{HashMap, VecDeque};

use crate::format::{Engine, Event, Kind, MAIN_TASK, NameId, ObjectKind, Reason};
use crate::trace::{SiteInfo, Trace};

/// Makes a trace of the script `text`.
///
/// # Panics
/// With the statement in question, when it has an unknown verb or lacks an object.
pub fn trace(text: &str) -> Trace {
    let mut script = Script::default();
    script.tasks.insert("main".into(), MAIN_TASK);
    script.event(MAIN_TASK, Kind::CellBegin, 0, 0, 0);
    script.started.push(MAIN_TASK);
    for statement in text
        .split([';', '\n'])
        .map(str::trim)
        .filter(|statement| !statement.is_empty())
    {
        script.now += 10_000;
        script.statement(statement);
    }
    let line = |line| SiteInfo {
        build: 1,
        line,
        column: 1,
        file: "src/lib.rs".into(),
    };
    Trace {
        sites: (1..=script.last_line).map(line).collect(),
        names: script.names,
        events: script.events,
        ticks_per_second: 1_000_000_000,
        dropped: 0,
        gap: None,
    }
}

#[derive(Default)]
struct Script {
    now: u64,
    line: u16,
    worker: u8,
    last_line: u32,
    events: Vec<Event>,
    names: HashMap<NameId, std::sync::Arc<str>>,
    tasks: HashMap<String, u32>,
    objects: HashMap<String, u32>,
    started: Vec<u32>,
    /// Who waits: task, reason, object, in the order in which they came.
    waiting: VecDeque<(u32, Reason, u32)>,
    /// The last number given out per object: messages sent, messages received, acquisitions, the counter.
    sent: HashMap<u32, u32>,
    received: HashMap<u32, u32>,
    acquired: HashMap<u32, u32>,
    /// By task and read-write lock: the number of its acquisition, and whether others may read too.
    shares: HashMap<(u32, u32), (u32, u32)>,
    counter: HashMap<u32, u32>,
}

impl Script {
    fn statement(&mut self, statement: &str) {
        let mut given = None;
        self.line = 0;
        self.worker = 0;
        let mut words = Vec::new();
        for word in statement.split_whitespace() {
            let after = |mark| {
                word.strip_prefix(mark)
                    .and_then(|digits| digits.parse::<u32>().ok())
            };
            if let Some(at) = after('@') {
                self.now = u64::from(at) * 1000;
            } else if let Some(line) = after(':') {
                self.line = line as u16;
                self.last_line = self.last_line.max(line);
            } else if let Some(worker) = after('^') {
                self.worker = worker as u8;
            } else if let Some(value) = after('=') {
                given = Some(value);
            } else {
                words.push(word);
            }
        }
        let number = given.unwrap_or(1);
        let (Some(&who), Some(&verb)) = (words.first(), words.get(1)) else {
            panic!("`{statement}` is not `task verb …`")
        };
        let task = self.task(who);
        if !self.started.contains(&task) {
            self.started.push(task);
            if self
                .events
                .iter()
                .any(|event| event.kind == Kind::Spawn as u8 && event.obj == task)
            {
                self.event(task, Kind::Start, 0, 0, 0);
            }
        }
        let what = words.get(2).copied();
        let named = || what.unwrap_or_else(|| panic!("`{statement}` names nothing"));
        let rest = || words[2..].join(" ");
        match verb {
            "start" => {}
            "spawn" | "go" => {
                let child = self.task(named());
                let engine = if verb == "go" {
                    Engine::Green
                } else {
                    Engine::Thread
                };
                self.event(task, Kind::Spawn, child, 0, engine as u32);
                if !named().starts_with('_') {
                    let name = self.name(named());
                    self.event(task, Kind::NameTask, child, 0, name);
                }
            }
            "exit" => {
                self.wake_all(task, Reason::Join, task);
                self.event(task, Kind::Exit, 0, 0, 0);
            }
            "end" => self.event(task, Kind::CellEnd, 0, 0, 0),
            "panic" | "mark" | "region" => {
                let text = self.name(&rest());
                let kind = match verb {
                    "panic" => Kind::Panic,
                    "mark" => Kind::Mark,
                    _ => Kind::RegionBegin,
                };
                self.event(task, kind, 0, 0, text);
            }
            "leave" => self.event(task, Kind::RegionEnd, 0, 0, 0),
            "make" => {
                let kind = match named() {
                    "channel" => ObjectKind::Channel,
                    "lock" => ObjectKind::Mutex,
                    "group" => ObjectKind::WaitGroup,
                    "cell" => ObjectKind::Cell,
                    "barrier" => ObjectKind::Barrier,
                    other => panic!("`{statement}`: there is no `{other}`"),
                };
                self.make(words[3], kind, given.unwrap_or(u32::MAX));
            }
            "want" => self.block(task, Reason::Lock, named(), ObjectKind::Mutex),
            "recv" => self.block(task, Reason::Recv, named(), ObjectKind::Channel),
            "full" => self.block(task, Reason::Send, named(), ObjectKind::Channel),
            "await" => self.block(task, Reason::Notify, named(), ObjectKind::Condvar),
            "meet" => self.block(task, Reason::Barrier, named(), ObjectKind::Barrier),
            "lack" => self.block(task, Reason::Once, named(), ObjectKind::Once),
            "notify" => {
                let condvar = self.object(named(), ObjectKind::Condvar);
                self.event(task, Kind::Notified, condvar, 0, number);
                for _ in 0..number {
                    self.wake_one(task, Reason::Notify, condvar);
                }
            }
            "trip" => {
                let barrier = self.object(named(), ObjectKind::Barrier);
                let round = next(&mut self.acquired, barrier);
                self.event(task, Kind::Tripped, barrier, round, 0);
                self.wake_all(task, Reason::Barrier, barrier);
            }
            "fill" => {
                let once = self.object(named(), ObjectKind::Once);
                self.wake_all(task, Reason::Once, once);
            }
            "select" => {
                self.waiting.push_back((task, Reason::Select, 0));
                self.event(task, Kind::BlockBegin, 0, 0, Reason::Select as u32);
            }
            "deadlock" => {
                let other = self.task(named());
                let began =
                    |event: &&Event| (event.task, event.kind) == (other, Kind::BlockBegin as u8);
                let object = self.events.iter().rfind(began).map_or(0, |event| event.obj);
                self.event(task, Kind::Deadlocked, object, number, other);
            }
            "cut" => self.event(task, Kind::Cut, 0, 0, number),
            "wait" => self.block(task, Reason::Wait, named(), ObjectKind::WaitGroup),
            "pass" => {
                let group = self.object(named(), ObjectKind::WaitGroup);
                self.event(task, Kind::Passed, group, 0, 0);
            }
            "scope" => self.block(task, Reason::Scope, named(), ObjectKind::Scope),
            "join" => {
                let other = self.task(named());
                self.waiting.push_back((task, Reason::Join, other));
                self.event(task, Kind::BlockBegin, other, 0, Reason::Join as u32);
            }
            "sleep" => {
                self.waiting.push_back((task, Reason::Sleep, 0));
                self.event(task, Kind::BlockBegin, 0, number, Reason::Sleep as u32);
            }
            "on" => self.unblock(task),
            "wake" => {
                let other = self.task(named());
                self.event(task, Kind::Wake, 0, 0, other);
            }
            "take" => {
                let lock = self.object(named(), ObjectKind::Mutex);
                self.unblock(task);
                let seq = next(&mut self.acquired, lock);
                self.event(task, Kind::Acquired, lock, seq, 0);
            }
            "wantread" => self.block(task, Reason::Read, named(), ObjectKind::RwLock),
            "wantwrite" => self.block(task, Reason::Write, named(), ObjectKind::RwLock),
            "read" | "write" => {
                let lock = self.object(named(), ObjectKind::RwLock);
                self.unblock(task);
                let (seq, shared) = (next(&mut self.acquired, lock), u32::from(verb == "read"));
                self.shares.insert((task, lock), (seq, shared));
                self.event(task, Kind::Acquired, lock, seq, shared);
            }
            "release" if self.shares_of(task, named()).is_some() => {
                let lock = self.object(named(), ObjectKind::RwLock);
                let (seq, shared) = self.shares.remove(&(task, lock)).expect("just seen");
                self.event(task, Kind::Released, lock, seq, shared);
                if !self.shares.keys().any(|(_, shared)| *shared == lock) {
                    self.wake_all(task, Reason::Read, lock);
                    self.wake_all(task, Reason::Write, lock);
                }
            }
            "release" => {
                let lock = self.object(named(), ObjectKind::Mutex);
                let seq = self.acquired.get(&lock).copied().unwrap_or(0);
                self.event(task, Kind::Released, lock, seq, 0);
                self.wake_one(task, Reason::Lock, lock);
            }
            "send" => {
                let channel = self.object(named(), ObjectKind::Channel);
                self.unblock(task);
                let seq = next(&mut self.sent, channel);
                let queued = seq.saturating_sub(self.received.get(&channel).copied().unwrap_or(0));
                self.event(task, Kind::Sent, channel, seq, queued);
                self.wake_one(task, Reason::Recv, channel);
            }
            "got" => {
                let channel = self.object(named(), ObjectKind::Channel);
                self.unblock(task);
                let seq = next(&mut self.received, channel);
                let queued = self
                    .sent
                    .get(&channel)
                    .copied()
                    .unwrap_or(0)
                    .saturating_sub(seq);
                self.event(task, Kind::Received, channel, seq, queued);
                self.wake_one(task, Reason::Send, channel);
            }
            "close" => {
                let channel = self.object(named(), ObjectKind::Channel);
                self.event(task, Kind::Closed, channel, 0, 0);
                self.wake_all(task, Reason::Recv, channel);
            }
            "add" => {
                let group = self.object(named(), ObjectKind::WaitGroup);
                let count = self.counter.entry(group).or_default();
                *count += number;
                let count = *count;
                self.event(task, Kind::WgAdd, group, 0, count);
            }
            "done" => {
                let group = self.object(named(), ObjectKind::WaitGroup);
                let count = self.counter.entry(group).or_default();
                *count = count.saturating_sub(1);
                let count = *count;
                self.event(task, Kind::WgDone, group, 0, count);
                if count == 0 {
                    self.wake_all(task, Reason::Wait, group);
                }
            }
            "joined" => {
                let other = self.task(named());
                self.unblock(task);
                self.event(task, Kind::Joined, other, 0, 0);
            }
            "work" => self.event(task, Kind::WorkBegin, 0, number, 0),
            "worked" => self.event(task, Kind::WorkEnd, 0, 0, 0),
            "offcore" => self.event(task, Kind::OffCore, 0, number, 0),
            "yield" => self.event(task, Kind::Yield, 0, 0, 0),
            "load" | "store" | "swap" => {
                let cell = self.object(named(), ObjectKind::Cell);
                let one_step = u32::from(verb == "swap");
                if verb != "store" {
                    self.event(task, Kind::Load, cell, one_step, 0);
                }
                if verb != "load" {
                    self.event(task, Kind::Store, cell, one_step, number);
                }
            }
            "observe" => self.event(task, Kind::ObserveBegin, 0, number, 0),
            "observed" => self.event(task, Kind::ObserveEnd, 0, number, 0),
            "resumed" => self.event(task, Kind::Resumed, 0, 0, 0),
            "gap" => self.event(task, Kind::Gap, 0, 0, 0),
            "hogged" => self.event(task, Kind::Hogged, 0, number, 0),
            _ => panic!("`{statement}`: there is no verb `{verb}`"),
        }
    }

    fn event(&mut self, task: u32, kind: Kind, obj: u32, seq: u32, aux: u32) {
        let (ticks, site, worker) = (self.now, self.line, self.worker);
        self.events.push(Event {
            ticks,
            task,
            obj,
            seq,
            aux,
            site,
            cpu: u16::MAX,
            kind: kind as u8,
            worker,
            ..Event::default()
        });
    }

    fn shares_of(&self, task: u32, lock: &str) -> Option<&(u32, u32)> {
        self.shares.get(&(task, *self.objects.get(lock)?))
    }

    fn task(&mut self, name: &str) -> u32 {
        let next = self.tasks.len() as u32 + 1;
        *self.tasks.entry(name.to_owned()).or_insert(next)
    }

    fn object(&mut self, name: &str, kind: ObjectKind) -> u32 {
        self.make(name, kind, u32::MAX)
    }

    /// The object of this name, made where it is not there yet. `capacity`: a channel's, or for how many a barrier is.
    fn make(&mut self, name: &str, kind: ObjectKind, capacity: u32) -> u32 {
        if let Some(&object) = self.objects.get(name) {
            return object;
        }
        let object = self.objects.len() as u32 + 2;
        self.objects.insert(name.to_owned(), object);
        let capacity = match kind {
            ObjectKind::Channel | ObjectKind::Barrier => capacity,
            _ => 0,
        };
        self.event(MAIN_TASK, Kind::NewObject, object, capacity, kind as u32);
        if !name.starts_with('_') {
            let text = self.name(name);
            self.event(MAIN_TASK, Kind::NameObject, object, 0, text);
        }
        object
    }

    fn name(&mut self, text: &str) -> NameId {
        let id = self.names.len() as NameId + 1;
        self.names.insert(id, text.into());
        id
    }

    fn block(&mut self, task: u32, reason: Reason, object: &str, kind: ObjectKind) {
        let object = self.object(object, kind);
        self.waiting.push_back((task, reason, object));
        self.event(task, Kind::BlockBegin, object, 0, reason as u32);
    }

    /// `BlockEnd`, when the task waits.
    fn unblock(&mut self, task: u32) {
        let Some(at) = self.waiting.iter().position(|(waiter, ..)| *waiter == task) else {
            // Woken ones are out of the queue already: their `BlockBegin` has no `BlockEnd` yet.
            let last = self.events.iter().rfind(|event| {
                event.task == task
                    && [Kind::BlockBegin as u8, Kind::BlockEnd as u8].contains(&event.kind)
            });
            if let Some(&Event { obj, aux, kind, .. }) = last
                && kind == Kind::BlockBegin as u8
            {
                self.event(task, Kind::BlockEnd, obj, 0, aux);
            }
            return;
        };
        let (_, reason, object) = self.waiting.remove(at).expect("just found");
        self.event(task, Kind::BlockEnd, object, 0, reason as u32);
    }

    fn wake_one(&mut self, by: u32, reason: Reason, object: u32) {
        if let Some(at) = self
            .waiting
            .iter()
            .position(|waiter| (waiter.1, waiter.2) == (reason, object))
        {
            let (task, ..) = self.waiting.remove(at).expect("just found");
            self.event(by, Kind::Wake, object, 0, task);
        }
    }

    fn wake_all(&mut self, by: u32, reason: Reason, object: u32) {
        while self
            .waiting
            .iter()
            .any(|waiter| (waiter.1, waiter.2) == (reason, object))
        {
            self.wake_one(by, reason, object);
        }
    }
}

fn next(numbers: &mut HashMap<u32, u32>, object: u32) -> u32 {
    let number = numbers.entry(object).or_default();
    *number += 1;
    *number
}

/// Numbers that look random and are the same in every run: xorshift64, for property tests.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts the row of `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed.max(1))
    }

    /// Gives the next number of the row.
    #[expect(
        clippy::should_implement_trait,
        reason = "an endless row needs no `Option`"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Gives a number from 0 up to, and without, `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
