//! Channels: `channel()` without a bound, `bounded(n)` with room for `n`, `bounded(0)` as a rendezvous.
//!
//! std's results and errors, crossbeam's receiver that can be cloned, Go's `make(chan T, n)`. Messages are handed over, not fought for, as Go does it: a
//! sender gives its message to the receiver that waited longest; a receiver that makes room moves the message of the sender that waited longest into it.
//! So nobody is woken in vain, messages stay in order, and a wait ends with what it waited for. Here are the two ends, which know the type of the
//! messages; what they do is done by a [`RawChannel`], which knows no type and so is compiled into the library.
//!
//! An arm of a `select!` ([`arm`]) stands in the same lines as anybody else. One thing differs: a sending arm makes its message when it is chosen, so it
//! is chosen first, by a [`Permit`](arm::Permit), and sends afterwards. Where there is room, some is kept for it; in a rendezvous its receiver waits.

pub mod arm;
mod clock;
mod line;
mod queue;
mod raw;

use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::Location;
use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::recorder::Here;
use crate::rt;

pub use clock::{after, never, tick};
pub use raw::Patience;

use raw::{RawChannel, Refused};

/// Makes a channel without a bound: sending never waits.
///
/// Both ends can be cloned and sent to other threads. The contract of [`std::sync::mpsc::channel`].
///
/// ```
/// # use threadbook_prelude::*;
/// let (tx, rx) = channel();
/// spawn_named("ada", move || tx.send("rye").unwrap());
/// assert_eq!(rx.recv(), Ok("rye"));
/// assert!(rx.recv().is_err()); // ada's end is gone, and nothing is left
/// ```
#[track_caller]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    ends(None, Location::caller())
}

/// Makes a channel with room for `capacity` messages: sending waits while it is full.
///
/// With 0 there is no room at all: each `send` waits for its `recv`, a rendezvous. The contract of [`std::sync::mpsc::sync_channel`], and of Go's
/// `make(chan T, capacity)`.
///
/// ```
/// # use threadbook_prelude::*;
/// let (tx, rx) = bounded(1);
/// tx.send("rye").unwrap();
/// assert!(tx.try_send("spelt").is_err()); // full
/// assert_eq!(rx.recv(), Ok("rye"));
/// ```
#[track_caller]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    ends(Some(capacity), Location::caller())
}

fn ends<T>(capacity: Option<usize>, made: Here) -> (Sender<T>, Receiver<T>) {
    let channel = RawChannel::new(queue::Kind::of::<T>(), capacity, 1, None, made);
    let sender = Sender {
        channel: channel.clone(),
        first: true,
        messages: PhantomData,
    };
    (sender, Receiver::of(channel))
}

/// Sends a message into a channel of such messages.
fn send<T>(
    channel: &RawChannel,
    message: T,
    patience: Patience,
    here: Here,
) -> Result<(), (T, Refused)> {
    rt::point_of_a_cell();
    let message = ManuallyDrop::new(message);
    // SAFETY: of the channel's type. It is used no more if it was sent, and else is the caller's as before.
    match unsafe { channel.send((&raw const message).cast(), patience, here) } {
        Ok(()) => Ok(()),
        Err(why) => {
            let message = ManuallyDrop::into_inner(message);
            Err((message, why.settled()))
        }
    }
}

/// The sending end of a channel. Clones send into the same channel; when the last is dropped, receivers are told once the queue is empty.
///
/// The contract of [`std::sync::mpsc::SyncSender`]. Sending without a wait costs about 10 ns, and twice that while recording. A message that may not leave
/// its thread makes channels that may not either:
///
/// ```compile_fail
/// # use threadbook_prelude::*;
/// let (tx, rx) = channel::<std::rc::Rc<u8>>();
/// spawn(move || drop(tx));
/// ```
pub struct Sender<T> {
    channel: Arc<RawChannel>,
    /// The one that was made with the channel: mostly the one that is forgotten.
    first: bool,
    /// It can be sent and shared where its messages can be sent, as a lock around one.
    messages: PhantomData<Mutex<T>>,
}

