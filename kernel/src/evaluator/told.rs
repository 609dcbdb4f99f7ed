//! What the prelude tells in more than one mark: displays and their later versions, of any length.
//!
//! A mark is one write to a pipe and at most 4,096 bytes, so that nothing another thread writes gets into it. A longer message comes as parts, each a
//! mark; they are put together here. Pure. The learner's process may write anything: what makes no sense is dropped, and what is too long too.

use crate::cell::{MimeBundle, StreamName};
use serde_json::Value;
use std::collections::BTreeMap;

/// The longest message. Notebooks become unusable long before.
const LONGEST: usize = 64 << 20;
/// How many messages may be under way at once: one per thread that displays.
const MOST: usize = 1024;

/// How the JSON of a part begins.
pub const PART: &str = r#"{"mark":"part""#;

impl Told {
    /// How much it adds to the notebook, in bytes.
    pub fn bytes(&self) -> usize {
        let (Told::Value(bundle) | Told::Display { bundle, .. } | Told::Update { bundle, .. }) =
            self
        else {
            return 0;
        };
        bundle
            .values()
            .map(|form| {
                form.as_str()
                    .map_or_else(|| form.to_string().len(), str::len)
            })
            .sum()
    }
}

/// A whole message.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// The value of a cell's last expression.
    Value(MimeBundle),
    /// Something to show now.
    Display {
        /// The number of the cell, as the worker counts, whose task shows it.
        cell: u64,
        /// By which later versions name it.
        id: String,
        /// Its forms.
        bundle: MimeBundle,
    },
    /// A later version of it.
    Update {
        /// The cell whose task changes it.
        cell: u64,
        /// The display's.
        id: String,
        /// Its new forms.
        bundle: MimeBundle,
    },
    /// What a task printed whose cell has ended.
    Print {
        /// The cell.
        cell: u64,
        /// Where to.
        name: StreamName,
        /// What, a line or a part of one.
        text: String,
    },
    /// Who called whom when a task panicked, as std writes it.
    Backtrace {
        /// Whether it was the evaluating task.
        main: bool,
        /// The cell of the task.
        cell: u64,
        /// The frames.
        text: String,
    },
    /// The cell's outputs are to be taken away.
    Clear {
        /// The cell.
        cell: u64,
        /// Only when the next output comes.
        wait: bool,
    },
}

/// Messages that are under way.
#[derive(Debug, Default)]
pub struct Parts {
    begun: BTreeMap<u64, String>,
    bytes: usize,
}

impl Parts {
    /// Takes a part; gives the message when this was its last.
    pub fn take(&mut self, mark: &str) -> Option<Told> {
        let mut read = serde_json::Deserializer::from_str(mark).into_iter::<Value>();
        let head = read.next()?.ok()?;
        let number = head["of"].as_u64()?;
        let text = mark[read.byte_offset()..].strip_prefix(' ')?;
        if !self.begun.contains_key(&number) && self.begun.len() >= MOST {
            self.clear();
        }
        let whole = self.begun.entry(number).or_default();
        if self.bytes + text.len() > LONGEST {
            tracing::warn!("a display was longer than {LONGEST} bytes");
            self.clear();
            return None;
        }
        whole.push_str(text);
        self.bytes += text.len();
        if head["last"] != true {
            return None;
        }
        let whole = self.begun.remove(&number)?;
        self.bytes -= whole.len();
        Told::parse(&whole)
    }

    /// Forgets what is under way: whoever sent it is dead.
    pub fn clear(&mut self) {
        *self = Parts::default();
    }
}

impl Told {
    fn parse(json: &str) -> Option<Told> {
        let mut told: Value = serde_json::from_str(json).ok()?;
        let cell = told["cell"].as_u64().unwrap_or(0);
        let bundle = |told: &mut Value| -> Option<MimeBundle> {
            let Value::Object(forms) = told["data"].take() else {
                return None;
            };
            Some(forms.into_iter().map(form).collect())
        };
        let id = |told: &Value| Some(told["id"].as_str()?.to_owned());
        Some(match told["kind"].as_str()? {
            "value" => Told::Value(bundle(&mut told)?),
            "display" => Told::Display {
                cell,
                id: id(&told)?,
                bundle: bundle(&mut told)?,
            },
            "update" => Told::Update {
                cell,
                id: id(&told)?,
                bundle: bundle(&mut told)?,
            },
            "print" => Told::Print {
                cell,
                name: match told["name"].as_str()? {
                    "stderr" => StreamName::Stderr,
                    _ => StreamName::Stdout,
                },
                text: told["text"].as_str()?.to_owned(),
            },
            "backtrace" => Told::Backtrace {
                main: told["main"] == true,
                cell,
                text: told["text"].as_str()?.to_owned(),
            },
            "clear" => Told::Clear {
                cell,
                wait: told["wait"] == true,
            },
            _ => return None,
        })
    }
}

