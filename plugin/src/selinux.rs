//! SELinux labels of what containers are given. A confined container reads and writes files of one type only
//! (`container_file_t` in the policies of Fedora and its relatives), and only at level `s0` if they are to be everybody's.
//! What we make later in a labelled directory gets the directory's type and our own level (kernel,
//! `security_compute_sid`), so labelling what is there at the start is enough.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Where the kernel keeps a file's context (xattr(7)).
const ATTRIBUTE: &str = "security.selinux";
/// Open to containers of all categories.
const LEVEL: &str = "s0";

/// What became of the labels.
#[derive(Debug, Default)]
pub struct Labelled {
    /// How many files and directories have another label now.
    pub changed: usize,
    /// The first one that could not be labelled.
    pub failed: Option<(PathBuf, io::Error)>,
}

/// Gives everything below a directory, and itself, this type. Nothing happens where the kernel has no SELinux.
pub fn label(root: &Path, kind: &str) -> Labelled {
    let mut labelled = Labelled::default();
    walk(root, kind, ATTRIBUTE, &mut labelled);
    labelled
}

fn walk(path: &Path, kind: &str, attribute: &str, labelled: &mut Labelled) {
    // Without SELinux no file has a context: the root has none, and nobody looks further.
    let Some(wanted) = context(path, attribute).map(|now| (relabelled(&now, kind), now)) else { return };
    if let (Some(wanted), now) = wanted
        && wanted != now
    {
        match rustix::fs::lsetxattr(path, attribute, wanted.as_bytes(), rustix::fs::XattrFlags::empty()) {
            Ok(()) => labelled.changed += 1,
            Err(error) => {
                labelled.failed.get_or_insert_with(|| (path.to_owned(), error.into()));
            }
        }
    }
    let folder = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    for entry in folder.then(|| fs::read_dir(path)).into_iter().flatten().flatten().flatten() {
        walk(&entry.path(), kind, attribute, labelled);
    }
}

/// A file's context, such as `system_u:object_r:var_lib_t:s0`.
fn context(path: &Path, attribute: &str) -> Option<String> {
    let mut bytes = [0_u8; 4096];
    let length = rustix::fs::lgetxattr(path, attribute, &mut bytes[..]).ok()?;
    let text = OsStr::from_bytes(bytes.get(..length)?).to_str()?;
    Some(text.trim_end_matches('\0').to_owned())
}

/// A context with another type, at the level of all containers. `None`: it is no context.
fn relabelled(context: &str, kind: &str) -> Option<String> {
    let mut parts = context.splitn(4, ':');
    let (user, role, _, level) = (parts.next()?, parts.next()?, parts.next()?, parts.next());
    // A policy without levels writes none.
    let level = level.map(|_| format!(":{LEVEL}")).unwrap_or_default();
    Some(format!("{user}:{role}:{kind}{level}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::fs::{XattrFlags, lsetxattr};

    /// One that anybody may write, on kernels without SELinux, too.
    const ATTRIBUTE: &str = "user.firstlight-test";
    const KIND: &str = "container_file_t";

    fn set(path: &Path, context: &str) {
        lsetxattr(path, ATTRIBUTE, context.as_bytes(), XattrFlags::empty()).unwrap();
    }

    #[test]
    fn everything_below_gets_the_type_and_the_level_of_all_containers() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("grants");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("ledger"), "").unwrap();
        set(root.path(), "system_u:object_r:var_lib_t:s0\0");
        set(&folder, "system_u:object_r:container_file_t:s0");
        set(&folder.join("ledger"), "system_u:object_r:container_file_t:s0:c1,c2");
        let mut labelled = Labelled::default();
        walk(root.path(), KIND, ATTRIBUTE, &mut labelled);
        assert!(labelled.failed.is_none() && labelled.changed == 2, "{labelled:?}");
        for path in [root.path(), &folder, &folder.join("ledger")] {
            assert_eq!(
                context(path, ATTRIBUTE).as_deref(),
                Some("system_u:object_r:container_file_t:s0"),
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn without_selinux_nothing_is_written() {
        let root = tempfile::tempdir().unwrap();
        let labelled = label(root.path(), KIND);
        assert!(labelled.failed.is_none() && labelled.changed == 0, "{labelled:?}");
        assert_eq!(context(root.path(), super::ATTRIBUTE), None);
    }

    #[test]
    fn a_file_that_cannot_be_labelled_is_named() {
        let mut labelled = Labelled::default();
        let root = tempfile::tempdir().unwrap();
        set(root.path(), "u:r:t:s0");
        // Longer than any file system takes.
        walk(root.path(), &"t".repeat(70_000), ATTRIBUTE, &mut labelled);
        assert_eq!(labelled.failed.unwrap().0, root.path());
    }

    proptest! {
        #[test]
        fn a_context_keeps_its_user_and_role(parts in "[a-z_]{1,9}:[a-z_]{1,9}", kind in "[a-z_]{1,9}", rest in "[^\0]{0,30}") {
            let wanted = format!("{parts}:{KIND}:s0");
            prop_assert_eq!(relabelled(&format!("{parts}:{kind}:{rest}"), KIND), Some(wanted));
            prop_assert_eq!(relabelled(&parts, KIND), None);
        }
    }
}
