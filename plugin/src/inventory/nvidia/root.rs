//! The node's files, as this process sees them. In a container they lie below another path (`/host`), and their
//! symbolic links mean places on the node, not in the container: links are followed here, not by the kernel.

use std::collections::VecDeque;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// Where the node's files are seen, and what the node calls them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRoot {
    /// The node's `/`, as this process sees it.
    pub seen: PathBuf,
    /// What the kubelet calls that directory: `/`, unless a test plays a node.
    pub host: PathBuf,
    /// The kernel's sysfs; the same in every container.
    pub sysfs: PathBuf,
    /// The kernel's procfs, of which only `driver/nvidia` is read; the same in every container.
    pub procfs: PathBuf,
}

impl Default for NodeRoot {
    fn default() -> Self {
        Self { seen: "/".into(), host: "/".into(), sysfs: "/sys".into(), procfs: "/proc".into() }
    }
}

impl NodeRoot {
    /// A path of the node, as this process sees it.
    pub fn seen(&self, path: &Path) -> PathBuf {
        below(&self.seen, path)
    }

    /// A path of the node, as the kubelet is told it.
    pub fn host(&self, path: &Path) -> PathBuf {
        below(&self.host, path)
    }

    /// A file of the node in a directory that some program takes for `/` (`root`, such as the GPU operator's
    /// `/run/nvidia/driver`), with all links followed: the same path on the node. `None` where nothing is, and
    /// where links go round in circles.
    pub fn resolve(&self, root: &Path, path: &Path) -> Option<PathBuf> {
        let mut left = VecDeque::new();
        push_front(&mut left, path);
        let (mut found, mut links) = (PathBuf::new(), 0);
        while let Some(name) = left.pop_front() {
            if name.as_os_str() == ".." {
                found.pop();
                continue;
            }
            let next = found.join(&name);
            let seen = below(&self.seen(root), &next);
            let kind = std::fs::symlink_metadata(&seen).ok()?.file_type();
            if !kind.is_symlink() {
                found = next;
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return None;
            }
            let target = std::fs::read_link(&seen).ok()?;
            if target.is_absolute() {
                found.clear();
            }
            push_front(&mut left, &target);
        }
        Some(below(root, &found))
    }
}

/// `path`, absolute or not, below a directory.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn push_front(left: &mut VecDeque<PathBuf>, path: &Path) {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    });
    for name in names.collect::<Vec<_>>().into_iter().rev() {
        left.push_front(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn node() -> (tempfile::TempDir, NodeRoot) {
        let folder = tempfile::tempdir().unwrap();
        let root = NodeRoot { seen: folder.path().to_owned(), ..NodeRoot::default() };
        (folder, root)
    }

    fn resolve(root: &NodeRoot, path: &str) -> Option<PathBuf> {
        root.resolve(Path::new("/"), Path::new(path))
    }

    #[test]
    fn absolute_links_mean_the_nodes_root_not_ours() {
        let (folder, root) = node();
        fs::create_dir_all(folder.path().join("usr/lib/x")).unwrap();
        fs::create_dir_all(folder.path().join("etc/alternatives")).unwrap();
        fs::write(folder.path().join("usr/lib/x/libcuda.so.535"), "elf").unwrap();
        symlink("usr/lib", folder.path().join("lib")).unwrap();
        symlink("/etc/alternatives/cuda", folder.path().join("usr/lib/x/libcuda.so.1")).unwrap();
        symlink("../../lib/x/libcuda.so.535", folder.path().join("etc/alternatives/cuda")).unwrap();
        let wanted = Some("/usr/lib/x/libcuda.so.535".into());
        assert_eq!(resolve(&root, "/lib/x/libcuda.so.1"), wanted);
    }

    #[test]
    fn a_root_of_its_own_keeps_its_links() {
        let (folder, root) = node();
        fs::create_dir_all(folder.path().join("run/nvidia/driver/usr/lib64")).unwrap();
        fs::write(folder.path().join("run/nvidia/driver/usr/lib64/libcuda.so.535"), "elf").unwrap();
        symlink("/usr/lib64", folder.path().join("run/nvidia/driver/lib64")).unwrap();
        let found = root.resolve(Path::new("/run/nvidia/driver"), Path::new("/lib64/libcuda.so.535"));
        assert_eq!(found, Some("/run/nvidia/driver/usr/lib64/libcuda.so.535".into()));
    }

    #[test]
    fn links_lead_neither_out_of_the_root_nor_round_for_ever() {
        let (folder, root) = node();
        symlink("../../../../../etc/passwd", folder.path().join("out")).unwrap();
        symlink("round", folder.path().join("round")).unwrap();
        assert_eq!((resolve(&root, "/out"), resolve(&root, "/round")), (None, None));
    }
}
