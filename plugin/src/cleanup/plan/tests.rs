use super::*;
use crate::grants::{Allocation, Owner};
use firstlight_contract::grant::{Grant, PoolKind};
use proptest::prelude::*;

const OLD: &str = "0000000000000001";
const NEW: &str = "0000000000000002";

fn grant(id: &str, device: &str, build: &str, owner: Option<&str>) -> Found {
    let grant = Grant {
        id: id.to_owned(),
        pool: "p".to_owned(),
        kind: PoolKind::Simulated,
        driver: None,
        nvml: None,
        records: None,
        ledger: None,
        quota_bytes: None,
        devices: vec![],
    };
    let allocation = Allocation {
        resource: "firstlight.dev/p".to_owned(),
        ids: [device.to_owned()].into(),
        build: build.to_owned(),
        created_ns: 0,
        grant: Box::default(),
    };
    let owner = owner.map(|pod| Owner {
        namespace: "ns".to_owned(),
        pod: pod.to_owned(),
        uid: None,
        container: "c".to_owned(),
        init: false,
    });
    let stored = Box::new(Stored { grant, allocation, owner });
    Found { path: PathBuf::from("grants").join(id), what: What::Grant(Some(stored)) }
}

fn thing(path: &str, what: What) -> Found {
    Found { path: path.into(), what }
}

fn holding(pod: &str, device: &str) -> Holding {
    Holding {
        namespace: "ns".to_owned(),
        pod: pod.to_owned(),
        container: "c".to_owned(),
        resource: "firstlight.dev/p".to_owned(),
        ids: vec![device.to_owned()],
    }
}

fn disk(mut found: Vec<Found>) -> Disk {
    found.extend([thing(OLD, What::Build), thing(NEW, What::Build)]);
    Disk { found, agent: false }
}

fn removed(disk: &Disk, holdings: &[Holding]) -> Vec<String> {
    let steps = plan(disk, holdings);
    assert_eq!(steps.len(), disk.found.len());
    let removed = steps.into_iter().filter(|step| step.verdict == Verdict::Remove);
    removed.map(|step| step.path.display().to_string()).collect()
}

#[test]
fn without_a_live_pod_everything_of_ours_goes_and_nothing_else() {
    let disk = disk(vec![
        grant("a", "0", OLD, Some("one")),
        thing("grants/b", What::Grant(None)),
        thing(".installing-x", What::Unfinished),
        thing("notes", What::Foreign("not ours")),
    ]);
    assert_eq!(removed(&disk, &[]), ["grants/a", "grants/b", ".installing-x", OLD, NEW]);
}

#[test]
fn the_grant_of_a_live_pod_and_the_build_that_it_names_stay_with_the_reason() {
    let disk = disk(vec![grant("a", "0", OLD, Some("one")), grant("b", "1", NEW, Some("two"))]);
    let holdings = [holding("one", "0")];
    assert_eq!(removed(&disk, &holdings), ["grants/b", NEW]);
    let steps = plan(&disk, &holdings);
    assert_eq!(steps[0].verdict, Verdict::Keep("pod ns/one, container c, uses it".to_owned()));
    assert_eq!(steps[2].verdict, Verdict::Keep("grant a names it".to_owned()));
}

#[test]
fn a_grant_without_known_owner_stays_with_whoever_holds_its_device() {
    let disk = disk(vec![grant("a", "0", OLD, None)]);
    assert_eq!(removed(&disk, &[holding("one", "0")]), [NEW]);
}

#[test]
fn the_grant_of_an_earlier_pod_with_the_same_device_goes() {
    let disk = disk(vec![grant("a", "0", OLD, Some("earlier")), grant("b", "0", NEW, Some("one"))]);
    assert_eq!(removed(&disk, &[holding("one", "0")]), ["grants/a", OLD]);
}

#[test]
fn the_grant_of_an_init_container_stays_with_its_pod() {
    let disk = disk(vec![grant("init", "0", OLD, Some("one")), grant("app", "0", NEW, Some("one"))]);
    assert_eq!(removed(&disk, &[holding("one", "0")]), Vec::<String>::new());
}

#[test]
fn a_live_pod_without_readable_grant_keeps_every_build_and_what_cannot_be_read() {
    let disk = disk(vec![thing("grants/b", What::Grant(None)), grant("c", "7", OLD, Some("gone"))]);
    assert_eq!(removed(&disk, &[holding("one", "0")]), ["grants/c"]);
}

#[test]
fn nothing_goes_while_an_agent_works_there() {
    let mut disk = disk(vec![grant("a", "0", OLD, None), thing(".installing-x", What::Unfinished)]);
    disk.agent = true;
    assert_eq!(removed(&disk, &[]), Vec::<String>::new());
}

proptest! {
    #[test]
    fn no_live_pod_loses_a_grant_that_it_may_replay_nor_its_build(
        grants in prop::collection::vec((0..4_u8, prop::bool::ANY, 0..3_u8), 0..8),
        live in prop::collection::btree_map(0..4_u8, 0..3_u8, 0..4),
    ) {
        let found: Vec<Found> = grants
            .iter()
            .enumerate()
            .map(|(index, (device, new, owner))| {
                let owner = ["one", "two"].get(usize::from(*owner)).copied();
                grant(&index.to_string(), &device.to_string(), if *new { NEW } else { OLD }, owner)
            })
            .collect();
        let pods = ["one", "two", "three"];
        let holdings: Vec<Holding> =
            live.iter().map(|(device, pod)| holding(pods[usize::from(*pod)], &device.to_string())).collect();
        let disk = disk(found);
        let gone = removed(&disk, &holdings);
        for found in &disk.found {
            let What::Grant(Some(stored)) = &found.what else { continue };
            if holdings.iter().any(|holding| uses(holding, stored)) {
                let path = found.path.display().to_string();
                prop_assert!(!gone.contains(&path) && !gone.contains(&stored.allocation.build));
            }
        }
    }
}