impl<T> Sender<T> {
    /// Gives the channel a name for the picture. The first name stays.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (tx, rx) = channel();
    /// let tx = tx.named("orders");
    /// # tx.send(1).unwrap(); rx.recv().unwrap();
    /// ```
    pub fn named(self, name: impl AsRef<str>) -> Sender<T> {
        self.channel.object.named(name.as_ref());
        self
    }

    /// Sends a message.
    ///
    /// Blocks the calling thread while the channel is full, drawn on its lane; in a rendezvous until a receiver takes the message. Never blocks without a
    /// bound.
    ///
    /// # Errors
    /// When all receivers are gone; the message is in the error.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (tx, rx) = bounded(0);
    /// let baker = spawn(move || tx.send("rye")); // waits for the recv
    /// assert_eq!(rx.recv(), Ok("rye"));
    /// baker.join().unwrap().unwrap();
    /// ```
    #[track_caller]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        match self.send_within(message, Patience::Forever, Location::caller()) {
            Ok(()) => Ok(()),
            Err((message, _)) => Err(SendError(message)),
        }
    }

    fn send_within(&self, message: T, patience: Patience, here: Here) -> Result<(), (T, Refused)> {
        send(&self.channel, message, patience, here)
    }

    /// Sends a message if that needs no wait; in a rendezvous, if a receiver waits already. Does not block.
    ///
    /// # Errors
    /// `Full` when it would have to wait, `Disconnected` when all receivers are gone; the message is in the error.
    #[track_caller]
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.send_within(message, Patience::None, Location::caller())
            .map_err(|(message, why)| match why {
                Refused::Disconnected => TrySendError::Disconnected(message),
                _ => TrySendError::Full(message),
            })
    }

    /// Sends a message as [`send`](Self::send) does, but waits no longer than `timeout`.
    ///
    /// # Errors
    /// `Timeout` when there was no room in time, `Disconnected` when all receivers are gone; the message is in the error.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (tx, rx) = bounded(0);
    /// assert_eq!(tx.send_timeout("rye", ms(1)), Err(SendTimeoutError::Timeout("rye")));
    /// # drop(rx);
    /// ```
    #[track_caller]
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_within(message, Patience::of(timeout), Location::caller())
            .map_err(|(message, why)| match why {
                Refused::Disconnected => SendTimeoutError::Disconnected(message),
                _ => SendTimeoutError::Timeout(message),
            })
    }

    /// Sends a message as [`send`](Self::send) does, but waits no longer than until `deadline`; one that has passed is a wait of no length.
    ///
    /// The contract of crossbeam's method of this name.
    ///
    /// # Errors
    /// `Timeout` when there was no room in time, `Disconnected` when all receivers are gone; the message is in the error.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (tx, rx) = bounded(0);
    /// let closing = Instant::now() + ms(1);
    /// assert_eq!(tx.send_deadline("rye", closing), Err(SendTimeoutError::Timeout("rye")));
    /// # drop(rx);
    /// ```
    #[track_caller]
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.send_within(message, Patience::Until(deadline), Location::caller())
            .map_err(|(message, why)| match why {
                Refused::Disconnected => SendTimeoutError::Disconnected(message),
                _ => SendTimeoutError::Timeout(message),
            })
    }

    /// Gives how many messages are queued, which may have changed by the time you look at it. Does not block.
    pub fn len(&self) -> usize {
        self.channel.state().queue.len()
    }

    /// Says whether no message is queued. Does not block.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says whether there is no room: then [`send`](Self::send) would wait, unless somebody receives meanwhile. A rendezvous is always full, and empty
    /// besides; a channel without a bound never is. Does not block.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (tx, rx) = bounded(1);
    /// assert!(!tx.is_full());
    /// tx.send("rye").unwrap();
    /// assert!(tx.is_full() && rx.is_full());
    /// ```
    pub fn is_full(&self) -> bool {
        self.channel.is_full()
    }

    /// Says whether the other sender sends into the same channel. Does not block.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (tx, rx) = channel::<u32>();
    /// assert!(tx.same_channel(&tx.clone()));
    /// let (other, _) = channel::<u32>();
    /// assert!(!tx.same_channel(&other));
    /// # drop(rx);
    /// ```
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        Arc::ptr_eq(&self.channel, &other.channel)
    }

    /// Gives how many messages have room, or `None` without a bound.
    pub fn capacity(&self) -> Option<usize> {
        self.channel.capacity
    }
}

