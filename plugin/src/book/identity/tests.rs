use super::*;
use crate::pods::PodContainer;
use firstlight_diagnosis::ContainerState;
use proptest::prelude::*;

const RESOURCE: &str = "firstlight.dev/simulated";

fn grant(id: &str, ids: &[&str], second: u64) -> Held {
    Held {
        id: id.into(),
        allocation: Allocation {
            resource: RESOURCE.to_owned(),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            build: "build".to_owned(),
            created_ns: seconds(second),
            grant: Box::default(),
        },
        owner: None,
    }
}

fn owned(mut grant: Held, pod: &str, uid: Option<&str>, container: &str) -> Held {
    grant.owner = Some(Owner {
        namespace: "ns".to_owned(),
        pod: pod.to_owned(),
        uid: uid.map(str::to_owned),
        container: container.to_owned(),
        init: false,
    });
    grant
}

fn refs(grants: &[Held]) -> Vec<&Held> {
    grants.iter().collect()
}

fn holding(pod: &str, container: &str, ids: &[&str]) -> Holding {
    Holding {
        namespace: "ns".to_owned(),
        pod: pod.to_owned(),
        container: container.to_owned(),
        resource: RESOURCE.to_owned(),
        ids: ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>().into_iter().collect(),
    }
}

/// The ids as text.
fn gone(grants: &[&Held], holdings: &[Holding], pods: &Pods, now_ns: u64) -> Vec<String> {
    super::gone(grants, holdings, pods, now_ns).iter().map(ToString::to_string).collect()
}

