//! Once-initialisation, and the barrier.

use super::{NOW, VALUE, WHOLE, told};
use crate::memory::{Words, lines, row};
use crate::parser::{Play, Structure, Turn, fixture, options, said};
use ownerdead::lock::{Arrival, Barrier, BarrierTimeoutError, MAX_PARTIES, Once, OnceCell, Party};
use ownerdead::owner::Attachment;
use ownerdead::segment::{Kind, Segment};

const PARTIES: usize = 2;

pub fn all() -> Vec<Box<dyn Play>> {
    let once = Once::memfd(&options()).expect("a once");
    let cell = OnceCell::memfd(&options()).expect("a cell");
    let barrier = Barrier::memfd(&options(), PARTIES).expect("a barrier");
    vec![fixture(Done(once)), fixture(Made(cell)), fixture(Meets(barrier))]
}

struct Done(Once);
struct Made(OnceCell<u64>);
struct Meets(Barrier);

impl Structure for Done {
    type Handles<'s> = ();

    const KIND: Kind = Kind::ONCE;

    fn segment(&self) -> &Segment {
        self.0.segment()
    }

    fn of(segment: Segment) -> Result<Self, String> {
        Once::from_segment(segment).map(Self).map_err(|error| error.to_string())
    }

    fn visit(&self, me: &Attachment) {
        _ = told(self.0.call_once_timeout(me, NOW, |_| ()));
    }

    fn words(&self) -> Vec<Words> {
        vec![row(0, 1)]
    }

    fn step<'s>(&'s self, me: &'s Attachment, _: &mut (), operation: u8, turn: &mut Turn<'_, '_>) {
        match operation {
            0..=9 => _ = told(self.0.call_once_timeout(me, NOW, |state| _ = state.failed())),
            10..=15 => {
                // From within, and the word is changed there.
                let within = |_| {
                    turn.disturb();
                    _ = told(self.0.call_once_timeout(me, NOW, |_| ()));
                };
                _ = told(self.0.call_once_timeout(me, NOW, within));
            }
            _ => _ = self.0.is_completed(),
        }
    }

    fn honest(&self, me: &Attachment) {
        assert!(!self.0.is_completed());
        let mut ran = 0;
        for _ in 0..2 {
            assert_eq!(self.0.call_once_timeout(me, NOW, |state| ran += 1 + state.failed()), Ok(()));
        }
        assert_eq!((ran, self.0.is_completed()), (1, true));
    }
}

impl Structure for Made {
    type Handles<'s> = ();

    const KIND: Kind = Kind::ONCE;

    fn segment(&self) -> &Segment {
        self.0.segment()
    }

    fn of(segment: Segment) -> Result<Self, String> {
        // SAFETY: this thread alone has the file, and changes it between operations only.
        unsafe { OnceCell::<u64>::from_segment(segment) }.map(Self).map_err(|error| error.to_string())
    }

    fn visit(&self, me: &Attachment) {
        _ = told(self.0.get_or_init_timeout(me, NOW, |_| WHOLE));
    }

    fn words(&self) -> Vec<Words> {
        vec![row(0, 1), row(VALUE, 1)]
    }

    fn step<'s>(&'s self, me: &'s Attachment, _: &mut (), operation: u8, turn: &mut Turn<'_, '_>) {
        match operation {
            0..=12 => {
                _ = told(self.0.get_or_init_timeout(me, NOW, |_| {
                    turn.disturb();
                    turn.input.word()
                }))
            }
            _ => _ = self.0.get().copied(),
        }
    }

    fn honest(&self, me: &Attachment) {
        assert_eq!(self.0.get(), None);
        assert_eq!(self.0.get_or_init_timeout(me, NOW, |_| WHOLE), Ok(&WHOLE));
        assert_eq!(self.0.get(), Some(&WHOLE));
    }
}

impl Structure for Meets {
    type Handles<'s> = [Option<Party>; PARTIES];

    const KIND: Kind = Kind::BARRIER;

    fn segment(&self) -> &Segment {
        self.0.segment()
    }

    fn of(segment: Segment) -> Result<Self, String> {
        Barrier::from_segment(segment).map(Self).map_err(|error| error.to_string())
    }

    fn visit(&self, me: &Attachment) {
        _ = told(self.0.join(me)).and_then(|mut party| told(party.wait_timeout(NOW)));
    }

    /// Parties, phase, gate, and of each party.
    fn words(&self) -> Vec<Words> {
        lines(0, 3 + PARTIES).to_vec()
    }

    fn step<'s>(
        &'s self,
        me: &'s Attachment,
        parties: &mut [Option<Party>; PARTIES],
        operation: u8,
        turn: &mut Turn<'_, '_>,
    ) {
        let party = &mut parties[usize::from(turn.flags) % PARTIES];
        match (operation, party) {
            (0..=3, party) => {
                if party.is_none() {
                    *party = told(self.0.join(me));
                }
            }
            (4, party) => *party = None,
            (5..=12, Some(party)) => _ = told(party.wait_timeout(NOW)),
            (13 | 14, Some(party)) => _ = told(party.reset()),
            (15 | 16, Some(party)) => {
                assert!(party.seat() < MAX_PARTIES, "{} {}", party.has_arrived(), party.owner_died());
            }
            (5..=16, None) => {}
            _ => assert!(self.0.status().arrived <= MAX_PARTIES),
        }
    }

    fn honest(&self, me: &Attachment) {
        let mut parties = [(); PARTIES].map(|()| self.0.join(me).expect("a seat"));
        let [one, other] = &mut parties;
        assert_eq!(one.wait_timeout(NOW), Err(BarrierTimeoutError::TimedOut));
        assert_eq!(other.wait_timeout(NOW), Ok(Arrival::Leader));
        assert_eq!(one.wait_timeout(NOW), Ok(Arrival::Follower));
        let full = self.0.join(me).expect_err("all seats are taken");
        said(&full);
    }
}
