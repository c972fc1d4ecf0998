//! The committed kubelet API is what `proto/*.proto` generate; `UPDATE=1` rewrites it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generate(proto: &str, output: &str, into: &Path) -> String {
    let files = protox::compile([root().join("proto").join(proto)], [root().join("proto")]).unwrap();
    tonic_prost_build::configure().out_dir(into).compile_fds(files).unwrap();
    std::fs::read_to_string(into.join(output)).unwrap()
}

fn compare(proto: &str, output: &str) {
    let folder = tempfile::tempdir().unwrap();
    let wanted = generate(proto, output, folder.path());
    let committed = root().join("src/api").join(output);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&committed, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&committed).unwrap_or_default();
    assert!(found == wanted, "{} is not what {proto} generates: run with UPDATE=1", committed.display());
}

#[test]
fn the_device_plugin_api_is_what_its_proto_generates() {
    compare("deviceplugin.proto", "v1beta1.rs");
}

#[test]
fn the_pod_resources_api_is_what_its_proto_generates() {
    compare("podresources.proto", "v1.rs");
}
