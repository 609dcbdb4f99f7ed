//! What is recorded, read back by hand from a trace of this test's own.
//!
//! One process has one trace, so the tests take turns; each begins its own recording and reads that.

use std::sync::atomic::AtomicUsize;
use std::sync::{MutexGuard as Turn, OnceLock, PoisonError};

use threadbook_prelude::*;
use threadbook_timeline::fold::{State, fold};
use threadbook_timeline::format::{
    CHUNKS_PER_HALF, ChunkHeader, Claim, EVENTS_PER_CHUNK, Event, FIRST_CHUNKS, Header, KEPT_TURNS,
    Kind, MAGIC, NAMES_AT, ObjectKind, Reason, SITES_AT, Site, Stage, TRACE_BYTES, VERSION,
    chunk_at,
};
use threadbook_timeline::memory::Memory;
use threadbook_timeline::trace::Trace;

/// Longest that a test waits for what another thread is about to do.
const DEADLINE: Duration = Duration::from_secs(60);

/// A recording under way; other tests wait until it is dropped.
struct Recording {
    number: u32,
    _turn: Turn<'static, ()>,
}

/// Where the trace is mapped in this process.
fn base() -> usize {
    static BASE: OnceLock<usize> = OnceLock::new();
    *BASE.get_or_init(|| {
        // SAFETY: an anonymous file of the size of a trace, mapped whole and never unmapped.
        let (fd, base) = unsafe {
            let fd = libc::memfd_create(c"trace".as_ptr(), 0);
            assert_eq!(
                libc::ftruncate(fd, TRACE_BYTES as libc::off_t),
                0,
                "room for a trace"
            );
            let base = libc::mmap(
                std::ptr::null_mut(),
                TRACE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            );
            assert_ne!(base, libc::MAP_FAILED, "a mapped trace");
            (fd, base as usize)
        };
        assert_eq!(
            recorder::attach(fd).unwrap_err(),
            "the descriptor holds no trace"
        );
        // SAFETY: the file begins with a header, all of it atomics.
        let header = unsafe { &*(base as *const Header) };
        header.magic.store(MAGIC, Ordering::Relaxed);
        header.version.store(VERSION + 1, Ordering::Relaxed);
        let why = recorder::attach(fd).unwrap_err();
        assert!(why.contains(&format!("format {}", VERSION + 1)), "{why}");
        header.version.store(VERSION, Ordering::Relaxed);
        recorder::attach(fd).expect("a trace that was just formatted");
        base
    })
}

fn header() -> &'static Header {
    // SAFETY: the mapping begins with a header, all of it atomics.
    unsafe { &*(base() as *const Header) }
}

impl Recording {
    fn begin() -> Recording {
        static TURNS: std::sync::Mutex<u32> = std::sync::Mutex::new(0);
        static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        *turns += 1;
        let half = *turns as usize & 1;
        header().next_turn[half].store(0, Ordering::Relaxed);
        header().dropped[half].store(0, Ordering::Relaxed);
        header().unplaced[half].store(0, Ordering::Relaxed);
        header().recording.store(*turns, Ordering::Relaxed);
        Recording {
            number: *turns,
            _turn: turn,
        }
    }

    /// All events so far, by task in their order, tasks in the order of their ids.
    fn events(&self) -> Vec<Event> {
        let half = self.number as usize & 1;
        let chunks =
            (header().next_turn[half].load(Ordering::Relaxed) as usize).min(CHUNKS_PER_HALF);
        let mut events = Vec::new();
        for number in 0..chunks {
            let chunk = base() + chunk_at(half, number).expect("checked above");
            // SAFETY: a chunk begins with its header, and `len` events behind it are whole.
            unsafe {
                let head = &*(chunk as *const ChunkHeader);
                // Claimed this moment and not labelled yet: there are no events in it.
                let claim = Claim::from_word(head.claim.load(Ordering::Acquire));
                if claim.is_none_or(|claim| claim.recording != self.number) {
                    continue;
                }
                let len = head.len.load(Ordering::Acquire) as usize;
                assert!(len <= EVENTS_PER_CHUNK);
                let first = (chunk + size_of::<ChunkHeader>()) as *const Event;
                events.extend((0..len).map(|at| std::ptr::read_volatile(first.add(at))));
            }
        }
        assert!(
            events
                .iter()
                .all(|event| event.recording == self.number as u8)
        );
        events.sort_by_key(|event| event.task);
        events
    }

    fn of(&self, kinds: &[Kind]) -> Vec<Event> {
        self.events()
            .into_iter()
            .filter(|event| kinds.contains(&kind(event)))
            .collect()
    }

    /// Waits until an event is there that another thread is about to record.
    #[track_caller]
    fn wait_for(&self, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
        let start = Instant::now();
        loop {
            if let Some(event) = self.events().into_iter().find(&is_it) {
                return event;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "{what}: not there after {DEADLINE:?} among {:#?}",
                self.events()
            );
            std::thread::yield_now();
        }
    }

