//! Cursors: Jupyter counts Unicode code points (since 5.2), Rust counts bytes.

/// Gives the byte offset of the code point `position`; a position past the end is the end.
pub fn to_byte(code: &str, position: usize) -> usize {
    code.char_indices()
        .nth(position)
        .map_or(code.len(), |(at, _)| at)
}

/// Gives the number of code points before a byte offset; one inside a character counts as its beginning, one past the end as the end.
pub fn to_position(code: &str, byte: usize) -> usize {
    code.char_indices()
        .take_while(|(at, c)| at + c.len_utf8() <= byte)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_count_code_points() {
        // An e with a combining accent is two code points, and the family one picture of five.
        let code = "e\u{301} = 👩\u{200d}👧.x";
        let cases = [
            (0, 0),
            (1, 1),
            (2, 3),
            (5, 6),
            (6, 10),
            (7, 13),
            (8, 17),
            (9, 18),
            (10, 19),
        ];
        for (position, byte) in cases {
            assert_eq!(
                (to_byte(code, position), to_position(code, byte)),
                (byte, position)
            );
        }
        assert_eq!(to_byte(code, 99), code.len());
        assert_eq!(to_position(code, 99), 10);
        assert_eq!(to_position(code, 12), 6, "inside a character");
    }
}
