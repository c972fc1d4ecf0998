use super::*;

fn terms() -> Terms {
    Terms {
        dns_name: "hook.ns.svc".to_owned(),
        ca: Duration::from_hours(240),
        leaf: Duration::from_hours(24),
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(500_000)
}

fn replaced(shared: Option<&Shared>, at: SystemTime) -> (Shared, Reason) {
    match renew(shared, &terms(), at).unwrap() {
        Renewal::Replace(shared, reason) => (shared, reason),
        Renewal::Keep => panic!("kept"),
    }
}

fn count(bundle: &str) -> usize {
    certificates(bundle).map_or(0, |all| all.len())
}

#[test]
fn the_first_certificate_is_what_an_api_server_accepts() {
    let (shared, reason) = replaced(None, now());
    assert_eq!(reason, Reason::First);
    assert_eq!(verify(&shared.leaf, &shared.bundle, "hook.ns.svc", now()), Ok(()));
    assert!(verify(&shared.leaf, &shared.bundle, "other.ns.svc", now()).is_err());
    assert!(matches!(renew(Some(&shared), &terms(), now()), Ok(Renewal::Keep)));
}

#[test]
fn a_certificate_is_renewed_after_two_thirds_under_the_same_authority() {
    let (first, _) = replaced(None, now());
    assert!(matches!(renew(Some(&first), &terms(), now() + Duration::from_hours(15)), Ok(Renewal::Keep)));
    let later = now() + Duration::from_hours(17);
    let (second, reason) = replaced(Some(&first), later);
    assert_eq!(reason, Reason::Due);
    assert_eq!(second.bundle, first.bundle);
    assert_ne!(second.leaf, first.leaf);
    assert_eq!(verify(&second.leaf, &first.bundle, "hook.ns.svc", later), Ok(()));
}

#[test]
fn a_new_authority_comes_with_the_old_one_until_that_expires() {
    let (first, _) = replaced(None, now());
    let later = now() + Duration::from_hours(161);
    let (second, reason) = replaced(Some(&first), later);
    assert_eq!(reason, Reason::Due);
    assert_eq!(count(&second.bundle), 2);
    let between = now() + Duration::from_hours(8);
    assert_eq!(verify(&first.leaf, &second.bundle, "hook.ns.svc", between), Ok(()));
    assert_eq!(verify(&second.leaf, &second.bundle, "hook.ns.svc", later), Ok(()));
    assert!(verify(&second.leaf, &first.bundle, "hook.ns.svc", later).is_err());
    let (third, _) = replaced(Some(&second), now() + Duration::from_hours(330));
    assert_eq!(count(&third.bundle), 2, "the first authority has expired");
}

#[test]
fn a_certificate_never_outlives_its_authority() {
    let short = Terms { leaf: Duration::from_hours(24_000), ..terms() };
    let Renewal::Replace(shared, _) = renew(None, &short, now()).unwrap() else { panic!("kept") };
    let until = |pem: &str| Validity::of(&certificates(pem).unwrap()[0]).unwrap().until;
    assert_eq!(until(&shared.leaf), until(&shared.bundle));
}

#[test]
fn damage_is_repaired_with_as_little_as_it_takes() {
    let (good, _) = replaced(None, now());
    let (other, _) = replaced(None, now());
    let leaf = Shared { leaf: "rubbish".to_owned(), ..good.clone() };
    let (repaired, reason) = replaced(Some(&leaf), now());
    assert!(matches!(reason, Reason::Bad(_)));
    assert_eq!(repaired.bundle, good.bundle);
    for bad in [
        Shared { bundle_key: other.bundle_key.clone(), ..good.clone() },
        Shared { bundle: String::new(), ..good.clone() },
        Shared { leaf_key: other.leaf_key.clone(), ..good.clone() },
        Shared { leaf: other.leaf, leaf_key: other.leaf_key, ..good },
    ] {
        let (repaired, reason) = replaced(Some(&bad), now());
        assert!(matches!(reason, Reason::Bad(_)), "{reason:?}");
        assert_eq!(verify(&repaired.leaf, &repaired.bundle, "hook.ns.svc", now()), Ok(()));
    }
}

#[test]
fn merging_does_not_depend_on_the_order_and_is_bounded() {
    let bundles: Vec<String> =
        (0..5).map(|second| replaced(None, now() + Duration::from_secs(second)).0.bundle).collect();
    let [oldest, older, .., newest] = bundles.as_slice() else { panic!("five") };
    assert_eq!(merge(oldest, older, now()), merge(older, oldest, now()));
    assert_eq!(merge(oldest, oldest, now()), merge(oldest, "rubbish", now()));
    let all = merge(&bundles[..3].concat(), &bundles[3..].concat(), now());
    assert_eq!(count(&all), MOST_AUTHORITIES);
    assert!(all.contains(newest.as_str()) && !all.contains(oldest.as_str()), "the newest stay");
}

#[test]
fn strangers_and_the_dead_are_not_merged() {
    let (shared, _) = replaced(None, now());
    assert_eq!(merge("", &shared.leaf, now()), "");
    assert_eq!(merge(&shared.bundle, "", now() + Duration::from_hours(241)), "");
}

#[test]
fn a_life_that_was_made_shorter_holds_for_the_certificate_that_is_there() {
    let (long, _) = replaced(None, now());
    let later = now() + Duration::from_hours(1);
    let short = Terms { leaf: Duration::from_mins(1), ..terms() };
    let Renewal::Replace(shared, Reason::Due) = renew(Some(&long), &short, later).unwrap() else {
        panic!("kept")
    };
    assert_eq!(shared.bundle, long.bundle);
    // A replica that still has the old rule does not mind.
    assert!(matches!(renew(Some(&shared), &terms(), later), Ok(Renewal::Keep)));
}
