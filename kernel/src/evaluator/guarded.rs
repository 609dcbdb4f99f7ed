//! Code that may panic on what a learner typed: evcxr, rust-analyzer in it, and what we do with a cell's text ourselves.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls `f`. Whoever calls this sees to what `f` may have left half changed.
///
/// # Errors
/// With the message of a panic in `f`.
pub fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| panic_text(&*panic))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        let number = std::hint::black_box(7);
        assert_eq!(guarded(|| number), Ok(7));
        assert_eq!(guarded(|| panic!("burnt")), Err::<(), _>("burnt".into()));
        assert_eq!(
            guarded(|| panic!("burnt {number}")),
            Err::<(), _>("burnt 7".into())
        );
        let odd = guarded(|| std::panic::panic_any(number));
        assert_eq!(odd, Err::<(), _>("a panic without a message".into()));
    }
}
