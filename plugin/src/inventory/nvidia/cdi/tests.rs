use super::*;
use crate::inventory::nvidia::fixture::{FakeNode, VERSION, place, uuid};
use std::os::unix::fs::symlink;

fn card(minor: u32) -> Card {
    Card {
        uuid: uuid(minor),
        pci: place(minor),
        model: "NVIDIA A40".to_owned(),
        minor: Some(minor),
        numa: None,
        port: None,
        fault: None,
    }
}

/// A specification with devices of these names, each with the device node of a card.
fn spec(devices: &[(&str, u32)]) -> String {
    let device = |(name, minor): &(&str, u32)| {
        format!(
            "- {{name: {name:?}, containerEdits: {{deviceNodes: [{{path: /dev/nvidia{minor}}}, {{path: /dev/dri/card{minor}}}]}}}}\n"
        )
    };
    let devices: String = devices.iter().map(device).collect();
    format!("cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n{devices}")
}

fn read(files: &[(&str, &str)]) -> Specs {
    let node = FakeNode::empty();
    for (path, text) in files {
        node.write(path, text);
    }
    Reader::new(node.root.clone()).read()
}

fn name(specs: &Specs, minor: u32) -> Result<String, String> {
    specs.name_of(&card(minor), usize::try_from(minor).ok(), Some(VERSION))
}

#[test]
fn a_card_is_found_by_uuid_before_number_and_by_its_device_node_whatever_it_is_called() {
    let uuid = uuid(1);
    let all = read(&[("etc/cdi/nvidia.yaml", &spec(&[("0", 0), ("1", 1), (&uuid, 1), ("gpu0", 0)]))]);
    assert_eq!(name(&all, 0).unwrap(), "nvidia.com/gpu=0");
    assert_eq!(name(&all, 1).unwrap(), format!("nvidia.com/gpu={uuid}"));
    let swapped = read(&[("etc/cdi/nvidia.yaml", &spec(&[("0", 1), ("left", 0)]))]);
    assert_eq!(name(&swapped, 0).unwrap(), "nvidia.com/gpu=left", "the node counts, not the number");
}

