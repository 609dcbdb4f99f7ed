//! What a cell shows besides its text: the value of its last expression, displays in several forms, and their later versions.
//!
//! In a kernel a display goes to the notebook as it is, of any length, in order with what the same task printed. In a cargo project it is printed: as text
//! where it has a text form, else as a line that says what would be shown.

use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::hooks::{in_a_kernel, tell_long};
use crate::json::push_string;
use crate::rt;

const PLAIN: &str = "text/plain";
const HTML: &str = "text/html";
const SVG: &str = "image/svg+xml";
const MARKDOWN: &str = "text/markdown";
const PNG: &str = "image/png";

/// Shows the value of a cell's last expression. Implemented for all that is `Debug`.
///
/// evcxr first tries to compile `(expr).evcxr_display()` and only then a cell that prints with `{:?}`. With this trait in scope the first try succeeds,
/// which saves one compilation. A type's own `evcxr_display` still wins, since inherent methods do.
pub trait EvcxrDisplay {
    /// Shows the value. The unit value shows nothing.
    fn evcxr_display(&self);
}

impl<T: Debug + ?Sized> EvcxrDisplay for T {
    fn evcxr_display(&self) {
        let Some(text) = debugged(self) else { return };
        if in_a_kernel() {
            tell_long(&message("value", None, &[(PLAIN, &text)]));
        } else {
            let framed = format!("EVCXR_BEGIN_CONTENT text/plain\n{text}\nEVCXR_END_CONTENT\n");
            // In one write, so that no other thread's line comes between. Nothing can be done here when nobody reads.
            let _ = std::io::stdout().lock().write_all(framed.as_bytes());
        }
    }
}

fn debugged<T: Debug + ?Sized>(value: &T) -> Option<String> {
    // Only the name tells for a type that need not be `'static`; a wrong answer would cost no more than a line `()`.
    if std::any::type_name::<T>() == "()" {
        return None;
    }
    let mut text = String::new();
    write!(text, "{value:?}").expect("a String takes all that is written; an Err comes from the value's own Debug, as with format!");
    Some(text)
}

/// Shows a value now, by its `Debug` form: as the value of a last expression is shown, but anywhere in a cell and as often as you like.
///
/// Takes a reference too, and then the variable stays yours: `display(&loaves)`. Gives a handle with which a later version takes its place. Does not block
/// but as a print does. Costs a few microseconds and the formatting.
///
/// ```
/// # use threadbook_prelude::*;
/// let loaves = vec!["rye", "wheat"];
/// let shown = display(&loaves);
/// shown.update(loaves.len());
/// ```
pub fn display<T: Debug>(value: T) -> DisplayHandle {
    DisplayHandle::show(&[(PLAIN, &format!("{value:?}"))])
}

/// Shows HTML now. A notebook that is not trusted takes out scripts, styles and inline SVG. Otherwise as [`display`].
///
/// ```
/// # use threadbook_prelude::*;
/// display_html("<b>three</b> loaves");
/// ```
pub fn display_html(html: impl AsRef<str>) -> DisplayHandle {
    DisplayHandle::show(&[(HTML, html.as_ref())])
}

/// Shows an SVG picture now: text that begins with `<svg`. Otherwise as [`display`].
///
/// ```
/// # use threadbook_prelude::*;
/// display_svg(r#"<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><circle cx="10" cy="10" r="9"/></svg>"#);
/// ```
pub fn display_svg(svg: impl AsRef<str>) -> DisplayHandle {
    DisplayHandle::show(&[(SVG, svg.as_ref())])
}

/// Shows Markdown now. Otherwise as [`display`].
///
/// ```
/// # use threadbook_prelude::*;
/// display_markdown("| loaf | price |\n|---|---|\n| rye | 4 |");
/// ```
pub fn display_markdown(markdown: impl AsRef<str>) -> DisplayHandle {
    let markdown = markdown.as_ref();
    DisplayHandle::show(&[(MARKDOWN, markdown), (PLAIN, markdown)])
}

/// Shows a PNG picture now, given as the bytes of its file. Otherwise as [`display`].
///
/// ```no_run
/// # use threadbook_prelude::*;
/// display_png(std::fs::read("oven.png").unwrap());
/// ```
pub fn display_png(bytes: impl AsRef<[u8]>) -> DisplayHandle {
    DisplayHandle::show(&[(PNG, &base64(bytes.as_ref()))])
}

/// Shows one thing in several forms now, each a MIME type and its content; the notebook takes the richest that it knows. Pictures that are not text (PNG,
/// JPEG) are given in base64, JSON types as JSON text. Otherwise as [`display`].
///
/// ```
/// # use threadbook_prelude::*;
/// display_forms(&[("text/html", "<b>rye</b>"), ("text/plain", "rye")]);
/// ```
pub fn display_forms(forms: &[(&str, &str)]) -> DisplayHandle {
    DisplayHandle::show(forms)
}

