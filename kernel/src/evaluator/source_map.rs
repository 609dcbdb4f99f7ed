//! From the file that evcxr generates back to the cell that the learner wrote.
//!
//! evcxr cuts a cell into top-level statements and items, puts each, unchanged, somewhere into a `lib.rs` of its own, and adds the items of all earlier
//! cells. So a byte of that file belongs to a cell when it lies in the text of one of that cell's top-level nodes. Pure text; no compiler, no files.

use super::syntax::parts;
use std::ops::Range;
use std::sync::Arc;

/// A cell as it was run.
#[derive(Debug)]
pub struct Cell {
    /// The number that the notebook shows.
    pub number: u32,
    /// Its whole text.
    pub text: String,
    /// The top-level nodes of its text, in order.
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
struct Node {
    range: Range<usize>,
    /// A function, type, `impl`, …: what evcxr puts outside of the generated function, and into every later file too.
    is_item: bool,
}

impl Cell {
    /// Cuts a cell into its top-level nodes.
    pub fn new(number: u32, text: &str) -> Cell {
        let nodes = parts(text)
            .into_iter()
            .map(|part| Node {
                is_item: part.is_item(),
                range: part.range,
            })
            .collect();
        Cell {
            number,
            text: text.to_owned(),
            nodes,
        }
    }

    /// Whether later files hold text of this cell too.
    pub fn has_items(&self) -> bool {
        self.nodes.iter().any(|node| node.is_item)
    }

    /// The line (from 1) that byte `at` of the cell stands in.
    pub fn line_of(&self, at: usize) -> u32 {
        line_number(&self.text, at)
    }

    /// Line `line` (from 1) of the cell's text, without white space around it.
    pub fn line(&self, line: u32) -> &str {
        self.text
            .lines()
            .nth(line.saturating_sub(1) as usize)
            .unwrap_or_default()
            .trim()
    }
}

fn line_number(text: &str, at: usize) -> u32 {
    let lines = text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count();
    u32::try_from(lines).unwrap_or(u32::MAX - 1) + 1
}

/// One generated file and what in it is the learner's.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    /// Sorted by place in the generated file; they do not overlap.
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
struct Piece {
    /// Bytes of the generated file.
    bytes: Range<usize>,
    /// Its first line there, from 1.
    line: u32,
    cell: Arc<Cell>,
    /// Where the piece begins in the cell, in bytes and in lines.
    cell_start: usize,
    cell_line: u32,
    lines: u32,
}

impl SourceMap {
    /// Finds the texts of `cells` (the one that runs last, earlier ones before it) in a generated file.
    pub fn new(generated: &str, cells: &[Arc<Cell>]) -> SourceMap {
        let mut pieces: Vec<Piece> = Vec::new();
        for (age, cell) in cells.iter().rev().enumerate() {
            let mut after = 0;
            for node in &cell.nodes {
                // Of an earlier cell only its items are in the file.
                if age > 0 && !node.is_item {
                    continue;
                }
                let text = &cell.text[node.range.clone()];
                // Statements keep their order; items are sorted by name.
                let from = if node.is_item { 0 } else { after };
                let Some(found) = find_free(generated, text, from, &pieces) else {
                    continue;
                };
                if !node.is_item {
                    after = found.end;
                }
                let lines = line_number(text, text.len());
                pieces.push(Piece {
                    line: line_number(generated, found.start),
                    bytes: found,
                    cell: Arc::clone(cell),
                    cell_start: node.range.start,
                    cell_line: cell.line_of(node.range.start),
                    lines,
                });
            }
        }
        pieces.sort_by_key(|piece| piece.bytes.start);
        SourceMap { pieces }
    }

    /// The cell and the byte in it that byte `at` of the generated file came from.
    pub fn cell_of_byte(&self, at: usize) -> Option<(&Arc<Cell>, usize)> {
        let piece = self
            .pieces
            .iter()
            .find(|piece| piece.bytes.start <= at && at <= piece.bytes.end)?;
        Some((&piece.cell, piece.cell_start + (at - piece.bytes.start)))
    }