#[test]
fn a_name_without_device_nodes_is_taken_at_its_word() {
    let bare =
        read(&[("etc/cdi/n.json", r#"{"kind":"nvidia.com/gpu","devices":[{"name":"0"},{"name":"all"}]}"#)]);
    assert_eq!(name(&bare, 0).unwrap(), "nvidia.com/gpu=0");
    assert!(name(&bare, 1).is_err());
    assert!(bare.name_of(&card(0), None, None).is_err(), "its number is not known");
}

#[test]
fn neither_all_cards_nor_a_part_of_one_is_a_card() {
    let yaml = "kind: nvidia.com/gpu\ndevices:\n\
        - {name: all, containerEdits: {deviceNodes: [{path: /dev/nvidia0}, {path: /dev/nvidia1}]}}\n\
        - {name: \"0:0\", containerEdits: {deviceNodes: [{path: /dev/nvidia0}, {path: /dev/nvidia-caps/nvidia-cap3}]}}\n";
    let error = name(&read(&[("etc/cdi/nvidia.yaml", yaml)]), 0).unwrap_err();
    let wanted = "has no CDI name: /etc/cdi/nvidia.yaml (kind nvidia.com/gpu) names 0:0, all; write it again on the node: \
                  nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml";
    assert!(error.ends_with(wanted), "{error}");
}

#[test]
fn what_is_missing_or_wrong_is_named_with_the_way_out() {
    let none = name(&read(&[]), 0).unwrap_err();
    let start = "no CDI specification of the kind nvidia.com/gpu lies in /etc/cdi or /var/run/cdi; write one on the node";
    assert!(none.starts_with(start), "{none}");
    let foreign = ("etc/cdi/a.json", r#"{"kind":"acme.org/card","devices":[{"name":"0"}]}"#);
    let broken =
        name(&read(&[foreign, ("var/run/cdi/b.yaml", "kind: ["), ("etc/cdi/c.txt", "x")]), 0).unwrap_err();
    assert!(broken.contains("; /var/run/cdi/b.yaml is no CDI specification: "), "{broken}");
    let large = "#".repeat(MAX_BYTES + 1);
    let large = name(&read(&[("etc/cdi/a.yaml", &large)]), 0).unwrap_err();
    assert!(
        large.contains("; /etc/cdi/a.yaml is larger than 1024 KiB, and is not read; write one"),
        "{large}"
    );
    let nothing = name(&read(&[("etc/cdi/a.yaml", "kind: nvidia.com/gpu")]), 0).unwrap_err();
    assert!(nothing.contains("names no device at all"), "{nothing}");
    let many: Vec<String> = (10..40).map(|number| number.to_string()).collect();
    let many: Vec<(&str, u32)> = many.iter().map(|name| (name.as_str(), 9)).collect();
    let many = name(&read(&[("etc/cdi/a.yaml", &spec(&many))]), 0).unwrap_err();
    assert!(many.contains("28, 29 and 10 more"), "{many}");
}

#[test]
fn a_name_of_yesterday_is_not_given() {
    let stale = name(&read(&[("etc/cdi/a.yaml", &spec(&[(&uuid(0), 1)]))]), 0).unwrap_err();
    let wanted = format!(
        "/etc/cdi/a.yaml says that nvidia.com/gpu={} is /dev/nvidia1, but its device node is /dev/nvidia0",
        uuid(0)
    );
    assert!(stale.starts_with(&wanted), "{stale}");
    let old = format!(
        "{}containerEdits: {{mounts: [{{hostPath: /usr/lib64/libcuda.so.470.1}}]}}\n",
        spec(&[("0", 0)])
    );
    let old = read(&[("etc/cdi/a.yaml", &old)]);
    let sentence = name(&old, 0).unwrap_err();
    let wanted = format!(
        "/etc/cdi/a.yaml brings the libraries of driver 470.1 with nvidia.com/gpu=0, and the kernel module has version {VERSION}"
    );
    assert!(sentence.starts_with(&wanted), "{sentence}");
    assert!(old.name_of(&card(0), Some(0), Some("470.1")).is_ok());
}

#[test]
fn the_later_directory_wins_and_two_files_of_one_contradict() {
    let (old, new) = (spec(&[("0", 7)]), spec(&[("0", 0)]));
    let both = read(&[("etc/cdi/a.yaml", &old), ("var/run/cdi/b.yaml", &new)]);
    assert_eq!(name(&both, 0).unwrap(), "nvidia.com/gpu=0");
    assert!(name(&both, 7).is_err(), "what it was before does not count");
    let twice = name(&read(&[("etc/cdi/a.yaml", &new), ("etc/cdi/b.json", &new)]), 0).unwrap_err();
    assert!(
        twice.starts_with(
            "nvidia.com/gpu=0 is in /etc/cdi/a.yaml and /etc/cdi/b.json, and a container runtime takes it"
        ),
        "{twice}"
    );
}

#[test]
fn links_mean_places_on_the_node_and_a_changed_file_is_read_again() {
    let node = FakeNode::empty();
    node.write("run/cdi/nvidia.yaml", spec(&[("0", 0)]));
    fs::create_dir_all(node.path("var")).unwrap();
    symlink("/run", node.path("var/run")).unwrap();
    let reader = Reader::new(node.root.clone());
    assert_eq!(name(&reader.read(), 0).unwrap(), "nvidia.com/gpu=0");
    let first = reader.read().0[0].said.clone().unwrap();
    assert!(Arc::ptr_eq(&first, reader.read().0[0].said.as_ref().unwrap()), "not read again");
    node.write("run/cdi/nvidia.yaml", spec(&[("card", 0)]));
    assert_eq!(name(&reader.read(), 0).unwrap(), "nvidia.com/gpu=card");
    node.remove("run/cdi/nvidia.yaml");
    assert!(name(&reader.read(), 0).is_err());
}
