//! A bar that shows how far a long loop has come, updated in place.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::display::{DisplayHandle, display_forms};
use crate::hooks::in_a_kernel;

/// Shortest time between two versions of a bar: more often would be work for the notebook and nothing for the eye.
const PAUSE: Duration = Duration::from_millis(100);
/// How wide a bar of text is, in characters.
const WIDTH: u64 = 24;

/// Shows how far a loop has come: put it around what you loop over.
///
/// The bar is there at once and is updated in place, at most ten times a second and at the end; an item costs some 50 ns besides. Where the number of items
/// is not known it counts. In a cargo project the bar is written to standard error: in place on a terminal, else once at the end.
///
/// ```
/// # use threadbook_prelude::*;
/// let mut sum = 0;
/// for n in progress(0..1_000u64) {
///     sum += n;
/// }
/// assert_eq!(sum, 499_500);
/// ```
pub fn progress<I: IntoIterator>(items: I) -> ProgressIter<I::IntoIter> {
    let items = items.into_iter();
    let total = match items.size_hint() {
        (low, Some(high)) if low == high => u64::try_from(high).ok(),
        _ => None,
    };
    ProgressIter {
        items,
        bar: ProgressBar::begin(total),
        gave_one: false,
    }
}

/// The iterator that [`progress`] gives. The bar ends with it: at the last item, or where the loop was left.
#[derive(Debug)]
pub struct ProgressIter<I> {
    items: I,
    bar: ProgressBar,
    /// Whether an item is out that is not done yet.
    gave_one: bool,
}

impl<I: Iterator> Iterator for ProgressIter<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let next = self.items.next();
        // The item before this one is done only now.
        if std::mem::replace(&mut self.gave_one, next.is_some()) {
            self.bar.inc(1);
        }
        if next.is_none() {
            self.bar.finish();
        }
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

impl<I> Drop for ProgressIter<I> {
    fn drop(&mut self) {
        self.bar.finish();
    }
}

/// A bar that several tasks may move on; clones mean the same bar.
///
/// ```
/// # use threadbook_prelude::*;
/// let bar = ProgressBar::new(4);
/// scope(|s| {
///     for _ in 0..4 {
///         let bar = bar.clone();
///         s.spawn(move || bar.inc(1));
///     }
/// });
/// assert_eq!(bar.done(), 4);
/// ```
#[derive(Debug, Clone)]
pub struct ProgressBar {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    done: AtomicU64,
    total: Option<u64>,
    began: Instant,
    /// When the next version may be shown, in milliseconds since the beginning. Looked at without the lock.
    next: AtomicU64,
    shown: Mutex<Shown>,
}

#[derive(Debug)]
struct Shown {
    display: Option<DisplayHandle>,
    finished: bool,
}

impl ProgressBar {
    /// Shows a bar at 0 of `total`.
    pub fn new(total: u64) -> ProgressBar {
        ProgressBar::begin(Some(total))
    }

    fn begin(total: Option<u64>) -> ProgressBar {
        let inner = Inner {
            done: AtomicU64::new(0),
            total,
            began: Instant::now(),
            next: AtomicU64::new(PAUSE.as_millis() as u64),
            shown: Mutex::new(Shown {
                display: None,
                finished: false,
            }),
        };
        inner.show(false);
        ProgressBar {
            inner: Arc::new(inner),
        }
    }

    /// Moves on by `steps`. Costs some 50 ns unless a new version is due.
    pub fn inc(&self, steps: u64) {
        // Relaxed: a count, which nothing else is read by.
        let done = self.inner.done.fetch_add(steps, Ordering::Relaxed) + steps;
        self.inner.show_when_due(self.inner.total == Some(done));
    }

    /// Says how far it has come.
    pub fn set(&self, done: u64) {
        self.inner.done.store(done, Ordering::Relaxed);
        self.inner.show_when_due(self.inner.total == Some(done));
    }

    /// How far it has come.
    pub fn done(&self) -> u64 {
        self.inner.done.load(Ordering::Relaxed)
    }

    /// Shows its last version, where it stands. Later steps show nothing more. Needed only where the end is not the total.
    pub fn finish(&self) {
        self.inner.show(true);
    }

