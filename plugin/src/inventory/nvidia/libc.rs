//! The C library of the root in which the driver lies, and its loader: whatever version they are, the driver's
//! libraries were installed for them. With them a program runs in a container that has none.

use super::driver::{DriverSet, Library, ROOTS, directories};
use super::root::NodeRoot;
use firstlight_contract::paths::library::LOADER;
use std::path::{Path, PathBuf};

const LIBC: &str = "libc.so.6";
/// What NVML and our program name beside the two; parts of libc itself since glibc 2.34.
const OTHERS: [&str; 4] = ["libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"];

/// Finds them, or says what is wrong and what helps.
pub fn find(root: &NodeRoot, driver: &DriverSet) -> Result<Vec<Library>, String> {
    let driver_root = root_of(root, driver);
    let directories = directories(root, driver_root, LIBC);
    // All from one directory: parts of two C libraries do not work together.
    for directory in &directories {
        let file = |name: &str| -> Option<Library> {
            let path = root.resolve(driver_root, &directory.join(name))?;
            Some(Library { host: root.host(&path), soname: name.to_owned() })
        };
        if let (Some(loader), Some(libc)) = (file(LOADER), file(LIBC)) {
            let others = OTHERS.into_iter().filter_map(file);
            return Ok([loader, libc].into_iter().chain(others).collect());
        }
    }
    let shown = |directory: &PathBuf| {
        driver_root.join(directory.strip_prefix("/").unwrap_or(directory)).display().to_string()
    };
    Err(format!(
        "no directory of the node has both {LOADER} and {LIBC}, without which NVML does not start; looked into {}; add \
         theirs to plugin.node.paths",
        directories.iter().map(shown).collect::<Vec<_>>().join(", ")
    ))
}

/// The root in which a driver was found.
fn root_of<'a>(root: &NodeRoot, driver: &DriverSet) -> &'a Path {
    let lies_in = |candidate: &&Path| {
        driver.main.first().is_some_and(|library| library.host.starts_with(root.host(candidate)))
    };
    // The longest that fits: all lie in the node's.
    ROOTS.iter().rev().map(Path::new).find(lies_in).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::nvidia::driver;
    use crate::inventory::nvidia::fixture::{FakeNode, VERSION};
    use std::os::unix::fs::symlink;

    const DEBIAN: &str = "usr/lib/x86_64-linux-gnu";

    fn found(node: &FakeNode) -> Result<Vec<String>, String> {
        let set = driver::find(&node.root, VERSION).unwrap();
        let found = find(&node.root, &set)?;
        Ok(found.iter().map(|library| format!("{} < {}", library.soname, library.host.display())).collect())
    }

    #[test]
    fn loader_and_library_come_from_one_directory_with_links_followed() {
        let node = FakeNode::empty();
        node.driver(DEBIAN, VERSION);
        for name in ["libc-2.31.so", LOADER, "libm.so.6"] {
            node.write(&format!("{DEBIAN}/{name}"), "elf");
        }
        symlink("libc-2.31.so", node.path(DEBIAN).join(LIBC)).unwrap();
        node.write("usr/lib64/libc.so.6", "another");
        assert_eq!(
            found(&node).unwrap(),
            [
                "ld-linux-x86-64.so.2 < /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
                "libc.so.6 < /usr/lib/x86_64-linux-gnu/libc-2.31.so",
                "libm.so.6 < /usr/lib/x86_64-linux-gnu/libm.so.6"
            ]
        );
    }

    #[test]
    fn a_driver_container_has_its_own() {
        let node = FakeNode::empty();
        let root = "run/nvidia/driver/usr/lib64";
        node.driver(root, VERSION);
        for directory in [root, DEBIAN] {
            node.write(&format!("{directory}/{LIBC}"), "elf");
            node.write(&format!("{directory}/{LOADER}"), "elf");
        }
        assert_eq!(found(&node).unwrap()[1], "libc.so.6 < /run/nvidia/driver/usr/lib64/libc.so.6");
    }

    #[test]
    fn a_node_without_one_says_where_it_was_looked_for() {
        let node = FakeNode::empty();
        node.driver(DEBIAN, VERSION);
        node.write(&format!("{DEBIAN}/{LIBC}"), "elf");
        let problem = found(&node).unwrap_err();
        assert!(
            problem.starts_with("no directory of the node has both ld-linux-x86-64.so.2 and libc.so.6"),
            "{problem}"
        );
        assert!(problem.contains("/usr/lib64"), "{problem}");
    }
}
