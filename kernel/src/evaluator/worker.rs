//! The learner's process: loads what evcxr has compiled, and runs it, one shared object after the other.
//!
//! evcxr has such a loop of its own, which reads its commands from standard input: a cell that reads there would read them too, or wait for ever. Ours
//! reads them from a descriptor that cells do not know, speaks evcxr's words, and is otherwise the same. Standard input is the learner's.

use super::scan::COMPLETE;
use std::ffi::{CStr, CString, c_void};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::Path;

/// The status with which the loop ends when it cannot do what it is told.
const CANNOT: i32 = 99;

/// What a cell is to this loop: it takes evcxr's store of variables and gives it back.
type Cell = extern "C" fn(*mut c_void) -> *mut c_void;

/// Does what `commands` says until it ends, and then ends the process. The store of variables, and so every cell, belongs to the calling thread.
pub fn serve(commands: OwnedFd) -> ! {
    let mut store = std::ptr::null_mut();
    for line in BufReader::new(File::from(commands)).lines() {
        let done = line
            .map_err(|error| error.to_string())
            .and_then(|line| run(&line, &mut store).map_err(|why| format!("{line}: {why}")));
        if let Err(why) = done {
            eprintln!("threadbook: the learner's process was told what it cannot do: {why}");
            std::process::exit(CANNOT);
        }
        // By one write, as the scanner expects; not through a buffer that a fork would copy.
        // SAFETY: the bytes are there to be read.
        unsafe { libc::write(1, COMPLETE.as_ptr().cast(), COMPLETE.len()) };
    }
    std::process::exit(0)
}

fn run(line: &str, store: &mut *mut c_void) -> Result<(), String> {
    let (path, function) = parse(line).ok_or("no such command")?;
    // Never closed: what a cell left behind (values, threads, destructors of thread-locals) runs its code.
    // SAFETY: loading runs the initialisers of a library that was compiled for this; both strings end with a zero.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
    if library.is_null() {
        return Err(dl_error());
    }
    // SAFETY: the library is open.
    let mut cell = unsafe { libc::dlsym(library, function.as_ptr()) };
    if cell.is_null() {
        let why = dl_error();
        // A library that was compiled for an earlier run of the same cell has that one's name for it.
        let name = |text: &CStr| text.to_str().ok().map(str::to_owned);
        let (Some(path), Some(function)) = (name(&path), name(&function)) else {
            return Err(why);
        };
        let Some(own) = crate::tools::function_in(Path::new(&path), &function)
            .and_then(|own| CString::new(own).ok())
        else {
            return Err(why);
        };
        // SAFETY: as above.
        cell = unsafe { libc::dlsym(library, own.as_ptr()) };
        if cell.is_null() {
            return Err(dl_error());
        }
    }
    // SAFETY: evcxr generates such a function under this name, and the prelude's hooks have the same type.
    let cell: Cell = unsafe { std::mem::transmute::<*mut c_void, Cell>(cell) };
    *store = cell(*store);
    Ok(())
}

/// `LOAD_AND_RUN <path> <function>`. The path may hold spaces, the function cannot.
fn parse(line: &str) -> Option<(CString, CString)> {
    let (path, function) = line.strip_prefix("LOAD_AND_RUN ")?.rsplit_once(' ')?;
    Some((CString::new(path).ok()?, CString::new(function).ok()?))
}

fn dl_error() -> String {
    // SAFETY: no other thread of ours loads libraries; the text is copied at once.
    let text = unsafe {
        let text = libc::dlerror();
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    };
    text.unwrap_or_else(|| "the library could not be loaded".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_evcxr_writes_them() {
        let read = |line| {
            parse(line).map(|(path, function)| {
                (
                    path.into_string().expect("UTF-8"),
                    function.into_string().expect("UTF-8"),
                )
            })
        };
        assert_eq!(
            read("LOAD_AND_RUN /w/a b/libcode_1.so run_user_code_1"),
            Some(("/w/a b/libcode_1.so".into(), "run_user_code_1".into()))
        );
        for odd in [
            "",
            "LOAD_AND_RUN",
            "LOAD_AND_RUN x",
            "RUN a b",
            "LOAD_AND_RUN a\0 b",
        ] {
            assert_eq!(read(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn what_cannot_be_loaded_is_an_error() {
        let mut store = std::ptr::null_mut();
        let why = run("LOAD_AND_RUN /nowhere/lib.so f", &mut store).expect_err("no such file");
        assert!(why.contains("/nowhere/lib.so"), "{why}");
    }
}
