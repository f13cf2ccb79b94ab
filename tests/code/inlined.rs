//! A file of its own, for what is inlined.

/// Many instructions, at lines that nothing else has.
#[inline(always)]
pub fn scrambled(value: u64) -> u64 {
    let value = value ^ value >> 33;
    let value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^ value >> 29
}
