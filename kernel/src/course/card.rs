//! What a lesson's notebook carries for the kernel, in its metadata: who it is, and its exercises.

use serde::{Deserialize, Serialize};

/// A lesson as its notebook's metadata tells it, under `threadbook`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The name of its file, without ending: `07_channels`.
    pub lesson: String,
    /// What it says, in one line.
    pub title: String,
    /// How long it takes.
    pub minutes: u32,
    /// Its exercises, in order.
    #[serde(default)]
    pub exercises: Vec<Exercise>,
}

/// An exercise, with all that can be asked about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exercise {
    /// Its number in the course, such as `07.1`.
    pub number: String,
    /// What it is about, in a few words.
    pub title: String,
    /// What its cell holds before anybody has worked on it.
    pub start: String,
    /// Markdown, each a step further than the one before.
    #[serde(default)]
    pub hints: Vec<String>,
    /// Markdown: a cell that passes its check, and what is said about it. `None` where a teacher keeps it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solution: Option<String>,
}

impl Card {
    /// Reads a notebook's card. `None` when it is no notebook, or none of a lesson. Costs one pass over the text; cells are not kept.
    pub fn of_notebook(notebook: &[u8]) -> Option<Card> {
        #[derive(Deserialize)]
        struct Notebook {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            threadbook: Card,
        }
        serde_json::from_slice(notebook)
            .ok()
            .map(|notebook: Notebook| notebook.metadata.threadbook)
    }

    /// Gives the lesson's number: that which its name begins with, 0 when it begins with none.
    pub fn number(&self) -> u32 {
        let digits = self.lesson.split('_').next().unwrap_or_default();
        digits.parse().unwrap_or(0)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A lesson with one exercise, `NN.1`, and three hints.
    pub fn card(lesson: &str) -> Card {
        let number = &lesson[..2];
        Card {
            lesson: lesson.to_owned(),
            title: format!("About {}", &lesson[3..]),
            minutes: 25,
            exercises: vec![Exercise {
                number: format!("{number}.1"),
                title: "taking turns".into(),
                start: format!("// exercise: {number}.1\nfn turns() {{}}"),
                hints: ["Look up.", "Look down.", "Write `bounded(0)`."]
                    .map(str::to_owned)
                    .to_vec(),
                solution: Some("```rust\nfn turns() { solved() }\n```".into()),
            }],
        }
    }

    /// A notebook that carries it.
    pub fn notebook(card: &Card) -> Vec<u8> {
        serde_json::json!({"cells": [{"source": ["x"]}], "metadata": {"kernelspec": {}, "threadbook": card}, "nbformat": 4})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn a_notebook_gives_back_the_card_that_was_put_in() {
        let mut written = card("07_channels");
        assert_eq!(
            Card::of_notebook(&notebook(&written)),
            Some(written.clone())
        );
        assert_eq!(written.number(), 7);
        written.exercises[0].solution = None;
        assert_eq!(Card::of_notebook(&notebook(&written)), Some(written));
        for no_lesson in [
            &b""[..],
            b"[]",
            b"{\"metadata\": {}}",
            b"{\"metadata\": {\"threadbook\": {\"lesson\": 7}}}",
            b"\xff",
        ] {
            assert_eq!(Card::of_notebook(no_lesson), None);
        }
    }
}