    /// At the end of a cell the bar stands there already.
    #[doc(hidden)]
    pub fn evcxr_display(&self) {}
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show_when_due(&self, at_total: bool) {
        let now = self.began.elapsed().as_millis() as u64;
        let next = self.next.load(Ordering::Relaxed);
        // Whoever moves the time on shows; the others go on with their work.
        let due = now >= next
            && self
                .next
                .compare_exchange(
                    next,
                    now + PAUSE.as_millis() as u64,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if due || at_total {
            self.show(at_total);
        }
    }

    fn show(&self, last: bool) {
        let mut shown = self.lock();
        if shown.finished {
            return;
        }
        shown.finished = last;
        let done = self.done.load(Ordering::Relaxed);
        let text = bar(done, self.total, self.began.elapsed(), last);
        if !in_a_kernel() {
            on_standard_error(&text, last);
            return;
        }
        let html = match self.total {
            Some(total) => {
                format!(
                    r#"<progress value="{done}" max="{}"></progress> "#,
                    total.max(1)
                )
            }
            None => String::new(),
        };
        let words = text.rsplit('|').next().unwrap_or_default().trim();
        let html = format!("<div>{html}<code>{words}</code></div>");
        let forms = [("text/html", html.as_str()), ("text/plain", text.as_str())];
        match &shown.display {
            Some(display) => display.update_forms(&forms),
            None => shown.display = Some(display_forms(&forms)),
        }
    }
}

/// A bar as text: `|######      | 25% 250/1000, 3 s, 9 s to go`.
fn bar(done: u64, total: Option<u64>, since: Duration, last: bool) -> String {
    let seconds = since.as_secs_f64();
    let Some(total) = total else {
        return format!("{done}, {}", in_words(seconds));
    };
    let part = match total {
        0 => 1.0,
        total => (done as f64 / total as f64).min(1.0),
    };
    let full = (part * WIDTH as f64) as usize;
    let left = if last || done == 0 || done >= total {
        String::new()
    } else {
        format!(", {} to go", in_words(seconds * (1.0 - part) / part))
    };
    format!(
        "|{}{}| {:3.0}% {done}/{total}, {}{left}",
        "#".repeat(full),
        " ".repeat(WIDTH as usize - full),
        (part * 100.0).floor(),
        in_words(seconds)
    )
}

fn in_words(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s => format!("{:.0} min", s / 60.0),
    }
}

fn on_standard_error(text: &str, last: bool) {
    let mut stderr = std::io::stderr().lock();
    // Nobody may be reading; a bar is not worth a panic.
    let _ = match (stderr.is_terminal(), last) {
        (true, false) => write!(stderr, "\r{text}\x1b[K").and_then(|()| stderr.flush()),
        (true, true) => writeln!(stderr, "\r{text}\x1b[K"),
        (false, true) => writeln!(stderr, "{text}"),
        (false, false) => Ok(()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_say_how_far_and_how_long() {
        for (done, total, seconds, last, want) in [
            (
                0,
                Some(4),
                0,
                false,
                "|                        |   0% 0/4, 0.0 s",
            ),
            (
                1,
                Some(4),
                3,
                false,
                "|######                  |  25% 1/4, 3.0 s, 9.0 s to go",
            ),
            (
                4,
                Some(4),
                40,
                true,
                "|########################| 100% 4/4, 40 s",
            ),
            (
                1,
                Some(4),
                3,
                true,
                "|######                  |  25% 1/4, 3.0 s",
            ),
            (
                0,
                Some(0),
                0,
                true,
                "|########################| 100% 0/0, 0.0 s",
            ),
            (
                9,
                Some(4),
                240,
                true,
                "|########################| 100% 9/4, 4 min",
            ),
            (7, None, 2, false, "7, 2.0 s"),
        ] {
            assert_eq!(bar(done, total, Duration::from_secs(seconds), last), want);
        }
    }

    #[test]
    fn an_iterator_gives_what_it_was_given_and_counts_it() {
        let mut items = progress([1, 2, 3]);
        let bar = items.bar.clone();
        assert_eq!(items.next(), Some(1));
        assert_eq!(bar.done(), 0, "the first is not done yet");
        assert_eq!(items.next(), Some(2));
        assert_eq!(bar.done(), 1);
        assert_eq!(items.by_ref().count(), 1);
        assert_eq!(bar.done(), 3);
        assert_eq!(items.next(), None, "and again");
        assert_eq!(bar.done(), 3);

        let mut unknown = progress((0..10).filter(|n| n % 2 == 0));
        let bar = unknown.bar.clone();
        assert_eq!(unknown.by_ref().count(), 5);
        assert_eq!(bar.done(), 5);

        let mut left = progress(0..10);
        let bar = left.bar.clone();
        left.by_ref().take(3).for_each(drop);
        drop(left);
        assert_eq!(bar.done(), 2, "the third was not gone on from");
        assert!(bar.inner.lock().finished);

        let mut none = progress(std::iter::from_fn(|| None::<u8>));
        let bar = none.bar.clone();
        assert_eq!(none.next(), None);
        assert_eq!(bar.done(), 0);
    }
}
