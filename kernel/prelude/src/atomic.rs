//! Atomics with std's names, methods and signatures, which record what each task read and wrote.
//!
//! Each call is one step of the program and one call of std's: the ordering that was asked for is passed through. A load is recorded as `Load`, a store as
//! `Store`; what reads and writes in one step (`swap`, `fetch_add`, …) as a `Load` of the old value and a `Store` of the new one, both with the number 1
//! that says "one step", and a `compare_exchange` that fails as a `Load`. An event is recorded right after its step, without a lock: of two tasks that touch
//! a cell within some 100 ns the picture may show the second one first. There is no `from_ptr`, since ours is larger than the number in it.

use std::fmt;
use std::panic::Location;
use std::sync::atomic::Ordering;

use threadbook_timeline::format::{Kind, ObjectKind};

use crate::object::Object;
use crate::recorder::{self, Here};
use crate::rt;

/// The `seq` of a `Load` and a `Store` that are one step.
const ONE_STEP: u32 = 1;

/// What stands in an event of a value: its low 32 bits.
trait Shown: Copy {
    fn low_bits(self) -> u32;
}

impl Shown for bool {
    fn low_bits(self) -> u32 {
        self.into()
    }
}

macro_rules! shown {
    ($($number:ty)+) => {
        $(impl Shown for $number {
            fn low_bits(self) -> u32 {
                self as u32
            }
        })+
    };
}

shown!(i8 i16 i32 i64 isize u8 u16 u32 u64 usize);

fn read(object: &Object, value: impl Shown, here: Here) {
    recorder::record(Kind::Load, object.id(), 0, value.low_bits(), Some(here));
}

fn wrote(object: &Object, value: impl Shown, here: Here) {
    recorder::record(Kind::Store, object.id(), 0, value.low_bits(), Some(here));
}

fn in_one_step(object: &Object, old: impl Shown, new: impl Shown, here: Here) {
    // Asked once for both events.
    if recorder::recording() != 0 {
        let (old, new) = (old.low_bits(), new.low_bits());
        recorder::record(Kind::Load, object.id(), ONE_STEP, old, Some(here));
        recorder::record(Kind::Store, object.id(), ONE_STEP, new, Some(here));
    }
}

