//! Rings for many producers and one consumer, with records of any length.
//!
//! | | [`lanes`] |
//! |---|---|
//! | producers at a time | as many as there are lanes, fixed at birth |
//! | a push waits for | room in its own lane, and for nobody else |
//! | order | per producer; a push that returned before another began comes first |
//! | memory | a ring for each lane |

pub mod lanes;
