//! One claim of a lesson about a cell's outputs, such as `message ada main`.
//!
//! Every verb is one whose truth does not depend on chance when the lesson is written with care: it must hold on one core and on two, on every schedule.
//! Claims that are true of an empty picture prove nothing, and cannot be written down.

use std::fmt;

use serde_json::Value;

/// What a cell's outputs must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// `lane NAME`: a thread of this name is drawn.
    Lane(String),
    /// `lanes N`: so many are drawn, `main` counted.
    Lanes(usize),
    /// `spawn A B`, `message A B`, `lock A B`, `wait A B`, `join A B`, `notify A B`, `barrier A B`, `once A B`: an arrow of that kind from A to B.
    Edge {
        /// The verb.
        kind: &'static str,
        /// Where it begins.
        from: String,
        /// Where it ends.
        to: String,
    },
    /// `waits NAME REASON [OBJECT]`: this thread waited for such a reason. Only `sleep` is certain on every schedule.
    Waits {
        /// Who.
        lane: String,
        /// Why, in a word that the picture has for it.
        reason: &'static str,
        /// For what, by the name that the picture gives it.
        object: Option<String>,
    },
    /// `concurrent A B`: nothing made one of the two end before the other began.
    Concurrent(String, String),
    /// `prints TEXT`: the text stands in the printed output.
    Prints(String),
    /// `panicked NAME`: this thread ended by a panic.
    Panicked(String),
    /// `deadlocked NAME`: this thread waited in vain, and a deadlock was found.
    Deadlocked(String),
}

const EDGES: [&str; 8] = [
    "spawn", "message", "lock", "wait", "join", "notify", "barrier", "once",
];
const REASONS: [&str; 13] = [
    "recv", "send", "lock", "wait", "join", "scope", "sleep", "read", "write", "notify", "barrier",
    "select", "once",
];
const VERBS: &str = "lane NAME, lanes N, spawn A B, message A B, lock A B, wait A B, join A B, notify A B, barrier A B, once A B, waits NAME REASON [OBJECT], concurrent A B, prints TEXT, panicked NAME, deadlocked NAME";

impl Fact {
    /// Reads a claim as it stands after `//@ shows:`. `Err` says in words what is wrong with it.
    pub fn parse(text: &str) -> Result<Fact, String> {
        let text = text.trim();
        let (verb, rest) = text
            .split_once(' ')
            .map_or((text, ""), |(verb, rest)| (verb, rest.trim()));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let known = |word: &str, among: &[&'static str]| {
            among.iter().find(|known| **known == word).copied()
        };
        Ok(match (verb, words.as_slice()) {
            ("lane", ["main"]) => return Err(
                "`lane main` is true of every picture; claim something that the cell brings about"
                    .to_owned(),
            ),
            ("lane", [name]) => Fact::Lane((*name).to_owned()),
            ("lanes", [count]) => match count.parse() {
                Ok(count) if count >= 2 => Fact::Lanes(count),
                _ => {
                    return Err(format!(
                        "`lanes {count}` needs a number of at least 2, `main` counted: main alone is not drawn"
                    ));
                }
            },
            ("waits", [name, reason, object @ ..]) => Fact::Waits {
                lane: (*name).to_owned(),
                reason: known(reason, &REASONS).ok_or_else(|| {
                    format!(
                        "`{reason}` is no reason to wait; write one of {}",
                        REASONS.join(", ")
                    )
                })?,
                object: (!object.is_empty()).then(|| object.join(" ")),
            },
            ("concurrent", [a, b]) if a != b => Fact::Concurrent((*a).to_owned(), (*b).to_owned()),
            ("prints", [_, ..]) => Fact::Prints(rest.to_owned()),
            ("panicked", [name]) => Fact::Panicked((*name).to_owned()),
            ("deadlocked", [name]) => Fact::Deadlocked((*name).to_owned()),
            (verb, [from, to]) if EDGES.contains(&verb) => Fact::Edge {
                kind: known(verb, &EDGES).expect("contained, checked above"),
                from: (*from).to_owned(),
                to: (*to).to_owned(),
            },
            _ => {
                return Err(format!(
                    "`{text}` is no claim that can be checked; write one of: {VERBS}"
                ));
            }
        })
    }

