//! The picture of a cell that still runs: shown after half a second, brought up to date in place, and left there for the last one.
//!
//! A thread of its own, which sleeps while no cell runs and does nothing in cells that are short. It only reads what the cell records, and takes at most a
//! tenth of a core for that, however much there is. Whoever ends the cell does not wait for it: a picture that comes too late is thrown away.

use super::output::Events;
use super::sources::Sources;
use crate::cell::{Event, JobId, MimeBundle};
use crate::picture::{Of, SoFar};
use crate::trace::TraceMemory;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use threadbook_timeline::format::{CHUNKS_PER_HALF, EVENTS_PER_CHUNK};

/// How long a cell has run when its picture is first shown.
const FIRST: Duration = Duration::from_millis(500);
/// Least time between two pictures.
const LEAST: Duration = Duration::from_millis(250);
/// So many times as long as a picture took, the next one is not made.
const REST: u32 = 9;
/// What an event costs, from the shared memory to the picture, where there are many: half a million take 0.6 s beside two busy threads, and 100,000 take 0.18 s.
const PER_EVENT: Duration = Duration::from_nanos(1_500);
/// How many events of a recording are kept, and so drawn, at most.
const MOST_KEPT: u64 = (CHUNKS_PER_HALF * EVENTS_PER_CHUNK) as u64;
/// A cell that runs for long is looked at more seldom: after each sixtieth of its time, when it does something.
const PART_BUSY: u32 = 60;
/// After each quarter of its time, when it does nothing: only the length of its waits is new.
const PART_IDLE: u32 = 4;

/// A cell whose picture is wanted while it runs.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Its ticket.
    pub job: JobId,
    /// The number that the notebook shows in brackets.
    pub number: u32,
    /// The recording that its events belong to.
    pub recording: u32,
    /// How to draw it.
    pub so_far: SoFar,
}

/// What a look at a cell that runs is for.
#[derive(Debug, Clone, Copy)]
struct Ask {
    /// How long the cell has run.
    ran: Duration,
    /// With so many events it was drawn last, and is drawn again only if there are others; `None` when it is to be drawn all the same.
    before: Option<u64>,
    /// How many events may be drawn: more would take too long by now.
    most: u64,
}

/// What a look at a cell that runs came to.
#[derive(Debug, Default)]
struct Look {
    /// How many events there were, those among them that are not kept.
    events: u64,
    /// There were more than may be drawn by now.
    is_too_much: bool,
    /// The picture, when there is something to see, and not too much.
    picture: Option<MimeBundle>,
}

/// The cell that runs, as far as its picture goes.
struct Running {
    watched: Watched,
    began: Option<Instant>,
    next: Option<Instant>,
    /// By which id the picture stands in the notebook.
    shown: Option<String>,
    /// How many events there were when it was drawn, and how long the cell had run by then.
    drawn: Option<(u64, Duration)>,
    /// How long looking at it has taken so far.
    spent: Duration,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    closed: bool,
}

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    /// Held while something is published, and by whoever ends or clears the cell: no picture comes after the cell's end, or between its clearing and our
    /// knowing of it. Taken before `state`, never after it.
    turn: Mutex<()>,
}

impl Inner {
    /// Waits until nothing is being published, and keeps it so. Who waits here waits for room in the line to the session, into which its own next event has
    /// to go as well; no client can stop that, since each has a queue of its own.
    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle to the thread; clones share it.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

impl Live {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        trace: Arc<TraceMemory>,
        sources: Sources,
        events: Events,
    ) -> std::io::Result<Live> {
        let look = move |watched: &Watched, ask: Ask| look_at(&trace, &sources, watched, ask);
        Live::start_with(look, events, FIRST)
    }

    fn start_with(
        look: impl Fn(&Watched, Ask) -> Look + Send + 'static,
        events: Events,
        first: Duration,
    ) -> std::io::Result<Live> {
        let inner = Arc::new(Inner {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            turn: Mutex::new(()),
        });
        let live = Live(Arc::clone(&inner));
        std::thread::Builder::new()
            .name("live".into())
            .spawn(move || watch(&inner, &look, &events, first))?;
        Ok(live)
    }

    /// The next cell that begins is this one.
    pub fn arm(&self, watched: Watched) {
        self.0.lock().running = Some(Running {
            watched,
            began: None,
            next: None,
            shown: None,
            drawn: None,
            spent: Duration::ZERO,
        });
    }