    /// The cell and the line in it (from 1) that line `line` of the generated file came from.
    pub fn cell_of_line(&self, line: u32) -> Option<(&Arc<Cell>, u32)> {
        let piece = self
            .pieces
            .iter()
            .find(|piece| piece.line <= line && line < piece.line + piece.lines)?;
        Some((&piece.cell, piece.cell_line + (line - piece.line)))
    }
}

/// The first place at or after `from` where `text` stands whole (not inside a longer word) and that no other piece has.
fn find_free(generated: &str, text: &str, from: usize, taken: &[Piece]) -> Option<Range<usize>> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = from;
    while let Some(found) = generated.get(at..)?.find(text) {
        let range = at + found..at + found + text.len();
        let part_of_a_word = generated[..range.start]
            .chars()
            .next_back()
            .is_some_and(is_word)
            && text.starts_with(is_word)
            || generated[range.end..].chars().next().is_some_and(is_word)
                && text.ends_with(is_word);
        if !part_of_a_word
            && taken
                .iter()
                .all(|piece| range.end <= piece.bytes.start || piece.bytes.end <= range.start)
        {
            return Some(range);
        }
        at = range.start + text.chars().next().map_or(1, char::len_utf8);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(number: u32, text: &str) -> Arc<Cell> {
        Arc::new(Cell::new(number, text))
    }

    /// Where `needle` of the generated file came from, as "cell:line".
    fn origin(map: &SourceMap, generated: &str, needle: &str) -> String {
        let line = line_number(
            generated,
            generated.find(needle).expect("the needle is there"),
        );
        map.cell_of_line(line).map_or_else(
            || "nowhere".into(),
            |(cell, line)| format!("{}:{line}", cell.number),
        )
    }

    #[test]
    fn lines_of_statements_and_items_are_found_in_their_cells() {
        let first = cell(
            3,
            "// a comment\nfn bake(loaves: u32) -> u32 {\n    loaves * 2\n}\n",
        );
        let second = cell(
            5,
            ":dep libc\n\nlet a = 1;\n// between\nlet b = bake(a);\n\n{\n    a + b;\n    panic!(\"burnt\");\n}\na + 1",
        );
        let generated = "#![allow(dead_code)]\nfn bake(loaves: u32) -> u32 {\n    loaves * 2\n}\npub fn run() {\nif x {\nlet a = 1;\n// between\n\
                         let b = bake(a);\n\n{\n    a + b;\n    panic!(\"burnt\");\n}\n(\na + 1\n).evcxr_display();\n}}\n";
        let map = SourceMap::new(generated, &[first, second]);
        for (needle, want) in [
            ("loaves * 2", "3:3"),
            ("let a = 1", "5:3"),
            ("let b = bake", "5:5"),
            ("a + b;", "5:8"),
            ("panic!", "5:9"),
            ("a + 1", "5:11"),
            ("pub fn run", "nowhere"),
            (".evcxr_display", "nowhere"),
        ] {
            assert_eq!(origin(&map, generated, needle), want, "{needle}");
        }
        let at = generated.find("burnt").expect("it is there");
        let (found, byte) = map.cell_of_byte(at).expect("it is the learner's");
        assert!(found.text[byte..].starts_with("burnt"));
    }

    #[test]
    fn the_same_statement_twice_is_told_apart_by_order() {
        let twice = cell(1, "x += 1;\nx += 1;\nx + 1");
        let generated = "fn run() {\nlet mut x = 0;\nx += 1;\nx += 1;\nmax + 1;\nx + 1\n}";
        let map = SourceMap::new(generated, &[twice]);
        assert_eq!(map.cell_of_line(3).map(|(_, line)| line), Some(1));
        assert_eq!(map.cell_of_line(4).map(|(_, line)| line), Some(2));
        assert_eq!(
            map.cell_of_line(5).map(|(_, line)| line),
            None,
            "`max + 1` is not the learner's `x + 1`"
        );
        assert_eq!(map.cell_of_line(6).map(|(_, line)| line), Some(3));
    }

    #[test]
    fn a_redefined_function_belongs_to_the_cell_that_defined_it_last() {
        let old = cell(1, "fn oven() {\n    1;\n}");
        let new = cell(2, "fn oven() {\n    2;\n}");
        let map = SourceMap::new("fn oven() {\n    2;\n}\n", &[old, new]);
        assert_eq!(
            map.cell_of_line(2).map(|(cell, line)| (cell.number, line)),
            Some((2, 2))
        );
    }

    #[test]
    fn any_text_is_a_cell() {
        for text in [
            "",
            "\n",
            ":dep",
            "}",
            "fn",
            "let x = \"",
            "é",
            "{{{",
            "!ls\n:help\n",
            "//",
        ] {
            let odd = cell(1, text);
            assert!(
                odd.nodes
                    .iter()
                    .all(|node| odd.text.get(node.range.clone()).is_some()),
                "{text:?}"
            );
            SourceMap::new("fn run() { }", &[odd]);
        }
    }
}
