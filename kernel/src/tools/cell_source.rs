//! A cell's text as it is compiled: evcxr's, but for the module by which it keeps variables, which the prelude has compiled already.
//!
//! That module is most of the machine code of a short cell. What stands in its place fills the same lines and bytes, so that what the compiler says of a
//! cell stays where evcxr looks for it. A text with another module, as of another evcxr, is compiled as it is.

use sha2::{Digest, Sha256};

const BEGIN: &[u8] = b"mod evcxr_internal_runtime {\n";
const END: &[u8] = b"\n}\n#[unsafe(no_mangle)]\n";
/// SHA-256 of the module of evcxr 0.22, between `BEGIN` and `END`.
const KNOWN: &str = "f5c4698fa472898fff3742735735bdeaeedbc3cf8d25d718e25f263b0e4822a7";
/// What stands in its place: shorter than the module.
const OURS: &[u8] = b"pub use ::threadbook_prelude::variable_store::*;";

/// The text with the prelude's module in the place of evcxr's, as many bytes and lines long. `None` where evcxr's is not found.
pub(super) fn with_compiled_store(source: &[u8]) -> Option<Vec<u8>> {
    with_ours(source, |module| {
        let hash = Sha256::digest(module);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        hash == KNOWN
    })
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
        assert_eq!(
            with_compiled_store(before.as_bytes()),
            None,
            "another module"
        );
        assert_eq!(with_ours(b"fn run_user_code_1() {}", |_| true), None);
        assert_eq!(
            with_ours(cell("short").as_bytes(), |_| true),
            None,
            "no room"
        );
    }
}