/// Takes away what the cell has shown and printed so far: at once, or (`wait`) when the next output comes, which avoids a flicker. Does nothing in a cargo
/// project.
///
/// ```
/// # use threadbook_prelude::*;
/// for loaf in 1..=3 {
///     clear_output(true);
///     println!("{loaf} of 3");
/// }
/// ```
pub fn clear_output(wait: bool) {
    if in_a_kernel() {
        let cell = rt::current().cell();
        tell_long(&format!(
            r#"{{"kind":"clear","cell":{cell},"wait":{wait}}}"#
        ));
    }
}

/// A display that can be given a later version, also from another task and from a later cell. Clones mean the same display.
#[derive(Debug, Clone)]
pub struct DisplayHandle {
    id: String,
}

impl DisplayHandle {
    fn show(forms: &[(&str, &str)]) -> DisplayHandle {
        let id = next_id();
        send("display", &id, forms);
        DisplayHandle { id }
    }

    /// Shows this value in the display's place.
    pub fn update<T: Debug>(&self, value: T) {
        self.update_forms(&[(PLAIN, &format!("{value:?}"))]);
    }

    /// Shows this HTML in the display's place.
    pub fn update_html(&self, html: impl AsRef<str>) {
        self.update_forms(&[(HTML, html.as_ref())]);
    }

    /// Shows this SVG in the display's place.
    pub fn update_svg(&self, svg: impl AsRef<str>) {
        self.update_forms(&[(SVG, svg.as_ref())]);
    }

    /// Shows this Markdown in the display's place.
    pub fn update_markdown(&self, markdown: impl AsRef<str>) {
        let markdown = markdown.as_ref();
        self.update_forms(&[(MARKDOWN, markdown), (PLAIN, markdown)]);
    }

    /// Shows these forms in the display's place. See [`display_forms`].
    pub fn update_forms(&self, forms: &[(&str, &str)]) {
        send("update", &self.id, forms);
    }

    /// A handle at the end of a cell shows nothing: what it stands for is shown already.
    #[doc(hidden)]
    pub fn evcxr_display(&self) {}
}

fn send(kind: &str, id: &str, forms: &[(&str, &str)]) {
    if in_a_kernel() {
        tell_long(&message(kind, Some(id), forms));
    } else {
        println!("{}", printed(forms));
    }
}

/// What stands for a display where there is only text.
fn printed(forms: &[(&str, &str)]) -> String {
    match forms.iter().find(|form| form.0 == PLAIN) {
        Some((_, text)) => (*text).to_owned(),
        None => forms.first().map_or(String::new(), |(mime, content)| {
            format!("[{mime}, {} bytes]", content.len())
        }),
    }
}

/// What the kernel is told of a display: one line of JSON.
fn message(kind: &str, id: Option<&str>, forms: &[(&str, &str)]) -> String {
    let mut message = format!(
        r#"{{"kind":"{kind}","cell":{},"data":{{"#,
        rt::current().cell()
    );
    for (at, (mime, content)) in forms.iter().enumerate() {
        if at > 0 {
            message.push(',');
        }
        push_string(&mut message, mime);
        message.push(':');
        push_string(&mut message, content);
    }
    message.push('}');
    if let Some(id) = id {
        message.push_str(r#","id":"#);
        push_string(&mut message, id);
    }
    message.push('}');
    message
}

/// A name that no display had before, nor one of an earlier process: notebooks keep them.
fn next_id() -> String {
    static PROCESS: OnceLock<u128> = OnceLock::new();
    static LAST: AtomicU64 = AtomicU64::new(0);
    let process = PROCESS.get_or_init(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_nanos())
    });
    let pid = std::process::id();
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    format!("threadbook-{process:x}-{pid}-{number}")
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            text.push(if digit > three.len() {
                '='
            } else {
                char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63])
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_formatted_and_unit_is_silent() {
        for (name, got, want) in [
            ("number", debugged(&5), Some("5")),
            ("text", debugged("two\nlines"), Some("\"two\\nlines\"")),
            ("slice", debugged(&[1, 2][..]), Some("[1, 2]")),
            ("unit", debugged(&()), None),
            ("unit in a tuple", debugged(&((), 1)), Some("((), 1)")),
        ] {
            assert_eq!(got.as_deref(), want, "{name}");
        }
    }

    #[test]
    fn a_message_is_one_line_of_json() {
        let message = message(
            "display",
            Some("a-1"),
            &[(PLAIN, "a \"b\"\n"), (HTML, "<b>")],
        );
        let (head, rest) = message.split_once(",\"data\"").expect("forms");
        assert!(head.starts_with(r#"{"kind":"display","cell":"#));
        assert_eq!(
            rest,
            r#":{"text/plain":"a \"b\"\n","text/html":"<b>"},"id":"a-1"}"#
        );
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, want) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), want, "{bytes}");
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    #[test]
    fn without_a_kernel_a_display_is_text() {
        for (forms, want) in [
            (&[(PLAIN, "rye")][..], "rye"),
            (&[(HTML, "<b>rye</b>"), (PLAIN, "rye")], "rye"),
            (&[(HTML, "<b>rye</b>")], "[text/html, 10 bytes]"),
            (&[], ""),
        ] {
            assert_eq!(printed(forms), want);
        }
    }

    #[test]
    fn no_two_displays_have_one_name() {
        assert_ne!(next_id(), next_id());
    }
}
