//! `predict` and `reveal`: say what you think before you look.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Mutex;

use crate::rt;

/// The guesses of this process, by their keys, as they are shown.
static GUESSES: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// Keeps what you think that `key` will be, until [`reveal`] shows what it is. A later guess takes the place of an earlier one. Does not block.
///
/// ```
/// # use threadbook_prelude::*;
/// predict("loaves", 2);
/// reveal("loaves", 1); // loaves: 1; you said 2
/// ```
#[expect(
    clippy::needless_pass_by_value,
    reason = "as a learner writes it: a number, not its address"
)]
pub fn predict<T: Debug + PartialEq>(key: impl AsRef<str>, guess: T) {
    rt::lock(&GUESSES).insert(key.as_ref().to_owned(), format!("{guess:?}"));
}

/// Prints what `key` is, and what you said that it would be. Where you said nothing, just the value; no guess is ever an error. Does not block.
///
/// Two values are the same when they are shown the same, so a guess `2` is right for a `2_u64`.
///
/// ```
/// # use threadbook_prelude::*;
/// reveal("loaves", 1); // loaves: 1
/// predict("loaves", 1);
/// reveal("loaves", 1); // loaves: 1, as you said
/// ```
#[expect(
    clippy::needless_pass_by_value,
    reason = "as a learner writes it: a number, not its address"
)]
pub fn reveal<T: Debug + PartialEq>(key: impl AsRef<str>, value: T) {
    println!("{}", revealed(key.as_ref(), &format!("{value:?}")));
}

fn revealed(key: &str, value: &str) -> String {
    match rt::lock(&GUESSES).get(key) {
        None => format!("{key}: {value}"),
        Some(guess) if guess == value => format!("{key}: {value}, as you said"),
        Some(guess) => format!("{key}: {value}; you said {guess}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_stands_beside_what_is() {
        assert_eq!(revealed("rolls", "12"), "rolls: 12");
        predict("rolls", 3);
        predict("rolls", 13_u8);
        assert_eq!(revealed("rolls", "12"), "rolls: 12; you said 13");
        predict("rolls", 12_i64);
        assert_eq!(revealed("rolls", "12"), "rolls: 12, as you said");
        predict("who", "ada");
        assert_eq!(
            revealed("who", "\"grace\""),
            "who: \"grace\"; you said \"ada\""
        );
    }
}
