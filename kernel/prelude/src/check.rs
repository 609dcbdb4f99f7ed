//! `check!`: runs a call of the learner's twenty times, and judges each run by its result and by facts.
//!
//! A race shows in one run and not in the next, so a check looks at many, and at what must be so on every schedule ([`Facts`]) rather than at what happened to
//! be so. Red is a panic with a [`CheckFailed`]; the kernel is told of either outcome by a mark.

use std::fmt::{self, Debug};
use std::panic::{Location, panic_any, resume_unwind};
use std::thread;

use crate::facts::{self, Facts};
use crate::hooks;
use crate::recorder::Here;
use crate::rt::{self, FromOutside};
use crate::task::message_of;
use crate::words;

/// How often the call is run.
const RUNS: u32 = 20;

/// How long a value may be in a message, in bytes.
const LONGEST_VALUE: usize = 300;

/// Runs `call` twenty times and checks each run: that the result is the one that is wanted, and that each of the facts holds.
///
/// `check!(call => want, "what it means": |f| fact, ..)`: the call is an expression that can be evaluated again and again; what is wanted is compared by `==`;
/// a fact is a closure from [`&Facts`](crate::Facts) to `bool`, with the words for it. Blocks as long as the runs take. Does nothing when all is as wanted,
/// but for telling the kernel so. What of the facts depends on chance, [`Facts::this_run`](crate::Facts::this_run), belongs into no check.
///
/// # Panics
/// With a [`CheckFailed`] at the first run in which the call panicked, came to a deadlock, gave another result, or a fact did not hold or could not be told.
/// With words when a fact holds also of a program that does nothing: such a fact checks nothing. "Nobody slept" is one; "all finished, and nobody slept" is none.
///
/// ```standalone_crate
/// # use threadbook_prelude::*;
/// fn bake(trays: i32) -> i32 {
///     let bakers: Vec<_> = (0..trays).map(|tray| spawn(move || tray)).collect();
///     bakers.into_iter().map(|baker| baker.join().unwrap()).sum()
/// }
///
/// check!(bake(4) => 6,
///     "four bakers": |f| f.tasks().len() == 4,
///     "all of them start before the first is awaited": |f| f.spawned_before_first_wait(),
/// );
/// ```
#[macro_export]
macro_rules! check {
    ($call:expr => $want:expr $(, $words:literal : $fact:expr)* $(,)?) => {
        match $want {
            want => $crate::check::run(
                ::core::stringify!($call),
                || $call,
                |got| *got == want,
                &|| ::std::format!("{want:?}"),
                &[$($crate::check::fact($words, $fact)),*],
            ),
        }
    };
}

/// A fact that a check asks for, and what it means.
pub struct Fact<'a> {
    words: &'static str,
    holds: Box<dyn Fn(&Facts) -> bool + 'a>,
}

/// Makes a fact of its words and a closure.
pub fn fact<'a>(words: &'static str, holds: impl Fn(&Facts) -> bool + 'a) -> Fact<'a> {
    Fact {
        words,
        holds: Box::new(holds),
    }
}

/// What `check!` does.
///
/// # Panics
/// As [`check!`](crate::check!) says.
#[track_caller]
pub fn run<T: Debug>(
    called: &'static str,
    mut call: impl FnMut() -> T,
    is_wanted: impl Fn(&T) -> bool,
    want: &dyn Fn() -> String,
    asked: &[Fact<'_>],
) {
    let here = Location::caller();
    refuse_what_always_holds(asked);
    let mut last = 0;
    for number in 1..=RUNS {
        let (result, facts) = a_run(number, here, &mut call);
        last = facts.number();
        // A task that was told to end for another reason than a deadlock goes on ending here.
        rt::point();
        let failed = |why, fact: Option<&'static str>, message| CheckFailed {
            called: short_call(called),
            run: number,
            why,
            fact,
            message,
            observation: facts.number(),
        };
        if let Err(failure) = judge(result, &facts, &is_wanted, want, asked, &failed) {
            fail(here, failure);
        }
    }
    hooks::tell_check(&hooks::Checked {
        ok: true,
        call: &short_call(called),
        run: RUNS,
        of: RUNS,
        why: "",
        fact: None,
        message: "",
        observation: last,
        here,
    });
}

/// One run of the call, observed by itself. Each second one is run by one worker, the calling thread: an order that no other run has.
fn a_run<T>(number: u32, here: Here, call: impl FnOnce() -> T) -> (thread::Result<T>, Facts) {
    let _alone = number.is_multiple_of(2).then(rt::Alone::begin);
    facts::observe_caught(here, call)
}

