//! What only the real kernel can show.
#![cfg(not(model))]
