//! Rings for many producers and one consumer, with records of any length.
//!
//! | | [`lanes`] | [`claims`] |
//! |---|---|---|
//! | producers at a time | as many as there are lanes, fixed at birth | any number |
//! | a push waits for | room in its own lane, and for nobody else | room in the ring |
//! | order | per producer; a push that returned before another began comes first | that in which places were claimed; the same holds |
//! | a paused producer | holds nobody up | holds up what was claimed after its record |
//! | a dead producer | its lane is taken over by the next | its record is skipped |
//! | memory | a ring for each lane | one ring, and 8 bytes for each of its blocks |

pub mod claims;
pub mod lanes;