/// What every atomic has.
macro_rules! atomic {
    ($name:ident, $value:ty, $one:literal, $two:literal) => {
        #[doc = concat!("A `", stringify!($value), "` that several tasks may read and write at once, each time as a whole.")]
        ///
        #[doc = concat!("The contract of [`std::sync::atomic::", stringify!($name), "`], orderings included. `new` is no `const fn`, since it records where it was")]
        #[doc = concat!("called: a `static` needs std's own, by `std::sync::atomic::", stringify!($name), "`. A call costs about 5 ns more than std's, and 35 to 120 ns more")]
        /// while recording.
        ///
        /// ```
        /// # use threadbook_prelude::*;
        #[doc = concat!("let cell = ", stringify!($name), "::new(", stringify!($one), ").named(\"sold\");")]
        #[doc = concat!("assert_eq!(cell.swap(", stringify!($two), ", Ordering::Relaxed), ", stringify!($one), ");")]
        #[doc = concat!("assert_eq!(cell.load(Ordering::Relaxed), ", stringify!($two), ");")]
        /// ```
        pub struct $name {
            object: Object,
            cell: std::sync::atomic::$name,
        }

        impl $name {
            /// Makes a cell that holds `value`. Does not block.
            #[track_caller]
            pub fn new(value: $value) -> $name {
                $name {
                    object: Object::new(ObjectKind::Cell, 0, Location::caller()),
                    cell: std::sync::atomic::$name::new(value),
                }
            }

            /// Gives the cell a name for the picture. The first name stays.
            pub fn named(self, name: impl AsRef<str>) -> $name {
                self.object.named(name.as_ref());
                self
            }

            /// Gives the value to the one who owns the cell. Does not block, and is no step of the program: nobody else can have it.
            pub fn get_mut(&mut self) -> &mut $value {
                self.cell.get_mut()
            }

            /// Takes the cell apart and gives the value. Does not block, and is no step of the program.
            pub fn into_inner(self) -> $value {
                self.cell.into_inner()
            }

            /// Gives a pointer to the value. What is done by it is not recorded.
            pub fn as_ptr(&self) -> *mut $value {
                self.cell.as_ptr()
            }

            /// Reads the value. Does not block.
            ///
            /// # Panics
            /// When `order` is `Release` or `AcqRel`.
            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                rt::point();
                let value = self.cell.load(order);
                read(&self.object, value, Location::caller());
                value
            }

            /// Writes `value`. Does not block.
            ///
            /// # Panics
            /// When `order` is `Acquire` or `AcqRel`.
            #[track_caller]
            pub fn store(&self, value: $value, order: Ordering) {
                rt::point();
                self.cell.store(value, order);
                wrote(&self.object, value, Location::caller());
            }

            /// Writes `value` and gives the one before, in one step. Does not block.
            #[track_caller]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                rt::point();
                let old = self.cell.swap(value, order);
                in_one_step(&self.object, old, value, Location::caller());
                old
            }

            /// Writes `new` if the value is `current`, in one step; gives the value before. Does not block.
            #[deprecated = "use `compare_exchange` or `compare_exchange_weak` instead, as with std's"]
            #[track_caller]
            pub fn compare_and_swap(&self, current: $value, new: $value, order: Ordering) -> $value {
                let failure = match order {
                    Ordering::Release => Ordering::Relaxed,
                    Ordering::AcqRel => Ordering::Acquire,
                    other => other,
                };
                match self.compare_exchange(current, new, order, failure) {
                    Ok(old) | Err(old) => old,
                }
            }

            /// Writes `new` if the value is `current`, in one step. Does not block.
            ///
            /// # Errors
            /// When the value was another one: that one.
            ///
            /// # Panics
            /// When `failure` is `Release` or `AcqRel`.
            #[track_caller]
            pub fn compare_exchange(&self, current: $value, new: $value, success: Ordering, failure: Ordering) -> Result<$value, $value> {
                rt::point();
                let result = self.cell.compare_exchange(current, new, success, failure);
                self.compared(result, new, Location::caller())
            }

            /// Does what [`compare_exchange`](Self::compare_exchange) does, but may fail for no reason, which is faster in a loop on some processors.
            ///
            /// # Errors
            /// When nothing was written: the value that was there.
            ///
            /// # Panics
            /// When `failure` is `Release` or `AcqRel`.
            #[track_caller]
            pub fn compare_exchange_weak(&self, current: $value, new: $value, success: Ordering, failure: Ordering) -> Result<$value, $value> {
                rt::point();
                let result = self.cell.compare_exchange_weak(current, new, success, failure);
                self.compared(result, new, Location::caller())
            }

            fn compared(&self, result: Result<$value, $value>, new: $value, here: Here) -> Result<$value, $value> {
                match result {
                    Ok(old) => in_one_step(&self.object, old, new, here),
                    Err(found) => read(&self.object, found, here),
                }
                result
            }

            /// Writes what `f` makes of the value, again and again until nobody came between; gives the value before. Does not block.
            ///
            /// Each try is a `Load` and a `compare_exchange_weak`, and recorded so.
            ///
            /// # Errors
            /// When `f` gave `None`: the value.
            ///
            /// # Panics
            /// When `fetch_order` is `Release` or `AcqRel`.
            #[track_caller]
            pub fn fetch_update<F>(&self, set_order: Ordering, fetch_order: Ordering, mut f: F) -> Result<$value, $value>
            where
                F: FnMut($value) -> Option<$value>,
            {
                let mut seen = self.load(fetch_order);
                while let Some(next) = f(seen) {
                    match self.compare_exchange_weak(seen, next, set_order, fetch_order) {
                        done @ Ok(_) => return done,
                        Err(found) => seen = found,
                    }
                }
                Err(seen)
            }

            /// Does what [`fetch_update`](Self::fetch_update) does, under std's newer name.
            ///
            /// # Errors
            /// When `f` gave `None`: the value.
            ///
            /// # Panics
            /// When `fetch_order` is `Release` or `AcqRel`.
            #[track_caller]
            pub fn try_update(&self, set_order: Ordering, fetch_order: Ordering, f: impl FnMut($value) -> Option<$value>) -> Result<$value, $value> {
                self.fetch_update(set_order, fetch_order, f)
            }

            /// Writes what `f` makes of the value, again and again until nobody came between; gives the value before. No update is lost. Does not block.
            ///
            /// # Panics
            /// When `fetch_order` is `Release` or `AcqRel`.
            #[track_caller]
            pub fn update(&self, set_order: Ordering, fetch_order: Ordering, mut f: impl FnMut($value) -> $value) -> $value {
                match self.fetch_update(set_order, fetch_order, |value| Some(f(value))) {
                    Ok(old) | Err(old) => old,
                }
            }

            one_step! { $value;
                fetch_and "Writes the value `&` the other one" |old, other| old & other;
                fetch_nand "Writes the value `&` the other one, all bits turned round," |old, other| !(old & other);
                fetch_or "Writes the value `|` the other one" |old, other| old | other;
                fetch_xor "Writes the value `^` the other one" |old, other| old ^ other;
            }
        }

        impl Default for $name {
            #[track_caller]
            fn default() -> $name {
                $name::new(<$value>::default())
            }
        }

        impl From<$value> for $name {
            #[track_caller]
            fn from(value: $value) -> $name {
                $name::new(value)
            }
        }

        impl fmt::Debug for $name {
            /// Shows the value, as std does. Looks without a trace: showing a cell is no step of the program.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.cell.fmt(f)
            }
        }
    };
}

