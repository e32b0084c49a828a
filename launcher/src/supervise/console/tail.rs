//! The last lines of a console, for those who attach later.

/// How many bytes are kept at least, when there were as many.
const KEPT: usize = 8 << 10;

/// Clean lines: raw ones would have the terminal of whoever attaches answer questions that are long past.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    /// Adds a line.
    pub(super) fn push(&mut self, line: &str) {
        self.0.extend_from_slice(line.as_bytes());
        self.0.extend_from_slice(b"\r\n");
        if self.0.len() > 2 * KEPT {
            self.cut();
        }
    }

    /// Gives back what it does not have to keep.
    pub(super) fn shrink(&mut self) {
        self.cut();
        self.0.shrink_to_fit();
    }

    fn cut(&mut self) {
        let old = &self.0[..self.0.len().saturating_sub(KEPT)];
        let cut = old.iter().rposition(|byte| *byte == b'\n');
        self.0.drain(..cut.map_or(old.len(), |at| at + 1));
    }

    /// At most `limit` bytes from the end, from the start of a line.
    pub(super) fn last(&self, limit: usize) -> &[u8] {
        let Some(start) = self.0.len().checked_sub(limit) else {
            return &self.0;
        };
        let line = self.0[start..].iter().position(|byte| *byte == b'\n');
        line.map_or(&[], |at| &self.0[start + at + 1..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_are_kept() {
        let mut tail = Tail::default();
        assert_eq!(tail.last(10), b"");
        for number in 0..10_000 {
            tail.push(&format!("line {number}"));
            assert!(tail.0.len() <= 2 * KEPT && tail.0.starts_with(b"line "));
        }
        assert!(tail.0.len() >= KEPT && tail.0.ends_with(b"\r\nline 9999\r\n"));
        tail.shrink();
        assert!((KEPT..KEPT + 16).contains(&tail.0.len()) && tail.0.starts_with(b"line "));
        tail.shrink();
        assert!(tail.0.len() >= KEPT && tail.0.capacity() < 2 * KEPT);
        assert_eq!(tail.last(15), b"line 9999\r\n");
        assert_eq!(tail.last(3), b"");
    }
}