/// A fact that holds of a program that does nothing checks nothing.
#[track_caller]
fn refuse_what_always_holds(asked: &[Fact<'_>]) {
    let nothing = Facts::default();
    for fact in asked {
        if matches!(facts::ask(|| (fact.holds)(&nothing)), Ok(true)) {
            panic!(
                "this check cannot tell: \"{}\" is true also when nothing happens at all. Ask for what must be there too, as in \
                 `f.all_finished() && …`",
                fact.words
            );
        }
    }
}

fn judge<T: Debug>(
    result: thread::Result<T>,
    facts: &Facts,
    is_wanted: &impl Fn(&T) -> bool,
    want: &dyn Fn() -> String,
    asked: &[Fact<'_>],
    failed: &impl Fn(Why, Option<&'static str>, String) -> CheckFailed,
) -> Result<(), CheckFailed> {
    let deadlock = facts.deadlock_in_words();
    let got = match result {
        _ if !deadlock.is_empty() => {
            let message = format!("came to a deadlock: {deadlock}");
            return Err(failed(Why::Deadlock, None, message));
        }
        Ok(got) => got,
        Err(payload) if payload.is::<FromOutside>() => {
            let message = "came to a deadlock: it waited for what nobody was left to do";
            return Err(failed(Why::Deadlock, None, message.to_owned()));
        }
        Err(payload) => {
            let message = format!(
                "panicked, and {} was wanted: {}",
                shortened(&want()),
                shortened(message_of(&*payload))
            );
            return Err(failed(Why::Panic, None, message));
        }
    };
    let gave = shortened(&format!("{got:?}"));
    if !is_wanted(&got) {
        let message = format!("gave {gave}, and {} was wanted", shortened(&want()));
        return Err(failed(Why::Result, None, message));
    }
    for fact in asked {
        let seen = match facts::ask(|| (fact.holds)(facts)) {
            Ok(true) => continue,
            Ok(false) => format!("what was seen: {}", facts.in_words()),
            Err(payload) => message_of(&*payload).to_owned(),
        };
        // To have given nothing is no merit.
        let but = match gave.as_str() {
            "()" => "did not do this".to_owned(),
            _ => format!("gave {gave}, as wanted, but this is not so"),
        };
        let message = format!("{but}: {}; {seen}", fact.words);
        return Err(failed(Why::Fact, Some(fact.words), message));
    }
    Ok(())
}

/// Tells the kernel, and unwinds.
#[track_caller]
fn fail(here: Here, mut failure: CheckFailed) -> ! {
    hooks::tell_check(&hooks::Checked {
        ok: false,
        call: &failure.called,
        run: failure.run,
        of: RUNS,
        why: failure.why.word(),
        fact: failure.fact,
        message: &failure.message,
        observation: failure.observation,
        here,
    });
    // The payload is the learner's to look at.
    failure.message = words::plain(&failure.message);
    if hooks::in_a_kernel() {
        panic_any(failure);
    }
    // The usual hook would say no more than that the payload is no text.
    eprintln!("check failed at {here}: {failure}");
    resume_unwind(Box::new(failure));
}

/// A call as it stands in a message: in one line, and not longer than that.
fn short_call(called: &str) -> String {
    let words: Vec<&str> = called.split_whitespace().collect();
    shortened(&words.join(" "))
}

fn shortened(text: &str) -> String {
    match text.floor_char_boundary(LONGEST_VALUE) {
        end if end < text.len() => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}

/// In which way a run was not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Result,
    Fact,
    Panic,
    Deadlock,
}

impl Why {
    fn word(self) -> &'static str {
        match self {
            Why::Result => "result",
            Why::Fact => "fact",
            Why::Panic => "panic",
            Why::Deadlock => "deadlock",
        }
    }
}

/// What a failed [`check!`](crate::check!) panics with: what was seen, what was wanted, and in which run.
#[derive(Debug, Clone)]
pub struct CheckFailed {
    called: String,
    run: u32,
    why: Why,
    fact: Option<&'static str>,
    message: String,
    observation: u32,
}

impl CheckFailed {
    /// Gives the number of the run that was not as it should be, from 1.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Gives the words of the fact that did not hold; `None` when something else was wrong.
    pub fn fact(&self) -> Option<&str> {
        self.fact
    }
}

impl fmt::Display for CheckFailed {
    /// Writes one sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckFailed {
            called,
            message,
            run,
            ..
        } = self;
        write!(f, "`{called}` {message} (run {run} of {RUNS})")
    }
}

impl std::error::Error for CheckFailed {}
