//! Asking the person in front of the notebook.
//!
//! `std::io::stdin()` works in a cell as it does in a program, and asks too; these say what for.

use std::io::{BufRead, IsTerminal, Write};

use crate::hooks;

/// Asks for a line of text, and gives it without its new line.
///
/// Blocks until there is an answer: a thread of its own, a green task together with those on its worker. No deadlock is reported meanwhile, since the answer
/// may wake anybody. In a cargo project it asks on the terminal.
///
/// # Panics
/// When nobody can be asked: the notebook is executed without a person, or standard input has ended.
///
/// ```no_run
/// # use threadbook_prelude::*;
/// let loaves: u32 = input("how many loaves? ").parse().unwrap();
/// ```
#[track_caller]
pub fn input(prompt: impl AsRef<str>) -> String {
    ask(prompt.as_ref(), false)
}

/// Asks for a line of text that is not shown while it is typed. Otherwise as [`input`].
///
/// # Panics
/// As [`input`].
///
/// ```no_run
/// # use threadbook_prelude::*;
/// let key = password("the key of the oven: ");
/// ```
#[track_caller]
pub fn password(prompt: impl AsRef<str>) -> String {
    ask(prompt.as_ref(), true)
}

#[track_caller]
fn ask(prompt: &str, hidden: bool) -> String {
    let mut stdin = std::io::stdin().lock();
    let mut line = String::new();
    let read = if hooks::in_a_kernel() {
        hooks::tell_question(prompt, hidden);
        stdin.read_line(&mut line)
    } else {
        let mut stdout = std::io::stdout().lock();
        // Nobody may be reading the prompt, and the answer comes all the same.
        let _ = stdout.write_all(prompt.as_bytes());
        let _ = stdout.flush();
        let _silence = (hidden && stdin.is_terminal()).then(Silence::begin);
        let read = stdin.read_line(&mut line);
        if hidden {
            let _ = stdout.write_all(b"\n");
        }
        read
    };
    match read {
        Ok(0) => panic!(
            "nobody can be asked: run this in a notebook with a person in front of it, or write the answer into the code"
        ),
        Ok(_) => {}
        Err(error) => panic!("the answer could not be read: {error}"),
    }
    let text = line.strip_suffix('\n').unwrap_or(&line);
    text.strip_suffix('\r').unwrap_or(text).to_owned()
}

/// The terminal does not show what is typed for as long as this lives.
struct Silence(Option<libc::termios>);

impl Silence {
    fn begin() -> Silence {
        // SAFETY: all zeros is a value of this plain struct, which the call then fills.
        let mut before: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: writes to the struct that it is given.
        if unsafe { libc::tcgetattr(0, &mut before) } != 0 {
            return Silence(None);
        }
        let mut silent = before;
        silent.c_lflag &= !libc::ECHO;
        // SAFETY: reads the struct that it is given.
        unsafe { libc::tcsetattr(0, libc::TCSANOW, &silent) };
        Silence(Some(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // SAFETY: as above; this is what the terminal said of itself.
            unsafe { libc::tcsetattr(0, libc::TCSANOW, before) };
        }
    }
}
