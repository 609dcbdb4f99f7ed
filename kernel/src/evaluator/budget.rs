//! How much of a cell's output is shown. Pure.
//!
//! A loop that prints without end would fill the notebook, the browser's memory and the file. After the limit the rest is counted, not shown.

/// What one cell may show, in bytes, unless the learner says otherwise.
pub const AT_FIRST: u64 = 10_000_000;

/// The account of the cell whose output comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// `None`: any number.
    limit: Option<u64>,
    shown: u64,
    hidden: u64,
}

impl Budget {
    /// A new cell may show `limit` bytes.
    pub fn new(limit: Option<u64>) -> Budget {
        Budget {
            limit,
            shown: 0,
            hidden: 0,
        }
    }

    /// How much of `text` is shown: whole characters. The rest is counted, and all that comes after it, so that nothing is left out in the middle.
    pub fn take<'a>(&mut self, text: &'a str) -> &'a str {
        let room = match self.limit {
            None => usize::MAX,
            Some(_) if self.hidden > 0 => 0,
            Some(limit) => usize::try_from(limit.saturating_sub(self.shown)).unwrap_or(usize::MAX),
        };
        let mut end = text.len().min(room);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.shown += end as u64;
        self.hidden += (text.len() - end) as u64;
        &text[..end]
    }

    /// Whether a display of that many bytes is shown; if not, it is counted.
    pub fn takes(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let fits = self
            .limit
            .is_none_or(|limit| self.hidden == 0 && self.shown + bytes <= limit);
        match fits {
            true => self.shown += bytes,
            false => self.hidden += bytes,
        }
        fits
    }

    /// Whether a value of that many bytes is shown, whatever came before it; if not, it is counted.
    pub fn would_take_alone(&mut self, bytes: usize) -> bool {
        let fits = self.limit.is_none_or(|limit| bytes as u64 <= limit);
        if !fits {
            self.hidden += bytes as u64;
        }
        fits
    }

    /// What is to be said of output that was not shown, once.
    pub fn account(&mut self) -> Option<String> {
        let hidden = std::mem::take(&mut self.hidden);
        // Later output of the same cell stays hidden.
        if hidden > 0 {
            self.shown = self.limit.unwrap_or(self.shown);
        }
        (hidden > 0).then(|| {
            format!(
                "\n{} more of this cell's output not shown: a cell may show {} (`:output_limit` sets that)\n",
                in_words(hidden),
                in_words(self.limit.unwrap_or_default())
            )
        })
    }
}

/// Bytes in words: `10 MB`, `1.2 kB`.
pub fn in_words(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_000 => return format!("{bytes} bytes"),
        1_000..1_000_000 => (1e3, "kB"),
        1_000_000..1_000_000_000 => (1e6, "MB"),
        _ => (1e9, "GB"),
    };
    let number = format!("{:.1}", bytes as f64 / unit);
    format!("{} {name}", number.trim_end_matches(".0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_limit_is_counted_and_nothing_comes_after_it() {
        let mut budget = Budget::new(Some(10));
        assert_eq!(budget.take("12345678"), "12345678");
        assert_eq!(budget.account(), None);
        // The third byte of two would be half a character.
        assert_eq!(budget.take("9ä9"), "9");
        assert_eq!(budget.take("x"), "", "though there is room for it");
        assert!(!budget.takes(0));
        assert!(budget.would_take_alone(10));
        let said = budget.account().expect("an account");
        assert!(
            said.contains("4 bytes more") && said.contains("may show 10 bytes"),
            "{said}"
        );
        assert_eq!(budget.account(), None, "once");
        assert_eq!(budget.take("later"), "");
        assert!(budget.account().is_some());
        let mut none = Budget::new(None);
        assert_eq!(none.take("anything"), "anything");
        assert!(none.takes(1 << 40));
        assert_eq!(none.account(), None);
    }

    #[test]
    fn bytes_are_said_in_words() {
        for (bytes, want) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_200, "1.2 kB"),
            (10_000_000, "10 MB"),
            (2_500_000_000, "2.5 GB"),
        ] {
            assert_eq!(in_words(bytes), want);
        }
    }
}
