//! One Jupyter message as it travels: identities, delimiter, signature, four JSON parts, buffers.
//!
//! Bytes in, bytes out. Knows nothing of sockets or of what a message means.
//! Rules: <https://jupyter-client.readthedocs.io/en/stable/messaging.html#the-wire-protocol>.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use uuid::Uuid;

const DELIMITER: &[u8] = b"<IDS|MSG>";

/// The version of the messaging protocol that we speak.
pub const PROTOCOL_VERSION: &str = "5.5";

/// Why some parts are not a message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// No part is the delimiter.
    #[error("frame has no <IDS|MSG> delimiter ({parts} parts)")]
    NoDelimiter {
        /// How many parts there are.
        parts: usize,
    },
    /// Nothing stands after the delimiter.
    #[error("frame has no signature after the delimiter")]
    NoSignature,
    /// Fewer than four parts stand after the signature.
    #[error("frame needs 4 JSON parts, got {found}")]
    MissingParts {
        /// How many there are.
        found: usize,
    },
    /// The signature is no hexadecimal number.
    #[error("signature is not hexadecimal ({length} bytes)")]
    SignatureNotHex {
        /// How long it is.
        length: usize,
    },
    /// It was signed with another key, or changed on its way.
    #[error("signature does not match the key of the connection file")]
    WrongSignature,
    /// The very same message came before.
    #[error("it came before: its signature is that of an earlier message")]
    Replayed,
    /// One of the four parts is no JSON object.
    #[error("{part} is not a JSON object")]
    NotAnObject {
        /// Which.
        part: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The header lacks a field that everything rests on.
    #[error("header has no text field `{field}`")]
    HeaderField {
        /// Which.
        field: &'static str,
    },
}

/// How many signatures are remembered, the latest: as many as `jupyter_client` does.
const REMEMBERED: usize = 1 << 16;

/// Signs and checks messages with the key of the connection file. Clones share what they have seen.
#[derive(Clone)]
pub struct Signer {
    /// `None` when the key is empty: messages are then not signed, as Jupyter allows.
    mac: Option<Hmac<Sha256>>,
    seen: Arc<Mutex<Seen>>,
}

/// The signatures of the latest messages, at most [`REMEMBERED`] of them: 4 MiB.
#[derive(Default)]
struct Seen {
    known: HashSet<[u8; 32]>,
    oldest_first: VecDeque<[u8; 32]>,
}

impl Seen {
    /// Notes a signature; `false` when it is known.
    fn is_new(&mut self, signature: [u8; 32]) -> bool {
        if !self.known.insert(signature) {
            return false;
        }
        if self.oldest_first.len() == REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.oldest_first.push_back(signature);
        true
    }
}