    /// The worker was told to run the cell.
    pub fn begin(&self) {
        if let Some(running) = &mut self.0.lock().running {
            running.began.get_or_insert_with(Instant::now);
        }
        self.0.changed.notify_one();
    }

    /// The cell takes away what it has shown, by `take_away`: its picture too, so the next one is a new output.
    pub fn clear(&self, take_away: impl FnOnce()) {
        let _turn = self.0.turn();
        take_away();
        if let Some(running) = &mut self.0.lock().running {
            running.shown = None;
            running.drawn = None;
        }
    }

    /// The cell is over. Gives the id by which its picture stands in the notebook, when one does; nothing is shown by this thread any more.
    pub fn end(&self) -> Option<String> {
        let _turn = self.0.turn();
        self.0.lock().running.take()?.shown
    }

    /// Ends the thread.
    pub fn close(&self) {
        let mut state = self.0.lock();
        state.running = None;
        state.closed = true;
        self.0.changed.notify_one();
    }
}

fn watch(inner: &Inner, look: &dyn Fn(&Watched, Ask) -> Look, events: &Events, first: Duration) {
    let mut state = inner.lock();
    while !state.closed {
        let due = state.running.as_ref().and_then(|running| {
            let began = running.began?;
            Some((running.next.unwrap_or(began + first), began))
        });
        let Some((due, began)) = due else {
            state = inner
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let now = Instant::now();
        if now < due {
            let waited = inner.changed.wait_timeout(state, due - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        let Some(running) = &state.running else {
            continue;
        };
        let (watched, drawn) = (running.watched.clone(), running.drawn);
        let spent = running.spent;
        let ran = now - began;
        // A cell that does nothing is drawn again when its waits are longer by a part that can be seen.
        let is_stale = drawn.is_none_or(|(_, when)| ran >= when + when / PART_IDLE);
        let before = drawn.map(|drawn| drawn.0).filter(|_| !is_stale);
        drop(state);
        let most = affordable(ran, spent);
        let seen = look(&watched, Ask { ran, before, most });
        let took = now.elapsed();
        let rest = if seen.is_too_much {
            rest_until_affordable(seen.events, ran, spent)
        } else {
            rest_after(took, ran)
        };
        let turn = inner.turn();
        let event = inner.lock().event_of(&watched, seen, ran, took, now + rest);
        // With the turn, and without the state: a cell may begin, and the thread be told to end, however long this takes.
        if let Some(event) = event {
            (events)(event);
        }
        drop(turn);
        state = inner.lock();
    }
}

impl State {
    /// What a look at a cell that had run for `ran`, which took `took`, has to tell, if that cell runs still; the next look is due at `next`.
    fn event_of(
        &mut self,
        watched: &Watched,
        seen: Look,
        ran: Duration,
        took: Duration,
        next: Instant,
    ) -> Option<Event> {
        let of_this = |running: &&mut Running| running.watched.job == watched.job;
        let running = self.running.as_mut().filter(of_this)?;
        running.next = Some(next);
        running.spent += took;
        let bundle = seen.picture?;
        running.drawn = Some((seen.events, ran));
        let job = Some(watched.job);
        Some(match &running.shown {
            Some(id) => Event::Update {
                job,
                id: id.clone(),
                bundle,
            },
            None => {
                let id = uuid::Uuid::new_v4().to_string();
                running.shown = Some(id.clone());
                Event::Display {
                    job,
                    bundle,
                    id: Some(id),
                }
            }
        })
    }
}

/// How long after the beginning of a look the next one is due: never sooner than a quarter of a second, nor so soon that looking takes more than a tenth of
/// the time, and the more seldom the longer the cell runs.
fn rest_after(took: Duration, ran: Duration) -> Duration {
    LEAST.max(took + took * REST).max(ran / PART_BUSY)
}

/// How many events a picture may have of a cell that had run for `ran`, so that all looks at it, which took `spent` so far, take no more than their part of that.
fn affordable(ran: Duration, spent: Duration) -> u64 {
    let left = (ran / (REST + 1)).saturating_sub(spent);
    u64::try_from(left.as_nanos() / PER_EVENT.as_nanos()).unwrap_or(u64::MAX)
}

/// How long after the beginning of a look there will be time for so many events, if there are no more by then.
fn rest_until_affordable(events: u64, ran: Duration, spent: Duration) -> Duration {
    let drawn = u32::try_from(events.min(MOST_KEPT)).unwrap_or(u32::MAX);
    let cost = PER_EVENT.saturating_mul(drawn).saturating_add(spent);
    LEAST.max(cost.saturating_mul(REST + 1).saturating_sub(ran))
}

/// Draws what a cell has done so far; nothing when that is what it had done before, or when it is too much by now.
fn look_at(trace: &TraceMemory, sources: &Sources, watched: &Watched, ask: Ask) -> Look {
    let Ask { ran, before, most } = ask;
    let events = trace.count(watched.recording);
    if events == 0 || before == Some(events) {
        return Look::default();
    }
    if events.min(MOST_KEPT) > most {
        return Look {
            events,
            is_too_much: true,
            picture: None,
        };
    }
    let trace = trace.read(watched.recording);
    let line_of_site = sources.lines_of(&trace);
    let of = Of {
        job: watched.job,
        number: watched.number,
        acts: true,
        ran: Some(ran),
    };
    let picture = watched.so_far.draw(&trace, &line_of_site, of);
    Look {
        events,
        is_too_much: false,
        picture,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Pictures;
    use std::sync::mpsc;

    fn watched(job: JobId) -> Watched {
        Watched {
            job,
            number: 1,
            recording: 1,
            so_far: Pictures::default().so_far(),
        }
    }

    fn bundle(text: &str) -> MimeBundle {
        MimeBundle::from_iter([("text/plain".to_owned(), text.into())])
    }

    /// A thread that shows a picture at each look, of which a test lets it take as many as it likes.
    fn live() -> (Live, mpsc::Sender<u64>, mpsc::Receiver<Event>) {
        let (allow, allowed) = mpsc::channel::<u64>();
        let (tell, told) = mpsc::channel();
        let (allowed, tell) = (Mutex::new(allowed), Mutex::new(tell));
        let look = move |_: &Watched, _: Ask| {
            let events = allowed.lock().expect("one thread").recv().unwrap_or(0);
            Look {
                events,
                is_too_much: false,
                picture: (events > 0).then(|| bundle(&events.to_string())),
            }
        };
        let events: Events = Arc::new(move |event| {
            let _ = tell.lock().expect("one thread").send(event);
        });
        let live = Live::start_with(look, events, Duration::ZERO).expect("a thread");
        (live, allow, told)
    }

    #[test]
    fn one_picture_is_shown_and_then_brought_up_to_date() {
        let (live, allow, told) = live();
        live.begin();
        live.arm(watched(7));
        live.begin();
        for look in 1..=3 {
            allow.send(look).expect("it looks");
        }
        let Event::Display {
            job: Some(7),
            bundle: first,
            id: Some(id),
        } = told.recv().expect("is shown")
        else {
            panic!("a display comes first")
        };
        assert_eq!(first, bundle("1"));
        for look in ["2", "3"] {
            let update = Event::Update {
                job: Some(7),
                id: id.clone(),
                bundle: bundle(look),
            };
            assert_eq!(told.recv().expect("is shown"), update);
        }
        assert_eq!(live.end(), Some(id));
        // What it draws after the end is thrown away; the next cell begins anew.
        allow.send(4).expect("it looks, or will");
        live.arm(watched(8));
        live.begin();
        allow.send(5).expect("it looks");
        allow.send(6).expect("it looks");
        let Event::Display {
            job: Some(8),
            id: Some(other),
            ..
        } = told.recv().expect("is shown")
        else {
            panic!("a new display")
        };
        assert_eq!(live.end(), Some(other));
        live.close();
        drop(allow);
        assert!(
            !told
                .iter()
                .any(|event| matches!(event, Event::Update { job: Some(7), .. }))
        );
    }

    #[test]
    fn a_cell_that_clears_its_output_gets_a_new_picture() {
        let (live, allow, told) = live();
        live.arm(watched(1));
        live.begin();
        allow.send(1).expect("it looks");
        assert!(matches!(told.recv(), Ok(Event::Display { .. })));
        let mut cleared = false;
        live.clear(|| cleared = true);
        assert!(cleared);
        allow.send(2).expect("it looks");
        assert!(
            matches!(told.recv(), Ok(Event::Display { .. })),
            "no update of what is gone"
        );
        live.clear(|| ());
        assert_eq!(live.end(), None, "nothing stands there");
        live.close();
    }

    #[test]
    fn a_picture_that_is_being_published_keeps_nobody_from_beginning_and_comes_before_the_end() {
        let (publishing, published) = mpsc::channel();
        let (go_on, held) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let tell_end = tell.clone();
        let (publishing, held, tell) = (Mutex::new(publishing), Mutex::new(held), Mutex::new(tell));
        let events: Events = Arc::new(move |_| {
            let _ = publishing.lock().expect("one thread").send(());
            // As long as the line to the session is full.
            let _ = held.lock().expect("one thread").recv();
            let _ = tell.lock().expect("one thread").send("picture");
        });
        let look = |_: &Watched, _: Ask| Look {
            events: 1,
            is_too_much: false,
            picture: Some(bundle("1")),
        };
        let live = Live::start_with(look, events, Duration::ZERO).expect("a thread");
        live.arm(watched(1));
        live.begin();
        published.recv().expect("it publishes");
        // Each of these would wait for ever if it had to wait for the picture.
        live.begin();
        assert!(live.0.lock().running.is_some());
        let ending = live.clone();
        let end = std::thread::spawn(move || {
            let shown = ending.end();
            let _ = tell_end.send("end");
            shown
        });
        drop(go_on);
        assert!(
            end.join().expect("ends").is_some(),
            "what was published stands there"
        );
        live.close();
        let order: Vec<&str> = told.iter().collect();
        assert_eq!(order.first(), Some(&"picture"));
        assert_eq!(
            order.iter().position(|&what| what == "end"),
            Some(order.len() - 1),
            "no picture comes after the end: {order:?}"
        );
    }

    #[test]
    fn a_cell_that_shows_nothing_has_no_picture_to_replace() {
        let (live, allow, told) = live();
        assert_eq!(live.end(), None);
        live.arm(watched(1));
        live.begin();
        allow.send(0).expect("it looks");
        allow.send(0).expect("it looks");
        assert_eq!(live.end(), None);
        live.close();
        drop(allow);
        assert_eq!(told.iter().count(), 0);
    }

    #[test]
    fn a_cell_of_very_many_events_is_drawn_when_that_is_a_tenth_of_its_time() {
        let ms = Duration::from_millis;
        let none = Duration::ZERO;
        // 600 ms pay for 60 ms of drawing, less what was drawn before.
        assert_eq!(affordable(ms(600), none), 40_000);
        assert_eq!(affordable(ms(600), ms(30)), 20_000);
        assert_eq!(affordable(ms(600), ms(90)), 0);
        // 200,000 events take 300 ms, and so are drawn after three seconds, by when they are affordable.
        let rest = rest_until_affordable(200_000, ms(500), none);
        assert_eq!(rest, ms(2500));
        assert_eq!(affordable(ms(500) + rest, none), 200_000);
        assert_eq!(rest_until_affordable(200_000, ms(500), ms(100)), ms(3500));
        assert_eq!(rest_until_affordable(200_000, ms(2900), none), LEAST);
        // What is not kept is not drawn: however much happened, the picture comes.
        let at_last = ms(500) + rest_until_affordable(u64::MAX, ms(500), none);
        assert_eq!(affordable(at_last, none), MOST_KEPT);
        assert!(at_last < Duration::from_secs(9), "{at_last:?}");
    }

    #[test]
    fn what_is_too_much_by_now_is_looked_at_again_and_drawn_later() {
        let (tell, told) = mpsc::channel();
        let tell = Mutex::new(tell);
        let events: Events = Arc::new(move |event| {
            let _ = tell.lock().expect("one thread").send(event);
        });
        // As many as take 30 ms: at the first look that is too much.
        let look = |_: &Watched, ask: Ask| Look {
            events: 20_000,
            is_too_much: ask.most < 20_000,
            picture: (ask.most >= 20_000).then(|| bundle("drawn")),
        };
        let live = Live::start_with(look, events, Duration::ZERO).expect("a thread");
        live.arm(watched(1));
        let began = Instant::now();
        live.begin();
        assert!(matches!(told.recv(), Ok(Event::Display { .. })));
        assert!(began.elapsed() >= Duration::from_millis(300));
        live.end();
        live.close();
    }

    #[test]
    fn looks_are_at_most_four_a_second_and_a_tenth_of_the_time() {
        let ms = Duration::from_millis;
        for (took, ran, want) in [
            (0, 500, 250),
            (20, 500, 250),
            (100, 500, 1000),
            (1, 15_000, 250),
            (1, 60_000, 1000),
            (1, 3_600_000, 60_000),
        ] {
            assert_eq!(rest_after(ms(took), ms(ran)), ms(want), "{took} {ran}");
        }
    }
}
