//! Holds the claims of a lesson against the outputs of its executed notebook.
//!
//! Reads only the notebook: the claims travel in its metadata, so that a test can do the same in another language.

use std::path::Path;

use serde_json::Value;

use super::notebook::source;
use super::{Fact, Mistake};

/// The picture in its form for programs, beside `text/html` in the same output.
const PICTURE: &str = "application/vnd.threadbook.timeline+json";

/// Looks at every code cell of an executed notebook: what it claims to show is there, the error that it expects came, and no other error did.
///
/// `lesson` is the file that mistakes are reported in, by the line that each cell carries.
pub fn verify_facts(lesson: &Path, notebook: &Value) -> Vec<Mistake> {
    let Some(cells) = notebook["cells"].as_array() else {
        return vec![Mistake {
            file: lesson.to_owned(),
            line: 1,
            what: "its notebook has no list of cells; build it again".to_owned(),
        }];
    };
    let code = cells.iter().filter(|cell| cell["cell_type"] == "code");
    code.flat_map(|cell| {
        let line = cell["metadata"]["threadbook"]["line"]
            .as_u64()
            .and_then(|line| usize::try_from(line).ok())
            .unwrap_or(1);
        problems(cell).into_iter().map(move |what| Mistake {
            file: lesson.to_owned(),
            line,
            what,
        })
    })
    .collect()
}

