//! A stack that is too small is named before it ends the process: whose it was, and how large.
//!
//! Touching the guard page below a stack is a signal, which must be handled on another stack. Every thread that runs tasks has one for that. The handler
//! tells by a mark or on standard error, and lets the signal do what it does without it; what is no overflow goes to the handler that was there before.
//! All in the handler is async-signal-safe: it reads thread-locals and statics that are there already, and writes with one system call.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::OnceLock;

use super::green;
use super::task;
use crate::hooks;

/// What the handler needs at the most: it writes a mark of 3.5 KB, and the processor's state may take 11 KB.
const ALTERNATE_BYTES: usize = 64 * 1024;

/// How far from the end of a thread's stack an address may lie to be an overflow: a large frame steps over the guard page.
const NEAR: usize = 64 * 1024;

static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

thread_local! {
    /// Where this thread's own stack ends; empty when not looked up.
    static END_OF_STACK: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Handles overflows from now on. Called where tasks begin: again and again, since somebody else may have set a handler meanwhile.
pub fn watch() {
    // SAFETY: a `sigaction` is numbers and a function's address, for which zeros are a value.
    let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handle;
    new.sa_sigaction = handler as usize;
    new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: as above.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: asks for the handler that is set.
        let known = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut old) } == 0;
        if known && old.sa_sigaction != new.sa_sigaction {
            BEFORE.get_or_init(|| old);
            // SAFETY: sets a handler that keeps the rules of one; see the module.
            unsafe { libc::sigaction(signal, &raw const new, std::ptr::null_mut()) };
        }
    }
    hooks::prepare();
}

/// A stack for the handler, which the calling thread has until this is dropped.
pub struct Alternate(Option<Set>);

/// What was set, and what was there before.
struct Set {
    stack: Box<[MaybeUninit<u8>]>,
    before: libc::stack_t,
}

impl Alternate {
    /// Gives the calling thread a stack for the handler, unless it has one that is large enough. Costs a microsecond.
    ///
    /// The one that std gives its threads, where nobody handled overflows before it, has 8 KiB: room for its own handler, and not for this one on a
    /// processor whose state is large.
    pub fn new() -> Alternate {
        END_OF_STACK.set(end_of_stack().map_or((0, 0), |end| (end.start, end.end)));
        // SAFETY: a `stack_t` is numbers and an address, for which zeros are a value.
        let mut there: libc::stack_t = unsafe { std::mem::zeroed() };
        // SAFETY: asks for the stack that is set.
        let asked = unsafe { libc::sigaltstack(std::ptr::null(), &raw mut there) };
        let has_one = there.ss_flags & libc::SS_DISABLE == 0;
        if asked != 0 || has_one && there.ss_size >= ALTERNATE_BYTES {
            return Alternate(None);
        }
        let mut stack = Box::new_uninit_slice(ALTERNATE_BYTES);
        let set = libc::stack_t {
            ss_sp: stack.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: ALTERNATE_BYTES,
        };
        // SAFETY: the memory is this thread's until `drop` takes it out again.
        if unsafe { libc::sigaltstack(&raw const set, std::ptr::null_mut()) } != 0 {
            // Refused while the thread runs on the other one, in a handler.
            return Alternate(None);
        }
        Alternate(Some(Set {
            stack,
            before: there,
        }))
    }
}

impl Drop for Alternate {
    fn drop(&mut self) {
        let Some(Set { stack, before }) = self.0.take() else {
            return;
        };
        // SAFETY: puts back what was there, which is its owner's until the thread ends: this is dropped before.
        if unsafe { libc::sigaltstack(&raw const before, std::ptr::null_mut()) } != 0 {
            // Still in use; so is its memory.
            std::mem::forget(stack);
        }
    }
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system gives the handler a whole `siginfo_t`, which for these signals has an address.
    let address = unsafe { (*info).si_addr() } as usize;
    let (begin, end) = END_OF_STACK.try_with(Cell::get).unwrap_or((0, 0));
    if green::is_guard(address) {
        task::with_current_or_none(|task| {
            hooks::tell_overflow(task, green::STACK_BYTES);
        });
    } else if (begin..end).contains(&address) {
        task::with_current_or_none(|task| hooks::tell_overflow(task, 0));
    } else if let Some(before) = BEFORE.get() {
        if before.sa_flags & libc::SA_SIGINFO != 0 {
            // SAFETY: with this flag it is the address of a function of this type.
            let chained: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(before.sa_sigaction) };
            chained(signal, info, context);
            return;
        }
        if before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN {
            // SAFETY: without the flag, and when it is none of the two, it is the address of a function of this type.
            let chained: extern "C" fn(libc::c_int) =
                unsafe { std::mem::transmute(before.sa_sigaction) };
            chained(signal);
            return;
        }
    }
    // The faulting instruction is run again, and the signal ends the process.
    // SAFETY: sets the default action.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// The addresses at which the calling thread's own stack has ended.
#[cfg(target_os = "linux")]
fn end_of_stack() -> Option<Range<usize>> {
    // SAFETY: the attributes are filled by the call before they are read, and given back.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) != 0 {
            return None;
        }
        let (mut low, mut size) = (std::ptr::null_mut(), 0);
        let got = libc::pthread_attr_getstack(&raw const attributes, &raw mut low, &raw mut size);
        libc::pthread_attr_destroy(&raw mut attributes);
        let low = low as usize;
        (got == 0).then(|| low.saturating_sub(NEAR)..low + NEAR)
    }
}

#[cfg(not(target_os = "linux"))]
fn end_of_stack() -> Option<Range<usize>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there() -> (usize, usize, bool) {
        // SAFETY: a `stack_t` is numbers and an address, for which zeros are a value; the call fills it.
        unsafe {
            let mut there: libc::stack_t = std::mem::zeroed();
            libc::sigaltstack(std::ptr::null(), &raw mut there);
            let is_set = there.ss_flags & libc::SS_DISABLE == 0;
            (there.ss_sp as usize, there.ss_size, is_set)
        }
    }

    #[test]
    fn a_stack_that_is_too_small_for_the_handler_is_replaced_and_comes_back() {
        // Threads of std have one of 8 KiB, where std handles overflows, as it does in a test.
        let before = there();
        assert!(!before.2 || before.1 < ALTERNATE_BYTES, "{before:?}");
        let ours = Alternate::new();
        let set = there();
        assert!(set.2 && set.1 >= ALTERNATE_BYTES, "{set:?}");
        let second = Alternate::new();
        assert_eq!(there(), set, "one that is large enough stays");
        drop(second);
        assert_eq!(there(), set);
        drop(ours);
        let after = there();
        assert_eq!(after.2, before.2);
        assert!(!before.2 || after == before, "{before:?} {after:?}");
    }
}
