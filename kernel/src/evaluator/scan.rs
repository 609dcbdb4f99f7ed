//! Tells the learner's words from evcxr's: one stream of bytes in, a list of what they mean out.
//!
//! evcxr's runtime and the cells it generates talk to evcxr by lines on standard output, where learners print too. The scanner takes out the lines that
//! are evcxr's and leaves every other byte in its place, partial lines included. What makes a line evcxr's: the prelude writes an end mark with a secret
//! prefix, and only what stands directly before it counts; anywhere else the same words are the learner's text. Pure: no descriptor, no clock.

/// What evcxr's runtime prints when a cell has run.
pub const COMPLETE: &str = "EVCXR_EXECUTION_COMPLETE\n";
const PANIC: &str = "EVCXR_PANIC_NOTIFICATION\n";
const QUESTION_MARK: &str = "EVCXR_ERROR_OCCURRED\n";
const CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";
const BEGIN_CONTENT: &str = "EVCXR_BEGIN_CONTENT ";
const END_CONTENT: &str = "\nEVCXR_END_CONTENT\n";
const LINE_TOKENS: [&str; 3] = [COMPLETE, PANIC, QUESTION_MARK];

/// How the prelude's end mark begins, behind the prefix.
const END_MARK: &str = "{\"mark\":\"end\"";

/// The longest content block that is held back while its end is awaited.
const MAX_CONTENT: usize = 32 << 20;
/// The longest line that the prelude marks, and the longest name of a variable.
const MAX_LINE: usize = 4096;

/// What was found in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The learner's bytes.
    Text(Vec<u8>),
    /// A value to show: MIME type and content.
    Content(String, Vec<u8>),
    /// A line of JSON by the prelude, other than the end mark.
    Mark(String),
    /// The prelude's end mark: the cell is over, and these lines are to be passed to evcxr (without the closing [`COMPLETE`]).
    End {
        /// A panic reached the end of the cell.
        panicked: bool,
        /// The `?` operator ended the cell.
        question_mark: bool,
        /// Names of variables whose type the learner has redefined.
        changed_types: Vec<String>,
    },
    /// evcxr's runtime has finished with a shared object (outside of a cell that is marked).
    Complete,
    /// A copy of the process is back in the worker's loop.
    Ready,
}

/// The state between two reads.
#[derive(Debug)]
pub struct Scanner {
    /// What the prelude's lines begin with; `None` while no prelude is loaded, and then every [`COMPLETE`] counts.
    mark_prefix: Option<Vec<u8>>,
    /// Bytes that may be the beginning of a token.
    pending: Vec<u8>,
    /// Tokens that count if the end mark comes next, as they stood in the stream.
    held: Vec<Vec<u8>>,
    /// A [`COMPLETE`] after which the learner's text went on: the runtime's own, if no later one comes.
    parted_complete: bool,
    /// The cell's panic line after which the text of another thread went on.
    parted_panic: bool,
    phase: Phase,
}

/// Where in the run of a marked cell the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No cell runs, or none that is marked.
    Outside,
    /// The hook before the cell runs; its [`COMPLETE`] is nobody's business.
    Before,
    /// The cell runs.
    Inside,
    /// No cell runs; a copy of the process is on its way back from the end hook.
    TakingOver,
}

impl Scanner {
    /// Starts a scan.
    pub fn new() -> Scanner {
        Scanner {
            mark_prefix: None,
            pending: Vec::new(),
            held: Vec::new(),
            parted_complete: false,
            parted_panic: false,
            phase: Phase::Outside,
        }
    }

    /// A cell is about to be run with the prelude's hooks around it, which begin their lines with this prefix.
    pub fn expect_cell(&mut self, prefix: &[u8]) {
        self.mark_prefix = Some(prefix.to_vec());
        self.phase = Phase::Before;
        self.parted_complete = false;
        self.parted_panic = false;
    }

    /// The process is dead, and its copy goes on from where it was made: in the hook after a cell. Says whether the cell that was expected last had not come
    /// to its code.
    pub fn expect_takeover(&mut self) -> bool {
        let before = std::mem::replace(&mut self.phase, Phase::TakingOver);
        self.parted_complete = false;
        self.parted_panic = false;
        before == Phase::Before
    }

