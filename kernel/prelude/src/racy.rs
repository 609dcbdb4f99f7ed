//! `Racy`: a cell that is read and written in two steps, so that updates can be lost: for the lessons on races.
//!
//! In Rust two tasks cannot write one plain variable at once: it does not compile, and where `unsafe` makes it, anything may happen. What can be shown
//! without that is the race itself: two whole steps, and others between them.

use std::any::Any;
use std::fmt;
use std::panic::Location;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use threadbook_timeline::format::{Kind, ObjectKind};

use crate::object::Object;
use crate::recorder::{self, Here};
use crate::rt;

/// A cell that several tasks may read and write at once, each time as a whole, and never both in one step.
///
/// Wrong on purpose. It has the methods of std's atomics that are one step, so a program becomes right by changing one type, from `Racy<u64>` to
/// [`AtomicU64`](crate::AtomicU64), and [`read_then_write`](Self::read_then_write) to `fetch_add` or `update`, which do both in one step. No data race in
/// Rust's sense is possible: a step is under a small lock of its own. Costs about 15 ns a step, and 80 ns while recording.
///
/// ```
/// # use threadbook_prelude::*;
/// let sold = Racy::new(0).named("sold");
/// scope(|s| {
///     for name in ["ada", "grace"] {
///         s.spawn_named(name, || sold.read_then_write(|loaves| loaves + 1));
///     }
/// });
/// let loaves = sold.load(Ordering::Relaxed);
/// assert!(loaves == 1 || loaves == 2);
/// ```
pub struct Racy<T> {
    object: Object,
    value: Mutex<T>,
}

impl<T: Copy + 'static> Racy<T> {
    /// Makes a cell that holds `value`. Does not block.
    #[track_caller]
    pub fn new(value: T) -> Racy<T> {
        Racy {
            object: Object::new(ObjectKind::Cell, 0, Location::caller()),
            value: Mutex::new(value),
        }
    }

    /// Gives the cell a name for the picture. The first name stays.
    pub fn named(self, name: impl AsRef<str>) -> Racy<T> {
        self.object.named(name.as_ref());
        self
    }

    /// Reads the value: one step. Does not block.
    ///
    /// The signature of [`std::sync::atomic::AtomicU64::load`]; the step is `SeqCst` whatever `order` says, so what goes wrong comes from the two steps alone.
    ///
    /// # Panics
    /// When `order` is `Release` or `AcqRel`, as std's.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// assert_eq!(Racy::new('x').load(Ordering::Relaxed), 'x');
    /// ```
    #[track_caller]
    pub fn load(&self, order: Ordering) -> T {
        match order {
            Ordering::Release => panic!("there is no such thing as a release load"),
            Ordering::AcqRel => panic!("there is no such thing as an acquire-release load"),
            _ => self.read(Location::caller()),
        }
    }

    /// Writes `value`: one step. Does not block.
    ///
    /// The signature of [`std::sync::atomic::AtomicU64::store`]; as for [`load`](Self::load), the step is `SeqCst`.
    ///
    /// # Panics
    /// When `order` is `Acquire` or `AcqRel`, as std's.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let cell = Racy::new(1);
    /// cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed); // two steps
    /// assert_eq!(cell.load(Ordering::Relaxed), 2);
    /// ```
    #[track_caller]
    pub fn store(&self, value: T, order: Ordering) {
        match order {
            Ordering::Acquire => panic!("there is no such thing as an acquire store"),
            Ordering::AcqRel => panic!("there is no such thing as an acquire-release store"),
            _ => self.write(value, Location::caller()),
        }
    }

    /// Reads the value, lets others go first, and writes what `f` made of it: two steps, so what another wrote between them is lost.
    ///
    /// Gives the value that it read. Does not block. Not to be taken for the `update` of std's atomics, which loses nothing.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let sold = Racy::new(3);
    /// assert_eq!(sold.read_then_write(|loaves| loaves + 1), 3);
    /// assert_eq!(sold.load(Ordering::Relaxed), 4);
    /// ```
    #[track_caller]
    pub fn read_then_write(&self, f: impl FnOnce(T) -> T) -> T {
        let here = Location::caller();
        let seen = self.read(here);
        rt::yield_now();
        self.write(f(seen), here);
        seen
    }

    fn read(&self, here: Here) -> T {
        rt::point();
        let value = *rt::lock(&self.value);
        recorder::record(
            Kind::Load,
            self.object.id(),
            0,
            low_bits(&value),
            Some(here),
        );
        value
    }

    fn write(&self, value: T, here: Here) {
        rt::point();
        *rt::lock(&self.value) = value;
        recorder::record(
            Kind::Store,
            self.object.id(),
            0,
            low_bits(&value),
            Some(here),
        );
    }
}

/// What stands in an event of a value: the low 32 bits of a number, a `bool` or a `char`, and 0 of anything else.
fn low_bits(value: &dyn Any) -> u32 {
    macro_rules! numbers {
        ($($number:ty)+) => {
            $(if let Some(number) = value.downcast_ref::<$number>() {
                return *number as u32;
            })+
        };
    }
    numbers!(u64 i32 u32 i64 usize isize bool u8 char i8 u16 i16 u128 i128);
    0
}

impl<T: Copy + Default + 'static> Default for Racy<T> {
    #[track_caller]
    fn default() -> Racy<T> {
        Racy::new(T::default())
    }
}

impl<T: Copy + 'static> From<T> for Racy<T> {
    #[track_caller]
    fn from(value: T) -> Racy<T> {
        Racy::new(value)
    }
}

impl<T: Copy + fmt::Debug> fmt::Debug for Racy<T> {
    /// Shows the value, as std's atomics do. Looks without a trace: showing a cell is no step of the program.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = *rt::lock(&self.value);
        value.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_wrote_between_the_two_steps_is_lost() {
        let sold = Racy::new(1_u64);
        let seen = sold.read_then_write(|seen| {
            sold.store(100, Ordering::SeqCst);
            seen + 1
        });
        assert_eq!((seen, sold.load(Ordering::Acquire)), (1, 2));
        assert_eq!(format!("{sold:?}"), "2");
    }

    #[test]
    fn an_event_shows_the_low_bits_of_numbers_only() {
        for (name, value, want) in [
            ("number", &(7_u64 << 32 | 5) as &dyn Any, 5),
            ("negative", &-1_i8, u32::MAX),
            ("bool", &true, 1),
            ("char", &'a', 97),
            ("float", &1.5_f64, 0),
            ("pair", &(1, 2), 0),
        ] {
            assert_eq!(low_bits(value), want, "{name}");
        }
    }
}
