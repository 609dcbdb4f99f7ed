//! Words in the worker's messages for which the picture may have better ones: tasks and objects, by their numbers. The prelude's `words` writes them. Pure.
//!
//! The learner's process may write anything: a word that is none is left as text, without its control characters.

const BEGIN: char = '\u{1}';
const ELSE: char = '\u{2}';
const END: char = '\u{3}';

/// The text with each word as `task` or `object` has it, by its number, or else as the prelude called it.
pub fn tell(
    text: &str,
    task: &dyn Fn(u32) -> Option<String>,
    object: &dyn Fn(u32) -> Option<String>,
) -> String {
    let mut parts = text.split(BEGIN);
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let Some((which, rest)) = part.split_once(ELSE) else {
            // The message was cut there.
            continue;
        };
        let (called, rest) = rest.split_once(END).unwrap_or((rest, ""));
        let number = |kind: char| which.strip_prefix(kind)?.parse().ok();
        let better = number('t')
            .and_then(task)
            .or_else(|| number('o').and_then(object));
        told.push_str(better.as_deref().unwrap_or(called));
        told.push_str(rest);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pictures_words_come_first() {
        let task = |id| (id == 3).then(|| "`ada`".to_owned());
        let object = |id| (id == 3).then(|| "lock `till`".to_owned());
        for (text, want) in [
            ("plain", "plain"),
            ("\u{1}t3\u{2}a task\u{3} waits", "`ada` waits"),
            ("\u{1}t4\u{2}a task\u{3} waits", "a task waits"),
            (
                "for \u{1}o3\u{2}lock 1\u{3}, \u{1}o5\u{2}lock 2\u{3}",
                "for lock `till`, lock 2",
            ),
            ("\u{1}x3\u{2}odd\u{3}!", "odd!"),
            ("cut \u{1}o3", "cut "),
            ("cut \u{1}o3\u{2}lo", "cut lock `till`"),
            ("\u{1}o99999999999\u{2}odd\u{3}", "odd"),
            ("", ""),
        ] {
            assert_eq!(tell(text, &task, &object), want, "{text:?}");
        }
    }
}