    /// Whether the prelude marks the ends of cells.
    pub fn is_marked(&self) -> bool {
        self.mark_prefix.is_some()
    }

    /// Takes bytes as they were read and gives what they mean so far. Bytes that may be the beginning of a token are kept for the next call.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Found> {
        self.pending.extend_from_slice(bytes);
        let mut found = Vec::new();
        loop {
            match self.next_token() {
                Token::Text(len) => self.text(len, &mut found),
                Token::Line(len) => self.line(len, &mut found),
                Token::Content { mime, body, len } => {
                    let block: Vec<u8> = self.pending.drain(..len).collect();
                    self.release_held(&mut found);
                    let mime = String::from_utf8_lossy(&block[mime]).into_owned();
                    found.push(Found::Content(mime, block[body].to_vec()));
                }
                Token::Mark { json, len } => {
                    let line: Vec<u8> = self.pending.drain(..len).collect();
                    let json = String::from_utf8_lossy(&line[json..len - 1]).into_owned();
                    self.mark(json, &mut found);
                }
                Token::Unfinished => return found,
            }
        }
    }

    /// Whether bytes are held back because they may be the beginning of a token.
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Nothing came for a while, or nothing will come any more: what was held back as a possible beginning is the learner's text. A content block that
    /// is under way goes on waiting for its end unless `at_end`.
    pub fn give_up(&mut self, at_end: bool) -> Vec<Found> {
        let mut found = Vec::new();
        if !at_end && self.pending.starts_with(BEGIN_CONTENT.as_bytes()) {
            return found;
        }
        let len = self.pending.len();
        if len > 0 {
            self.text(len, &mut found);
        }
        if at_end {
            self.release_held(&mut found);
        }
        found
    }

    fn next_token(&self) -> Token {
        let bytes = &self.pending[..];
        if bytes.is_empty() {
            return Token::Unfinished;
        }
        let prefix = self.mark_prefix.as_deref().unwrap_or(b"\x1e");
        let starts = |at: &usize| {
            could_begin(&bytes[*at..], b"EVCXR_")
                || (self.mark_prefix.is_some() && could_begin(&bytes[*at..], prefix))
        };
        match (0..bytes.len()).find(starts) {
            None => return Token::Text(bytes.len()),
            Some(0) => {}
            Some(at) => return Token::Text(at),
        }
        if self.mark_prefix.is_some() && bytes.starts_with(prefix) {
            return match line_len(bytes) {
                Some(len) => Token::Mark {
                    json: prefix.len(),
                    len,
                },
                None if bytes.len() > MAX_LINE => Token::Text(1),
                None => Token::Unfinished,
            };
        }
        for token in LINE_TOKENS {
            if bytes.starts_with(token.as_bytes()) {
                return Token::Line(token.len());
            }
        }
        if bytes.starts_with(CHANGED_TYPE.as_bytes()) {
            return match line_len(bytes) {
                Some(len) => Token::Line(len),
                None if bytes.len() > MAX_LINE => Token::Text(1),
                None => Token::Unfinished,
            };
        }
        if bytes.starts_with(BEGIN_CONTENT.as_bytes()) {
            return self.content_token(bytes);
        }
        let unfinished = LINE_TOKENS
            .iter()
            .chain(&[CHANGED_TYPE, BEGIN_CONTENT])
            .any(|token| could_begin(bytes, token.as_bytes()))
            || (self.mark_prefix.is_some() && could_begin(bytes, prefix));
        if unfinished {
            Token::Unfinished
        } else {
            Token::Text(1)
        }
    }

    /// A value's block is whole when its end has come. When the cell's end comes first, the block's beginning was the learner's text.
    fn content_token(&self, bytes: &[u8]) -> Token {
        let find = |needle: &[u8], from: usize| {
            let windows = bytes.get(from..)?.windows(needle.len());
            windows
                .enumerate()
                .find(|(_, window)| *window == needle)
                .map(|(at, _)| from + at)
        };
        let Some(head) = line_len(bytes) else {
            return if bytes.len() > MAX_LINE {
                Token::Text(1)
            } else {
                Token::Unfinished
            };
        };
        let end_mark = self.mark_prefix.as_ref().and_then(|prefix| {
            let mark = [prefix, END_MARK.as_bytes()].concat();
            find(&mark, head)
        });
        // An empty content has its end right after the head's newline, so the search begins at that newline.
        match find(END_CONTENT.as_bytes(), head - 1) {
            Some(end) if end_mark.is_none_or(|mark| end < mark) => Token::Content {
                mime: BEGIN_CONTENT.len()..head - 1,
                body: head.min(end)..end.max(head.min(end)),
                len: end + END_CONTENT.len(),
            },
            _ if end_mark.is_some() || bytes.len() > MAX_CONTENT => Token::Text(1),
            _ => Token::Unfinished,
        }
    }

    fn text(&mut self, len: usize, found: &mut Vec<Found>) {
        self.release_held(found);
        let text = self.pending.drain(..len);
        match found.last_mut() {
            Some(Found::Text(before)) => before.extend(text),
            _ => found.push(Found::Text(text.collect())),
        }
    }

    fn line(&mut self, len: usize, found: &mut Vec<Found>) {
        let line: Vec<u8> = self.pending.drain(..len).collect();
        if self.phase != Phase::Inside {
            match self.phase {
                _ if line != COMPLETE.as_bytes() => push_text(found, &line),
                Phase::Before => self.phase = Phase::Inside,
                Phase::TakingOver => {
                    self.phase = Phase::Outside;
                    found.push(Found::Ready);
                }
                _ => found.push(Found::Complete),
            }
            return;
        }
        if line == COMPLETE.as_bytes() {
            // Only the last one before the end mark is the runtime's; an earlier one was the learner's word after all.
            if std::mem::take(&mut self.parted_complete) {
                push_text(found, COMPLETE.as_bytes());
            }
            if self.held.iter().any(|token| token == COMPLETE.as_bytes()) {
                self.release_all(found);
            }
        }
        self.held.push(line);
    }

    /// The learner's text goes on after tokens: they were text too, but for the two that another thread's printing may have cut off from the end mark.
    fn release_held(&mut self, found: &mut Vec<Found>) {
        for token in std::mem::take(&mut self.held) {
            if token == COMPLETE.as_bytes() {
                self.parted_complete = true;
            } else if token == PANIC.as_bytes() {
                // Only the last one can be the cell's own.
                if std::mem::replace(&mut self.parted_panic, true) {
                    push_text(found, &token);
                }
            } else {
                push_text(found, &token);
            }
        }
    }

    fn release_all(&mut self, found: &mut Vec<Found>) {
        for token in std::mem::take(&mut self.held) {
            push_text(found, &token);
        }
    }

    fn mark(&mut self, json: String, found: &mut Vec<Found>) {
        let value: serde_json::Value = serde_json::from_str(&json).unwrap_or_default();
        if value["mark"] != "end" {
            found.push(Found::Mark(json));
            return;
        }
        let held = std::mem::take(&mut self.held);
        let hook_saw_a_panic = value["panics"].as_u64().unwrap_or(0) > 0;
        let parted_panic = std::mem::take(&mut self.parted_panic);
        if parted_panic && !hook_saw_a_panic {
            push_text(found, PANIC.as_bytes());
        }
        self.parted_complete = false;
        self.phase = Phase::Outside;
        found.push(Found::End {
            panicked: held.iter().any(|token| token == PANIC.as_bytes())
                || (parted_panic && hook_saw_a_panic),
            question_mark: held.iter().any(|token| token == QUESTION_MARK.as_bytes()),
            changed_types: held
                .iter()
                .filter_map(|token| token.strip_prefix(CHANGED_TYPE.as_bytes()))
                .map(|name| String::from_utf8_lossy(name).trim_end().to_owned())
                .collect(),
        });
    }
}

