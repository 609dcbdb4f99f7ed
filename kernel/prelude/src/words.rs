//! Words in a message to the kernel for which it may have better ones: it knows what the picture calls a task or an object that has no name of its own.
//!
//! Such a word stands between control characters: which thing it is, and what to say where nothing better is known. Only messages to the kernel have
//! them, never a payload that the learner's code could get hold of.

use crate::hooks;

const BEGIN: char = '\u{1}';
const ELSE: char = '\u{2}';
const END: char = '\u{3}';

/// Task `id`, which is `called` so where nobody knows better.
pub fn task(id: u32, called: &str) -> String {
    format!("{BEGIN}t{id}{ELSE}{called}{END}")
}

/// Object `id`, which is `called` so where nobody knows better. Outside of a kernel that is all of it.
pub fn object(id: u32, called: &str) -> String {
    if !hooks::in_a_kernel() {
        return called.to_owned();
    }
    format!("{BEGIN}o{id}{ELSE}{called}{END}")
}

/// The text with each such word as it is where nobody knows better.
pub fn plain(text: &str) -> String {
    let mut parts = text.split(BEGIN);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(ELSE) {
            Some((_, rest)) => plain.push_str(&rest.replacen(END, "", 1)),
            None => plain.push_str(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_plain_where_nobody_knows_better() {
        let told = format!("{} waits for {}", task(3, "a task"), task(4, "b"));
        assert_eq!(plain(&told), "a task waits for b");
        assert_eq!(plain("nothing else"), "nothing else");
        assert_eq!(object(7, "channel 1"), "channel 1", "no kernel listens");
    }
}
