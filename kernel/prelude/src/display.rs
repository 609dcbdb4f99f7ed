//! How the value of a cell's last expression reaches the notebook.
//!
//! evcxr first tries to compile `(expr).evcxr_display()` and only then a cell that prints with `{:?}`. With this trait in scope the first try succeeds for
//! all that is `Debug`, which saves one compile. A type's own `evcxr_display` still wins, since inherent methods do.

use std::fmt::{Debug, Write as _};
use std::io::Write as _;

/// Shows a value at the end of a cell. Implemented for all that is `Debug`.
pub trait EvcxrDisplay {
    /// Writes the value to standard output between the lines that evcxr knows. The unit value shows nothing.
    fn evcxr_display(&self);
}

impl<T: Debug + ?Sized> EvcxrDisplay for T {
    fn evcxr_display(&self) {
        if let Some(text) = shown(self) {
            // In one write, so that no other thread's line comes between. Nothing can be done here when nobody reads.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
        }
    }
}

fn shown<T: Debug + ?Sized>(value: &T) -> Option<String> {
    // Only the name tells for a type that need not be `'static`; a wrong answer would cost no more than a line `()`.
    if std::any::type_name::<T>() == "()" {
        return None;
    }
    let mut text = String::from("EVCXR_BEGIN_CONTENT text/plain\n");
    write!(text, "{value:?}").expect("a String takes all that is written; an Err comes from the value's own Debug, as with format!");
    text.push_str("\nEVCXR_END_CONTENT\n");
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_framed_and_unit_is_silent() {
        for (name, got, want) in [
            ("number", shown(&5), Some("5")),
            ("text", shown("two\nlines"), Some("\"two\\nlines\"")),
            ("slice", shown(&[1, 2][..]), Some("[1, 2]")),
            ("unit", shown(&()), None),
            ("unit in a tuple", shown(&((), 1)), Some("((), 1)")),
        ] {
            let want = want
                .map(|text| format!("EVCXR_BEGIN_CONTENT text/plain\n{text}\nEVCXR_END_CONTENT\n"));
            assert_eq!(got, want, "{name}");
        }
    }
}
