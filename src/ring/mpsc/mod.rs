//! Rings for many producers and one consumer, with records of any length.
//!
//! | | [`lanes`] | [`claims`] | [`locked`] |
//! |---|---|---|---|
//! | producers at a time | as many as there are lanes, fixed at birth | any number | any number |
//! | a push waits for | room in its own lane, and for nobody else | room in the ring | its turn, and room in the ring |
//! | order | per producer; a push that returned before another began comes first | that in which places were claimed; the same holds | that of the producers' turns; the same holds, and a batch stays together |
//! | a paused producer | holds nobody up | holds up what was claimed after its record | in its turn it holds up all other producers |
//! | a dead producer | its lane is taken over by the next | its record is skipped | its turn is taken over by the next |
//! | memory | a ring for each lane | one ring, and 8 bytes for each of its blocks | one ring |

pub mod claims;
pub mod lanes;
pub mod locked;