/// What one executed code cell does not show, or shows and should not, in words.
pub fn problems(cell: &Value) -> Vec<String> {
    let outputs = cell["outputs"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let errors: Vec<&str> = outputs
        .iter()
        .filter(|output| output["output_type"] == "error")
        .filter_map(|output| output["ename"].as_str())
        .collect();
    let tagged = |tag: &str| {
        cell["metadata"]["tags"]
            .as_array()
            .is_some_and(|tags| tags.iter().any(|each| each == tag))
    };

    if tagged("skip-execution") {
        return if outputs.is_empty() && cell["execution_count"].is_null() {
            Vec::new()
        } else {
            vec!["the check of an exercise was executed; it ships without outputs, so build the notebook again".to_owned()]
        };
    }
    if outputs.is_empty() && cell["execution_count"].is_null() {
        return vec!["the cell was not executed; run `threadbook lessons build`".to_owned()];
    }
    let mut problems = Vec::new();
    let expects = cell["metadata"]["threadbook"]["expects"].as_str();
    if errors != Vec::from_iter(expects) {
        let got = if errors.is_empty() {
            "no error".to_owned()
        } else {
            errors.join(", ")
        };
        problems.push(format!(
            "the cell should end with {}, and ended with {got}{}",
            expects.unwrap_or("no error"),
            evidence(outputs)
        ));
    }

    let printed: String = outputs
        .iter()
        .filter(|output| output["output_type"] == "stream" && output["name"] == "stdout")
        .map(|output| source(&output["text"]))
        .collect();
    let picture = outputs
        .iter()
        .rev()
        .map(|output| &output["data"][PICTURE])
        .find(|picture| !picture.is_null())
        .unwrap_or(&Value::Null);
    if !picture.is_null() && picture["version"] != 1 {
        problems.push(format!(
            "the picture has version {}, and version 1 is known here",
            picture["version"]
        ));
    }
    for claim in cell["metadata"]["threadbook"]["shows"]
        .as_array()
        .into_iter()
        .flatten()
    {
        match claim
            .as_str()
            .ok_or_else(|| format!("{claim} is no text"))
            .and_then(Fact::parse)
        {
            Ok(fact) if fact.needs_picture() && picture.is_null() => {
                problems.push(format!("`{fact}` cannot be seen: the cell drew no picture"));
            }
            Ok(fact) => problems.extend(
                fact.holds(picture, &printed)
                    .err()
                    .map(|instead| format!("`{fact}` does not hold: {instead}")),
            ),
            Err(what) => problems.push(what),
        }
    }
    problems
}

/// What the errors said, so that a failed build can be understood without opening the notebook.
fn evidence(outputs: &[Value]) -> String {
    let said: Vec<&str> = outputs
        .iter()
        .filter_map(|output| output["evalue"].as_str())
        .collect();
    if said.is_empty() {
        String::new()
    } else {
        format!(": {}", said.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::verify_facts;

    fn problems(tags: &Value, threadbook: &Value, outputs: &Value) -> Vec<String> {
        let executed = outputs
            .as_array()
            .is_some_and(|outputs| !outputs.is_empty());
        let cell = json!({
            "cell_type": "code", "execution_count": executed.then_some(1), "source": "", "outputs": outputs,
            "metadata": {"tags": tags, "threadbook": threadbook},
        });
        verify_facts(
            Path::new("01_a.md"),
            &json!({"cells": [{"cell_type": "markdown", "source": "x"}, cell]}),
        )
        .iter()
        .map(ToString::to_string)
        .collect()
    }

    fn picture(lanes: &[&str]) -> Value {
        let lanes: Vec<Value> = lanes
            .iter()
            .map(|name| json!({"name": name, "end": "done", "waits": []}))
            .collect();
        json!({"output_type": "display_data", "data": {"text/plain": "p", "application/vnd.threadbook.timeline+json": {"version": 1, "lanes": lanes, "edges": []}}})
    }

    #[test]
    fn outputs_are_held_against_claims() {
        let said = |text: Value| json!({"output_type": "stream", "name": "stdout", "text": text});
        let red = |ename: &str| json!({"output_type": "error", "ename": ename, "evalue": "it went wrong", "traceback": []});
        let ada = json!({"line": 9, "shows": ["lane ada"]});
        for (name, tags, threadbook, outputs, want) in [
            (
                "shown",
                json!([]),
                ada.clone(),
                json!([picture(&["main", "ada"])]),
                "",
            ),
            (
                "another lane",
                json!([]),
                ada.clone(),
                json!([picture(&["main", "bob"])]),
                "01_a.md:9: `lane ada` does not hold: its lanes are main, bob",
            ),
            (
                "no picture",
                json!([]),
                ada.clone(),
                json!([said(json!("x"))]),
                "01_a.md:9: `lane ada` cannot be seen",
            ),
            (
                "not executed",
                json!([]),
                ada.clone(),
                json!([]),
                "01_a.md:9: the cell was not executed",
            ),
            (
                "printed in two parts",
                json!([]),
                json!({"shows": ["prints 2 loaves"]}),
                json!([said(json!("2 lo")), said(json!(["aves\n"]))]),
                "",
            ),
            (
                "not printed",
                json!([]),
                json!({"line": 4, "shows": ["prints 2"]}),
                json!([said(json!("3"))]),
                "01_a.md:4: `prints 2` does not hold",
            ),
            (
                "expected error",
                json!(["raises-exception"]),
                json!({"expects": "E0373"}),
                json!([red("E0373")]),
                "",
            ),
            (
                "another error",
                json!(["raises-exception"]),
                json!({"expects": "E0373"}),
                json!([red("E0382")]),
                "E0373, and ended with E0382: it went wrong",
            ),
            (
                "two errors",
                json!(["raises-exception"]),
                json!({"expects": "Panic"}),
                json!([red("Panic"), red("Panic")]),
                "with Panic, Panic",
            ),
            (
                "error that did not come",
                json!([]),
                json!({"expects": "Panic"}),
                json!([said(json!("x"))]),
                "should end with Panic, and ended with no error",
            ),
            (
                "error that nobody expects",
                json!([]),
                json!({}),
                json!([red("Panic")]),
                "should end with no error, and ended with Panic",
            ),
            (
                "unsolved and clean",
                json!(["skip-execution"]),
                json!({}),
                json!([]),
                "",
            ),
            (
                "unsolved but executed",
                json!(["skip-execution"]),
                json!({}),
                json!([red("Panic")]),
                "the check of an exercise was executed",
            ),
            (
                "claim of another version",
                json!([]),
                json!({"shows": ["magic"]}),
                json!([said(json!("x"))]),
                "`magic` is no claim",
            ),
        ] {
            let got = problems(&tags, &threadbook, &outputs).join("\n");
            assert!(
                if want.is_empty() {
                    got.is_empty()
                } else {
                    got.contains(want)
                },
                "{name}: {got}"
            );
        }
    }

    #[test]
    fn any_json_is_taken_without_a_panic() {
        for notebook in [json!(null), json!([]), json!({"cells": 3})] {
            assert_eq!(
                verify_facts(Path::new("a.md"), &notebook).len(),
                1,
                "{notebook}"
            );
        }
        let odd = json!({"cells": [null, {"cell_type": "code", "outputs": {"a": 1}, "metadata": [1], "execution_count": "x"}]});
        assert_eq!(verify_facts(Path::new("a.md"), &odd), []);
    }
}