impl Signer {
    /// Makes a signer; an empty key turns signing off.
    pub fn new(key: &str) -> Signer {
        let mac = (!key.is_empty())
            .then(|| Hmac::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length"));
        Signer {
            mac,
            seen: Arc::default(),
        }
    }

    fn sign(&self, parts: &[Bytes]) -> String {
        let Some(mac) = self.fed(parts) else {
            return String::new();
        };
        mac.finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn check(&self, signature: &[u8], parts: &[Bytes]) -> Result<(), FrameError> {
        let Some(mac) = self.fed(parts) else {
            return Ok(());
        };
        let signature = from_hex(signature).ok_or(FrameError::SignatureNotHex {
            length: signature.len(),
        })?;
        // In constant time: how long it takes tells nothing of how many bytes were right.
        mac.verify_slice(&signature)
            .map_err(|_| FrameError::WrongSignature)?;
        // A message has an id and a date, so no two are the same: who sends one again has recorded it. The right signature has the right length.
        let signature = signature
            .try_into()
            .map_err(|_| FrameError::WrongSignature)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.is_new(signature) {
            true => Ok(()),
            false => Err(FrameError::Replayed),
        }
    }

    fn fed(&self, parts: &[Bytes]) -> Option<Hmac<Sha256>> {
        let mut mac = self.mac.clone()?;
        parts.iter().for_each(|part| mac.update(part));
        Some(mac)
    }
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.chunks(2).map(|pair| match *pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

/// Who sent a message, and of which type it is. Kept byte for byte, since it goes back as the `parent_header` of every answer, with fields that later
/// versions of the protocol add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The id of the message.
    pub msg_id: String,
    /// Its type, such as `execute_request`.
    pub msg_type: String,
    /// Which subshell it is for (5.5); `None` is the main shell.
    pub subshell_id: Option<String>,
    raw: Bytes,
}

impl Header {
    /// Makes the header of a new message; `session` is the id of the sender.
    pub fn new(msg_type: &str, session: &str, sent: SystemTime) -> Header {
        let msg_id = Uuid::new_v4().to_string();
        let raw = json!({
            "msg_id": msg_id, "msg_type": msg_type, "session": session, "username": "threadbook", "date": iso_8601(sent), "version": PROTOCOL_VERSION,
        });
        Header {
            msg_id,
            msg_type: msg_type.to_owned(),
            subshell_id: None,
            raw: raw.to_string().into(),
        }
    }

    fn parse(raw: Bytes, part: &'static str) -> Result<Header, FrameError> {
        let fields = object(&raw, part)?;
        let text = |field| match fields.get(field) {
            Some(Value::String(text)) => Ok(text.clone()),
            _ => Err(FrameError::HeaderField { field }),
        };
        Ok(Header {
            msg_id: text("msg_id")?,
            msg_type: text("msg_type")?,
            subshell_id: text("subshell_id").ok(),
            raw,
        })
    }
}

/// A message, of either direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Whom it came from or goes to, as a ROUTER socket names its peers; on iopub the topic.
    pub identities: Vec<Bytes>,
    /// Its own header.
    pub header: Header,
    /// The header of the message that caused it, when there is one.
    pub parent: Option<Header>,
    /// Things about the message.
    pub metadata: Map<String, Value>,
    /// What it says; its form depends on `header.msg_type`.
    pub content: Map<String, Value>,
    /// Binary parts.
    pub buffers: Vec<Bytes>,
}

impl Message {
    /// Reads a message from the parts that a socket received.
    pub fn decode(mut parts: Vec<Bytes>, signer: &Signer) -> Result<Message, FrameError> {
        let total = parts.len();
        let at = parts
            .iter()
            .position(|part| &part[..] == DELIMITER)
            .ok_or(FrameError::NoDelimiter { parts: total })?;
        let mut rest = parts.split_off(at + 1);
        parts.truncate(at);
        if rest.is_empty() {
            return Err(FrameError::NoSignature);
        }
        let signature = rest.remove(0);
        if rest.len() < 4 {
            return Err(FrameError::MissingParts { found: rest.len() });
        }
        let buffers = rest.split_off(4);
        signer.check(&signature, &rest)?;
        let parent = match object(&rest[1], "parent header")? {
            empty if empty.is_empty() => None,
            // The parent of a request is the client's own affair: a strange one is not worth a refusal.
            _ => Header::parse(rest[1].clone(), "parent header").ok(),
        };
        Ok(Message {
            identities: parts,
            header: Header::parse(rest[0].clone(), "header")?,
            parent,
            metadata: object(&rest[2], "metadata")?,
            content: object(&rest[3], "content")?,
            buffers,
        })
    }

    /// Writes the message as the parts that a socket sends.
    pub fn encode(self, signer: &Signer) -> Vec<Bytes> {
        let parent = self
            .parent
            .map_or_else(|| Bytes::from_static(b"{}"), |parent| parent.raw);
        let signed = [
            self.header.raw,
            parent,
            Value::Object(self.metadata).to_string().into(),
            Value::Object(self.content).to_string().into(),
        ];
        let mut parts = self.identities;
        parts.push(Bytes::from_static(DELIMITER));
        parts.push(signer.sign(&signed).into());
        parts.extend(signed);
        parts.extend(self.buffers);
        parts
    }
}

fn object(part: &[u8], name: &'static str) -> Result<Map<String, Value>, FrameError> {
    serde_json::from_slice(part).map_err(|source| FrameError::NotAnObject { part: name, source })
}

/// Writes a time as `2026-03-01T12:30:05.123456Z`.
fn iso_8601(time: SystemTime) -> String {
    let since_1970 = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let (days, seconds) = (since_1970.as_secs() / 86_400, since_1970.as_secs() % 86_400);
    // Howard Hinnant's `civil_from_days`, <https://howardhinnant.github.io/date_algorithms.html>, for days after 1970 only: years that begin in March,
    // so that a leap day is the last of its year, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second, micros) = (
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
        since_1970.subsec_micros(),
    );
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        r#"{"msg_id":"1","msg_type":"kernel_info_request","version":"6.1","subshell_id":null}"#;

    fn parts(texts: &[&str]) -> Vec<Bytes> {
        texts
            .iter()
            .map(|text| Bytes::from(text.to_string()))
            .collect()
    }

    /// A well-signed message of four given parts.
    fn signed(signer: &Signer, four: [&str; 4]) -> Vec<Bytes> {
        let four = parts(&four);
        let signature = signer.sign(&four);
        [parts(&["peer", "<IDS|MSG>", &signature]), four].concat()
    }

    #[test]
    fn a_message_survives_the_way_there_and_back() {
        for key in ["secret", ""] {
            let signer = Signer::new(key);
            let mut frame = signed(&signer, [HEADER, "{}", r#"{"a":1}"#, r#"{"b":[2]}"#]);
            frame.push(Bytes::from_static(b"\xff\x00"));
            let message = Message::decode(frame.clone(), &signer).unwrap();
            assert_eq!(message.header.msg_type, "kernel_info_request");
            assert_eq!(message.buffers, [&b"\xff\x00"[..]]);
            assert_eq!(message.encode(&signer), frame);
        }
    }

    #[test]
    fn a_message_that_came_before_is_refused() {
        let signer = Signer::new("secret");
        let frame = signed(&signer, [HEADER, "{}", "{}", "{}"]);
        assert!(Message::decode(frame.clone(), &signer).is_ok());
        // On another socket too, and by another peer.
        let mut elsewhere = frame.clone();
        elsewhere[0] = Bytes::from_static(b"another peer");
        for again in [frame.clone(), elsewhere] {
            let error = Message::decode(again, &signer.clone()).unwrap_err();
            assert!(matches!(error, FrameError::Replayed), "{error}");
        }
        // A wrong signature does not take the place of a right one.
        let other = Signer::new("secret");
        let mut forged = frame.clone();
        forged[3] = Bytes::from_static(b"{\"msg_id\":\"1\",\"msg_type\":\"x\"}");
        assert!(matches!(
            Message::decode(forged, &other),
            Err(FrameError::WrongSignature)
        ));
        assert!(Message::decode(frame, &other).is_ok());

        let unsigned = Signer::new("");
        let frame = signed(&unsigned, [HEADER, "{}", "{}", "{}"]);
        assert!((0..2).all(|_| Message::decode(frame.clone(), &unsigned).is_ok()));
    }

    #[test]
    fn only_the_latest_signatures_are_remembered() {
        let mut seen = Seen::default();
        let signature = |n: usize| {
            let mut signature = [0; 32];
            signature[..8].copy_from_slice(&n.to_le_bytes());
            signature
        };
        assert!((0..REMEMBERED + 10).all(|n| seen.is_new(signature(n))));
        assert_eq!(
            (seen.known.len(), seen.oldest_first.len()),
            (REMEMBERED, REMEMBERED)
        );
        assert!(!seen.is_new(signature(10)) && seen.is_new(signature(9)));
    }

    #[test]
    fn the_parent_header_goes_back_byte_for_byte() {
        let signer = Signer::new("secret");
        let strange = r#"{ "msg_id":"1" , "msg_type":"x","unheard_of":[1,{"z":1,"a":2}] }"#;
        let request =
            Message::decode(signed(&signer, [strange, "{}", "{}", "{}"]), &signer).unwrap();
        let header = Header::new("status", "session", SystemTime::UNIX_EPOCH);
        let reply = Message {
            parent: Some(request.header.clone()),
            header,
            ..request
        };
        assert_eq!(reply.encode(&signer)[4], strange);
    }

    #[test]
    fn malformed_frames_are_refused_without_panic() {
        let signer = Signer::new("secret");
        let other = Signer::new("another");
        let mut changed = signed(&signer, [HEADER, "{}", "{}", "{}"]);
        changed[6] = Bytes::from_static(b"{ }");
        let cases = [
            ("empty", parts(&[]), "no <IDS|MSG> delimiter (0 parts)"),
            (
                "identities only",
                parts(&["a", "b"]),
                "no <IDS|MSG> delimiter (2 parts)",
            ),
            ("delimiter only", parts(&["<IDS|MSG>"]), "no signature"),
            (
                "signature only",
                parts(&["<IDS|MSG>", "00"]),
                "4 JSON parts, got 0",
            ),
            (
                "three parts",
                parts(&["<IDS|MSG>", "00", "{}", "{}", "{}"]),
                "4 JSON parts, got 3",
            ),
            (
                "no hex",
                parts(&["<IDS|MSG>", "zz", "{}", "{}", "{}", "{}"]),
                "not hexadecimal (2 bytes)",
            ),
            (
                "odd hex",
                parts(&["<IDS|MSG>", "abc", "{}", "{}", "{}", "{}"]),
                "not hexadecimal (3 bytes)",
            ),
            (
                "unsigned",
                parts(&["<IDS|MSG>", "", HEADER, "{}", "{}", "{}"]),
                "does not match",
            ),
            (
                "cut signature",
                parts(&["<IDS|MSG>", "00ff", HEADER, "{}", "{}", "{}"]),
                "does not match",
            ),
            (
                "another key",
                signed(&other, [HEADER, "{}", "{}", "{}"]),
                "does not match",
            ),
            ("changed", changed, "does not match"),
            (
                "header no JSON",
                signed(&signer, ["x", "{}", "{}", "{}"]),
                "header is not a JSON object",
            ),
            (
                "header an array",
                signed(&signer, ["[]", "{}", "{}", "{}"]),
                "header is not a JSON object",
            ),
            (
                "header empty",
                signed(&signer, ["{}", "{}", "{}", "{}"]),
                "header has no text field `msg_id`",
            ),
            (
                "type a number",
                signed(
                    &signer,
                    [r#"{"msg_id":"1","msg_type":2}"#, "{}", "{}", "{}"],
                ),
                "no text field `msg_type`",
            ),
            (
                "parent no JSON",
                signed(&signer, [HEADER, "", "{}", "{}"]),
                "parent header is not a JSON object",
            ),
            (
                "metadata null",
                signed(&signer, [HEADER, "{}", "null", "{}"]),
                "metadata is not a JSON object",
            ),
            (
                "content a string",
                signed(&signer, [HEADER, "{}", "{}", "\"x\""]),
                "content is not a JSON object",
            ),
        ];
        for (name, frame, want) in cases {
            let error = Message::decode(frame, &signer).expect_err(name).to_string();
            assert!(error.contains(want), "{name}: {error}");
        }
    }

    #[test]
    fn no_random_frame_panics() {
        // A seed that never changes, so that a failure is found again: a million frames made of whole, cut and spoiled parts.
        let mut state = 0x5eed_u64;
        let mut random = move |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let vocabulary = [
            "<IDS|MSG>",
            "",
            "{}",
            "[]",
            "null",
            HEADER,
            "{\"msg_id\":",
            "00ff",
            "peer",
            "\"\u{e9}\"",
            "[[[[[[[[",
        ];
        let (signer, unsigned) = (Signer::new("secret"), Signer::new(""));
        let mut decoded = 0;
        for _ in 0..1_000_000 {
            let frame: Vec<Bytes> = (0..random(9))
                .map(|_| {
                    let mut part = vocabulary[random(vocabulary.len())].as_bytes().to_vec();
                    if !part.is_empty() && random(8) == 0 {
                        let at = random(part.len());
                        part[at] = u8::try_from(random(256)).expect("below 256");
                        part.truncate(random(part.len() + 1));
                    }
                    part.into()
                })
                .collect();
            assert!(
                Message::decode(frame.clone(), &signer).is_err(),
                "nobody guesses a signature: {frame:?}"
            );
            decoded += usize::from(Message::decode(frame, &unsigned).is_ok());
        }
        assert!(
            decoded > 0,
            "some frames must get past the checks, or the test tries too little"
        );
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.250000Z"),
            (951_782_400, "2000-02-29T00:00:00.250000Z"),
            (1_772_368_205, "2026-03-01T12:30:05.250000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.250000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.250000Z"),
        ] {
            assert_eq!(
                iso_8601(SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 250)),
                want
            );
        }
    }
}