    /// Whether the claim is about the picture, so that there must be one.
    pub fn needs_picture(&self) -> bool {
        !matches!(self, Fact::Prints(_))
    }

    /// Holds the claim against a picture's JSON (`Null` when there is none) and the printed text. `Err` says what is there instead.
    pub fn holds(&self, picture: &Value, printed: &str) -> Result<(), String> {
        let lanes = || items(picture, "lanes").map(|lane| word(lane, "name"));
        let lane = |name| items(picture, "lanes").filter(move |lane| word(lane, "name") == name);
        let (holds, instead) = match self {
            Fact::Lane(name) => (
                lanes().any(|lane| lane == name),
                format!("its lanes are {}", joined(lanes())),
            ),
            Fact::Lanes(count) => (
                lanes().count() == *count,
                format!("it has {}: {}", lanes().count(), joined(lanes())),
            ),
            Fact::Edge { kind, from, to } => {
                let edges = || items(picture, "edges").filter(|edge| word(edge, "kind") == *kind);
                let shown = joined(
                    edges().map(|edge| format!("{} {}", word(edge, "from"), word(edge, "to"))),
                );
                (
                    edges().any(|edge| word(edge, "from") == from && word(edge, "to") == to),
                    format!("its {kind} arrows are {shown}"),
                )
            }
            Fact::Waits {
                lane: name,
                reason,
                object,
            } => {
                let waits = || lane(name.as_str()).flat_map(|lane| items(lane, "waits"));
                let shown = joined(waits().map(|wait| {
                    format!("{} {}", word(wait, "reason"), word(wait, "object"))
                        .trim()
                        .to_owned()
                }));
                let fits = |wait: &Value| {
                    word(wait, "reason") == *reason
                        && object
                            .as_ref()
                            .is_none_or(|object| word(wait, "object") == object)
                };
                (waits().any(fits), format!("{name} waited for {shown}"))
            }
            Fact::Concurrent(a, b) => {
                let pairs = || {
                    items(picture, "concurrent").map(|pair| {
                        [
                            pair[0].as_str().unwrap_or_default(),
                            pair[1].as_str().unwrap_or_default(),
                        ]
                    })
                };
                let shown = joined(pairs().map(|pair| pair.join(" ")));
                (
                    pairs().any(|pair| pair == [a, b] || pair == [b, a]),
                    format!("its concurrent pairs are {shown}"),
                )
            }
            Fact::Prints(text) => (printed.contains(text), format!("it printed {printed:?}")),
            Fact::Panicked(name) => {
                let shown = joined(
                    items(picture, "lanes")
                        .filter(|lane| word(lane, "end") == "panicked")
                        .map(|lane| word(lane, "name")),
                );
                (
                    lane(name.as_str()).any(|lane| word(lane, "end") == "panicked"),
                    format!("those that panicked are {shown}"),
                )
            }
            Fact::Deadlocked(name) => {
                let in_vain =
                    |lane: &Value| items(lane, "waits").any(|wait| wait["deadlocked"] == true);
                let shown = joined(
                    items(picture, "lanes")
                        .filter(|lane| in_vain(lane))
                        .map(|lane| word(lane, "name")),
                );
                (
                    lane(name.as_str()).any(in_vain),
                    format!("those that were deadlocked are {shown}"),
                )
            }
        };
        if holds { Ok(()) } else { Err(instead) }
    }
}

