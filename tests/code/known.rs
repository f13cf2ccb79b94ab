//! Functions whose machine code is known in kind.

use crate::inlined::scrambled;
use std::arch::asm;
use std::hint::black_box;

/// A function with its name, and the inputs that a stage calls it with.
pub struct Case {
    pub name: &'static str,
    pub function: fn(u64) -> u64,
    pub inputs: &'static [u64],
}

pub const ALL: &[Case] = &[
    Case { name: "straight", function: straight, inputs: &[7] },
    Case { name: "checked", function: checked, inputs: &[7] },
    Case { name: "branch", function: branch, inputs: &[7] },
    Case { name: "region", function: region, inputs: &[7] },
    Case { name: "two_ways", function: two_ways, inputs: &[7] },
    Case { name: "table", function: table, inputs: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10] },
    Case { name: "table_in_part", function: table, inputs: &[0, 1, 2, 10] },
    Case { name: "caller", function: caller, inputs: &[1, 7] },
    Case { name: "guarded", function: guarded, inputs: &[7] },
    Case { name: "guarded_table", function: guarded_table, inputs: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10] },
    Case { name: "by_pointer", function: by_pointer, inputs: &[7] },
    Case { name: "embedded", function: embedded, inputs: &[7] },
    Case { name: "ends", function: ends, inputs: &[7] },
];

pub fn case(name: &str) -> &'static Case {
    ALL.iter().find(|case| case.name == name).expect("a known case")
}

#[inline(never)]
pub fn straight(value: u64) -> u64 {
    scrambled(black_box(value)).rotate_left(3)
}

/// The assertion holds.
#[inline(never)]
pub fn checked(value: u64) -> u64 {
    assert!(black_box(value) < 1000, "found {}, expected less", complaint(value));
    value * 3
}

/// Called where an assertion fails, alone.
#[cold]
#[inline(never)]
fn complaint(value: u64) -> u64 {
    black_box(value).rotate_right(9)
}

/// One side is not taken.
#[inline(never)]
pub fn branch(value: u64) -> u64 {
    if black_box(value) > 1000 {
        black_box(value).count_ones().into() // not taken
    } else {
        value
    }
}

/// Behind a branch that is not taken: lines, and a function that nobody else calls.
#[inline(never)]
pub fn region(value: u64) -> u64 {
    let value = black_box(value);
    if value > 1000 {
        let sum = black_box(value) ^ 3;
        return behind(black_box(sum).rotate_left(5));
    }
    value
}

#[inline(never)]
fn behind(value: u64) -> u64 {
    black_box(value).swap_bytes()
}

/// Two branches that are not taken go to one place.
#[inline(never)]
pub fn two_ways(value: u64) -> u64 {
    let value = black_box(value);
    let there = if value > 2000 {
        black_box(value) ^ 5
    } else if value > 1000 {
        black_box(value) ^ 9
    } else {
        return value;
    };
    behind_both(there)
}

#[inline(never)]
fn behind_both(value: u64) -> u64 {
    black_box(value).reverse_bits()
}

#[inline(never)]
pub fn table(value: u64) -> u64 {
    arms(value)
}

/// A jump by a table. The arms differ, so that it is none of values.
#[inline(always)]
fn arms(value: u64) -> u64 {
    let mut sum = black_box(value);
    match value {
        0 => sum = black_box(sum).wrapping_add(3),
        1 => sum = black_box(sum).rotate_left(5),
        2 => sum ^= black_box(0x55),
        3 => sum = black_box(sum).wrapping_mul(11), // arm 3
        4 => sum = !black_box(sum),
        5 => sum = black_box(sum).swap_bytes(),
        6 => sum = black_box(sum) >> 3,
        7 => sum = black_box(sum) << 7,
        8 => sum = black_box(sum).wrapping_sub(77),
        9 => sum = black_box(sum) | 9,
        _ => sum = black_box(sum).reverse_bits(),
    }
    black_box(sum)
}

/// Ends in a jump to another function, when it is optimised.
#[inline(never)]
pub fn caller(value: u64) -> u64 {
    callee(value ^ 1)
}

#[inline(never)]
fn callee(value: u64) -> u64 {
    let mut sum = 0u64;
    for bit in 0..black_box(value) {
        sum = black_box(sum) ^ bit;
    }
    sum
}

struct Guard<'g>(&'g mut u64);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        *self.0 = black_box(*self.0) ^ 0xff;
    }
}

/// A panic in `checked` would give up the guard.
#[inline(never)]
pub fn guarded(value: u64) -> u64 {
    let mut place = value;
    let guard = Guard(&mut place);
    *guard.0 = checked(*guard.0);
    drop(guard);
    place
}

/// The same, with a table of jumps before it: what a jump does not go to is seen where its table is read alone.
#[inline(never)]
pub fn guarded_table(value: u64) -> u64 {
    let mut place = value;
    let guard = Guard(&mut place);
    *guard.0 = arms(*guard.0) % 1000;
    *guard.0 = checked(*guard.0);
    drop(guard);
    place
}

/// Calls `pointed` by a pointer that an instruction takes.
#[inline(never)]
pub fn by_pointer(value: u64) -> u64 {
    let function: fn(u64) -> u64 = black_box(pointed);
    function(value)
}

#[inline(never)]
fn pointed(value: u64) -> u64 {
    black_box(value) / 3
}

/// An instruction that nothing goes to, two bytes that are none, and one that does nothing.
#[inline(never)]
pub fn embedded(value: u64) -> u64 {
    let mut value = black_box(value);
    // SAFETY: adds to a register.
    unsafe { asm!("jmp 2f", "add {0}, 5", ".byte 0x06, 0x06", "2:", "nop", "add {0}, 1", inout(reg) value) };
    value
}

/// Ends the process by a function of another module, which does not return, and has the way back behind it.
#[inline(never)]
pub fn ends(value: u64) -> u64 {
    let value = black_box(value);
    // SAFETY: the call ends the process, and is not made for a small value; then nothing is changed.
    unsafe {
        asm!("cmp {0}, 1000", "jb 2f", "call {exit}@PLT", "2:", in(reg) value, exit = sym libc::_exit, clobber_abi("C"));
    }
    value
}
