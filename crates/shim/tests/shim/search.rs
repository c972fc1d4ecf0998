//! Which driver is opened, and what is said where there is none.

use crate::common::{Place, about, artefacts, compiled, driver, lines, shim, told};
use firstlight_contract::record::Kind;

#[test]
fn the_driver_of_the_grant_is_opened_at_the_first_call_and_not_before() {
    let place = Place::with_driver(&driver());
    place.run(&[]);
    assert_eq!(place.chain().len(), 1, "the start record alone");
    let place = Place::with_driver(&driver());
    place.run(&["init"]);
    let chain = place.chain();
    let opened = about(&chain, Kind::DriverOpened, "");
    assert!(driver().ends_with(opened.text.as_str().rsplit('/').next().unwrap()), "{opened:?}");
}

#[test]
fn without_a_driver_cuda_answers_as_where_there_is_none() {
    let place = Place::without_driver();
    let said = place.run(&["version", "init", "count", "call:cuStreamCreate", "nvml:nvmlInit_v2"]);
    assert_eq!(said, ["version=0", "init=100", "count=-3", "call:cuStreamCreate=3", "nvml:nvmlInit_v2=12"]);
    let chain = place.chain();
    let searched = about(&chain, Kind::DriverSearched, "");
    assert_eq!((searched.record.result, searched.text.as_str()), (2, "/nowhere/libcuda.so.1"));
    assert_eq!(told(about(&chain, Kind::DriverMissing, "")).3, 1);
    assert_eq!(told(about(&chain, Kind::CallReturned, "cuInit")).2, 100);
    assert_eq!(told(about(&chain, Kind::CallReturned, "nvmlInit_v2")).2, 12);
    let missing = chain.iter().filter(|entry| entry.record.kind == Kind::DriverMissing);
    assert_eq!(missing.count(), 1, "that NVML is missing, too, is another matter");
    assert!(!chain.iter().any(|entry| entry.record.kind == Kind::ExportMissing));
}

/// Clients print what `nvmlErrorString` points to without a look at it: a code in its place would be an address.
#[test]
fn a_text_stays_a_text_without_a_driver_and_with_one_that_lacks_it() {
    assert_eq!(Place::without_driver().run(&["nvml-text", "nvml-text"]), ["nvml-text=1", "nvml-text=1"]);
    assert_eq!(Place::with_driver(&driver()).run(&["nvml-text"]), ["nvml-text=1"]);
}

#[test]
fn the_shim_does_not_take_itself_or_a_copy_of_itself_for_the_driver() {
    let copy = tempfile::tempdir().unwrap();
    let copied = copy.path().join("libcuda.so.1");
    std::fs::copy(shim(), &copied).unwrap();
    for path in [shim(), copied] {
        let place = Place::with_driver(&path);
        assert_eq!(place.run(&["init", "version"]), ["init=100", "version=0"]);
        let chain = place.chain();
        assert_eq!(about(&chain, Kind::DriverSearched, "").record.result, -1);
    }
}

#[test]
fn nvml_of_the_grant_is_not_the_shims_own() {
    let place = Place::with_driver(&artefacts().join("libnvidia-ml.so.1"));
    assert_eq!(place.run(&["nvml:nvmlInit_v2"]), ["nvml:nvmlInit_v2=12"]);
}

#[test]
fn a_file_that_is_no_library_is_no_driver() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libcuda.so.1");
    std::fs::write(&text, "not an ELF file").unwrap();
    let place = Place::with_driver(&text);
    assert_eq!(place.run(&["init"]), ["init=100"]);
    let chain = place.chain();
    assert_eq!(about(&chain, Kind::DriverSearched, "").record.result, 80, "ELIBBAD");
    let missing = about(&chain, Kind::DriverMissing, "");
    assert!(missing.text.as_str().contains("file too short"), "what the loader says: {missing:?}");
}

#[test]
fn auto_finds_what_the_loaders_cache_knows() {
    let place = Place::with_driver(std::path::Path::new("auto"));
    let script = format!(
        "mkdir $DISK/odd; cp {} $DISK/odd/libcuda.so.1; echo $DISK/odd >$DISK/conf; \
         ldconfig -X -C $DISK/cache -f $DISK/conf; mount --bind $DISK/cache /etc/ld.so.cache; LD_PRELOAD=$SHIM \"$@\"",
        driver().display()
    );
    if let Some(said) = place.in_a_mount_namespace(&script, &["init", "version"]) {
        assert_eq!(said, ["init=0", "version=13050"]);
        let chain = place.chain();
        let opened = about(&chain, Kind::DriverOpened, "");
        assert!(opened.text.as_str().ends_with("/disk/odd/libcuda.so.1"), "{opened:?}");
    }
}

#[test]
fn auto_says_every_place_where_it_looked() {
    let place = Place::with_driver(std::path::Path::new("auto"));
    let empty = "touch $DISK/cache; mount --bind $DISK/cache /etc/ld.so.cache; LD_PRELOAD=$SHIM \"$@\"";
    if let Some(said) = place.in_a_mount_namespace(empty, &["init"]) {
        assert_eq!(said, ["init=100"]);
        let chain = place.chain();
        let looked = chain.iter().filter(|entry| entry.record.kind == Kind::DriverSearched);
        let looked: Vec<_> = looked.map(|entry| entry.text.as_str()).collect();
        assert_eq!(looked.len() as u64, told(about(&chain, Kind::DriverMissing, "")).3);
        assert!(looked.contains(&"/usr/lib/x86_64-linux-gnu/libcuda.so.1"), "{looked:?}");
    }
}

#[test]
fn a_program_that_is_linked_with_nvml_keeps_the_one_it_is_linked_with() {
    let nvml =
        compiled("nvml-linked.so", "nvml.c", "gcc", &["-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]);
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("libnvidia-ml.so.1");
    std::fs::copy(&nvml, &odd).unwrap();
    let path = format!("-Wl,-rpath,{}", folder.path().display());
    let program = compiled("linked", "linked.c", "gcc", &[odd.to_str().unwrap(), &path]);
    let place = Place::with_driver(std::path::Path::new("auto"));
    assert_eq!(lines(&place.program(&program).output().unwrap()), ["0 0 3"]);
    assert_eq!(told(about(&place.chain(), Kind::CallReturned, "nvmlDeviceGetCount_v2")).3, 3);
}

#[test]
fn a_program_that_is_linked_with_the_shims_nvml_is_told_that_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("libnvidia-ml.so.1");
    std::fs::copy(artefacts().join("libnvidia-ml.so.1"), &copy).unwrap();
    let path = format!("-Wl,-rpath,{}", folder.path().display());
    let program = compiled("linked-shim", "linked.c", "gcc", &[copy.to_str().unwrap(), &path]);
    let place = Place::with_driver(std::path::Path::new("auto"));
    assert_eq!(lines(&place.program(&program).output().unwrap()), ["12 12 0"]);
}