/// Methods that make a new value of the old and another one, in one step.
macro_rules! one_step {
    ($value:ty; $($method:ident $does:literal |$old:ident, $other:ident| $new:expr;)+) => {
        $(
            #[doc = concat!($does, " and gives the value before, in one step. Does not block.")]
            #[track_caller]
            pub fn $method(&self, value: $value, order: Ordering) -> $value {
                rt::point();
                let $old = self.cell.$method(value, order);
                let $other = value;
                in_one_step(&self.object, $old, $new, Location::caller());
                $old
            }
        )+
    };
}

macro_rules! integers {
    ($($name:ident $value:ident)+) => {
        $(
            atomic!($name, $value, 1, 2);

            impl $name {
                one_step! { $value;
                    fetch_add "Adds to the value, beginning again at the smallest after the largest," |old, other| old.wrapping_add(other);
                    fetch_sub "Takes from the value, going on at the largest after the smallest," |old, other| old.wrapping_sub(other);
                    fetch_max "Writes the larger one of the value and the other one" |old, other| old.max(other);
                    fetch_min "Writes the smaller one of the value and the other one" |old, other| old.min(other);
                }
            }
        )+
    };
}

atomic!(AtomicBool, bool, false, true);

impl AtomicBool {
    /// Turns the value round and gives the one before, in one step. Does not block.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let open = AtomicBool::new(false);
    /// assert!(!open.fetch_not(Ordering::Relaxed));
    /// assert!(open.load(Ordering::Relaxed));
    /// ```
    #[track_caller]
    pub fn fetch_not(&self, order: Ordering) -> bool {
        rt::point();
        let old = self.cell.fetch_not(order);
        in_one_step(&self.object, old, !old, Location::caller());
        old
    }
}

integers! {
    AtomicI8 i8
    AtomicI16 i16
    AtomicI32 i32
    AtomicI64 i64
    AtomicIsize isize
    AtomicU8 u8
    AtomicU16 u16
    AtomicU32 u32
    AtomicU64 u64
    AtomicUsize usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ordering::{AcqRel, Acquire, Relaxed, SeqCst};

    #[test]
    fn each_method_does_what_stds_does() {
        macro_rules! both {
            ($($name:ident $start:expr => $($method:ident($($arg:expr),*))+;)+) => {
                $($(
                    let (ours, stds) = ($name::new($start), std::sync::atomic::$name::new($start));
                    assert_eq!(ours.$method($($arg),*), stds.$method($($arg),*), stringify!($name $method));
                    assert_eq!(ours.load(SeqCst), stds.load(SeqCst), stringify!($name $method));
                )+)+
            };
        }
        both! {
            AtomicU8 250 => fetch_add(10, SeqCst) fetch_sub(251, AcqRel) fetch_and(7, Relaxed) fetch_nand(7, Relaxed) fetch_or(7, Relaxed)
                fetch_xor(255, Relaxed) fetch_max(251, Relaxed) fetch_min(3, Relaxed) swap(1, Acquire) load(Acquire) store(4, SeqCst)
                compare_exchange(250, 1, AcqRel, Acquire) compare_exchange(1, 2, AcqRel, Acquire) compare_exchange_weak(1, 2, AcqRel, Acquire)
                fetch_update(AcqRel, Acquire, |n| n.checked_add(5)) fetch_update(AcqRel, Acquire, |n| n.checked_add(6))
                try_update(AcqRel, Acquire, |n| n.checked_add(6)) update(AcqRel, Acquire, |n| n / 2);
            AtomicI64 -5 => fetch_add(i64::MAX, SeqCst) fetch_min(-9, Relaxed) fetch_max(9, Relaxed) fetch_nand(1, Relaxed);
            AtomicBool true => fetch_and(false, Relaxed) fetch_nand(true, Relaxed) fetch_or(false, Relaxed) fetch_xor(true, Relaxed)
                fetch_not(Relaxed) swap(false, Relaxed) compare_exchange(true, false, SeqCst, SeqCst) load(Relaxed) store(false, Relaxed);
        }
        #[allow(deprecated, reason = "std has it still, and so do we")]
        {
            let cell = AtomicI32::new(3);
            assert_eq!(cell.compare_and_swap(3, 4, AcqRel), 3);
            assert_eq!(cell.compare_and_swap(3, 5, SeqCst), 4);
        }
    }

    #[test]
    fn a_cell_is_made_and_taken_apart_as_stds_is() {
        let mut cell = AtomicU16::from(3);
        *cell.get_mut() += 1;
        assert_eq!(format!("{cell:?}"), "4");
        // SAFETY: nobody else has the cell.
        unsafe { *cell.as_ptr() += 1 };
        assert_eq!(cell.into_inner(), 5);
        assert_eq!(AtomicIsize::default().into_inner(), 0);
        assert!(!AtomicBool::default().into_inner());
    }
}
