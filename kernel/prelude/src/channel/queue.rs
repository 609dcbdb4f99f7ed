//! Messages of one type that lie in a row, by a queue that knows no more of the type than its size and how one is dropped.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Of what type the messages are.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    layout: Layout,
    drop: unsafe fn(*mut u8),
}

impl Kind {
    pub fn of<T>() -> Kind {
        unsafe fn drop<T>(message: *mut u8) {
            // SAFETY: the caller has a message of this type there, and does not use it any more.
            unsafe { message.cast::<T>().drop_in_place() };
        }
        Kind {
            layout: Layout::new::<T>(),
            drop: drop::<T>,
        }
    }

    /// Moves a message. The sizes of numbers and texts are known to the compiler: a call for them takes longer than the move.
    ///
    /// # Safety
    /// There is a message at `from`, and room for one at `to`.
    #[inline]
    pub unsafe fn copy(self, from: *const u8, to: *mut u8) {
        // SAFETY: by the caller's promise. As bytes, so that whatever a message is made of stays what it is.
        unsafe {
            match self.layout.size() {
                4 => from.copy_to_nonoverlapping(to, 4),
                8 => from.copy_to_nonoverlapping(to, 8),
                size => from.copy_to_nonoverlapping(to, size),
            }
        }
    }
}

/// A queue of messages.
pub(super) struct Queue {
    kind: Kind,
    /// Room for `room` messages, a power of two; none while that is 0.
    places: NonNull<u8>,
    room: usize,
    first: usize,
    len: usize,
}

// SAFETY: the channel whose queue it is can be sent only where its messages can: see `Sender`.
unsafe impl Send for Queue {}

impl Queue {
    pub fn new(kind: Kind) -> Queue {
        Queue {
            kind,
            places: NonNull::dangling(),
            room: 0,
            first: 0,
            len: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The place of message `number`, counted from the first.
    #[inline]
    fn at(&self, number: usize) -> *mut u8 {
        let place = (self.first + number) & (self.room - 1);
        // SAFETY: below `room`, so inside of what is allocated; of a size of 0 nothing is.
        unsafe { self.places.as_ptr().add(place * self.kind.layout.size()) }
    }

    /// Moves a message to the end.
    ///
    /// # Safety
    /// There is a message of the queue's type at `from`, which is not used any more afterwards.
    #[inline]
    pub unsafe fn push(&mut self, from: *const u8) {
        if self.len == self.room {
            self.grow();
        }
        // SAFETY: there is room behind the last.
        unsafe { self.kind.copy(from, self.at(self.len)) };
        self.len += 1;
    }

    /// Moves the first message out; false when there is none.
    ///
    /// # Safety
    /// There is room for one at `to`.
    #[inline]
    pub unsafe fn pop(&mut self, to: *mut u8) -> bool {
        if self.len == 0 {
            return false;
        }
        // SAFETY: the first is there, and not looked at again.
        unsafe { self.kind.copy(self.at(0), to) };
        self.leave_first();
        true
    }

    fn leave_first(&mut self) {
        self.first = (self.first + 1) & (self.room - 1);
        self.len -= 1;
    }

    /// The memory of `room` messages; `None` where that is none at all.
    fn layout(&self, room: usize) -> Option<Layout> {
        let size = self.kind.layout.size().checked_mul(room);
        let layout = size.and_then(|size| {
            let align = self.kind.layout.align();
            Layout::from_size_align(size, align).ok()
        });
        let layout = layout.expect("a queue of no more bytes than there are");
        (layout.size() > 0).then_some(layout)
    }

    #[cold]
    fn grow(&mut self) {
        let room = (self.room * 2).max(4);
        let places = match self.layout(room) {
            Some(layout) => {
                // SAFETY: of a size that is not 0.
                let places = unsafe { alloc(layout) };
                NonNull::new(places).unwrap_or_else(|| handle_alloc_error(layout))
            }
            None => NonNull::dangling(),
        };
        let size = self.kind.layout.size();
        for number in 0..self.len {
            // SAFETY: both are places of their own, the second one in the new memory.
            unsafe {
                let to = places.as_ptr().add(number * size);
                self.kind.copy(self.at(number), to);
            }
        }
        self.free();
        (self.places, self.room, self.first) = (places, room, 0);
    }

    /// Gives the memory back, whose messages are elsewhere.
    fn free(&mut self) {
        if self.room > 0
            && let Some(layout) = self.layout(self.room)
        {
            // SAFETY: allocated by `grow` with the same layout.
            unsafe { dealloc(self.places.as_ptr(), layout) };
        }
        self.room = 0;
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        /// Frees the memory, and drops the others when the destructor of one panics.
        struct Rest<'a>(&'a mut Queue);

        impl Drop for Rest<'_> {
            fn drop(&mut self) {
                self.0.drop_all();
                self.0.free();
            }
        }

        Rest(self).0.drop_all();
    }
}

impl Queue {
    fn drop_all(&mut self) {
        while self.len > 0 {
            let message = self.at(0);
            self.leave_first();
            // SAFETY: it was there, and is in the queue no more; its place is not used again before.
            unsafe { (self.kind.drop)(message) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::mem::{ManuallyDrop, MaybeUninit};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    fn push<T>(queue: &mut Queue, message: T) {
        let message = ManuallyDrop::new(message);
        // SAFETY: of the queue's type in each test, and forgotten.
        unsafe { queue.push((&raw const message).cast()) };
    }

    fn pop<T>(queue: &mut Queue) -> Option<T> {
        let mut message = MaybeUninit::<T>::uninit();
        // SAFETY: as above; initialised where it says so.
        unsafe {
            let there = queue.pop(message.as_mut_ptr().cast());
            there.then(|| message.assume_init())
        }
    }

    #[test]
    fn messages_come_out_in_the_order_in_which_they_went_in() {
        let mut queue = Queue::new(Kind::of::<String>());
        let (mut sent, mut received) = (0, 0);
        // Its room grows while the first is anywhere in it.
        for burst in [3, 1, 9, 30, 2] {
            for _ in 0..burst {
                push(&mut queue, sent.to_string());
                sent += 1;
            }
            for _ in 0..burst / 2 {
                assert_eq!(pop(&mut queue), Some(received.to_string()));
                received += 1;
            }
            assert_eq!(queue.len(), sent - received);
        }
        while let Some(message) = pop::<String>(&mut queue) {
            assert_eq!(message, received.to_string());
            received += 1;
        }
        assert!(queue.is_empty() && sent == received);
    }

    #[test]
    fn messages_of_no_size_are_counted() {
        let mut queue = Queue::new(Kind::of::<()>());
        (0..1000).for_each(|_| push(&mut queue, ()));
        (0..1000).for_each(|_| assert_eq!(pop(&mut queue), Some(())));
        assert_eq!(pop::<()>(&mut queue), None);
    }

    #[test]
    fn what_is_left_is_dropped_once_also_when_one_panics() {
        struct Noted(Rc<Cell<u32>>, bool);
        impl Drop for Noted {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
                assert!(!self.1, "the message that panics");
            }
        }
        let dropped = Rc::new(Cell::new(0));
        let mut queue = Queue::new(Kind::of::<Noted>());
        for number in 0..6 {
            push(&mut queue, Noted(dropped.clone(), number == 2));
        }
        drop(pop::<Noted>(&mut queue));
        let unwound = catch_unwind(AssertUnwindSafe(|| drop(queue)));
        assert!(unwound.is_err());
        assert_eq!(dropped.get(), 6);
    }
}