/// JSON types go to the notebook as JSON, all others as text: Jupyter's rule.
fn form((mime, content): (String, Value)) -> (String, Value) {
    let is_json = mime == "application/json" || mime.ends_with("+json");
    let parsed = content
        .as_str()
        .filter(|_| is_json)
        .and_then(|text| serde_json::from_str(text).ok());
    (mime, parsed.unwrap_or(content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use threadbook_timeline::script::Random;

    fn part(of: u64, last: bool, text: &str) -> String {
        format!(r#"{{"mark":"part","of":{of},"last":{last}}} {text}"#)
    }

    #[test]
    fn messages_are_put_together_whatever_comes_between() {
        let mut parts = Parts::default();
        let long = r#"{"kind":"display","cell":3,"data":{"text/plain":"rye \" bread"},"id":"a"}"#;
        let (first, second) = long.split_at(20);
        assert_eq!(parts.take(&part(7, false, first)), None);
        let clear = r#"{"kind":"clear","cell":4,"wait":true}"#;
        assert_eq!(
            parts.take(&part(8, true, clear)),
            Some(Told::Clear {
                cell: 4,
                wait: true
            })
        );
        let bundle = |value: Value| value.as_object().cloned().expect("an object");
        assert_eq!(
            parts.take(&part(7, true, second)),
            Some(Told::Display {
                cell: 3,
                id: "a".into(),
                bundle: bundle(json!({"text/plain": "rye \" bread"}))
            })
        );
        assert_eq!((parts.begun.len(), parts.bytes), (0, 0));
        let print = r#"{"kind":"print","cell":2,"name":"stderr","text":"half a li"}"#;
        assert_eq!(
            parts.take(&part(6, true, print)),
            Some(Told::Print {
                cell: 2,
                name: StreamName::Stderr,
                text: "half a li".into()
            })
        );
        let value = r#"{"kind":"value","cell":1,"data":{"application/json":"{\"a\":[1]}","text/html":"{}"}}"#;
        assert_eq!(
            parts.take(&part(9, true, value)),
            Some(Told::Value(bundle(
                json!({"application/json": {"a": [1]}, "text/html": "{}"})
            )))
        );
    }

    #[test]
    fn what_makes_no_sense_is_dropped() {
        let mut parts = Parts::default();
        for odd in [
            "",
            "{}",
            r#"{"mark":"part","of":1,"last":true}"#,
            r#"{"mark":"part","of":-1,"last":true} {}"#,
            r#"{"mark":"part","of":1,"last":true} {"kind":"display"}"#,
            r#"{"mark":"part","of":1,"last":true} {"kind":"value","data":5}"#,
            r#"{"mark":"part","of":1,"last":true} nonsense"#,
        ] {
            assert_eq!(parts.take(odd), None, "{odd}");
        }
        let million = "x".repeat(1 << 20);
        for _ in 0..200 {
            assert_eq!(parts.take(&part(1, false, &million)), None);
            assert!(parts.bytes <= LONGEST);
        }
        for of in 0..5_000 {
            assert_eq!(parts.take(&part(of, false, "x")), None);
            assert!(parts.begun.len() <= MOST);
        }
    }

    #[test]
    fn no_mark_panics() {
        let mut random = Random::new(11);
        let mut parts = Parts::default();
        let good = part(
            1,
            true,
            r#"{"kind":"update","cell":3,"id":"é","data":{"a/b":"c"}}"#,
        );
        for _ in 0..20_000 {
            let mut bytes = good.clone().into_bytes();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = b"[]{},:\"019-xn"[random.below(13) as usize];
            }
            let _ = parts.take(&String::from_utf8_lossy(&bytes));
        }
    }
}