    fn wait_until_blocked(&self, reason: Reason, how_many: usize) {
        let start = Instant::now();
        let blocked = || {
            self.of(&[Kind::BlockBegin])
                .iter()
                .filter(|event| event.aux == reason as u32)
                .count()
        };
        while blocked() < how_many {
            assert!(
                start.elapsed() < DEADLINE,
                "{} of {how_many} block for {reason:?}",
                blocked()
            );
            std::thread::yield_now();
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        header().recording.store(0, Ordering::Relaxed);
    }
}

fn kind(event: &Event) -> Kind {
    Kind::from_number(event.kind.into()).expect("a kind of this version")
}

fn kinds(events: &[Event], task: u32) -> Vec<Kind> {
    events
        .iter()
        .filter(|event| event.task == task)
        .map(kind)
        .collect()
}

fn name(id: u32) -> String {
    assert_ne!(id, 0, "a name");
    let at = base() + NAMES_AT + id as usize - 1;
    // SAFETY: the recorder gave the id of a whole name.
    unsafe {
        let len = u32::from_le(*(at as *const u32)) as usize;
        String::from_utf8(std::slice::from_raw_parts((at + 4) as *const u8, len).to_vec())
            .expect("a name is text")
    }
}

fn site(event: &Event) -> (String, u32, u32) {
    assert_ne!(event.site, 0, "a site: {event:?}");
    // SAFETY: the recorder gave the index of a site.
    let site = unsafe {
        &*((base() + SITES_AT + (usize::from(event.site) - 1) * size_of::<Site>()) as *const Site)
    };
    assert_eq!(site.ready.load(Ordering::Acquire), 1);
    (
        name(site.file.load(Ordering::Relaxed)),
        site.line.load(Ordering::Relaxed),
        site.build.load(Ordering::Relaxed),
    )
}

#[test]
fn a_thread_is_recorded_from_spawn_to_join() {
    let recording = Recording::begin();
    let main = recorder::current_task();
    let line = line!() + 1;
    let baker = spawn_named("ada", || mark("rises"));
    baker.join().unwrap();
    let events = recording.events();
    let spawned = events
        .iter()
        .find(|event| kind(event) == Kind::Spawn)
        .expect("a spawn");
    let ada = spawned.obj;
    assert_eq!((spawned.task, spawned.aux), (main, 1));
    assert_eq!(site(spawned), (file!().to_string(), line, 0));
    let named = events
        .iter()
        .find(|event| kind(event) == Kind::NameTask && event.obj == ada)
        .expect("a name");
    assert_eq!(name(named.aux), "ada");
    let theirs: Vec<_> = kinds(&events, ada)
        .into_iter()
        .filter(|kind| *kind != Kind::Wake)
        .collect();
    assert_eq!(
        theirs,
        [Kind::NameTask, Kind::Start, Kind::Mark, Kind::Exit]
    );
    let remark = events
        .iter()
        .find(|event| kind(event) == Kind::Mark)
        .expect("a mark");
    assert_eq!(name(remark.aux), "rises");
    let joined = events
        .iter()
        .find(|event| kind(event) == Kind::Joined)
        .expect("a join");
    let exit = events
        .iter()
        .find(|event| kind(event) == Kind::Exit)
        .expect("an end");
    assert_eq!((joined.task, joined.obj), (main, ada));
    assert!(exit.ticks <= joined.ticks, "joined before it ended");
}

#[test]
fn each_task_keeps_its_order_and_time_runs_forward() {
    const EACH: u32 = 1000;
    let recording = Recording::begin();
    let bakers: Vec<_> = (0..4)
        .map(|_| spawn(|| (0..EACH).for_each(|seq| recorder::record(Kind::Load, 77, seq, 0, None))))
        .collect();
    bakers.into_iter().for_each(|baker| baker.join().unwrap());
    let events = recording.of(&[Kind::Load]);
    assert_eq!(
        events.len(),
        4 * EACH as usize,
        "events are lost or doubled"
    );
    for events in events.chunk_by(|one, next| one.task == next.task) {
        assert!(events.iter().map(|event| event.seq).eq(0..EACH));
        assert!(events.is_sorted_by_key(|event| event.ticks));
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    assert!(
        cfg!(not(target_os = "linux"))
            || events
                .iter()
                .all(|event| usize::from(event.cpu) < cores.max(1024))
    );
}

#[test]
fn each_message_is_sent_before_it_is_received_under_the_same_number() {
    for capacity in [None, Some(0), Some(1), Some(5)] {
        let recording = Recording::begin();
        let (tx, rx) = capacity.map_or_else(channel, bounded);
        let tx = tx.named("orders");
        scope(|s| {
            for sender in 0..3 {
                let tx = tx.clone();
                s.spawn(move || {
                    (0..100).for_each(|number| tx.send(sender * 1000 + number).unwrap());
                });
            }
            drop(tx);
            for _ in 0..2 {
                let rx = rx.clone();
                s.spawn(move || rx.iter().count());
            }
        });
        let made = recording.wait_for("the channel", |event| {
            kind(event) == Kind::NewObject && event.aux == ObjectKind::Channel as u32
        });
        assert_eq!(
            made.seq,
            capacity.map_or(u32::MAX, |capacity| capacity as u32)
        );
        let named = recording.wait_for("its name", |event| kind(event) == Kind::NameObject);
        assert_eq!((named.obj, name(named.aux).as_str()), (made.obj, "orders"));
        let by_number = |kind| {
            let mut events = recording.of(&[kind]);
            events.sort_by_key(|event| event.seq);
            assert!(
                events.iter().map(|event| event.seq).eq(1..=300),
                "{capacity:?}: each number once"
            );
            assert!(events.iter().all(|event| event.obj == made.obj));
            assert!(
                events
                    .iter()
                    .all(|event| event.aux as usize <= capacity.unwrap_or(300)),
                "{capacity:?}: more queued than fit"
            );
            events
        };
        for (sent, received) in by_number(Kind::Sent).iter().zip(by_number(Kind::Received)) {
            assert!(
                sent.ticks <= received.ticks,
                "{capacity:?}: {sent:?} after {received:?}"
            );
            assert_eq!(site(sent).0, file!());
        }
        assert_eq!(
            recording.of(&[Kind::Closed]).len(),
            1,
            "the last sender went, one receiver is still there"
        );
    }
}

#[test]
fn waiting_senders_are_let_in_in_the_order_in_which_they_came() {
    let recording = Recording::begin();
    let (tx, rx) = bounded(1);
    tx.send(0).unwrap();
    let senders: Vec<_> = (1..=4)
        .map(|number| {
            let tx = tx.clone();
            let sender = spawn(move || tx.send(number).unwrap());
            recording.wait_until_blocked(Reason::Send, number);
            sender
        })
        .collect();
    let order: Vec<_> = (0..=4).map(|_| rx.recv().unwrap()).collect();
    assert_eq!(order, [0, 1, 2, 3, 4]);
    senders
        .into_iter()
        .for_each(|sender| sender.join().unwrap());
    let queued: Vec<_> = recording
        .of(&[Kind::BlockBegin])
        .iter()
        .filter(|event| event.aux == Reason::Send as u32)
        .map(|event| event.seq)
        .collect();
    assert_eq!(queued, [1, 2, 3, 4], "their places in the line");
    let mut sent = recording.of(&[Kind::Sent]);
    sent.sort_by_key(|event| event.seq);
    assert!(
        sent.iter().all(|event| event.aux == 1),
        "each finds the channel full with itself: {sent:?}"
    );
}

#[test]
fn waiting_receivers_are_served_in_the_order_in_which_they_came() {
    let recording = Recording::begin();
    let (tx, rx) = channel();
    let receivers: Vec<_> = (1..=4)
        .map(|number| {
            let rx = rx.clone();
            let receiver = spawn(move || rx.recv().unwrap());
            recording.wait_until_blocked(Reason::Recv, number);
            receiver
        })
        .collect();
    (0..4).for_each(|number| tx.send(number).unwrap());
    let order: Vec<_> = receivers
        .into_iter()
        .map(|receiver| receiver.join().unwrap())
        .collect();
    assert_eq!(order, [0, 1, 2, 3]);
}

#[test]
fn a_lock_goes_from_release_to_the_next_acquisition() {
    let recording = Recording::begin();
    let till = Mutex::new(0).named("till");
    scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..200).for_each(|_| *till.lock().unwrap() += 1));
        }
    });
    let lock = recording
        .wait_for("the name", |event| {
            kind(event) == Kind::NameObject && name(event.aux) == "till"
        })
        .obj;
    let mut turns = recording.of(&[Kind::Acquired, Kind::Released]);
    turns.sort_by_key(|event| (event.seq, event.kind));
    assert_eq!(turns.len(), 2 * 800);
    for (turn, pair) in turns.chunks(2).enumerate() {
        let (acquired, released) = (pair[0], pair[1]);
        assert_eq!(
            (kind(&acquired), kind(&released), acquired.obj),
            (Kind::Acquired, Kind::Released, lock)
        );
        assert_eq!(
            (acquired.seq, released.seq, acquired.task),
            (turn as u32 + 1, turn as u32 + 1, released.task)
        );
    }
    for (released, acquired) in turns[1..]
        .chunks(2)
        .filter_map(|pair| Some((pair[0], *pair.get(1)?)))
    {
        assert!(
            released.ticks <= acquired.ticks,
            "{acquired:?} before {released:?}"
        );
    }
}