impl<T> Clone for Sender<T> {
    #[track_caller]
    fn clone(&self) -> Sender<T> {
        self.channel.one_more_sender(Location::caller());
        Sender {
            channel: self.channel.clone(),
            first: false,
            messages: PhantomData,
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.channel.one_sender_less(self.first);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Sender {{ channel {}, {} queued }}",
            self.channel.object,
            self.len()
        )
    }
}

/// The receiving end of a channel. Clones receive from the same channel, each message once; when the last is dropped, senders are told.
///
/// The contract of [`std::sync::mpsc::Receiver`], and of crossbeam's for its clones.
///
/// ```
/// # use threadbook_prelude::*;
/// let (tx, rx) = channel();
/// for loaf in 0..3 {
///     tx.send(loaf).unwrap();
/// }
/// drop(tx); // or the loop waits for ever: this end could still send
/// let mut sold = Vec::new();
/// for loaf in rx {
///     sold.push(loaf);
/// }
/// assert_eq!(sold, [0, 1, 2]);
/// ```
pub struct Receiver<T> {
    channel: Arc<RawChannel>,
    /// As for a [`Sender`].
    messages: PhantomData<Mutex<T>>,
}

impl<T> Receiver<T> {
    /// The receiver of a new channel, whose messages are of this type.
    fn of(channel: Arc<RawChannel>) -> Receiver<T> {
        Receiver {
            channel,
            messages: PhantomData,
        }
    }

    fn receive(&self, patience: Patience, here: Here) -> Result<T, Refused> {
        let mut message = MaybeUninit::<T>::uninit();
        // SAFETY: room for one of the channel's type, which is there if it says so.
        unsafe {
            match self
                .channel
                .recv(message.as_mut_ptr().cast(), patience, here)
            {
                Ok(()) => Ok(message.assume_init()),
                Err(why) => Err(why),
            }
        }
    }

    /// Gives the channel a name for the picture. The first name stays.
    pub fn named(self, name: impl AsRef<str>) -> Receiver<T> {
        self.channel.object.named(name.as_ref());
        self
    }

