//! What may live in shared memory, behind a lock or in a cell.

/// A type that may live in shared memory, behind a lock or in a cell.
///
/// Make one with [`shared_data!`](crate::shared_data), which checks all this.
///
/// # Safety
/// - Every pattern of bytes is a valid value: a segment is born as zeroes, and a holder may be killed between any two stores.
/// - It holds no pointer, reference or handle: those mean nothing in another process.
/// - Its layout is the same in every program that has the same [`Data::FINGERPRINT`]: `repr(C)`, or a primitive.
pub unsafe trait Data: Copy + Send + Sync + 'static {
    /// Stands in the segment and is compared when it is opened.
    const FINGERPRINT: u64;

    /// Whether some of its bytes may be padding, which has no value. Such a type cannot be copied word by word, so not be in a
    /// [cell](crate::cell). `false` is a promise: each byte of each value is initialised.
    const PADDED: bool = true;
}

macro_rules! integers {
    ($($int:ty)*) => {$(
        // SAFETY: every pattern of bytes is a value of an integer or a float; it holds no pointer; its layout is fixed.
        unsafe impl Data for $int {
            const FINGERPRINT: u64 = fingerprint(stringify!($int));
            const PADDED: bool = false;
        }
    )*
        /// Name, fingerprint and size in bytes.
        #[cfg(not(model))]
        const PRIMITIVES: &[(&str, u64, u64)] = &[$((stringify!($int), <$int>::FINGERPRINT, size_of::<$int>() as u64)),*];
    };
}
integers!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64);

/// What the type with this fingerprint and size is called, if it is an integer, a float or an array of them.
#[cfg(not(model))]
pub(crate) fn primitive_name(found: u64, size: u64) -> Option<String> {
    PRIMITIVES.iter().find_map(|&(name, fingerprint, bytes)| {
        let count = size / bytes;
        if found == fingerprint && size == bytes {
            Some(name.to_owned())
        } else if found == combine(fingerprint, count) && size == count * bytes {
            Some(format!("[{name}; {count}]"))
        } else {
            None
        }
    })
}

// SAFETY: an array is its elements, one after the other, and they satisfy all three points.
unsafe impl<T: Data, const N: usize> Data for [T; N] {
    const FINGERPRINT: u64 = combine(T::FINGERPRINT, N as u64);
    const PADDED: bool = T::PADDED;
}

/// FNV-1a, 64 bits, of a declaration. (G. Fowler, L. C. Noll, K.-P. Vo.)
#[doc(hidden)]
pub const fn fingerprint(text: &str) -> u64 {
    let (bytes, mut hash, mut at) = (text.as_bytes(), 0xcbf2_9ce4_8422_2325u64, 0);
    while at < bytes.len() {
        hash = combine(hash, bytes[at] as u64);
        at += 1;
    }
    hash
}

/// One step of it.
#[doc(hidden)]
pub const fn combine(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(0x0000_0100_0000_01b3)
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn primitives_and_their_arrays_have_names_and_nothing_else_has() {
        let name = |fingerprint, size: usize| primitive_name(fingerprint, size as u64);
        assert_eq!(name(u64::FINGERPRINT, 8).as_deref(), Some("u64"));
        assert_eq!(name(<[u8; 5]>::FINGERPRINT, 5).as_deref(), Some("[u8; 5]"));
        assert_eq!(name(<[f32; 0]>::FINGERPRINT, 0).as_deref(), Some("[f32; 0]"));
        assert_eq!(name(u64::FINGERPRINT, 4), None);
        assert_eq!(name(<[[u8; 5]; 2]>::FINGERPRINT, 10), None);
    }

    crate::shared_data! {
        struct Whole { a: u32, b: [u16; 2] }
    }
    crate::shared_data! {
        struct Hole { a: u8, b: u32 }
    }
    crate::shared_data! {
        struct Around { hole: Hole, whole: Whole }
    }

    #[test]
    fn a_type_knows_whether_it_has_padding() {
        let padded = [u64::PADDED, <[u8; 3]>::PADDED, Whole::PADDED, Hole::PADDED, <[Hole; 2]>::PADDED, Around::PADDED];
        assert_eq!(padded, [false, false, false, true, true, true]);
    }

    #[test]
    fn the_fingerprint_is_fnv_1a_and_tells_types_apart() {
        // Values that the authors of FNV publish.
        for (text, hash) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(fingerprint(text), hash, "{text:?}");
        }
        let all = [
            u64::FINGERPRINT,
            i64::FINGERPRINT,
            <[u64; 1]>::FINGERPRINT,
            <[u64; 2]>::FINGERPRINT,
            <[[u64; 2]; 1]>::FINGERPRINT,
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{all:x?}");
        }
    }
}

/// Declares a struct that may live in shared memory: `repr(C)`, `Copy`, each field of a type that may live there too.
///
/// ```
/// ownerdead::shared_data! {
///     /// Two counters that must stay equal.
///     pub struct Pair {
///         pub left: u64,
///         pub right: u64,
///     }
/// }
/// assert_eq!(size_of::<Pair>(), 16);
/// ```
///
/// A field that may not be there does not compile:
///
/// ```compile_fail
/// ownerdead::shared_data! {
///     pub struct Named { name: String }
/// }
/// ```
#[macro_export]
macro_rules! shared_data {
    ($(#[$attribute:meta])* $visibility:vis struct $name:ident {
        $($(#[$field_attribute:meta])* $field_visibility:vis $field:ident: $type:ty),+ $(,)?
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug)]
        #[repr(C)]
        $visibility struct $name {
            $($(#[$field_attribute])* $field_visibility $field: $type,)+
        }
        // SAFETY: the struct is `repr(C)`, and each field is `Data`, as `FINGERPRINT` makes the compiler check; padding has no
        // value.
        unsafe impl $crate::lock::Data for $name {
            const FINGERPRINT: u64 = {
                let mut hash = $crate::lock::fingerprint(stringify!($name));
                $(hash = $crate::lock::combine(hash, $crate::lock::fingerprint(stringify!($field)));
                  hash = $crate::lock::combine(hash, <$type as $crate::lock::Data>::FINGERPRINT);)+
                hash
            };
            const PADDED: bool = size_of::<Self>() != (0 $(+ size_of::<$type>())+)
                $(|| <$type as $crate::lock::Data>::PADDED)+;
        }
    };
}
