//! The cells that were run, and the generated files that they were compiled in: where a line that the worker reports stands in the notebook.

use super::source_map::{Cell, SourceMap};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use threadbook_timeline::trace::Trace;

/// A line of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellLine {
    /// The cell's number.
    pub cell: u32,
    /// The line in it, from 1.
    pub line: u32,
    /// The line's text, without white space around it.
    pub text: String,
}

/// All cells and files of one kernel. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Sources(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// Cells whose items are part of later files, and last the cell that runs.
    cells: Vec<Arc<Cell>>,
    /// By the number in the shared object's name.
    files: HashMap<u32, SourceMap>,
}

impl Sources {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cell is about to be compiled. Forgets the one before unless it has items, so that a long session does not grow by every cell.
    pub fn begin(&self, number: u32, text: &str) -> Arc<Cell> {
        let mut known = self.lock();
        if known.cells.last().is_some_and(|cell| !cell.has_items()) {
            known.cells.pop();
        }
        // A cell that is run again defines its items anew.
        known.cells.retain(|cell| cell.text != text);
        let cell = Arc::new(Cell::new(number, text));
        known.cells.push(Arc::clone(&cell));
        cell
    }

    /// File `build` was generated for the cell that runs.
    pub fn enter(&self, build: u32, generated: &str) {
        let map = self.map_of(generated);
        self.lock().files.insert(build, map);
    }

    /// The map of a generated file that is not (or not yet) a shared object.
    pub fn map_of(&self, generated: &str) -> SourceMap {
        let cells = self.lock().cells.clone();
        SourceMap::new(generated, &cells)
    }

    /// Where line `line` (from 1) of file `build` stands in the notebook.
    pub fn place(&self, build: u32, line: u32) -> Option<CellLine> {
        let known = self.lock();
        let (cell, line) = known.files.get(&build)?.cell_of_line(line)?;
        Some(CellLine {
            cell: cell.number,
            line,
            text: cell.line(line).to_owned(),
        })
    }

    /// Finds the lines of the sites that the events of `trace` name.
    pub fn lines_of<'a>(&'a self, trace: &'a Trace) -> impl Fn(u16) -> Option<CellLine> + 'a {
        |index| {
            let site = trace.site(index)?;
            self.place(site.build, site.line)
        }
    }
}

/// The number `n` in `…/libcode_n.so`, or 0.
pub fn build_number(path: &str) -> u32 {
    let stem = Path::new(path)
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    stem.rsplit_once("code_")
        .and_then(|(_, number)| number.parse().ok())
        .unwrap_or(0)
}

/// How many libraries of cells stay on disk.
const LIBRARIES_KEPT: u32 = 256;

/// The library of a cell so long ago that its file can go, when the one at `path` is about to be loaded. The process has it mapped, and needs its file no
/// more but for names in a backtrace; each is some 130 KB, and nobody else removes them before the kernel ends.
pub fn outdated_library(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let (before, number) = path.file_stem()?.to_str()?.rsplit_once("code_")?;
    let number = number.parse::<u32>().ok()?.checked_sub(LIBRARIES_KEPT)?;
    let extension = path.extension()?.to_str()?;
    Some(path.with_file_name(format!("{before}code_{number}.{extension}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_called_later_is_named_with_its_own_cell() {
        let sources = Sources::default();
        sources.begin(1, "fn bake() {\n    panic!();\n}");
        sources.enter(7, "fn bake() {\n    panic!();\n}\n");
        sources.begin(2, "let a = 1;");
        sources.begin(3, "bake();");
        sources.enter(9, "fn bake() {\n    panic!();\n}\nfn run() {\nbake();\n}");
        let place = |build, line| {
            sources
                .place(build, line)
                .map(|place| (place.cell, place.line, place.text))
        };
        assert_eq!(place(9, 2), Some((1, 2, "panic!();".into())));
        assert_eq!(place(9, 5), Some((3, 1, "bake();".into())));
        assert_eq!(place(9, 4), None);
        assert_eq!(place(8, 1), None);
    }

    #[test]
    fn libraries_of_cells_long_ago_go() {
        for (path, want) in [
            ("/w/debug/libcode_256.so", Some("/w/debug/libcode_0.so")),
            ("/w/debug/libcode_1000.so", Some("/w/debug/libcode_744.so")),
            ("/w/debug/libcode_255.so", None),
            ("/w/debug/libctx.so", None),
            ("/w/debug/libcode_1x.so", None),
            ("/w/debug/libcode_300", None),
            ("", None),
        ] {
            assert_eq!(outdated_library(path), want.map(PathBuf::from), "{path}");
        }
    }

    #[test]
    fn build_numbers_are_read_from_paths() {
        for (path, want) in [
            ("/w/target/debug/deps/libcode_12.so", 12),
            ("code_3.dll", 3),
            ("libctx.so", 0),
            ("", 0),
            ("/libcode_x.so", 0),
        ] {
            assert_eq!(build_number(path), want, "{path}");
        }
    }
}
