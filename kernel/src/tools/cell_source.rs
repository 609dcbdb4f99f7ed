//! A cell's text as it is compiled: evcxr's, without what costs the compiler time and gives the cell nothing.
//!
//! evcxr writes the module by which it keeps variables into each cell, which is most of the machine code of a short one: the prelude has it compiled
//! already. And it takes each variable out of its store and puts it back, also those that the cell does not name: these stay in the store. What is left out
//! becomes spaces, so that what the compiler says of a cell stays where evcxr looks for it. A text with another module, as of another evcxr, is compiled
//! as it is.

use std::collections::HashSet;
use std::ops::Range;

use sha2::{Digest, Sha256};

const BEGIN: &[u8] = b"mod evcxr_internal_runtime {\n";
const END: &[u8] = b"\n}\n#[unsafe(no_mangle)]\n";
/// SHA-256 of the module of evcxr 0.22, between `BEGIN` and `END`.
const KNOWN: &str = "f5c4698fa472898fff3742735735bdeaeedbc3cf8d25d718e25f263b0e4822a7";
/// What stands in its place: shorter than the module.
const OURS: &[u8] = b"pub use ::threadbook_prelude::variable_store::*;";

/// Stands before what takes variables out of the store, and nowhere above that.
const CHECKED: &str = "if !vars_ok {return evcxr_variable_store;}}";
/// The end of the text, behind what puts variables back.
const LAST: &str = "evcxr_variable_store\n}";

/// What does the same, sooner; as many bytes and lines long. `None` where the text is not one that we know. `shows_all`: whether all names in the cell are
/// in its text, which they need not be where a macro is a program (a procedural one).
pub(super) fn lean(source: &[u8], shows_all: bool) -> Option<Vec<u8>> {
    let mut text = with_ours(source, |module| {
        let hash = Sha256::digest(module);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        hash == KNOWN
    })?;
    if shows_all {
        let idle = std::str::from_utf8(&text).map_or_else(|_| Vec::new(), idle_lines);
        for line in idle {
            text[line].fill(b' ');
        }
    }
    Some(text)
}

fn with_ours(source: &[u8], is_known: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let find = |text: &[u8], what: &[u8]| text.windows(what.len()).position(|at| at == what);
    let begin = find(source, BEGIN)? + BEGIN.len();
    let end = begin + find(&source[begin..], END)?;
    if !is_known(&source[begin..end]) {
        return None;
    }
    let mut text = source.to_vec();
    let mut has_room = false;
    for line in text[begin..end].split_mut(|byte| *byte == b'\n') {
        let is_first = !has_room && line.len() >= OURS.len();
        line.fill(b' ');
        if is_first {
            line[..OURS.len()].copy_from_slice(OURS);
            has_room = true;
        }
    }
    has_room.then_some(text)
}

/// The lines that take variables out of the store and put them back which nothing in the text names.
///
/// A name anywhere counts, in a comment or a string too: a macro of the learner's can name a variable, and so can `{loaves}` in a string.
fn idle_lines(text: &str) -> Vec<Range<usize>> {
    let Some((above, below)) = text.split_once(CHECKED) else {
        return Vec::new();
    };
    let Some(body) = text.trim_end().strip_suffix(LAST) else {
        return Vec::new();
    };
    // What the learner wrote stands between: the first lines there and the last ones are evcxr's.
    let mut begin = above.len() + CHECKED.len() + 1;
    let mut taken = Vec::new();
    for line in below.strip_prefix('\n').unwrap_or_default().lines() {
        let Some(variable) = moved(line, "take_variable") else {
            break;
        };
        taken.push((variable, begin..begin + line.len()));
        begin += line.len() + 1;
    }
    let mut end = body.len();
    let mut put = Vec::new();
    for line in body.lines().rev() {
        let Some(variable) = moved(line, "put_variable").filter(|_| end > begin) else {
            break;
        };
        put.push((variable, end - 1 - line.len()..end - 1));
        end -= line.len() + 1;
    }
    let Some(between) = text.get(begin..end) else {
        return Vec::new();
    };
    let checks = |line: &&str| moved(line, "check_variable").is_some();
    let mut named: HashSet<&str> = HashSet::new();
    for line in above.lines().filter(|line| !checks(line)) {
        named.extend(words(line));
    }
    named.extend(words(between));
    for (variable, _) in taken.iter().chain(&put) {
        named.extend(words(variable.type_name));
    }
    let is_idle = |variable: &Moved<'_>| {
        let both = [&taken, &put].map(|all| {
            let same = all.iter().filter(|(other, _)| other.name == variable.name);
            same.count()
        });
        both == [1, 1] && !words(variable.name).any(|word| named.contains(word))
    };
    let all = taken.iter().chain(&put);
    all.filter(|(variable, _)| is_idle(variable))
        .map(|(_, line)| line.clone())
        .collect()
}

