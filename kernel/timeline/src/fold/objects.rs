//! What is shared: names, counters, who has a lock.

use super::Fold;
use super::timeline::{EdgeKind, Hold, Nanos, Object};
use crate::format::{Event, ObjectKind};

impl Fold<'_> {
    pub(super) fn object(&mut self, id: u32, kind: ObjectKind) -> &mut Object {
        let position = *self.object_position.entry(id).or_insert_with(|| {
            let (kind, name) = self.known.objects.get(&id).cloned().unwrap_or((kind, None));
            let named = name.is_some();
            let name = name.unwrap_or_default();
            self.objects.push(Object {
                id,
                kind,
                name,
                named,
                made_at: None,
                counter: Vec::new(),
                sent_by: None,
                received_by: None,
            });
            self.objects.len() - 1
        });
        &mut self.objects[position]
    }

    pub(super) fn new_object(&mut self, event: &Event, site: Option<u16>) {
        let Some(kind) = ObjectKind::from_number(event.aux) else {
            return;
        };
        if kind == ObjectKind::Scope {
            self.scopes.insert(event.obj, self.tasks.len());
        }
        let object = self.object(event.obj, kind);
        object.made_at = site;
        object.kind = kind;
    }

    pub(super) fn name_object(&mut self, event: &Event) {
        let name = self.text(event.aux);
        if let Some(&position) = self.object_position.get(&event.obj) {
            self.objects[position].name = name;
            self.objects[position].named = true;
        }
    }

    pub(super) fn acquired(&mut self, at: usize, event: &Event, site: Option<u16>) {
        let (now, shared) = (self.now, event.aux == 1);
        let lock = self.locks.entry(event.obj).or_default();
        lock.holders = lock.holders.saturating_add(1);
        let holders = lock.holders;
        // Who reads could do so since nobody has it alone any more; who has it alone, since the last one of all gave it back.
        let (by, is_next) = match (shared, lock.last) {
            (true, _) => (lock.alone, false),
            (false, Some((by, seq, was_shared))) => {
                lock.alone = None;
                lock.last = None;
                let is_next = seq.checked_add(1) == Some(event.seq);
                ((was_shared || is_next).then_some(by), is_next)
            }
            (false, None) => (None, false),
        };
        // Others may have had it in between.
        let by = by.filter(|by| is_next || !self.is_unsure_since(by.1));
        self.lock_counts(event, shared, event.task, holders);
        self.tasks[at].lane.holds.push(Hold {
            object: event.obj,
            from: now,
            until: None,
            site,
            shared,
        });
        if let Some((from, left)) = by
            && from != event.task
        {
            self.edge(EdgeKind::Lock, (from, left), at, event.obj, event.seq);
        }
    }

    pub(super) fn released(&mut self, at: usize, event: &Event) {
        let (now, shared) = (self.now, event.aux == 1);
        let lock = self.locks.entry(event.obj).or_default();
        lock.holders = lock.holders.saturating_sub(1);
        let holders = lock.holders;
        if !shared {
            lock.alone = Some((event.task, now));
        }
        lock.last = Some(((event.task, now), event.seq, shared));
        self.lock_counts(event, shared, 0, holders);
        // From the back: a lock is mostly given back by who took it last.
        let held = |hold: &&mut Hold| hold.object == event.obj && hold.until.is_none();
        let holds = &mut self.tasks[at].lane.holds;
        if let Some(hold) = holds.iter_mut().rev().take(64).find(held) {
            hold.until = Some(now);
        }
    }

    /// Notes who has a mutex now, or how many a read-write lock.
    pub(super) fn lock_counts(&mut self, event: &Event, shared: bool, holder: u32, holders: u32) {
        let now = self.now;
        let kind = if shared {
            ObjectKind::RwLock
        } else {
            ObjectKind::Mutex
        };
        let uncounted = self.is_unsure_since(Nanos(0));
        let object = self.object(event.obj, kind);
        let count = match object.kind {
            // Who takes it and gives it back can be counted only as long as all are seen.
            ObjectKind::RwLock if uncounted => return,
            ObjectKind::RwLock => holders,
            _ => holder,
        };
        object.counter.push((now, count));
    }
}
