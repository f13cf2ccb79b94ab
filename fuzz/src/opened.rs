//! Any bytes as a segment: it opens or says why not, and what opens can be used without a panic or a fault.
//!
//! The input is that of [`crate::images`]. What is left of it is operations on what was opened, as for the parsers: see [`crate::parser`].

use crate::files::{memfd, read};
use crate::images;
use crate::input::Input;
use ownerdead::segment::Segment;

/// Plays an input.
pub fn play(data: &[u8]) {
    images::with(data, |all, bytes, which, rest| {
        let left = |mut rest: Input<'_>| rest.take(usize::MAX).to_vec();
        let rest = left(rest);
        // As what it says that it is, as what it was, and as something else.
        let says = all.iter().position(|one| Some(one.kind().0) == images::kind(&bytes));
        let other = bytes.len() % all.len();
        let mut opened = [says, which, Some(other)];
        if says == which {
            opened[0] = None;
        }
        for which in opened.into_iter().flatten() {
            let file = memfd(&bytes);
            let kept = file.try_clone().expect("a descriptor");
            if let Err(error) = all[which].open(file, Input::new(&rest)) {
                assert!(!error.is_empty());
            }
            // Who refuses what is no segment has left it as it was.
            if Segment::from_fd(memfd(&bytes), all[which].kind()).is_err() {
                assert_eq!(read(&kept), bytes, "a file that is no segment was written to");
            }
        }
    });
}
