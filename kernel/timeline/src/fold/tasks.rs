//! A task from its making to its end, and what it does meanwhile.

use super::timeline::{EdgeKind, Lane, LaneEnd, Nanos, Span, State};
use super::{Fold, Task, Where, waiting};
use crate::facts::Ended;
use crate::format::{Engine, Event, Kind, MAIN_TASK, Reason};

impl Fold<'_> {
    /// The position of a task that does something, with a lane of its own from now on.
    pub(super) fn task_doing(
        &mut self,
        task: u32,
        kind: Kind,
        event: &Event,
        place: Where,
    ) -> usize {
        if let Some(&at) = self.position.get(&task) {
            return at;
        }
        let at = self.new_task(task, None, Nanos(0), Engine::Thread, Ended::default());
        if let Some((from, _)) = self.gap.filter(|(from, _)| self.now > *from) {
            // Made in the gap, or in an earlier recording: what is known of it begins here.
            let lane = &mut self.tasks[at].lane;
            lane.spawned = from;
            if kind == Kind::Start {
                lane.spawned = self.now;
            } else {
                self.tasks[at].open = Some(span(State::Unknown, from, Where::default()));
            }
            return at;
        }
        match kind {
            // It waits since an earlier recording, and goes on in this one.
            Kind::BlockEnd => {
                let state = Reason::from_number(event.aux)
                    .map_or(State::Ready, |reason| waiting(reason, event.obj));
                self.tasks[at].open = Some(Span {
                    from: Nanos(0),
                    ..span(state, self.now, Where::default())
                });
                if let Some((object, how)) = self.early_deadlocks.remove(&task) {
                    self.waits_in_vain(at, object, how);
                }
                if let Some((by, when)) = self.early_wakes.remove(&task) {
                    let now = std::mem::replace(&mut self.now, when);
                    self.wake(at, by);
                    self.now = now;
                }
            }
            Kind::Start => self.tasks[at].lane.spawned = self.now,
            _ => {
                let running = Where {
                    worker: place.worker,
                    ..Where::default()
                };
                self.change(at, State::Running, running);
            }
        }
        at
    }

    pub(super) fn new_task(
        &mut self,
        task: u32,
        parent: Option<u32>,
        spawned: Nanos,
        engine: Engine,
        ended: Ended,
    ) -> usize {
        let name = match self
            .given_names
            .get(&task)
            .or_else(|| self.known.tasks.get(&task))
        {
            _ if task == MAIN_TASK => "main".into(),
            Some(name) => name.clone(),
            None => String::new(),
        };
        let lane = Lane {
            task,
            name,
            parent,
            engine,
            spawned,
            started: None,
            ended: None,
            end: LaneEnd::Alive,
            spans: Vec::new(),
            holds: Vec::new(),
            marks: Vec::new(),
            regions: Vec::new(),
        };
        self.position.insert(task, self.tasks.len());
        self.tasks.push(Task {
            lane,
            open: None,
            regions: Vec::new(),
            panicked: None,
            cut: None,
            yielded: None,
            gone: false,
            just_woken_by: None,
            started_knowing: ended.clone(),
            ended,
        });
        self.tasks.len() - 1
    }

    pub(super) fn spawn(&mut self, at: usize, event: &Event, site: Option<u16>) {
        self.runs_on(at);
        if event.obj == 0 || self.position.contains_key(&event.obj) {
            return;
        }
        let engine = Engine::from_number(event.aux).unwrap_or(Engine::Thread);
        let ended = self.tasks[at].ended.clone();
        let child = self.new_task(event.obj, Some(event.task), self.now, engine, ended);
        let made = Where {
            site,
            ..Where::default()
        };
        self.change(child, State::Ready, made);
        self.edge(EdgeKind::Spawn, (event.task, self.now), child, event.obj, 0);
    }

    pub(super) fn exit(&mut self, at: usize, cpu: Option<u16>) {
        self.close(at, self.now, cpu);
        let (now, task) = (self.now, &mut self.tasks[at]);
        task.gone = true;
        task.lane.ended = Some(now);
        task.lane.end = task.how_it_ended().unwrap_or(LaneEnd::Done);
        for region in task.regions.drain(..) {
            task.lane.regions[region].until = Some(now);
        }
        let ended = task.ended.with(at);
        self.exits.insert(task.lane.task, (now, ended));
    }

    /// The task does what hardly any destructor does: the learner caught what was to end it.
    pub(super) fn runs_on(&mut self, at: usize) {
        self.tasks[at].panicked = None;
        self.tasks[at].cut = None;
    }

    /// A green task is ready until it is resumed. A thread is not told from one that runs, unless it says later that it was off.
    pub(super) fn yields(&mut self, at: usize, place: Where) {
        self.runs_on(at);
        if place.worker.is_some() {
            self.close(at, self.now, place.cpu);
            let ready = span(State::Ready, self.now, Where::default());
            self.tasks[at].open = Some(ready);
        }
        self.tasks[at].yielded = Some(self.now);
    }

    pub(super) fn resumed(&mut self, at: usize, place: Where) {
        // Without a `Yield` that was seen it runs as before.
        let Some(since) = self.tasks[at].yielded.take() else {
            return;
        };
        self.was_ready(at, since, None);
        self.change(at, State::Running, place);
    }

    /// The task kept its worker for so long until now: said of the longest of the spans that this was, since the last one may be the few nanoseconds between
    /// the end of a computation and the next call.
    pub(super) fn hogged(&mut self, at: usize, micros: u32) {
        let now = self.now;
        let long = Nanos(u64::from(micros) * 1000);
        let since = Nanos(now.0.saturating_sub(long.0));
        let task = &mut self.tasks[at];
        let runs = |span: &&mut Span| {
            matches!(span.state, State::Running | State::Computing) && span.until(now) >= since
        };
        let spans = task.lane.spans.iter_mut().rev().take(8);
        let spans = task.open.iter_mut().chain(spans).filter(runs);
        // Of two that are equal, the later one, as without a length nothing else is known.
        if let Some(span) = spans.rev().max_by_key(|span| span.length(now)) {
            span.hogged = span.hogged.max(Some(long));
        }
    }

    pub(super) fn off_core(&mut self, at: usize, micros: u32, cpu: Option<u16>) {
        let now = self.now;
        let Some(open) = self.tasks[at].open.clone() else {
            return;
        };
        if matches!(
            open.state,
            State::Blocked { .. } | State::Sleeping | State::Unknown
        ) {
            return;
        }
        let since = Nanos(now.0.saturating_sub(u64::from(micros) * 1000));
        self.was_ready(at, since, open.worker);
        // Which core it lost is not known: `cpu` is the one that it came back to.
        let back = Where {
            site: open.site,
            cpu,
            worker: open.worker,
        };
        self.tasks[at].open = Some(span(open.state, now, back));
    }

    /// The task, which ran as far as was known, was ready since then; `worker` is the one that it kept, if any. Leaves nothing open.
    pub(super) fn was_ready(&mut self, at: usize, since: Nanos, worker: Option<u8>) {
        let Some(open) = &self.tasks[at].open else {
            return;
        };
        if open.state == State::Ready {
            return self.close(at, self.now, None);
        }
        let since = since.max(open.from);
        let until = self.now;
        self.close(at, since, open.cpu);
        let place = Where {
            worker,
            ..Where::default()
        };
        self.tasks[at].open = Some(span(State::Ready, since, place));
        self.close(at, until, None);
    }

    pub(super) fn change(&mut self, at: usize, state: State, place: Where) {
        self.close(at, self.now, place.cpu);
        self.tasks[at].yielded = None;
        let runs = matches!(state, State::Running | State::Computing);
        let place = Where {
            worker: place.worker.filter(|_| runs),
            ..place
        };
        self.tasks[at].open = Some(span(state, self.now, place));
    }

    /// Ends what the task does. Spans without length are kept only where they say something: waits.
    pub(super) fn close(&mut self, at: usize, until: Nanos, cpu: Option<u16>) {
        let task = &mut self.tasks[at];
        if let Some(span) = task.open.take() {
            let waits = matches!(span.state, State::Blocked { .. } | State::Sleeping);
            if until > span.from || waits {
                let cpu = if cpu == span.cpu { cpu } else { None };
                task.lane.spans.push(Span {
                    until: Some(until),
                    cpu,
                    ..span
                });
            }
        }
    }
}

pub(super) fn span(state: State, from: Nanos, place: Where) -> Span {
    Span {
        from,
        until: None,
        state,
        site: place.site,
        cpu: place.cpu,
        woken_by: None,
        woken_at: None,
        deadlocked: None,
        worker: place.worker,
        hogged: None,
    }
}