/// The form in which a notebook keeps a claim: [`Fact::parse`] reads it back.
impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Lane(name) => write!(f, "lane {name}"),
            Fact::Lanes(count) => write!(f, "lanes {count}"),
            Fact::Edge { kind, from, to } => write!(f, "{kind} {from} {to}"),
            Fact::Waits {
                lane,
                reason,
                object: None,
            } => write!(f, "waits {lane} {reason}"),
            Fact::Waits {
                lane,
                reason,
                object: Some(object),
            } => write!(f, "waits {lane} {reason} {object}"),
            Fact::Concurrent(a, b) => write!(f, "concurrent {a} {b}"),
            Fact::Prints(text) => write!(f, "prints {text}"),
            Fact::Panicked(name) => write!(f, "panicked {name}"),
            Fact::Deadlocked(name) => write!(f, "deadlocked {name}"),
        }
    }
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[key]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn joined<T: Into<String>>(words: impl Iterator<Item = T>) -> String {
    let words: Vec<String> = words.map(Into::into).collect();
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Fact;

    fn bakery() -> Value {
        json!({
            "version": 1,
            "lanes": [
                {"name": "main", "end": "done", "waits": [{"reason": "join", "object": null, "deadlocked": true}]},
                {"name": "ada", "end": "done", "waits": [{"reason": "lock", "object": "lock 1"}]},
                {"name": "grace", "end": "panicked", "waits": []},
            ],
            "edges": [{"kind": "message", "from": "ada", "to": "main", "object": "orders"}],
            "concurrent": [["ada", "grace"]],
        })
    }

    #[test]
    fn claims_hold_or_say_what_is_there_instead() {
        for (claim, want) in [
            ("lane ada", Ok(())),
            ("lane bob", Err("its lanes are main, ada, grace")),
            ("lanes 3", Ok(())),
            ("lanes 2", Err("it has 3: main, ada, grace")),
            ("message ada main", Ok(())),
            ("message main ada", Err("its message arrows are ada main")),
            ("spawn main ada", Err("its spawn arrows are none")),
            ("waits main join", Ok(())),
            ("waits ada lock lock 1", Ok(())),
            ("waits ada lock till", Err("ada waited for lock lock 1")),
            ("waits grace sleep", Err("grace waited for none")),
            ("concurrent grace ada", Ok(())),
            (
                "concurrent ada main",
                Err("its concurrent pairs are ada grace"),
            ),
            ("prints two loaves", Ok(())),
            ("prints three", Err("it printed \"two loaves\\n\"")),
            ("panicked grace", Ok(())),
            ("panicked ada", Err("those that panicked are grace")),
            ("deadlocked main", Ok(())),
            ("deadlocked ada", Err("those that were deadlocked are main")),
            ("notify ada main", Err("its notify arrows are none")),
        ] {
            let got = Fact::parse(claim).unwrap().holds(&bakery(), "two loaves\n");
            assert_eq!(got, want.map_err(str::to_owned), "{claim}");
        }
    }

    #[test]
    fn claims_read_back_as_they_were_written() {
        for claim in [
            "lane ada",
            "lanes 12",
            "lock a b",
            "waits a recv",
            "waits a recv wait group 1",
            "concurrent a b",
            "prints a  b",
            "panicked a",
            "deadlocked a",
            "barrier a b",
            "waits a select",
        ] {
            assert_eq!(Fact::parse(claim).unwrap().to_string(), claim);
        }
    }

    #[test]
    fn no_claim_holds_of_an_empty_picture() {
        let empty = json!({"version": 1, "lanes": [{"name": "main", "end": "done", "waits": []}], "edges": [], "concurrent": []});
        for claim in [
            "lane a",
            "lanes 2",
            "spawn a b",
            "waits a sleep",
            "concurrent a b",
            "prints a",
            "panicked a",
            "deadlocked a",
        ] {
            for picture in [
                &empty,
                &Value::Null,
                &json!({"lanes": 3, "edges": {"a": 1}}),
            ] {
                assert!(
                    Fact::parse(claim).unwrap().holds(picture, "").is_err(),
                    "{claim} of {picture}"
                );
            }
        }
    }

    #[test]
    fn claims_that_prove_nothing_are_refused() {
        for (claim, want) in [
            ("", "no claim"),
            ("lane", "no claim"),
            ("lane main", "true of every picture"),
            ("lanes many", "at least 2"),
            ("lanes 1", "at least 2"),
            ("spawn ada", "no claim"),
            ("fork main ada", "no claim"),
            ("waits ada luck", "no reason to wait"),
            ("concurrent ada ada", "no claim"),
            ("prints", "no claim"),
        ] {
            let err = Fact::parse(claim).unwrap_err();
            assert!(err.contains(want), "{claim}: {err}");
        }
    }
}
