//! How often the host's systemd is told how the container is: it reads each message, and so the guest does not set the pace.
//!
//! Pure: texts and times in, what to send out. What comes too soon waits, and only the last of it is sent: what stands there
//! in the end is always true.

use std::time::{Duration, Instant};

/// Between two messages.
pub const PAUSE: Duration = Duration::from_millis(100);

/// Texts of `STATUS=`.
#[derive(Debug, Default)]
pub struct Pace {
    /// Before this nothing is sent.
    next: Option<Instant>,
    waiting: Option<String>,
}

impl Pace {
    /// The container is described anew: what to send at once.
    pub fn offer(&mut self, text: String, now: Instant) -> Option<String> {
        self.waiting = Some(text);
        self.due(now)
    }

    /// What to send now of that which had to wait.
    pub fn due(&mut self, now: Instant) -> Option<String> {
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        let text = self.waiting.take()?;
        self.next = Some(now + PAUSE);
        Some(text)
    }

    /// Another message was sent, which describes it better than what waits.
    pub fn overtaken(&mut self, now: Instant) {
        self.waiting = None;
        self.next = Some(now + PAUSE);
    }

    /// When there will be something to send.
    pub fn at(&self) -> Option<Instant> {
        self.waiting.as_ref().and(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_text_is_sent_after_the_pause() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut pace = Pace::default();
        let mut offer = |text: &str, ms| pace.offer(text.to_owned(), at(ms));
        assert_eq!(offer("a", 0).as_deref(), Some("a"));
        assert_eq!(offer("b", 1), None);
        assert_eq!(offer("c", 99), None);
        assert_eq!(pace.at(), Some(at(100)));
        assert_eq!(pace.due(at(99)), None);
        assert_eq!(pace.due(at(100)).as_deref(), Some("c"));
        assert_eq!((pace.at(), pace.due(at(300))), (None, None));
        assert_eq!(pace.offer("d".to_owned(), at(300)).as_deref(), Some("d"));
        assert_eq!(pace.offer("e".to_owned(), at(301)), None);
        pace.overtaken(at(302));
        assert_eq!((pace.at(), pace.due(at(900))), (None, None));
    }

    #[test]
    fn a_flood_becomes_ten_messages_a_second() {
        let begin = Instant::now();
        let mut pace = Pace::default();
        let sent = (0..20_000).filter(|n| {
            let now = begin + Duration::from_micros(n * 100);
            pace.offer(n.to_string(), now).is_some()
        });
        assert_eq!(sent.count(), 20);
    }
}
