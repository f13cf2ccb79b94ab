//! The phase's word: see the tables of `lock::barrier`.

const BROKEN: u64 = 1 << 31;
const SEAT_SHIFT: u32 = 26;
/// All are to be woken, and perhaps are not yet.
const OWED: u64 = 1 << 25;
const EVENT: u64 = OWED - 1;
const SEAT: u64 = 0x1f << SEAT_SHIFT;

/// The value of the phase's word; see the table of the module above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase(pub u64);

impl Phase {
    pub fn event(self) -> u64 {
        self.0 & EVENT
    }
    pub fn completed(self) -> u32 {
        (self.0 >> 32) as u32
    }
    pub fn is_broken(self) -> bool {
        self.0 & BROKEN != 0
    }
    /// The seat whose holder's death broke the last phase that was broken.
    pub fn seat(self) -> usize {
        ((self.0 & SEAT) >> SEAT_SHIFT) as usize
    }
    pub fn is_owed(self) -> bool {
        self.0 & OWED != 0
    }
    pub fn without_owed(self) -> Self {
        Self(self.0 & !OWED)
    }
    pub fn next_event(self) -> u64 {
        (self.event() + 1) & EVENT
    }
    pub fn complete(self) -> Self {
        let completed = u64::from(self.completed().wrapping_add(1));
        Self(completed << 32 | self.0 & SEAT | OWED | self.next_event())
    }
    pub fn broken_by(self, seat: usize) -> Self {
        Self(self.0 & !SEAT | BROKEN | OWED | (seat as u64) << SEAT_SHIFT)
    }
    pub fn reset(self) -> Self {
        Self(self.0 & !(BROKEN | EVENT) | OWED | self.next_event())
    }
    /// The event that is the next one in which anybody can arrive.
    pub fn next_open(self) -> u64 {
        if self.is_broken() { self.next_event() } else { self.event() }
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_over_in_one_of_two_ways_and_the_next_one_is_another_event() {
        let last = Phase(u64::from(u32::MAX) << 32 | EVENT);
        for open in [Phase(0), Phase(7 << 32 | 31 << SEAT_SHIFT | 5), last] {
            let completed = open.complete();
            assert_eq!(completed.completed(), open.completed().wrapping_add(1));
            assert_eq!((completed.seat(), completed.is_broken()), (open.seat(), false));
            assert_eq!(completed.event(), (open.next_open() + 1) & EVENT);
            let broken = open.broken_by(9);
            assert_eq!((broken.completed(), broken.event(), broken.seat()), (open.completed(), open.event(), 9));
            assert!(broken.is_broken() && !broken.reset().is_broken());
            assert_eq!(broken.reset().event(), broken.next_open());
            assert_ne!(broken.reset().event(), open.event());
            assert_eq!((broken.reset().completed(), broken.reset().seat()), (open.completed(), 9));
        }
    }
}
