//! A ring as bytes.