enum Token {
    Text(usize),
    Line(usize),
    Mark {
        json: usize,
        len: usize,
    },
    Content {
        mime: std::ops::Range<usize>,
        body: std::ops::Range<usize>,
        len: usize,
    },
    Unfinished,
}

fn push_text(found: &mut Vec<Found>, text: &[u8]) {
    match found.last_mut() {
        Some(Found::Text(before)) => before.extend_from_slice(text),
        _ => found.push(Found::Text(text.to_vec())),
    }
}

/// Whether `bytes` begins with `token`, or ends before that can be told.
fn could_begin(bytes: &[u8], token: &[u8]) -> bool {
    let len = bytes.len().min(token.len());
    bytes[..len] == token[..len]
}

fn line_len(bytes: &[u8]) -> Option<usize> {
    bytes
        .iter()
        .position(|&byte| byte == b'\n')
        .map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "\x1esecret ";
    const END: &str = "\x1esecret {\"mark\":\"end\",\"panics\":0}\n";

    fn end(panicked: bool) -> Found {
        Found::End {
            panicked,
            question_mark: false,
            changed_types: Vec::new(),
        }
    }

    fn text(text: &str) -> Found {
        Found::Text(text.as_bytes().to_vec())
    }

    fn marked() -> Scanner {
        let mut scanner = Scanner::new();
        scanner.expect_cell(PREFIX.as_bytes());
        assert_eq!(
            scanner.take(COMPLETE.as_bytes()),
            [],
            "the hook before the cell"
        );
        scanner
    }

    #[test]
    fn a_copy_that_takes_over_comes_back_without_a_cell() {
        let mut scanner = marked();
        assert_eq!(joined(scanner.take(b"half a li")), [text("half a li")]);
        assert_eq!(scanner.take(b"EVCXR_EXECUTION_COM"), []);
        // The process died in the middle of a word.
        assert_eq!(scanner.give_up(true), [text("EVCXR_EXECUTION_COM")]);
        assert!(!scanner.expect_takeover(), "its cell had come to its code");
        let mark = "\x1esecret {\"mark\":\"takeover\"}\n";
        assert_eq!(
            scanner.take(format!("{mark}{COMPLETE}").as_bytes()),
            [Found::Mark("{\"mark\":\"takeover\"}".into()), Found::Ready]
        );
        scanner.expect_cell(PREFIX.as_bytes());
        assert!(
            scanner.expect_takeover(),
            "died before the cell's code: it may be run again"
        );
        assert_eq!(scanner.take(COMPLETE.as_bytes()), [Found::Ready]);
        scanner.expect_cell(PREFIX.as_bytes());
        let all = format!("{COMPLETE}on\n{COMPLETE}{END}{COMPLETE}");
        assert_eq!(
            joined(scanner.take(all.as_bytes())),
            [text("on\n"), end(false), Found::Complete]
        );
    }

    /// Joins neighbouring texts, so that it does not matter how the bytes were cut.
    fn joined(found: Vec<Found>) -> Vec<Found> {
        found.into_iter().fold(Vec::new(), |mut all, next| {
            match (all.last_mut(), next) {
                (Some(Found::Text(before)), Found::Text(more)) => before.extend(more),
                (_, next) => all.push(next),
            }
            all
        })
    }

    #[test]
    fn the_learners_words_and_evcxrs_are_told_apart_however_the_bytes_are_cut() {
        let hook_saw = "\x1esecret {\"mark\":\"end\",\"panics\":1}\n";
        for (name, stream, want) in [
            (
                "nothing printed",
                format!("{COMPLETE}{END}"),
                vec![end(false)],
            ),
            (
                "print without newline",
                format!("x{COMPLETE}{END}"),
                vec![text("x"), end(false)],
            ),
            (
                "a panic",
                format!("x\n{PANIC}{COMPLETE}{END}"),
                vec![text("x\n"), end(true)],
            ),
            (
                "a panic after a partial line",
                format!("x{PANIC}{COMPLETE}{END}"),
                vec![text("x"), end(true)],
            ),
            (
                "the learner prints the panic line",
                format!("{PANIC}y\n{COMPLETE}{END}"),
                vec![text("y\n"), text(PANIC), end(false)],
            ),
            (
                "the learner prints the panic line again and again",
                format!("{PANIC}a\n{PANIC}b\n{PANIC}c\n{COMPLETE}{END}"),
                vec![
                    text("a\n"),
                    text(PANIC),
                    text("b\n"),
                    text(PANIC),
                    text("c\n"),
                    text(PANIC),
                    end(false),
                ],
            ),
            (
                "another thread prints between panic and end",
                format!("{PANIC}y\n{COMPLETE}{hook_saw}"),
                vec![text("y\n"), end(true)],
            ),
            (
                "another thread prints before the end mark",
                format!("{COMPLETE}y\n{END}"),
                vec![text("y\n"), end(false)],
            ),
            (
                "the learner prints the complete line",
                format!("{COMPLETE}y\n{COMPLETE}{END}"),
                vec![text("y\n"), text(COMPLETE), end(false)],
            ),
            (
                "twice in a row",
                format!("{COMPLETE}{COMPLETE}{END}"),
                vec![text(COMPLETE), end(false)],
            ),
            (
                "a value",
                format!("EVCXR_BEGIN_CONTENT text/plain\n4\n2\nEVCXR_END_CONTENT\n{COMPLETE}{END}"),
                vec![
                    Found::Content("text/plain".into(), b"4\n2".to_vec()),
                    end(false),
                ],
            ),
            (
                "an empty value",
                format!("EVCXR_BEGIN_CONTENT text/plain\n\nEVCXR_END_CONTENT\n{COMPLETE}{END}"),
                vec![Found::Content("text/plain".into(), Vec::new()), end(false)],
            ),
            (
                "almost a marker",
                format!("EVCXR_EXEC EVCX{COMPLETE}{END}"),
                vec![text("EVCXR_EXEC EVCX"), end(false)],
            ),
            (
                "marks of panics",
                format!("a\x1esecret {{\"mark\":\"panic\"}}\nb{COMPLETE}{END}"),
                vec![
                    text("a"),
                    Found::Mark("{\"mark\":\"panic\"}".into()),
                    text("b"),
                    end(false),
                ],
            ),
            (
                "a forged mark",
                format!("\x1eguess {{\"mark\":\"end\"}}\n{COMPLETE}{END}"),
                vec![text("\x1eguess {\"mark\":\"end\"}\n"), end(false)],
            ),
        ] {
            let want = joined(want);
            for cut in 1..=stream.len() {
                let mut scanner = marked();
                let found: Vec<Found> = stream
                    .as_bytes()
                    .chunks(cut)
                    .flat_map(|bytes| scanner.take(bytes))
                    .collect();
                assert_eq!(joined(found), want, "{name}, cut every {cut} bytes");
                assert!(!scanner.is_waiting(), "{name}: nothing is left over");
            }
        }
    }

    #[test]
    fn a_whole_run_in_one_piece_is_told_apart_too() {
        let mut scanner = Scanner::new();
        scanner.expect_cell(PREFIX.as_bytes());
        let found = scanner.take(format!("late{COMPLETE}a{COMPLETE}{END}{COMPLETE}b").as_bytes());
        assert_eq!(
            found,
            [text("latea"), end(false), Found::Complete, text("b")]
        );
    }

    #[test]
    fn a_question_mark_and_changed_types_reach_evcxr() {
        let found =
            marked().take(format!("{QUESTION_MARK}{CHANGED_TYPE}oven\n{COMPLETE}{END}").as_bytes());
        assert_eq!(
            found,
            [Found::End {
                panicked: false,
                question_mark: true,
                changed_types: vec!["oven".into()]
            }]
        );
    }

    #[test]
    fn a_possible_beginning_is_given_up_as_text() {
        let mut scanner = marked();
        assert_eq!(scanner.take(b"Is it E"), [text("Is it ")]);
        assert!(scanner.is_waiting());
        assert_eq!(scanner.give_up(false), [text("E")]);
        assert_eq!(
            scanner.take(b"VCXR_EXECUTION_COMPLETE\n"),
            [text("VCXR_EXECUTION_COMPLETE\n")]
        );
    }

    #[test]
    fn a_content_without_an_end_is_text_when_the_process_dies() {
        let mut scanner = marked();
        assert_eq!(scanner.take(b"EVCXR_BEGIN_CONTENT text/plain\nabc"), []);
        assert_eq!(scanner.give_up(false), []);
        assert_eq!(
            scanner.give_up(true),
            [text("EVCXR_BEGIN_CONTENT text/plain\nabc")]
        );
    }

    #[test]
    fn without_a_prelude_every_complete_counts() {
        let mut scanner = Scanner::new();
        assert_eq!(
            scanner.take(format!("a{COMPLETE}").as_bytes()),
            [text("a"), Found::Complete]
        );
    }
}
