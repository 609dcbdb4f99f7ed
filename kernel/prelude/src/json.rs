//! Text as JSON strings, for what is told to the kernel.

use std::fmt::{self, Write};

/// Writes one character as it stands in a JSON string. Gives at most six bytes.
pub fn write_char(out: &mut impl Write, char: char) -> fmt::Result {
    match char {
        '"' => out.write_str("\\\""),
        '\\' => out.write_str("\\\\"),
        '\n' => out.write_str("\\n"),
        '\t' => out.write_str("\\t"),
        '\0'..='\u{1f}' | '\u{7f}' => write!(out, "\\u{:04x}", char as u32),
        _ => out.write_char(char),
    }
}

/// Appends `text` as a JSON string, quotes included.
pub fn push_string(out: &mut String, text: &str) {
    out.reserve(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        write_char(out, char).expect("a String takes all that is written");
    }
    out.push('"');
}
