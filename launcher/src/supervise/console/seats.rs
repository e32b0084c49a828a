//! Who of those that are attached to a console writes: one at a time.
//!
//! When the writer leaves, the one that has waited longest follows. After a reboot of the guest, where all attach anew in
//! any order, the former writer goes on.

use super::message::Wish;

/// Those that are attached, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Seats {
    all: Vec<(u64, Wish)>,
    writer: Option<u64>,
}

impl Seats {
    /// Who writes.
    pub(super) fn writer(&self) -> Option<u64> {
        self.writer
    }

    /// Adds `id`. True when it writes from now on.
    pub(super) fn join(&mut self, id: u64, wish: Wish) -> bool {
        let resumed = |id: &u64| self.all.contains(&(*id, Wish::Resume));
        let free = match wish {
            Wish::Read => false,
            Wish::Write => self.writer.is_none(),
            Wish::Resume => !self.writer.as_ref().is_some_and(resumed),
        };
        self.all.push((id, wish));
        if free {
            self.writer = Some(id);
        }
        free
    }

    /// Removes `id`, and returns who writes now in its place, if somebody does.
    pub(super) fn leave(&mut self, id: u64) -> Option<u64> {
        self.all.retain(|(other, _)| *other != id);
        self.follow(id)
    }

    /// `id` reads only from now on; otherwise like [`Seats::leave`].
    pub(super) fn read_only(&mut self, id: u64) -> Option<u64> {
        for seat in self.all.iter_mut().filter(|seat| seat.0 == id) {
            seat.1 = Wish::Read;
        }
        self.follow(id)
    }

    fn follow(&mut self, id: u64) -> Option<u64> {
        if self.writer != Some(id) {
            return None;
        }
        let mut waiting = self.all.iter().filter(|(_, wish)| *wish != Wish::Read);
        self.writer = waiting.next().map(|(id, _)| *id);
        self.writer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writes_and_the_next_one_follows() {
        let mut seats = Seats::default();
        assert!(!seats.join(1, Wish::Read));
        assert!(seats.join(2, Wish::Write));
        assert!(!seats.join(3, Wish::Write));
        assert!(!seats.join(4, Wish::Write));
        assert_eq!(seats.leave(1), None);
        assert_eq!(seats.leave(3), None);
        assert_eq!(seats.leave(2), Some(4));
        assert_eq!(seats.writer(), Some(4));
        assert!(!seats.join(5, Wish::Write));
        assert_eq!(seats.read_only(4), Some(5));
        assert_eq!(seats.leave(5), None);
        assert_eq!(seats.writer(), None);
        assert!(seats.join(6, Wish::Write));
    }

    #[test]
    fn after_a_reboot_the_writer_goes_on() {
        let mut seats = Seats::default();
        assert!(seats.join(1, Wish::Write));
        assert!(seats.join(2, Wish::Resume));
        assert!(!seats.join(3, Wish::Resume));
        assert_eq!(seats.leave(2), Some(1));
    }
}
