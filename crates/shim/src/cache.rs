//! Paths in `/etc/ld.so.cache`: where the dynamic loader would find a library that is in no usual place.

use crate::{start, sys};

/// Bytes of the cache that are looked at; that of an image with all of CUDA has some 100 KiB.
const SIZE: usize = 1 << 20;

/// Calls with each path (NUL-terminated) of a library of this name (NUL-terminated) until one is accepted.
pub fn find<T>(name: &[u8], mut accept: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
    let mut memory = sys::Memory::new(SIZE)?;
    let text = start::read_file(b"/etc/ld.so.cache\0", memory.bytes());
    paths(text, name).find_map(&mut accept)
}

/// The paths of a library in the text of a cache. Every format of `ldconfig` keeps its strings in one piece, each ended
/// by a NUL, so they are found without looking at the tables before them.
pub fn paths<'a>(text: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let strings = text.split_inclusive(|byte| *byte == 0);
    strings.filter(move |string| {
        string.first() == Some(&b'/')
            && string.strip_suffix(name).is_some_and(|folder| folder.ends_with(b"/"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_among_names_and_numbers() {
        let text =
            b"glibc-ld.so.cache1.1\x02\0\0\0\x10\0\0libcuda.so.1\0/usr/lib/i386/libcuda.so.1\0libcuda.so\0\
                     /usr/lib/libcuda.so\0/opt/lib/libcuda.so.1\0/opt/lib/libmycuda.so.1\0libcuda.so.1\0";
        let found: Vec<_> = paths(text, b"libcuda.so.1\0").collect();
        assert_eq!(found, [b"/usr/lib/i386/libcuda.so.1\0".as_slice(), b"/opt/lib/libcuda.so.1\0"]);
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_bytes_every_path_is_absolute_and_ends_with_the_name(
            pieces in proptest::collection::vec(proptest::prop_oneof![
                proptest::prelude::any::<Vec<u8>>(),
                proptest::strategy::Just(b"/libcuda.so.1\0".to_vec()),
                proptest::strategy::Just(b"\0/usr/lib".to_vec()),
            ], 0..20),
        ) {
            let text = pieces.concat();
            for path in paths(&text, b"libcuda.so.1\0") {
                assert!(path.starts_with(b"/") && path.ends_with(b"/libcuda.so.1\0"));
                assert_eq!(path.split(|byte| *byte == 0).count(), 2, "one NUL");
            }
        }
    }

    #[test]
    fn a_cache_that_is_cut_yields_no_half_a_path() {
        assert_eq!(paths(b"\0/usr/lib/libcuda.so.1", b"libcuda.so.1\0").count(), 0);
        assert_eq!(paths(b"", b"libcuda.so.1\0").count(), 0);
    }
}
