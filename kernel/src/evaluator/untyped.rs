//! Variables whose type evcxr wrote down with a hole in it, found before their cell runs. Pure.
//!
//! evcxr asks rust-analyzer for the types of a cell's variables and writes them into every later cell. Where rust-analyzer cannot tell the length of an array
//! it writes `_`: the cell itself compiles, since the value says what it is, and no later one does, whatever is in it.

use crate::tools::moved;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The variables that the generated file keeps under such a type.
pub fn variables(generated: &str) -> Vec<String> {
    generated
        .lines()
        .filter_map(|line| {
            let kept = moved(line, "put_variable")?;
            let has_hole = kept.type_name.contains("; _]");
            has_hole.then(|| kept.name.to_owned())
        })
        .collect()
}

/// The file that a library of a cell was compiled from: `src/lib.rs` beside the folder of which it lies in `target/<target>/debug`.
pub fn generated_for(library: &Path) -> Option<PathBuf> {
    Some(library.ancestors().nth(4)?.join("src/lib.rs"))
}

/// The mark that tells of them.
pub fn mark(variables: &[String]) -> String {
    json!({ "mark": "untyped", "variables": variables }).to_string()
}

/// Reads a mark; `None` when it is none of this.
pub fn parse(mark: &str) -> Option<Vec<String>> {
    let mark: Value = serde_json::from_str(mark).ok()?;
    let names = mark["variables"].as_array()?.iter();
    (mark["mark"] == "untyped")
        .then(|| names.filter_map(Value::as_str).map(str::to_owned).collect())
}

/// What is said of one that cannot be left to its cell.
pub fn refusal(variable: &str) -> String {
    format!(
        "The type of `{variable}` has an array of a length in it that rust-analyzer cannot tell, and later cells need it.\n\
         Give it its type, as in `let {variable}: [u8; 8] = …;`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_with_a_hole_are_found_and_come_through() {
        let generated = "let grid = f();\n\
            evcxr_variable_store.put_variable::<[[i32; _]; 4]>(stringify!(grid), grid);\n\
            evcxr_variable_store.put_variable::<&[u8; _]>(stringify!(é), é);\n\
            evcxr_variable_store.put_variable::<[i32; 4]>(stringify!(row), row);\n\
            println!(\"evcxr_variable_store.put_variable::<[u8; _]>(stringify!(no), no);\");\n\
            evcxr_variable_store.put_variable::<[u8; _]>(";
        let found = variables(generated);
        assert_eq!(found, ["grid", "é"]);
        assert_eq!(parse(&mark(&found)), Some(found));
        for junk in [
            "",
            "{",
            "[]",
            r#"{"mark":"untyped"}"#,
            r#"{"mark":"x","variables":["a"]}"#,
        ] {
            assert_eq!(parse(junk), None, "{junk}");
        }
    }

    #[test]
    fn the_file_of_a_library_is_found() {
        let library = Path::new("/w/target/x86/debug/libcode_3.so");
        assert_eq!(generated_for(library), Some("/w/src/lib.rs".into()));
        assert_eq!(generated_for(Path::new("lib.so")), None);
    }
}