/// Name, whether it is an init container, devices.
type Containers<'a> = &'a [(&'a str, bool, u32)];

/// Each pod: name, UID, second of its creation, containers.
fn pods(pods: &[(&str, &str, u64, Containers<'_>)]) -> Pods {
    let container = |(name, init, count): &(&str, bool, u32)| PodContainer {
        name: (*name).to_owned(),
        init: *init,
        resources: [(RESOURCE.into(), *count)].into(),
        environment: Box::default(),
        preloads: false,
        state: ContainerState::Unknown,
        restarts: 0,
        out_of_memory: false,
        preflight: None,
        foreign_gpus: Some(0),
    };
    let entry = |(name, uid, second, containers): &(&str, &str, u64, Containers<'_>)| {
        let pod = Pod {
            uid: (*uid).to_owned(),
            created_ns: seconds(*second),
            deleting: false,
            annotated: true,
            injected: true,
            condition: None,
            containers: containers.iter().map(container).collect(),
        };
        (("ns".to_owned(), (*name).to_owned()), pod)
    };
    pods.iter().map(entry).collect()
}

fn named(found: &[(Id, Owner)]) -> Vec<(&str, &str, Option<&str>)> {
    found.iter().map(|(id, owner)| (&**id, owner.container.as_str(), owner.uid.as_deref())).collect()
}

#[test]
fn the_newest_grant_with_the_listed_ids_is_the_containers() {
    let grants = [grant("init", &["6", "7"], 10), grant("app", &["6", "7"], 11), grant("other", &["6"], 12)];
    let found = owners(&refs(&grants), &[holding("p", "ollama", &["7", "6"])], &Pods::new());
    assert_eq!(named(&found), [("app", "ollama", None)]);
}

#[test]
fn the_uid_comes_with_the_watch() {
    let pods = pods(&[("p", "uid-1", 9, &[("ollama", false, 1)])]);
    let grants = [owned(grant("app", &["1"], 10), "p", None, "ollama")];
    assert_eq!(named(&completed(&refs(&grants), &pods)), [("app", "ollama", Some("uid-1"))]);
}

#[test]
fn a_pod_that_is_younger_than_the_grant_is_another_one() {
    let pods = pods(&[("p", "uid-2", 60, &[("ollama", false, 1)])]);
    let grants = [owned(grant("app", &["1"], 10), "p", None, "ollama")];
    assert_eq!(completed(&refs(&grants), &pods), []);
}

#[test]
fn init_containers_are_recognised_by_the_ids_that_they_share() {
    let pods = pods(&[(
        "p",
        "u",
        9,
        &[("warm", true, 2), ("probe", true, 1), ("app", false, 2), ("side", false, 1)],
    )]);
    let grants = [
        grant("a", &["6", "7"], 10),
        grant("b", &["7"], 10),
        owned(grant("c", &["6", "7"], 11), "p", Some("u"), "app"),
        owned(grant("d", &["5"], 11), "p", Some("u"), "side"),
    ];
    let found = completed(&refs(&grants), &pods);
    assert_eq!(named(&found), [("a", "warm", Some("u")), ("b", "probe", Some("u"))]);
    assert!(found.iter().all(|(_, owner)| owner.init));
}

#[test]
fn a_grant_is_never_taken_from_its_owner_by_a_new_allocation() {
    let grants = [owned(grant("old", &["1"], 10), "a", Some("u"), "ollama"), grant("new", &["1"], 100)];
    let found = owners(&refs(&grants), &[holding("b", "ollama", &["1"])], &Pods::new());
    assert_eq!(named(&found), [("new", "ollama", None)]);
    assert_eq!(
        gone(&refs(&grants), &[], &pods(&[("a", "u", 9, &[("ollama", false, 1)])]), seconds(101)),
        [""; 0]
    );
}

#[test]
fn a_grant_goes_with_its_pod() {
    let grants = [owned(grant("app", &["1"], 10), "p", Some("u"), "ollama")];
    assert_eq!(gone(&refs(&grants), &[], &Pods::new(), seconds(20)), ["app"]);
}

#[test]
fn a_grant_stays_while_the_kubelet_still_lists_its_pod() {
    let grants = [owned(grant("app", &["1"], 10), "p", Some("u"), "ollama")];
    assert_eq!(gone(&refs(&grants), &[holding("p", "ollama", &["1"])], &Pods::new(), seconds(20)), [""; 0]);
}

#[test]
fn a_statefulset_pod_of_the_same_name_is_another_pod() {
    let grants = [owned(grant("app", &["1"], 10), "p-0", Some("first"), "ollama")];
    let pods = pods(&[("p-0", "second", 50, &[("ollama", false, 1)])]);
    assert_eq!(gone(&refs(&grants), &[holding("p-0", "ollama", &["1"])], &pods, seconds(60)), ["app"]);
}

#[test]
fn a_grant_without_owner_stays_while_a_pod_may_own_it() {
    let grants = [grant("orphan", &["1"], 10)];
    let wanting = pods(&[("p", "u", 9, &[("setup", true, 1)])]);
    assert_eq!(gone(&refs(&grants), &[], &wanting, seconds(10_000)), [""; 0]);
    let younger = pods(&[("p", "u", 500, &[("setup", true, 1)])]);
    assert_eq!(gone(&refs(&grants), &[], &younger, seconds(10_000)), ["orphan"]);
    assert_eq!(gone(&refs(&grants), &[], &Pods::new(), seconds(20)), [""; 0], "too early");
}

proptest! {
    #[test]
    fn each_grant_gets_at_most_one_owner_and_a_held_one_never_goes(
        seeds in proptest::collection::vec((0u8..4, 0u8..4, 0u64..50), 0..12),
        held in proptest::collection::vec((0u8..3, 0u8..4), 0..4),
    ) {
        let grants: Vec<Held> = seeds
            .iter()
            .enumerate()
            .map(|(index, (first, second, time))| {
                let ids: BTreeSet<String> = [first.to_string(), second.to_string()].into();
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                grant(&index.to_string(), &ids, *time)
            })
            .collect();
        let holdings: Vec<Holding> =
            held.iter().map(|(pod, id)| holding(&pod.to_string(), "c", &[&id.to_string()])).collect();
        let found = owners(&refs(&grants), &holdings, &Pods::new());
        for (id, _) in &found {
            let grant = grants.iter().find(|grant| grant.id == *id).unwrap();
            prop_assert!(holdings.iter().any(|held| grant.key() == held.key()));
        }
        let owned: Vec<Held> = grants
            .into_iter()
            .map(|mut grant| {
                grant.owner = found.iter().find(|(id, _)| *id == grant.id).map(|(_, owner)| owner.clone());
                grant
            })
            .filter(|grant| grant.owner.is_some())
            .collect();
        prop_assert_eq!(gone(&refs(&owned), &holdings, &Pods::new(), u64::MAX), Vec::<String>::new());
    }
}
