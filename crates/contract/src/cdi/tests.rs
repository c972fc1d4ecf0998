use super::*;
use proptest::prelude::*;

/// As `nvidia-ctk cdi generate` of 1.17 writes it for one A40, cut.
const YAML: &str = r#"---
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
    - path: /dev/dri/card1
- name: GPU-6f1c1b54-0000-5000-8000-000000000000
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
      hostPath: /run/nvidia/driver/dev/nvidia0
- name: "0:1"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
    - path: /dev/nvidia-caps/nvidia-cap12
- name: all
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
    - path: /dev/nvidia1
containerEdits:
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  deviceNodes:
  - path: /dev/nvidiactl
  - path: /dev/nvidia-uvm
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, update-ldcache, --folder, /usr/lib64]
  mounts:
  - hostPath: /usr/lib64/libcuda.so.535.104.05
    containerPath: /usr/lib64/libcuda.so.535.104.05
    options: [ro, nosuid, nodev, bind]
"#;

fn named(yaml: &str) -> Vec<(String, Vec<u32>, bool)> {
    let devices = parse(yaml.as_bytes()).unwrap().devices.into_iter();
    devices.map(|device| (device.name, device.cards.into_iter().collect(), device.part)).collect()
}

#[test]
fn what_nvidias_tool_writes_tells_names_cards_and_the_drivers_version() {
    let uuid = "GPU-6f1c1b54-0000-5000-8000-000000000000".to_owned();
    assert_eq!(
        named(YAML),
        [
            ("0".to_owned(), vec![0], false),
            (uuid, vec![0], false),
            ("0:1".to_owned(), vec![0], true),
            ("all".to_owned(), vec![0, 1], false)
        ]
    );
    let spec = parse(YAML.as_bytes()).unwrap();
    assert!(spec.is_nvidia());
    assert_eq!(spec.drivers.into_iter().collect::<Vec<_>>(), ["535.104.05"]);
}

#[test]
fn json_is_read_as_yaml_is() {
    let json = r#"{"cdiVersion":"0.6.0","kind":"nvidia.com/gpu","devices":[{"name":"3","annotations":{"a":"b"},
        "containerEdits":{"deviceNodes":[{"path":"/dev/nvidia3","type":"c","major":195}],"mounts":[
        {"hostPath":"/usr/lib/libcuda.so.550.54.15","containerPath":"/x"},{"hostPath":"/usr/lib/libcuda.so.1",
        "containerPath":"/y"}]}}]}"#;
    assert_eq!(named(json), [("3".to_owned(), vec![3], false)]);
    let device = parse(json.as_bytes()).unwrap().devices.remove(0);
    assert_eq!(device.drivers.into_iter().collect::<Vec<_>>(), ["550.54.15"], "a link tells no version");
}

#[test]
fn json_may_be_indented_by_tabs_and_escaped() {
    let json = "{\n\t\"kind\": \"nvidia.com\\/gpu\",\n\t\"devices\": [\n\t\t{\n\t\t\t\"name\": \"\\u0030\",\n\t\t\t\"containerEdits\": {\n\
        \t\t\t\t\"deviceNodes\": [\n\t\t\t\t\t{\"path\": \"\\/dev\\/nvidia0\"}\n\t\t\t\t]\n\t\t\t}\n\t\t}\n\t]\n}\n";
    assert_eq!(named(json), [("0".to_owned(), vec![0], false)]);
}

#[test]
fn what_is_no_specification_says_why() {
    let why = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
    assert!(why("").starts_with("is no CDI specification: "), "{}", why(""));
    assert!(why("kind: [").starts_with("is no CDI specification: "));
    assert!(why("devices: []").contains("kind"), "{}", why("devices: []"));
    assert_eq!(why("kind: gpu"), "has the kind \"gpu\"; wanted vendor/class, such as nvidia.com/gpu");
    let name = "kind: a/b\ndevices: [{name: \"-0\"}]";
    assert!(why(name).starts_with("names a device \"-0\"; wanted letters"), "{}", why(name));
    let twice = "kind: a/b\ndevices: [{name: x}, {name: x}]";
    assert_eq!(why(twice), "names the device \"x\" twice, and container runtimes refuse it");
    let many = format!("kind: a/b\ndevices:\n{}", "- {name: x}\n".repeat(MAX_DEVICES + 1));
    assert_eq!(why(&many), "has 4097 devices; at most 4096 are read");
    let large = format!("kind: a/b\n#{}", " ".repeat(MAX_BYTES));
    assert_eq!(why(&large), "is larger than 1024 KiB, and is not read");
    assert_eq!(parse(b"kind: \xff"), Err(SpecError::Malformed(ForeignText::new(b"not UTF-8"))));
}

#[test]
fn a_specification_may_name_nothing() {
    for text in ["kind: a/b", "kind: a/b\ndevices:", "kind: a/b\ncontainerEdits:\ndevices: []"] {
        assert!(named(text).is_empty());
    }
    assert_eq!(named("kind: a/b\ndevices: [{name: x, containerEdits: {deviceNodes: }}]").len(), 1);
}

#[test]
fn a_bomb_of_aliases_and_a_tower_of_lists_are_refused() {
    let line =
        |(outer, inner): (char, char)| format!("{outer}: &{outer} [{}]\n", format!("*{inner},").repeat(9));
    let lines: Vec<String> = "bcdefghijk".chars().zip("abcdefghij".chars()).map(line).collect();
    let bomb = format!("kind: a/b\na: &a [x,x,x,x,x,x,x,x,x]\n{}", lines.concat());
    assert!(matches!(parse(bomb.as_bytes()), Err(SpecError::Malformed(_))));
    let tower = format!("kind: a/b\nx: {}", "[".repeat(100_000));
    assert!(matches!(parse(tower.as_bytes()), Err(SpecError::Malformed(_))));
}

proptest! {
    #[test]
    fn no_bytes_panic_and_what_was_read_is_bounded(bytes: Vec<u8>, at in 0_usize..1200, byte: u8) {
        let mut cut = YAML.as_bytes().to_vec();
        let at = at.min(cut.len() - 1);
        cut[at] = byte;
        for bytes in [&bytes[..], &cut, &cut[..at]] {
            match parse(bytes) {
                Ok(spec) => prop_assert!(spec.devices.iter().all(|device| is_name(&device.name))),
                Err(error) => prop_assert!(error.to_string().len() < 400, "{}", error),
            }
        }
    }

    #[test]
    fn every_name_that_is_written_is_read(
        names in proptest::collection::btree_set("[a-zA-Z0-9]([a-zA-Z0-9_.:-]{0,20}[a-zA-Z0-9])?", 0..8), minor: u32,
    ) {
        let edits = format!("{{\"deviceNodes\": [{{\"path\": \"/dev/nvidia{minor}\"}}]}}");
        let device = |name: &String| format!("{{\"name\": \"{name}\", \"containerEdits\": {edits}}}");
        let devices: Vec<String> = names.iter().map(device).collect();
        let text = format!("{{\"kind\": \"{KIND}\", \"devices\": [{}]}}", devices.join(", "));
        let read = parse(text.as_bytes()).unwrap().devices;
        prop_assert!(read.iter().map(|device| &device.name).eq(&names));
        prop_assert!(read.iter().all(|device| device.cards.iter().eq([&minor])));
    }
}