/// A variable that a line moves from the store or into it.
pub struct Moved<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type, as evcxr writes it.
    pub type_name: &'a str,
}

/// Reads a line by which evcxr calls a method of its store; `None` for any other line.
pub fn moved<'a>(line: &'a str, method: &str) -> Option<Moved<'a>> {
    let (before, call) = line.split_once("evcxr_variable_store.")?;
    let is_evcxrs = before.is_empty()
        || before == "vars_ok &= "
        || (before.starts_with("let ") && before.ends_with(" = "));
    let call = call.strip_prefix(method)?.strip_prefix("::<")?;
    let (type_name, rest) = call.rsplit_once(">(stringify!(")?;
    let (name, _) = rest.split_once(')')?;
    is_evcxrs.then_some(Moved { name, type_name })
}

/// The words of a text, as Rust's names are made.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_not_the_module_stays_where_it_was() {
        let module = format!("// A note.\n// {}\npub fn f() {{\n}}", "-".repeat(80));
        let cell = |module: &str| {
            format!(
                "use a;\nmod evcxr_internal_runtime {{\n{module}\n}}\n#[unsafe(no_mangle)]\nfn run_user_code_1() {{ g() }}"
            )
        };
        let before = cell(&module);
        let text = with_ours(before.as_bytes(), |found| found == module.as_bytes());
        let text = String::from_utf8(text.expect("it is known")).expect("text");
        assert_eq!(text.len(), before.len());
        for (line, (now, then)) in text.lines().zip(before.lines()).enumerate() {
            match line {
                2 | 4 | 5 => assert_eq!(now.trim(), "", "line {line}"),
                3 => assert_eq!(now.trim_end().as_bytes(), OURS),
                _ => assert_eq!(now, then, "line {line}"),
            }
            assert_eq!(now.len(), then.len());
        }
        assert_eq!(lean(before.as_bytes(), true), None, "another module");
        assert_eq!(with_ours(b"fn run_user_code_1() {}", |_| true), None);
        assert_eq!(
            with_ours(cell("short").as_bytes(), |_| true),
            None,
            "no room"
        );
    }
    #[test]
    fn variables_that_nothing_names_stay_in_the_store() {
        let cell = |body: &str, above: &str| {
            let mut text = format!(
                "{above}\nfn run_user_code_1(mut evcxr_variable_store: *mut S) {{\n{{let mut vars_ok = true;\n"
            );
            for name in ["shelf", "oven"] {
                text += &format!(
                    "vars_ok &= evcxr_variable_store.check_variable::<Arc<Mutex<u8>>>(stringify!({name}));\n"
                );
            }
            text += CHECKED;
            text += "\nlet mut shelf = evcxr_variable_store.take_variable::<Arc<Mutex<u8>>>(stringify!(shelf));\n";
            text += "let oven = evcxr_variable_store.take_variable::<Arc<Mutex<u8>>>(stringify!(oven));\n";
            text += body;
            text +=
                "\nevcxr_variable_store.put_variable::<Arc<Mutex<u8>>>(stringify!(oven), oven);\n";
            text +=
                "evcxr_variable_store.put_variable::<Arc<Mutex<u8>>>(stringify!(shelf), shelf);\n";
            text + LAST
        };
        let left = |body: &str, above: &str| {
            let text = cell(body, above);
            let mut lines: Vec<_> = idle_lines(&text)
                .into_iter()
                .map(|line| text[line].to_owned())
                .collect();
            lines.sort();
            lines
        };
        let oven = [
            "evcxr_variable_store.put_variable::<Arc<Mutex<u8>>>(stringify!(oven), oven);",
            "let oven = evcxr_variable_store.take_variable::<Arc<Mutex<u8>>>(stringify!(oven));",
        ];
        assert_eq!(left("f();", "").len(), 4);
        for body in [
            "shelf.lock();",
            "// shelf",
            "println!(\"{shelf}\");",
            "let shelf = 1;",
        ] {
            assert_eq!(left(body, ""), oven, "{body}");
        }
        assert_eq!(left("f();", "macro_rules! m { () => { shelf } }"), oven);
        assert_eq!(left("f(oven, shelf)", ""), [""; 0]);
        assert_eq!(left("Shelf, ovens, _oven", "").len(), 4, "other names");
        // What a learner writes is left as it is, whatever it looks like.
        let forged = "\nlet oven = evcxr_variable_store.take_variable::<u8>(stringify!(oven));\n";
        assert_eq!(left(&format!("g();{forged}h();"), "").len(), 2);
        let text = cell(forged.trim(), "");
        assert!(
            idle_lines(&text)
                .iter()
                .all(|line| text[line.clone()].contains("shelf")),
            "twice taken"
        );
        assert!(idle_lines("fn run_user_code_1() {}").is_empty());
        assert!(idle_lines(&format!("{CHECKED}\n{LAST}")).is_empty());
        assert!(idle_lines(&format!("{LAST}{CHECKED}")).is_empty());
    }
}
