use super::*;
use crate::inventory::nvidia::fixture::{FakeNode, VERSION};
use std::os::unix::fs::symlink;

const DEBIAN: &str = "usr/lib/x86_64-linux-gnu";

fn refused(node: &FakeNode) -> String {
    find(&node.root, VERSION).unwrap_err()
}

fn names(libraries: &[Library]) -> Vec<String> {
    libraries.iter().map(|library| format!("{} < {}", library.soname, library.host.display())).collect()
}

/// A cache of the new format with one library.
fn cache_with(path: &str) -> Vec<u8> {
    let strings = format!("libcuda.so.1\0{path}\0");
    let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
    bytes.extend(1_u32.to_le_bytes());
    bytes.resize(48, 0);
    for number in [0x0303_u32, 72, 72 + 13, 0, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(strings.as_bytes());
    bytes
}

#[test]
fn a_driver_in_a_usual_place_is_found_with_its_helpers() {
    let node = FakeNode::empty();
    node.driver(DEBIAN, VERSION);
    let set = find(&node.root, VERSION).unwrap();
    assert_eq!(
        names(&set.main),
        [
            "libcuda.so.1 < /usr/lib/x86_64-linux-gnu/libcuda.so.535.104.05",
            "libnvidia-ml.so.1 < /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.535.104.05"
        ]
    );
    assert_eq!(
        names(&set.helpers),
        [
            "libnvidia-ptxjitcompiler.so.1 < /usr/lib/x86_64-linux-gnu/libnvidia-ptxjitcompiler.so.535.104.05",
            "libnvidia-nvvm.so.4 < /usr/lib/x86_64-linux-gnu/libnvidia-nvvm.so.535.104.05",
            "libnvidia-gpucomp.so.535.104.05 < /usr/lib/x86_64-linux-gnu/libnvidia-gpucomp.so.535.104.05"
        ]
    );
}

#[test]
fn a_driver_elsewhere_is_found_through_the_loaders_cache() {
    let node = FakeNode::empty();
    node.driver("opt/driver", VERSION);
    node.write("etc/ld.so.cache", cache_with("/opt/driver/libcuda.so.1"));
    assert!(
        names(&find(&node.root, VERSION).unwrap().main)[0].ends_with("/opt/driver/libcuda.so.535.104.05")
    );
}

#[test]
fn a_cache_that_names_lib_leads_to_usr_lib() {
    let node = FakeNode::empty();
    node.driver("usr/lib/odd", VERSION);
    node.write("etc/ld.so.cache", cache_with("/lib/odd/libcuda.so.1"));
    assert!(find(&node.root, VERSION).is_ok());
}

#[test]
fn the_gpu_operators_driver_is_mounted_from_its_root() {
    let node = FakeNode::empty();
    node.driver("run/nvidia/driver/usr/lib/x86_64-linux-gnu", VERSION);
    let set = find(&node.root, VERSION).unwrap();
    assert!(names(&set.main)[0].contains("< /run/nvidia/driver/usr/lib/x86_64-linux-gnu/libcuda.so."));
}

#[test]
fn a_node_below_another_path_is_named_by_that_path() {
    let mut node = FakeNode::empty();
    node.driver(DEBIAN, VERSION);
    node.root.host = "/var/lib/a-node".into();
    let set = find(&node.root, VERSION).unwrap();
    assert!(names(&set.main)[0].contains("< /var/lib/a-node/usr/lib/x86_64-linux-gnu/"));
}

#[test]
fn libraries_of_another_version_name_file_version_and_way_out() {
    let node = FakeNode::empty();
    node.driver(DEBIAN, "535.161.07");
    symlink("libcuda.so.535.161.07", node.path("usr/lib/x86_64-linux-gnu/libcuda.so.1")).unwrap();
    assert_eq!(
        refused(&node),
        "/usr/lib/x86_64-linux-gnu/libcuda.so.535.161.07 is not of version 535.104.05, which the kernel module has; \
         reboot the node if its driver was updated, or install the libraries of driver 535.104.05"
    );
}

#[test]
fn half_a_driver_names_what_is_missing() {
    let node = FakeNode::empty();
    node.driver(DEBIAN, VERSION);
    node.remove("usr/lib/x86_64-linux-gnu/libnvidia-ptxjitcompiler.so.535.104.05");
    let sentence = refused(&node);
    assert!(
        sentence.starts_with(
            "half a driver: /usr/lib/x86_64-linux-gnu/libnvidia-ptxjitcompiler.so.535.104.05 is missing"
        ),
        "{sentence}"
    );
    assert!(sentence.ends_with("install driver 535.104.05 again"), "{sentence}");
}

#[test]
fn a_directory_or_an_empty_file_in_place_of_a_library_is_half_a_driver() {
    let node = FakeNode::empty();
    node.driver(DEBIAN, VERSION);
    let library = "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.535.104.05";
    node.write(library, "");
    assert!(refused(&node).contains("libnvidia-ml.so.535.104.05 is no ELF file"));
    node.remove(library);
    std::fs::create_dir(node.path(library)).unwrap();
    assert!(refused(&node).contains("is a directory, which the container runtime makes"));
}

#[test]
fn no_driver_at_all_names_every_place_that_was_looked_at() {
    let sentence = refused(&FakeNode::empty());
    for place in ["libcuda.so.535.104.05", "/usr/lib64", "/run/nvidia/driver/usr/lib64", "plugin.node.paths"]
    {
        assert!(sentence.contains(place), "no {place} in {sentence}");
    }
}