#[test]
fn a_wait_ends_after_the_wake_of_who_let_it_go_on() {
    type Setting = (&'static str, Reason, fn(&Recording));
    let settings: [Setting; 11] = [
        ("read", Reason::Read, |recording| {
            let menu = Arc::new(RwLock::new(()));
            let changing = menu.write().unwrap();
            let theirs = menu.clone();
            let waiting = spawn(move || drop(theirs.read().unwrap()));
            recording.wait_until_blocked(Reason::Read, 1);
            drop(changing);
            waiting.join().unwrap();
        }),
        ("write", Reason::Write, |recording| {
            let menu = Arc::new(RwLock::new(()));
            let looking = menu.read().unwrap();
            let theirs = menu.clone();
            let waiting = spawn(move || drop(theirs.write().unwrap()));
            recording.wait_until_blocked(Reason::Write, 1);
            drop(looking);
            waiting.join().unwrap();
        }),
        ("notify", Reason::Notify, |recording| {
            let bakery = Arc::new((Mutex::new(()), Condvar::new()));
            let theirs = bakery.clone();
            let waiting = spawn(move || drop(theirs.1.wait(theirs.0.lock().unwrap()).unwrap()));
            recording.wait_until_blocked(Reason::Notify, 1);
            bakery.1.notify_one();
            waiting.join().unwrap();
        }),
        ("barrier", Reason::Barrier, |recording| {
            let barrier = Arc::new(Barrier::new(2));
            let theirs = barrier.clone();
            let waiting = spawn(move || theirs.wait().is_leader());
            recording.wait_until_blocked(Reason::Barrier, 1);
            assert!(barrier.wait().is_leader());
            assert!(!waiting.join().unwrap());
        }),
        ("once", Reason::Once, |recording| {
            let recipe = Arc::new(threadbook_prelude::OnceLock::new());
            let theirs = recipe.clone();
            let waiting = spawn(move || assert_eq!(theirs.wait(), &5));
            recording.wait_until_blocked(Reason::Once, 1);
            recipe.set(5).unwrap();
            waiting.join().unwrap();
        }),
        ("recv", Reason::Recv, |recording| {
            let (tx, rx) = channel();
            let waiting = spawn(move || rx.recv().unwrap());
            recording.wait_until_blocked(Reason::Recv, 1);
            tx.send(()).unwrap();
            waiting.join().unwrap();
        }),
        ("send", Reason::Send, |recording| {
            let (tx, rx) = bounded(0);
            let waiting = spawn(move || tx.send(()).unwrap());
            recording.wait_until_blocked(Reason::Send, 1);
            rx.recv().unwrap();
            waiting.join().unwrap();
        }),
        ("disconnect", Reason::Recv, |recording| {
            let (tx, rx) = channel::<()>();
            let waiting = spawn(move || rx.recv().unwrap_err());
            recording.wait_until_blocked(Reason::Recv, 1);
            drop(tx);
            waiting.join().unwrap();
        }),
        ("wait group", Reason::Wait, |recording| {
            let ovens = WaitGroup::new();
            ovens.add(1);
            let theirs = ovens.clone();
            let waiting = spawn(move || theirs.wait());
            recording.wait_until_blocked(Reason::Wait, 1);
            ovens.done();
            waiting.join().unwrap();
        }),
        ("join", Reason::Join, |recording| {
            let (go, may_go) = std::sync::mpsc::channel::<()>();
            let awaited = spawn(move || may_go.recv().unwrap());
            let waiting = std::thread::spawn(move || awaited.join().unwrap());
            recording.wait_until_blocked(Reason::Join, 1);
            go.send(()).unwrap();
            waiting.join().unwrap();
        }),
        ("scope", Reason::Scope, |recording| {
            let (go, may_go) = std::sync::mpsc::channel::<()>();
            let waiting = std::thread::spawn(move || {
                scope(|s| drop(s.spawn(move || may_go.recv().unwrap())));
            });
            recording.wait_until_blocked(Reason::Scope, 1);
            go.send(()).unwrap();
            waiting.join().unwrap();
        }),
    ];
    for (what, reason, run) in settings {
        let recording = Recording::begin();
        run(&recording);
        let events = recording.events();
        let of = |wanted: Kind| {
            move |event: &&Event| kind(event) == wanted && event.aux == reason as u32
        };
        let begun = events
            .iter()
            .find(of(Kind::BlockBegin))
            .unwrap_or_else(|| panic!("{what}: no wait"));
        let ended = events
            .iter()
            .find(|event| event.task == begun.task && of(Kind::BlockEnd)(event))
            .unwrap_or_else(|| panic!("{what}: no end"));
        let woken = events
            .iter()
            .find(|event| kind(event) == Kind::Wake && event.aux == begun.task)
            .unwrap_or_else(|| panic!("{what}: no wake"));
        assert_eq!((ended.obj, woken.obj), (begun.obj, begun.obj), "{what}");
        assert_ne!(woken.task, begun.task, "{what}");
        assert!(
            begun.ticks <= woken.ticks && woken.ticks <= ended.ticks,
            "{what}: {begun:?} {woken:?} {ended:?}"
        );
    }
}

#[test]
fn a_select_is_one_wait_and_its_message_an_arrow() {
    type Setting = (&'static str, u32, fn(&Recording) -> u32);
    // Each gives the task that selects.
    let settings: [Setting; 4] = [
        ("a message comes", 1, |recording| {
            let (tx, rx) = channel();
            let (_other_tx, other) = channel::<()>();
            let waiting = spawn(move || {
                select! {
                    recv(rx) -> loaf => assert_eq!(loaf, Ok("rye")),
                    recv(other) -> _ => unreachable!(),
                }
                recorder::current_task()
            });
            recording.wait_until_blocked(Reason::Select, 1);
            tx.send("rye").unwrap();
            waiting.join().unwrap()
        }),
        ("room comes", 2, |recording| {
            let (tx, rx) = bounded(1);
            tx.send("rye").unwrap();
            let waiting = spawn(move || {
                select! { send(tx, "oat") -> sent => sent.unwrap() }
                recorder::current_task()
            });
            recording.wait_until_blocked(Reason::Select, 1);
            assert_eq!((rx.recv(), rx.recv()), (Ok("rye"), Ok("oat")));
            waiting.join().unwrap()
        }),
        ("a receiver comes", 1, |recording| {
            let (tx, rx) = bounded(0);
            let waiting = spawn(move || {
                select! { send(tx, "rye") -> sent => sent.unwrap() }
                recorder::current_task()
            });
            recording.wait_until_blocked(Reason::Select, 1);
            assert_eq!(
                rx.try_recv(),
                Ok("rye"),
                "an arm that waits to send is there"
            );
            waiting.join().unwrap()
        }),
        ("the last sender goes", 0, |recording| {
            let (tx, rx) = channel::<()>();
            let waiting = spawn(move || {
                select! { recv(rx) -> loaf => assert!(loaf.is_err()) }
                recorder::current_task()
            });
            recording.wait_until_blocked(Reason::Select, 1);
            drop(tx);
            waiting.join().unwrap()
        }),
    ];
    for (what, messages, run) in settings {
        // The wait is there before it stands in every line: what comes in between wakes nobody, and is tried again.
        let mut tries = 0;
        let (recording, task, events) = loop {
            let recording = Recording::begin();
            let task = run(&recording);
            let events = recording.events();
            let is_wake = |event: &Event| kind(event) == Kind::Wake && event.aux == task;
            tries += 1;
            if events.iter().any(is_wake) || tries == 100 {
                break (recording, task, events);
            }
        };
        let waits: Vec<&Event> = (events.iter())
            .filter(|event| event.task == task && event.aux == Reason::Select as u32)
            .filter(|event| matches!(kind(event), Kind::BlockBegin | Kind::BlockEnd))
            .collect();
        let [begun, ended] = waits[..] else {
            panic!("{what}: one wait, not {waits:?}")
        };
        assert_eq!((begun.obj, ended.obj), (0, 0), "{what}");
        assert_eq!(site(begun).0, file!(), "{what}");
        let woken = (events.iter())
            .find(|event| kind(event) == Kind::Wake && event.aux == task)
            .unwrap_or_else(|| panic!("{what}: no wake"));
        assert!(
            begun.ticks <= woken.ticks && woken.ticks <= ended.ticks,
            "{what}: {begun:?} {woken:?} {ended:?}"
        );
        let sent = recording.of(&[Kind::Sent]);
        let received = recording.of(&[Kind::Received]);
        assert_eq!(
            (sent.len(), received.len()),
            (messages as usize, messages as usize),
            "{what}"
        );
        for sent in &sent {
            let same = |event: &&Event| (event.obj, event.seq) == (sent.obj, sent.seq);
            let received = received
                .iter()
                .find(same)
                .unwrap_or_else(|| panic!("{what}: {sent:?}"));
            assert!(
                sent.ticks <= received.ticks,
                "{what}: {sent:?} {received:?}"
            );
        }
        assert!(
            (sent.iter().chain(&received)).all(|event| event.task != task
                || event.ticks >= ended.ticks
                || event.ticks <= begun.ticks),
            "{what}: it acts while it waits"
        );
    }
}

#[test]
fn a_lock_that_is_waited_for_shows_the_wait() {
    let recording = Recording::begin();
    let till = Arc::new(Mutex::new(0));
    let money = till.lock().unwrap();
    let theirs = till.clone();
    let waiting = spawn(move || *theirs.lock().unwrap() += 1);
    recording.wait_until_blocked(Reason::Lock, 1);
    drop(money);
    waiting.join().unwrap();
    let task = recording
        .of(&[Kind::BlockBegin])
        .iter()
        .find(|event| event.aux == Reason::Lock as u32)
        .expect("a wait")
        .task;
    let theirs: Vec<_> = kinds(&recording.events(), task)
        .into_iter()
        .filter(|kind| !matches!(kind, Kind::Wake | Kind::Exit))
        .collect();
    assert_eq!(
        theirs,
        [
            Kind::Start,
            Kind::BlockBegin,
            Kind::BlockEnd,
            Kind::Acquired,
            Kind::Released
        ]
    );
}

#[test]
fn a_wait_group_records_its_counter() {
    let recording = Recording::begin();
    let ovens = WaitGroup::new();
    ovens.add(2);
    ovens.done();
    drop(ovens.defer_done());
    let values: Vec<_> = recording
        .of(&[Kind::WgAdd, Kind::WgDone])
        .iter()
        .map(|event| (kind(event), event.aux))
        .collect();
    assert_eq!(
        values,
        [(Kind::WgAdd, 2), (Kind::WgDone, 1), (Kind::WgDone, 0)]
    );
}

#[test]
fn a_panic_is_recorded_with_its_words_before_the_end() {
    let recording = Recording::begin();
    let baker = spawn(|| std::panic::resume_unwind(Box::new(String::from("burnt"))));
    assert!(baker.join().is_err());
    let panic = recording.wait_for("the panic", |event| kind(event) == Kind::Panic);
    assert_eq!(name(panic.aux), "burnt");
    let theirs: Vec<_> = kinds(&recording.events(), panic.task)
        .into_iter()
        .filter(|kind| *kind != Kind::Wake)
        .collect();
    assert_eq!(theirs, [Kind::Start, Kind::Panic, Kind::Exit]);
}

#[test]
fn computing_sleeping_and_regions_are_recorded() {
    let recording = Recording::begin();
    let main = recorder::current_task();
    {
        let _kneading = region("kneading");
        work(ms(2));
        sleep(ms(1));
        yield_now();
    }
    let events: Vec<_> = recording
        .events()
        .into_iter()
        .filter(|event| event.task == main && kind(event) != Kind::OffCore)
        .collect();
    let names: Vec<_> = events
        .iter()
        .map(kind)
        .filter(|kind| *kind != Kind::NameTask)
        .collect();
    assert_eq!(
        names,
        [
            Kind::RegionBegin,
            Kind::WorkBegin,
            Kind::WorkEnd,
            Kind::BlockBegin,
            Kind::BlockEnd,
            Kind::Yield,
            Kind::Resumed,
            Kind::RegionEnd
        ]
    );
    let find = |wanted| {
        *events
            .iter()
            .find(|event| kind(event) == wanted)
            .expect("checked above")
    };
    assert_eq!(find(Kind::WorkBegin).seq, 2000);
    assert_eq!(
        (find(Kind::BlockBegin).seq, find(Kind::BlockBegin).aux),
        (1000, Reason::Sleep as u32)
    );
    assert_eq!(name(find(Kind::RegionBegin).aux), "kneading");
    let slept =
        recorder::ticks_to_duration(find(Kind::BlockEnd).ticks - find(Kind::BlockBegin).ticks);
    assert!(slept >= Duration::from_micros(999), "{slept:?}");
    assert!(header().ticks_per_second.load(Ordering::Relaxed) > 1_000_000);
}

#[test]
fn work_says_when_it_lost_its_core() {
    let recording = Recording::begin();
    // More threads than cores: the system must take some off.
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) * 2;
    scope(|s| {
        for _ in 0..threads {
            s.spawn(|| work(ms(30)));
        }
    });
    let gaps = recording.of(&[Kind::OffCore]);
    assert!(
        !gaps.is_empty(),
        "{threads} threads computed 30 ms each and none lost its core"
    );
    assert!(gaps.iter().all(|gap| gap.seq >= 100), "{gaps:?}");
}

#[test]
fn each_recording_tells_again_what_outlives_its_cell() {
    let till = {
        let _earlier = Recording::begin();
        let till = Arc::new(Mutex::new(0).named("till"));
        drop(till.lock().unwrap());
        till
    };
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let (ready, is_ready) = std::sync::mpsc::channel::<()>();
    let worker = {
        let _between = Recording::begin();
        let worker = spawn_named("ada", move || {
            mark("here");
            ready.send(()).unwrap();
            may_go.recv().unwrap();
            mark("still here");
        });
        is_ready.recv().unwrap();
        worker
    };
    let recording = Recording::begin();
    drop(till.lock().unwrap());
    drop(till.lock().unwrap());
    go.send(()).unwrap();
    worker.join().unwrap();
    let told: Vec<_> = recording
        .of(&[Kind::NewObject, Kind::NameObject])
        .iter()
        .map(kind)
        .collect();
    assert_eq!(told, [Kind::NewObject, Kind::NameObject], "once");
    let ada = recording
        .wait_for("the remark", |event| kind(event) == Kind::Mark)
        .task;
    let named = recording.wait_for("its name", |event| {
        kind(event) == Kind::NameTask && event.obj == ada
    });
    assert_eq!(name(named.aux), "ada");
}

#[test]
fn nothing_is_written_while_recording_is_off() {
    let recording = Recording::begin();
    header().recording.store(0, Ordering::Relaxed);
    // The name of this thread is kept from when its task is first asked for.
    recorder::current_task();
    let used = |half: usize| header().next_turn[half].load(Ordering::Relaxed);
    let before = (used(0), used(1), header().names.load(Ordering::Relaxed));
    spawn(|| mark("nobody hears this")).join().unwrap();
    let after = (used(0), used(1), header().names.load(Ordering::Relaxed));
    assert_eq!(before, after);
    drop(recording);
}

/// What a kernel would read of a recording.
fn read(recording: u32) -> Trace {
    // SAFETY: a whole trace is mapped there, is never unmapped, and is changed by atomic operations alone.
    let memory = unsafe { Memory::new(base() as *mut u8, TRACE_BYTES) };
    memory.expect("a mapped trace").read(recording)
}

/// The numbers of what `task` recorded by [`count_up`], as far as they were kept: a row for each stretch between two gaps. Panics where a gap is not told.
fn kept(trace: &Trace, task: u32) -> Vec<std::ops::Range<u32>> {
    let mut rows: Vec<std::ops::Range<u32>> = Vec::new();
    let mut in_a_gap = false;
    for event in trace.events.iter().filter(|event| event.task == task) {
        match (kind(event), rows.last_mut()) {
            (Kind::Gap, _) => in_a_gap = true,
            (Kind::Load, Some(row)) if row.end == event.seq => {
                assert!(!in_a_gap, "nothing is missing before {}", event.seq);
                row.end += 1;
            }
            (Kind::Load, None) if event.seq > 0 => {
                // Begun in the gap: what it did first is missing, and nothing is known of the task before.
                assert!(trace.gap.is_some_and(|gap| event.ticks > gap.from));
                rows.push(event.seq..event.seq + 1);
            }
            (Kind::Load, row) => {
                assert!(in_a_gap || row.is_none(), "a gap is not told");
                assert!(row.is_none_or(|row| row.end < event.seq), "out of order");
                in_a_gap = false;
                rows.push(event.seq..event.seq + 1);
            }
            _ => {}
        }
    }
    rows
}

fn count_up(events: u32) -> u32 {
    (0..events).for_each(|seq| recorder::record(Kind::Load, 1, seq, 0, None));
    recorder::current_task()
}

#[test]
fn a_full_trace_keeps_the_first_and_the_last() {
    let recording = Recording::begin();
    let (ready, is_ready) = bounded(0);
    let (go, may_go) = bounded::<()>(0);
    let ada = spawn_named("ada", move || {
        mark("here");
        ready.send(()).unwrap();
        may_go.recv().unwrap();
        mark("still here");
        recorder::current_task()
    });
    is_ready.recv().unwrap();
    let events = 3 * (CHUNKS_PER_HALF * EVENTS_PER_CHUNK) as u32;
    let grace = spawn_named("grace", move || count_up(events))
        .join()
        .unwrap();
    go.send(()).unwrap();
    let ada = ada.join().unwrap();
    let trace = read(recording.number);

    let rows = kept(&trace, grace);
    let [first, last] = rows.as_slice() else {
        panic!("not one gap: {rows:?}");
    };
    // Others have a few of the first chunks.
    assert!(first.start == 0 && first.len() >= (FIRST_CHUNKS - 64) * EVENTS_PER_CHUNK);
    assert!(last.end == events && last.len() >= (KEPT_TURNS as usize - 1) * EVENTS_PER_CHUNK);
    assert_eq!(
        (first.len() + last.len()) as u64 + trace.dropped,
        u64::from(events),
        "each is either kept or counted"
    );
    assert_eq!(kept(&trace, ada), [], "nothing of hers is missing");

    let gap = trace.gap.expect("it is told");
    let ticks = |seq: u32| {
        let mut of_grace = trace.events.iter().filter(|event| event.task == grace);
        let event = of_grace.find(|event| kind(event) == Kind::Load && event.seq == seq);
        event.expect("was kept").ticks
    };
    let at_the_gap = (ticks(first.end - 1), ticks(last.start));
    assert!(gap.from <= at_the_gap.0 && at_the_gap.1 <= gap.until);
    assert!(
        gap.until < trace.events.last().unwrap().ticks,
        "the end is whole"
    );

    let timeline = fold(&trace);
    let unknown = |task| {
        let lane = timeline.lane(task).unwrap();
        let unknown = lane
            .spans
            .iter()
            .filter(|span| span.state == State::Unknown);
        (lane.name.as_str(), unknown.count(), lane.ended.is_some())
    };
    assert_eq!(unknown(grace), ("grace", 1, true));
    assert_eq!(unknown(ada), ("ada", 0, true));
}

#[test]
fn what_many_threads_record_is_kept_or_counted() {
    let recording = Recording::begin();
    let each = 2 * (CHUNKS_PER_HALF * EVENTS_PER_CHUNK / 4) as u32;
    let mut threads: Vec<_> = (0..4).map(|_| spawn(move || count_up(each))).collect();
    // Threads that come and go leave chunks that are not full.
    for _ in 0..300 {
        threads.push(spawn(|| count_up(10)));
    }
    let tasks: Vec<u32> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    let trace = read(recording.number);
    let tasks: std::collections::HashSet<u32> = tasks.into_iter().collect();
    // What is not counted up: that they began, ended, and were waited for.
    let others = trace.events.iter().filter(|event| kind(event) != Kind::Gap);
    let (ours, others): (Vec<&Event>, Vec<&Event>) =
        others.partition(|event| kind(event) == Kind::Load);
    assert!(ours.iter().all(|event| tasks.contains(&event.task)));
    for task in &tasks {
        let last = kept(&trace, *task).last().map(|row| row.end);
        let mut of_task = trace.events.iter().filter(|event| event.task == *task);
        let is_lost = |event: &Event| kind(event) == Kind::Gap;
        // One that was over long before the end may have lost that; it is told.
        let is_told = of_task.next_back().is_none_or(is_lost);
        assert!(
            is_told || [Some(each), Some(10)].contains(&last),
            "{last:?}"
        );
    }
    let recorded = u64::from(4 * each + 300 * 10);
    let missing = recorded - ours.len() as u64;
    // Of the threads that came and went, the beginning and the end may be missing too: two or three events each.
    assert!(
        (missing..=missing + 4 * 304).contains(&trace.dropped),
        "{} dropped, {missing} missing, {} others kept",
        trace.dropped,
        others.len()
    );
    assert!(trace.dropped > 0 && trace.gap.is_some());
}

#[test]
fn threads_that_keep_all_chunks_leave_none_and_that_is_counted() {
    let recording = Recording::begin();
    let half = recording.number as usize & 1;
    // As if 4096 threads had recorded one event each, and went on.
    for number in 0..CHUNKS_PER_HALF {
        let chunk = base() + chunk_at(half, number).unwrap();
        // SAFETY: a chunk begins with its header, all of it atomics.
        let head = unsafe { &*(chunk as *const ChunkHeader) };
        let claim = Claim {
            recording: recording.number,
            round: 0,
            stage: Stage::Filled,
        };
        head.len.store(0, Ordering::Relaxed);
        head.claim.store(claim.to_word(), Ordering::Relaxed);
    }
    header().next_turn[half].store(CHUNKS_PER_HALF as u64, Ordering::Relaxed);
    let before = header().dropped[half].load(Ordering::Relaxed);
    spawn(|| count_up(1000)).join().unwrap();
    let dropped = header().dropped[half].load(Ordering::Relaxed) - before;
    assert!(dropped >= 1000, "{dropped}");
    let gap = read(recording.number).gap.expect("it is told");
    assert_eq!(gap.until, u64::MAX, "up to the end");
    // Not looked for by each event: that would be two thousand turns every time.
    let turns = header().next_turn[half].load(Ordering::Relaxed);
    assert!(turns < (CHUNKS_PER_HALF * 20) as u64, "{turns}");
    header().next_turn[half].store(0, Ordering::Relaxed);
}

/// The variable by which the next test tells its child that it is one.
const TO_BE_KILLED: &str = "THREADBOOK_TEST_TO_BE_KILLED";

/// Records without an end, in a process of its own, when the test below wants that.
#[test]
fn records_until_it_is_killed() {
    if std::env::var_os(TO_BE_KILLED).is_some() {
        let _other = std::thread::spawn(|| count_up(u32::MAX));
        count_up(u32::MAX);
    }
}

#[test]
fn a_process_that_is_killed_at_any_instant_leaves_a_whole_trace() {
    // SAFETY: an anonymous file of the size of a trace, mapped whole and never unmapped.
    let (fd, memory) = unsafe {
        let fd = libc::memfd_create(c"killed".as_ptr(), 0);
        assert_eq!(libc::ftruncate(fd, TRACE_BYTES as libc::off_t), 0);
        let (read, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let base = libc::mmap(std::ptr::null_mut(), TRACE_BYTES, read, shared, fd, 0);
        assert_ne!(base, libc::MAP_FAILED, "a mapped trace");
        (fd, Memory::new(base.cast(), TRACE_BYTES).unwrap())
    };
    memory.format();
    for recording in 1..=24 {
        memory.begin(recording);
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "records_until_it_is_killed"])
            .env(TO_BE_KILLED, "1")
            .env("THREADBOOK_TRACE_FD", fd.to_string())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Killed earlier or later: in the first part, when the ring is first full, and after several rounds of it.
        let turns = u64::from(recording) * 700;
        let since = Instant::now();
        let mut looks = 0;
        while memory.header().next_turn[recording as usize & 1].load(Ordering::Relaxed) < turns {
            assert!(since.elapsed() < DEADLINE, "it records nothing");
            if looks % 64 == 0 {
                look_at(&memory.read(recording), "while it is written");
            }
            looks += 1;
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let trace = memory.read(recording);
        look_at(&trace, "after a kill");
        assert!(trace.gap.is_some() || turns <= CHUNKS_PER_HALF as u64);
    }

    fn look_at(trace: &Trace, when: &str) {
        let tasks: std::collections::HashSet<u32> =
            trace.events.iter().map(|event| event.task).collect();
        assert!(tasks.len() <= 4, "{when}: {tasks:?}");
        for task in tasks {
            kept(trace, task);
        }
        fold(trace);
    }
}

#[test]
fn the_same_name_is_stored_once_and_a_long_one_is_cut() {
    let _recording = Recording::begin();
    let first = recorder::intern("ada");
    let used = header().names.load(Ordering::Relaxed);
    assert_eq!(recorder::intern("ada"), first);
    assert_eq!(header().names.load(Ordering::Relaxed), used);
    assert_eq!(name(recorder::intern(&"ö".repeat(10_000))), "ö".repeat(200));
    assert_eq!(name(recorder::intern("")), "");
}

#[test]
fn names_and_sites_survive_many_threads_at_once() {
    let _recording = Recording::begin();
    let wrong = AtomicUsize::new(0);
    scope(|s| {
        for thread in 0..8 {
            let wrong = &wrong;
            s.spawn(move || {
                for number in 0..300 {
                    let text = format!("loaf {}", (number + thread) % 300);
                    if name(recorder::intern(&text)) != text {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
}

#[test]
fn a_thread_of_std_gets_a_lane_of_its_own() {
    let recording = Recording::begin();
    std::thread::Builder::new()
        .name("foreign".into())
        .spawn(|| mark("here"))
        .unwrap()
        .join()
        .unwrap();
    let remark = recording.wait_for("the remark", |event| kind(event) == Kind::Mark);
    let named = recording.wait_for("its name", |event| {
        kind(event) == Kind::NameTask && event.obj == remark.task
    });
    assert_eq!(name(named.aux), "foreign");
    assert_ne!(remark.task, recorder::current_task());
}

#[test]
fn a_read_write_lock_is_handed_on_in_the_order_of_arrival() {
    let recording = Recording::begin();
    let order = Arc::new(RwLock::new(Vec::new()));
    let first = order.write().unwrap();
    let waiting: Vec<_> = (1..=3)
        .map(|number| {
            let theirs = order.clone();
            let one = spawn(move || theirs.write().unwrap().push(number));
            recording.wait_until_blocked(Reason::Write, number);
            one
        })
        .collect();
    let theirs = order.clone();
    let reader = spawn(move || theirs.read().unwrap().len());
    recording.wait_until_blocked(Reason::Read, 1);
    let theirs = order.clone();
    let last = spawn(move || theirs.write().unwrap().push(4));
    recording.wait_until_blocked(Reason::Write, 4);
    drop(first);
    waiting.into_iter().for_each(|one| one.join().unwrap());
    last.join().unwrap();
    assert_eq!(
        reader.join().unwrap(),
        3,
        "after the third, before the last"
    );
    assert_eq!(*order.read().unwrap(), [1, 2, 3, 4]);
}

#[test]
fn each_turn_of_a_read_write_lock_has_a_number_and_says_whether_it_is_shared() {
    let recording = Recording::begin();
    let menu = RwLock::new(0).named("menu");
    let (one, other) = (menu.read().unwrap(), menu.read().unwrap());
    assert!(
        format!("{menu:?}").contains("data: 0"),
        "shown without a trace"
    );
    drop(one);
    drop(other);
    let mut changing = menu.write().unwrap();
    *changing = 1;
    drop(RwLockWriteGuard::downgrade(changing));
    let turns: Vec<_> = recording
        .of(&[Kind::Acquired, Kind::Released])
        .iter()
        .map(|event| (kind(event), event.seq, event.aux))
        .collect();
    assert_eq!(
        turns,
        [
            (Kind::Acquired, 1, 1),
            (Kind::Acquired, 2, 1),
            (Kind::Released, 1, 1),
            (Kind::Released, 2, 1),
            (Kind::Acquired, 3, 0),
            (Kind::Released, 3, 0),
            (Kind::Acquired, 4, 1),
            (Kind::Released, 4, 1),
        ]
    );
    let made = recording.wait_for("the lock", |event| kind(event) == Kind::NewObject);
    assert_eq!(made.aux, ObjectKind::RwLock as u32);
}

#[test]
fn readers_that_waited_for_one_writer_are_let_in_together() {
    let recording = Recording::begin();
    let (menu, inside) = (RwLock::new(0), Barrier::new(3));
    scope(|s| {
        let changing = menu.write().unwrap();
        for number in 1..=3 {
            s.spawn(|| {
                let _menu = menu.read().unwrap();
                inside.wait(); // or never, if one had to wait for another
            });
            recording.wait_until_blocked(Reason::Read, number);
        }
        drop(changing);
    });
    let mut shared = recording.of(&[Kind::Acquired]);
    shared.retain(|event| event.aux == 1);
    let mut numbers: Vec<_> = shared.iter().map(|event| event.seq).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3, 4]);
}

#[test]
fn a_notification_says_how_many_it_let_go_on() {
    let recording = Recording::begin();
    let main = recorder::current_task();
    let (shelf, filled) = (Mutex::new(0), Condvar::new().named("filled"));
    filled.notify_all();
    scope(|s| {
        for number in 1..=3 {
            s.spawn(|| drop(filled.wait(shelf.lock().unwrap()).unwrap()));
            recording.wait_until_blocked(Reason::Notify, number);
        }
        filled.notify_one();
        filled.notify_all();
    });
    let notified = recording.of(&[Kind::Notified]);
    let counts: Vec<_> = notified.iter().map(|event| event.aux).collect();
    assert_eq!(counts, [0, 1, 2]);
    assert!(
        notified
            .iter()
            .all(|event| event.task == main && event.obj == notified[0].obj)
    );
    let woken = |event: &&Event| event.task == main && event.obj == notified[0].obj;
    assert_eq!(recording.of(&[Kind::Wake]).iter().filter(woken).count(), 3);
    // The lock is given back before the wait is drawn, and taken after it.
    let theirs = recording.of(&[
        Kind::BlockBegin,
        Kind::BlockEnd,
        Kind::Acquired,
        Kind::Released,
    ]);
    let is_notify = |event: &Event| event.aux == Reason::Notify as u32;
    for begin in theirs
        .iter()
        .filter(|event| kind(event) == Kind::BlockBegin && is_notify(event))
    {
        let of_task: Vec<_> = theirs
            .iter()
            .filter(|event| event.task == begin.task)
            .collect();
        let at = |which: Kind, by: bool| {
            let is_it = |event: &&Event| kind(event) == which && (!by || is_notify(event));
            of_task.iter().position(is_it).expect("recorded")
        };
        assert!(
            at(Kind::Released, false) < at(Kind::BlockBegin, true),
            "{of_task:?}"
        );
        assert!(
            at(Kind::BlockBegin, true) < at(Kind::BlockEnd, true),
            "{of_task:?}"
        );
        let last = of_task
            .iter()
            .rposition(|event| kind(event) == Kind::Acquired);
        assert!(Some(at(Kind::BlockEnd, true)) < last, "{of_task:?}");
    }
}

#[test]
fn a_barrier_counts_its_rounds() {
    let recording = Recording::begin();
    let barrier = Barrier::new(2).named("all kneaded");
    scope(|s| {
        for _ in 0..2 {
            s.spawn(|| (0..5).filter(|_| barrier.wait().is_leader()).count());
        }
    });
    let mut tripped = recording.of(&[Kind::Tripped]);
    tripped.sort_by_key(|event| event.seq);
    let rounds: Vec<_> = tripped.iter().map(|event| event.seq).collect();
    assert_eq!(rounds, [1, 2, 3, 4, 5]);
    let waits = recording.of(&[Kind::BlockBegin]);
    let waits = waits
        .iter()
        .filter(|event| event.aux == Reason::Barrier as u32);
    assert_eq!(
        waits.count(),
        5,
        "one waits in each round, and one comes last"
    );
}

#[test]
fn who_fills_a_once_lock_wakes_who_waits_for_it() {
    let recording = Recording::begin();
    let main = recorder::current_task();
    let recipe = threadbook_prelude::OnceLock::new().named("recipe");
    scope(|s| {
        for number in 1..=2 {
            s.spawn(|| assert_eq!(recipe.wait(), &"rye"));
            recording.wait_until_blocked(Reason::Once, number);
        }
        recipe.set("rye").unwrap();
    });
    let made = recording.wait_for("the place", |event| {
        kind(event) == Kind::NewObject && event.aux == ObjectKind::Once as u32
    });
    let wakes = recording.of(&[Kind::Wake]);
    let wakes = wakes
        .iter()
        .filter(|event| event.task == main && event.obj == made.obj);
    assert_eq!(wakes.count(), 2);
}