    /// Receives the next message.
    ///
    /// Blocks the calling thread until there is one, drawn on its lane.
    ///
    /// # Errors
    /// When all senders are gone and nothing is queued.
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        match self.receive(Patience::Forever, Location::caller()) {
            Ok(message) => Ok(message),
            Err(_) => Err(RecvError),
        }
    }

    /// Receives a message if one is queued, or in a rendezvous if a sender waits. Does not block.
    ///
    /// # Errors
    /// `Empty` when there is none yet, `Disconnected` when all senders are gone and nothing is queued.
    #[track_caller]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.receive(Patience::None, Location::caller())
            .map_err(|why| match why {
                Refused::Disconnected => TryRecvError::Disconnected,
                _ => TryRecvError::Empty,
            })
    }

    /// Receives the next message as [`recv`](Self::recv) does, but waits no longer than `timeout`.
    ///
    /// # Errors
    /// `Timeout` when none came in time, `Disconnected` when all senders are gone and nothing is queued.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (tx, rx) = channel::<u32>();
    /// assert!(rx.recv_timeout(ms(1)).is_err());
    /// # drop(tx);
    /// ```
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.receive(Patience::of(timeout), Location::caller())
            .map_err(|why| match why {
                Refused::Disconnected => RecvTimeoutError::Disconnected,
                _ => RecvTimeoutError::Timeout,
            })
    }

    /// Receives the next message as [`recv`](Self::recv) does, but waits no longer than until `deadline`; one that has passed is a wait of no length.
    ///
    /// The contract of crossbeam's method of this name.
    ///
    /// # Errors
    /// `Timeout` when none came in time, `Disconnected` when all senders are gone and nothing is queued.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (tx, rx) = channel::<u32>();
    /// assert!(rx.recv_deadline(Instant::now() + ms(1)).is_err());
    /// # drop(tx);
    /// ```
    #[track_caller]
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.receive(Patience::Until(deadline), Location::caller())
            .map_err(|why| match why {
                Refused::Disconnected => RecvTimeoutError::Disconnected,
                _ => RecvTimeoutError::Timeout,
            })
    }

    /// Gives an iterator that receives until all senders are gone; it blocks as [`recv`](Self::recv) does.
    #[track_caller]
    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            receiver: self,
            here: Location::caller(),
        }
    }

    /// Gives an iterator over the messages that are there already. It does not block.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (tx, rx) = channel();
    /// tx.send(1).unwrap();
    /// tx.send(2).unwrap();
    /// assert_eq!(rx.try_iter().count(), 2);
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }

    /// Gives how many messages are queued, which may have changed by the time you look at it. Does not block.
    pub fn len(&self) -> usize {
        let state = self.channel.state();
        state.queue.len() + usize::from(state.rang())
    }

    /// Says whether no message is queued. Does not block.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says whether there is no room: then who sends waits, unless this end receives meanwhile. A rendezvous is always full, and empty besides; a channel
    /// without a bound never is; one that rings by the clock is when it has rung. Does not block.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (tx, rx) = channel::<u32>();
    /// assert!(!rx.is_full());
    /// let (handover, taken) = bounded::<u32>(0);
    /// assert!(taken.is_full() && taken.is_empty());
    /// # drop((tx, handover));
    /// ```
    pub fn is_full(&self) -> bool {
        self.channel.is_full()
    }

    /// Says whether the other receiver receives from the same channel. Does not block.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (tx, rx) = channel::<u32>();
    /// assert!(rx.same_channel(&rx.clone()));
    /// # drop(tx);
    /// ```
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        Arc::ptr_eq(&self.channel, &other.channel)
    }

    /// Gives how many messages have room, or `None` without a bound.
    pub fn capacity(&self) -> Option<usize> {
        self.channel.capacity
    }
}

impl<T> Clone for Receiver<T> {
    #[track_caller]
    fn clone(&self) -> Receiver<T> {
        self.channel.one_more_receiver(Location::caller());
        Receiver::of(self.channel.clone())
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.channel.one_receiver_less();
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Receiver {{ channel {}, {} queued }}",
            self.channel.object,
            self.len()
        )
    }
}

/// Receives until all senders are gone; made by [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    receiver: &'a Receiver<T>,
    /// Where it was made: what calls `next` may be std's own code, as in `rx.iter().count()`.
    here: Here,
}

/// Receives what is there already; made by [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T> {
    receiver: &'a Receiver<T>,
}

/// Owns its receiver and receives until all senders are gone; made by a `for` over a [`Receiver`].
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
    /// As for an [`Iter`].
    here: Here,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.receive(Patience::Forever, self.here).ok()
    }
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.receive(Patience::Forever, self.here).ok()
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    #[track_caller]
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    #[track_caller]
    fn into_iter(self) -> IntoIter<T> {
        IntoIter {
            receiver: self,
            here: Location::caller(),
        }
    }
}

/// Why [`Sender::send_timeout`] sent nothing; the message is inside. The contract of crossbeam's type of this name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// There was no room in time.
    Timeout(T),
    /// All receivers are gone.
    Disconnected(T),
}

impl<T> SendTimeoutError<T> {
    /// Gives the message back.
    pub fn into_inner(self) -> T {
        match self {
            SendTimeoutError::Timeout(message) | SendTimeoutError::Disconnected(message) => message,
        }
    }
}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendTimeoutError::Timeout(_) => "Timeout(..)",
            SendTimeoutError::Disconnected(_) => "Disconnected(..)",
        })
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendTimeoutError::Timeout(_) => "timed out waiting on send operation",
            SendTimeoutError::Disconnected(_) => "sending on a disconnected channel",
        })
    }
}

impl<T> std::error::Error for SendTimeoutError<T> {}
