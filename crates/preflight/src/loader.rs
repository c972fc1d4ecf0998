//! Where the dynamic loader looks (ld.so(8)), from text to an ordered list of paths. Pure.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Directories that glibc's loader looks into at last: those of Debian and Ubuntu, of Red Hat, of everybody.
pub const DEFAULT_DIRECTORIES: [&str; 6] =
    ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"];
/// Entries that are taken from any list: what people write has a handful.
const MOST: usize = 64;

/// The directories of an `LD_LIBRARY_PATH`: separated by colons or semicolons, nothing between two is the current one.
pub fn library_path(value: &OsStr) -> Vec<PathBuf> {
    if value.is_empty() {
        return Vec::new();
    }
    let parts = value.as_bytes().split(|byte| matches!(byte, b':' | b';'));
    let directory = |part: &[u8]| {
        let part = if part.is_empty() { b"." } else { part };
        PathBuf::from(OsStr::from_bytes(part))
    };
    parts.map(directory).take(MOST).collect()
}

/// The objects of an `LD_PRELOAD`: separated by spaces or colons.
pub fn preload(value: &OsStr) -> Vec<OsString> {
    words(value.as_bytes(), |byte| matches!(byte, b' ' | b':'))
}

/// The objects of an `/etc/ld.so.preload`: separated by white space or colons; `#` begins a comment.
pub fn preload_file(content: &[u8]) -> Vec<OsString> {
    let lines = content.split(|byte| *byte == b'\n');
    let code = lines.map(|line| line.split(|byte| *byte == b'#').next().unwrap_or_default());
    let objects =
        code.flat_map(|line| words(line, |byte| byte.is_ascii_whitespace() || byte == b':')).take(MOST);
    objects.collect()
}

fn words(bytes: &[u8], between: impl Fn(u8) -> bool) -> Vec<OsString> {
    let words = bytes.split(|byte| between(*byte)).filter(|word| !word.is_empty());
    words.map(|word| OsString::from_vec(word.to_vec())).take(MOST).collect()
}

/// The `LD_LIBRARY_PATH` that Ollama gives to the process that loads the backend: its own directory, the backend's,
/// then what was there (`llm/llama_server.go`, v0.30 and later).
pub fn ollama_library_path(backend: &Path, inherited: &OsStr) -> OsString {
    let own = backend.parent().unwrap_or(Path::new("/"));
    let mut value = OsString::new();
    for directory in own.parent().into_iter().chain([own]) {
        value.push(directory);
        value.push(":");
    }
    value.push(inherited);
    OsString::from_vec(value.as_bytes().strip_suffix(b":").unwrap_or(value.as_bytes()).to_vec())
}

/// Every place where the loader finds a library of this name, in its order and each once; `cached` are the cache's
/// paths of it, `there` says of a path which file it is: links to one directory are one place.
pub fn candidates<Id: Ord>(
    name: &str,
    library_path: &[PathBuf],
    cached: &[PathBuf],
    there: impl Fn(&Path) -> Option<Id>,
) -> Vec<PathBuf> {
    let first = library_path.iter().map(|directory| directory.join(name));
    let last = DEFAULT_DIRECTORIES.iter().map(|directory| Path::new(directory).join(name));
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for path in first.chain(cached.iter().cloned()).chain(last) {
        let place = path.parent().and_then(&there);
        if there(&path).is_some() && place.is_some_and(|place| seen.insert(place)) {
            found.push(path);
        }
    }
    found.truncate(MOST);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paths(words: &[&str]) -> Vec<PathBuf> {
        words.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn a_library_path_is_a_list_of_directories() {
        assert_eq!(library_path(OsStr::new("")), paths(&[]));
        assert_eq!(library_path(OsStr::new("/a:/b;/c")), paths(&["/a", "/b", "/c"]));
        assert_eq!(library_path(OsStr::new("/a:")), paths(&["/a", "."]));
    }

    #[test]
    fn preloads_are_separated_as_the_loader_separates_them() {
        assert_eq!(preload(OsStr::new("/a.so: /b.so  c.so")), ["/a.so", "/b.so", "c.so"]);
        assert_eq!(
            preload_file(b"/a.so /b.so # /c.so\n#/d.so\n\t/e.so:/f.so"),
            ["/a.so", "/b.so", "/e.so", "/f.so"]
        );
    }

    #[test]
    fn ollamas_own_directories_come_first() {
        let backend = Path::new("/usr/lib/ollama/cuda_v13/libggml-cuda.so");
        let own = "/usr/lib/ollama:/usr/lib/ollama/cuda_v13";
        assert_eq!(ollama_library_path(backend, OsStr::new("/x:/y")), OsString::from(format!("{own}:/x:/y")));
        assert_eq!(ollama_library_path(backend, OsStr::new("")), OsString::from(own));
    }

    /// The identity of what is at a path: merged /usr has two names for one directory.
    fn merged_usr(path: &Path) -> Option<String> {
        let text = path.to_str()?;
        let text = text.strip_prefix("/usr").unwrap_or(text);
        let here =
            ["/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu/libcuda.so.1", "/opt", "/opt/libcuda.so.1"];
        here.contains(&text).then(|| text.to_owned())
    }

    #[test]
    fn a_library_is_looked_for_in_the_loaders_order_and_named_once() {
        let find = |library_path: &[&str], cached: &[&str]| {
            candidates("libcuda.so.1", &paths(library_path), &paths(cached), merged_usr)
        };
        let debian = "/lib/x86_64-linux-gnu/libcuda.so.1";
        assert_eq!(find(&[], &[]), paths(&[debian]));
        assert_eq!(find(&["/nowhere", "/opt"], &[debian]), paths(&["/opt/libcuda.so.1", debian]));
        let usr = "/usr/lib/x86_64-linux-gnu/libcuda.so.1";
        assert_eq!(find(&[], &[usr, "/opt/libcuda.so.1"]), paths(&[usr, "/opt/libcuda.so.1"]));
    }

    proptest! {
        #[test]
        fn no_text_yields_many_words(bytes: Vec<u8>) {
            let text = OsStr::from_bytes(&bytes);
            prop_assert!(library_path(text).len() <= MOST && preload(text).len() <= MOST);
            prop_assert!(preload_file(&bytes).iter().all(|word| !word.is_empty()));
        }
    }
}
