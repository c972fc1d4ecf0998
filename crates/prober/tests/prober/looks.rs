//! What it says of the cards.

use crate::common::{Prober, fake, second};
use firstlight_contract::prober::{
    Asking, ComputeMode, Ecc, FailureKind, Instance, Memory, Message, Rows, Xid,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FIRST: &str = "GPU-00000001-0000-0000-0000-000000000000";
const SECOND: &str = "GPU-00000002-0000-0000-0000-000000000000";

#[test]
fn a_look_tells_of_each_card_what_nvml_supports() {
    let look = Prober::start(fake(), &[]).look();
    assert_eq!((look.driver.as_str(), look.cards.len(), look.nameless.len()), ("580.1", 2, 0));
    let (first, second) = (&look.cards[0], &look.cards[1]);
    assert_eq!((first.uuid.as_str(), first.pci.as_deref()), (FIRST, Some("00000000:41:00.0")));
    assert_eq!(first.memory, Some(Memory { total: 8 << 30, reserved: 1 << 30, used: 5 }));
    assert_eq!((first.capability, first.mig, first.ecc, first.rows), (Some((8, 6)), None, None, None));
    assert_eq!((second.mig, second.ecc), (Some(false), Some(Ecc { enabled: true, uncorrected: 0 })));
    assert_eq!((second.rows, second.failure.as_ref()), (Some(Rows { pending: false, failed: false }), None));
}

#[test]
fn a_card_that_is_divided_or_has_errors_says_so() {
    assert_eq!(second("mig").mig, Some(true));
    assert_eq!(second("ecc").ecc, Some(Ecc { enabled: true, uncorrected: 3 }));
    assert_eq!(second("rows").rows, Some(Rows { pending: true, failed: false }));
}

#[test]
fn the_instances_of_a_divided_card_are_those_that_kernel_and_nvml_both_know() {
    let capabilities = tempfile::tempdir().unwrap();
    // The second one has no compute instance yet, the third is not NVML's any more.
    for folder in ["gi3/ci0", "gi4", "gi9/ci0"] {
        std::fs::create_dir_all(capabilities.path().join("gpu1/mig").join(folder)).unwrap();
    }
    let folder = capabilities.path().to_str().unwrap();
    let look = |more: &[(&str, &str)]| {
        let environment = [&[("SECOND", "mig"), ("CAPABILITIES", folder)], more].concat();
        let look = Prober::start(fake(), &environment).look();
        assert_eq!((look.cards[0].instances.as_ref(), look.cards[1].failure.as_ref()), (None, None));
        look.cards[1].instances.clone().unwrap()
    };
    let wanted = Instance {
        uuid: "MIG-0000003a-0000-5000-8000-000000000000".to_owned(),
        gi: 3,
        ci: 0,
        profile: "3g.4gb".to_owned(),
        memory: Some(4000 << 20),
    };
    assert_eq!(look(&[]), std::slice::from_ref(&wanted));
    assert_eq!(
        look(&[("PRIVATE", "card")]),
        std::slice::from_ref(&wanted),
        "what is kept of the card ends nothing"
    );
    assert_eq!(look(&[("SHORT_NAME", "1")]), [wanted], "a name that does not say it is made of the slices");
    let refused = [("SECOND", "mig"), ("CAPABILITIES", folder), ("PRIVATE", "all")];
    let refused = Prober::start(fake(), &refused).look().cards[1].clone();
    let failure = refused.failure.unwrap();
    assert_eq!((refused.mig, refused.instances, failure.kind), (Some(true), None, FailureKind::Other));
    assert_eq!(failure.call, "nvmlDeviceGetHandleByUUID");
    assert_eq!(second("mig").instances, Some(Vec::new()), "the kernel knows none");
}

#[test]
fn a_card_says_which_contexts_it_takes() {
    let look = Prober::start(fake(), &[]).look();
    assert_eq!((look.cards[0].compute, look.cards[1].compute), (None, Some(ComputeMode::Default)));
    for (word, mode) in [
        ("exclusive", ComputeMode::Exclusive),
        ("prohibited", ComputeMode::Prohibited),
        ("odd", ComputeMode::Other),
    ] {
        assert_eq!(second(word).compute, Some(mode), "{word}");
    }
}

#[test]
fn a_card_that_fails_is_asked_no_more_and_the_other_one_is() {
    for (word, kind) in
        [("lost", FailureKind::Lost), ("reset", FailureKind::Reset), ("unknown", FailureKind::Other)]
    {
        let card = second(word);
        let failure = card.failure.unwrap();
        assert_eq!((failure.kind, failure.call.as_str()), (kind, "nvmlDeviceGetMemoryInfo"), "{word}");
        assert_eq!((card.memory, card.capability), (None, None), "{word}");
    }
}

#[test]
fn a_card_that_does_not_tell_who_it_is_is_a_sentence() {
    let look = Prober::start(fake(), &[("SECOND", "nameless")]).look();
    assert_eq!(look.cards.len(), 1);
    assert!(look.nameless[0].starts_with("NVML does not tell who its card 1 is: "), "{:?}", look.nameless);
}

#[test]
fn an_error_of_the_driver_is_said_at_once_with_its_card() {
    let mut prober = Prober::start(fake(), &[("SECOND", "xid")]);
    prober.look();
    let (one, other) = (prober.told(), prober.told());
    let xid = |code| Message::Xid(Xid { card: SECOND.to_owned(), code });
    assert_eq!((one, other), (xid(31), xid(79)));
    prober.look();
}

#[test]
fn where_it_hangs_the_last_line_says_at_what() {
    let mut prober = Prober::start(fake(), &[("INIT", "hang")]);
    let asking = |call: &str, card: Option<&str>| {
        Some(Message::Asking(Asking { call: call.to_owned(), card: card.map(str::to_owned) }))
    };
    assert_eq!(prober.next(), asking("nvmlInit", None));
    let mut prober = Prober::start(fake(), &[("SECOND", "hang")]);
    let wanted = asking("nvmlDeviceGetMemoryInfo", Some(SECOND));
    let begun = Instant::now();
    while prober.next() != wanted {
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn cards_that_are_to_come_last_are_told_of_one_by_one_after_the_others() {
    let uuids = |prober: &mut Prober| -> Vec<String> {
        prober.look().cards.into_iter().map(|card| card.uuid).collect()
    };
    let mut prober = Prober::start(fake(), &[("LAST", FIRST), ("SECOND", "ecc")]);
    assert_eq!([uuids(&mut prober), uuids(&mut prober)], [[SECOND], [FIRST]]);
    assert_eq!(uuids(&mut prober), [FIRST, SECOND], "it answered");
    let mut prober = Prober::start(fake(), &[("LAST", SECOND), ("SECOND", "hang")]);
    assert_eq!(uuids(&mut prober), [FIRST], "heard before the other one hangs");
    let mut prober = Prober::start(fake(), &[("LAST", &format!("{SECOND},{FIRST}"))]);
    assert_eq!([uuids(&mut prober), uuids(&mut prober)], [[SECOND], [FIRST]], "in this order");
}

#[test]
fn without_nvml_it_says_why_and_ends_well() {
    let mut prober = Prober::start(Path::new("/nowhere/libnvidia-ml.so.1"), &[]);
    let Message::Nothing(why) = prober.told() else { panic!("it found one") };
    assert!(why.starts_with("/nowhere/libnvidia-ml.so.1 cannot be loaded: "), "{why}");
    assert_eq!((prober.next(), prober.code()), (None, Some(0)));
    let mut prober = Prober::start(fake(), &[("INIT", "18")]);
    let Message::Nothing(why) = prober.told() else { panic!("it started") };
    assert!(why.ends_with("does not start: RM detects a driver/library version mismatch"), "{why}");
    assert_eq!(prober.code(), Some(0));
}

#[test]
fn it_ends_when_nobody_listens_any_more() {
    let mut prober = Prober::start(fake(), &[]);
    prober.look();
    assert_eq!(prober.close(), Some(1));
}

/// The simulator's NVML, which stands in for NVIDIA's on every machine without a card, and in this folder a grant with
/// these devices; `None`, said, where it is not built.
fn simulated(folder: &Path, devices: &str) -> Option<(PathBuf, String)> {
    let Some(nvml) = firstlight_testing::artefact("simulator/libnvidia-ml.so.1") else {
        eprintln!("skipped: no simulator/libnvidia-ml.so.1 in FIRSTLIGHT_ARTEFACTS (make artefacts)");
        return None;
    };
    let grant = folder.join("grant");
    let id = "0".repeat(32);
    let head = format!("firstlight-grant=1\nid={id}\npool=p\nkind=simulated\ndriver=auto\nnvml=auto\n");
    std::fs::write(&grant, head + devices).unwrap();
    Some((nvml, grant.to_str().unwrap().to_owned()))
}

#[test]
fn the_simulators_cards_are_told_as_its_grant_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let device = |number: u32, uuid: &str| {
        format!(
            "device.{number}.uuid={uuid}\ndevice.{number}.model=SIM-A40\ndevice.{number}.memory=8589934592\n"
        )
    };
    let devices = device(0, FIRST) + &device(1, SECOND);
    let Some((nvml, grant)) = simulated(folder.path(), &devices) else { return };
    let environment = [("FIRSTLIGHT_GRANT", grant.as_str())];
    let look = Prober::start(&nvml, &environment).look();
    assert_eq!(look.cards.iter().map(|card| card.uuid.as_str()).collect::<Vec<_>>(), [FIRST, SECOND]);
    assert!(
        look.cards.iter().all(|card| card.memory.is_some_and(|memory| memory.usable() == 8 << 30)),
        "{look:?}"
    );
    assert!(
        look.cards.iter().all(|card| card.failure.is_none() && card.capability == Some((8, 6))),
        "{look:?}"
    );
    let hang = [environment[0], ("FIRSTLIGHT_SIMULATE", "hang=nvmlDeviceGetMemoryInfo_v2:600")];
    let mut prober = Prober::start(&nvml, &hang);
    let wanted =
        Message::Asking(Asking { call: "nvmlDeviceGetMemoryInfo".to_owned(), card: Some(FIRST.to_owned()) });
    while prober.next().as_ref() != Some(&wanted) {}
}

/// The prober asks the simulator as it asks NVIDIA's: the kernel's folders, then NVML by card and numbers.
#[test]
fn the_simulators_instances_are_told_with_their_names_numbers_and_profiles() {
    let folder = tempfile::tempdir().unwrap();
    // The last one is not NVML's.
    for instance in ["gi7/ci0", "gi1/ci0", "gi1/ci1", "gi9/ci0"] {
        std::fs::create_dir_all(folder.path().join("gpu1/mig").join(instance)).unwrap();
    }
    let devices = format!(
        "device.0.uuid={FIRST}\ndevice.0.model=SIM-A40\ndevice.1.uuid={SECOND}\ndevice.1.model=SIM-H100\n\
         device.1.mig=7/0:1g.10gb+me,1/0:1c.3g.40gb,1/1:2c.3g.40gb\n"
    );
    let Some((nvml, grant)) = simulated(folder.path(), &devices) else { return };
    let environment =
        [("FIRSTLIGHT_GRANT", grant.as_str()), ("CAPABILITIES", folder.path().to_str().unwrap())];
    let look = Prober::start(&nvml, &environment).look();
    assert_eq!((look.cards[0].mig, look.cards[0].instances.as_ref()), (None, None), "it cannot be divided");
    let card = &look.cards[1];
    assert_eq!(
        (card.mig, card.failure.as_ref(), card.compute),
        (Some(true), None, Some(ComputeMode::Default))
    );
    let instances = card.instances.clone().unwrap();
    let told: Vec<_> = instances
        .iter()
        .map(|one| (one.gi, one.ci, one.profile.as_str(), one.memory.unwrap() >> 30))
        .collect();
    assert_eq!(told, [(1, 0, "1c.3g.40gb", 40), (1, 1, "2c.3g.40gb", 40), (7, 0, "1g.10gb+me", 10)]);
    assert!(
        instances.iter().all(|one| one.uuid.starts_with("MIG-") && one.uuid.len() == 40),
        "{instances:?}"
    );
    assert_eq!(Prober::start(&nvml, &environment).look().cards[1].instances, Some(instances), "as before");
}

/// What `nvidia-smi` says of each card, in the order of these names.
fn nvidia_smi(names: &str) -> Vec<Vec<String>> {
    let query = format!("--query-gpu={names}");
    let output =
        std::process::Command::new("nvidia-smi").args([&query, "--format=csv,noheader,nounits"]).output();
    let text = String::from_utf8(output.expect("nvidia-smi, which comes with the driver").stdout).unwrap();
    text.lines().map(|line| line.split(", ").map(str::to_owned).collect()).collect()
}

#[test]
#[ignore = "needs a GPU"]
fn a_look_at_real_cards_tells_what_nvidia_smi_tells() {
    let look = Prober::start(Path::new("libnvidia-ml.so.1"), &[]).look();
    let told: Vec<_> = look
        .cards
        .iter()
        .map(|card| {
            let memory = card.memory.as_ref().unwrap().total >> 20;
            let (major, minor) = card.capability.unwrap();
            vec![card.uuid.clone(), memory.to_string(), format!("{major}.{minor}"), look.driver.clone()]
        })
        .collect();
    assert_eq!(told, nvidia_smi("uuid,memory.total,compute_cap,driver_version"));
    assert!(look.cards.iter().all(|card| card.failure.is_none()), "{look:?}");
}
