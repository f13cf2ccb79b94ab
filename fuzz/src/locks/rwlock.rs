//! The reader-writer lock.

use super::{NOW, VALUE, WHOLE, inherited, told};
use crate::memory::{Words, row};
use crate::parser::{Play, Structure, Turn, fixture, options, said};
use ownerdead::lock::{LockTimeoutError, ReadGuard, RwLock, TryLockError, WriteGuard};
use ownerdead::owner::Attachment;
use ownerdead::segment::{Kind, Segment};

pub fn all() -> Vec<Box<dyn Play>> {
    vec![fixture(Lock(RwLock::memfd(&options(), WHOLE).expect("a lock")))]
}

struct Lock(RwLock<u64>);

#[derive(Default)]
struct Held<'s> {
    share: Option<ReadGuard<'s, u64>>,
    all: Option<WriteGuard<'s, u64>>,
}

impl Structure for Lock {
    type Handles<'s> = Held<'s>;

    const KIND: Kind = Kind::RWLOCK;

    fn segment(&self) -> &Segment {
        self.0.segment()
    }

    fn of(segment: Segment) -> Result<Self, String> {
        // SAFETY: this thread alone has the file, and changes it between operations only.
        unsafe { RwLock::<u64>::from_segment(segment) }.map(Self).map_err(|error| error.to_string())
    }

    fn visit(&self, me: &Attachment) {
        _ = told(self.0.try_read(me));
        _ = self.0.try_write(me).map_err(|error| said(&error));
    }

    /// The writer's, the readers' places, and the value.
    fn words(&self) -> Vec<Words> {
        let places = Words { at: 384, count: 6, stride: 128 };
        vec![row(0, 1), places, row(0, 1), row(VALUE, 1)]
    }

    fn step<'s>(&'s self, me: &'s Attachment, held: &mut Held<'s>, operation: u8, _: &mut Turn<'_, '_>) {
        match operation {
            0..=2 => held.share = told(self.0.try_read(me)).or(held.share.take()),
            3..=5 => held.share = told(self.0.read_timeout(me, NOW)).or(held.share.take()),
            6..=8 => match self.0.try_write(me) {
                Ok(guard) => held.all = Some(guard),
                Err(TryLockError::OwnerDied(died)) => held.all = Some(inherited(died)),
                Err(error) => said(&error),
            },
            9..=11 => match self.0.write_timeout(me, NOW) {
                Ok(guard) => held.all = Some(guard),
                Err(LockTimeoutError::OwnerDied(died)) => held.all = Some(inherited(died)),
                Err(error) => said(&error),
            },
            12..=14 => held.share = None,
            15..=17 => held.all = None,
            18 => {
                if let Some(guard) = &mut held.all {
                    guard.mark_consistent();
                }
            }
            _ => {
                if let Some(guard) = &mut held.all {
                    **guard = guard.wrapping_add(u64::from(guard.needs_repair()));
                }
            }
        }
    }

    fn honest(&self, me: &Attachment) {
        assert_eq!(*self.0.try_read(me).expect("nobody has it"), WHOLE);
        assert_eq!(*self.0.try_write(me).expect("nobody has it"), WHOLE);
    }
}
