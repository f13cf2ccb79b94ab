//! Names of functions, such that a person can read them.

/// Demangled if it is mangled, without the hash, and with `<..>` for generic arguments.
pub(super) fn readable(symbol: &str) -> String {
    shorten(&format!("{:#}", rustc_demangle::demangle(symbol)))
}

/// `<..>` for generic arguments. What a qualified path is about stays: `<Vec<..> as Drop>::drop`.
fn shorten(name: &str) -> String {
    let mut short = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find('<') {
        let Some(end) = closing(&rest[at..]) else { break };
        short.push_str(&rest[..at]);
        let inner = &rest[at + 1..at + end];
        // After a name they are arguments; else it is a path, or a type.
        if short.ends_with(|last: char| last.is_alphanumeric() || matches!(last, '_' | ':' | '}')) {
            short.push_str("<..>");
        } else {
            short.push('<');
            short.push_str(&shorten(inner));
            short.push('>');
        }
        rest = &rest[at + end + 1..];
    }
    short + rest
}

/// Index of the `>` that belongs to the `<` that `text` begins with.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut last) = (0u32, ' ');
    for (index, character) in text.char_indices() {
        match character {
            '<' => depth += 1,
            // Not the arrow of a function's type.
            '>' if last != '-' => {
                depth -= 1;
                if depth == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
        last = character;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_arguments_are_shortened_and_qualified_paths_stay() {
        for (name, short) in [
            ("core::ptr::drop_in_place<alloc::vec::Vec<u8>>", "core::ptr::drop_in_place<..>"),
            ("<alloc::vec::Vec<T,A> as core::ops::Drop>::drop", "<alloc::vec::Vec<..> as core::ops::Drop>::drop"),
            ("a::Map<I,F>::fold::{{closure}}", "a::Map<..>::fold::{{closure}}"),
            ("a::call::<fn(&u8) -> b::C<u8>, ()>", "a::call::<..>"),
            ("<<A<u8> as B<C>>::D as E>::f", "<<A<..> as B<..>>::D as E>::f"),
            ("<impl a::B for c::D<u8>>::e", "<impl a::B for c::D<..>>::e"),
            ("memcpy", "memcpy"),
            ("operator<", "operator<"),
        ] {
            assert_eq!(shorten(name), short);
        }
    }

    #[test]
    fn symbols_are_demangled_without_their_hash() {
        assert_eq!(readable("_ZN4core9panicking5panic17h0123456789abcdefE"), "core::panicking::panic");
        assert_eq!(readable("pthread_mutex_lock"), "pthread_mutex_lock");
    }
}
