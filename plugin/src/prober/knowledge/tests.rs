use super::*;
use firstlight_contract::prober::Asking;
use proptest::prelude::*;

const UUID: &str = "GPU-00000000-0000-0000-0000-000000000001";

fn look(failure: Option<FailureKind>) -> Message {
    let memory = Memory { total: 48 << 30, reserved: 1 << 30, used: 0 };
    let failure =
        failure.map(|kind| Failure { kind, call: "nvmlDeviceGetMemoryInfo".into(), words: "words".into() });
    let memory = failure.is_none().then_some(memory);
    let card = Card { uuid: UUID.to_owned(), memory, failure, ..Card::default() };
    Message::Look(Look { driver: "580".to_owned(), cards: vec![card], nameless: Vec::new() })
}

fn xid(code: u64) -> Message {
    Message::Xid(Xid { card: UUID.to_owned(), code })
}

fn silent(card: Option<&str>) -> Message {
    let asking = Asking { call: "nvmlDeviceGetMemoryInfo".into(), card: card.map(str::to_owned) };
    Message::Silent(Silent { seconds: 20, asking: Some(asking) })
}

/// What counts of the card.
fn card(known: &Knowledge, now: Instant) -> ToldCard {
    known.told(now).cards.get(UUID).cloned().unwrap_or_default()
}

#[test]
fn a_look_counts_for_half_a_minute_and_its_memory_longer() {
    let (known, begun) = (Knowledge::default(), Instant::now());
    known.hear(look(None), begun);
    let fresh = card(&known, begun + FRESH);
    assert_eq!((fresh.memory_bytes, fresh.look.is_some()), (Some(47 << 30), true));
    let old = card(&known, begun + FRESH + Duration::from_secs(1));
    assert_eq!((old.memory_bytes, old.look), (Some(47 << 30), None));
    // A look that failed takes nothing back.
    known.hear(look(Some(FailureKind::Lost)), begun + FRESH);
    assert_eq!(card(&known, begun + FRESH).memory_bytes, Some(47 << 30));
}

#[test]
fn an_error_of_the_driver_is_over_after_twelve_good_looks_without_another() {
    let (known, now) = (Knowledge::default(), Instant::now());
    let looks = |count: u32| (0..count).for_each(|_| drop(known.hear(look(None), now)));
    known.hear(xid(61), now);
    looks(GOOD_LOOKS - 1);
    assert_eq!(card(&known, now).xid, Some(61));
    known.hear(xid(62 + 1), now);
    known.hear(look(Some(FailureKind::Other)), now);
    looks(GOOD_LOOKS - 1);
    assert_eq!(card(&known, now).xid, Some(63));
    looks(1);
    assert_eq!(card(&known, now).xid, None);
}

#[test]
fn one_that_asks_for_a_reset_stays_until_the_driver_is_gone() {
    let (known, now) = (Knowledge::default(), Instant::now());
    known.hear(xid(79), now);
    known.hear(xid(61), now);
    (0..5 * GOOD_LOOKS).for_each(|_| drop(known.hear(look(None), now)));
    assert_eq!(card(&known, now).xid, Some(79));
    known.driver_gone();
    assert_eq!(card(&known, now).xid, None);
}

#[test]
fn an_applications_own_error_is_said_and_counts_against_no_card() {
    let (known, now) = (Knowledge::default(), Instant::now());
    for code in APPLICATIONS_OWN {
        let said = known.hear(xid(code), now);
        assert!(said[0].ends_with("an application's own, which the card survives"), "{said:?}");
        assert_eq!(card(&known, now).xid, None);
    }
    let strict = Knowledge::new([]);
    strict.hear(xid(31), now);
    assert_eq!(card(&strict, now).xid, Some(31));
}

#[test]
fn nvml_that_hangs_at_a_card_is_that_cards_and_otherwise_all_cards_fault() {
    let (known, now) = (Knowledge::default(), Instant::now());
    known.hear(silent(None), now);
    assert!(known.told(now).hangs.is_some());
    known.hear(look(None), now);
    assert_eq!(known.told(now).hangs, None);
    known.hear(silent(Some(UUID)), now);
    assert!(card(&known, now).hangs.is_some() && known.told(now).hangs.is_none());
    assert!(card(&known, now + HANGS).hangs.is_some());
    assert_eq!(card(&known, now + HANGS + Duration::from_secs(1)).hangs, None, "nobody has said it since");
    known.hear(look(None), now);
    assert_eq!(card(&known, now).hangs, None);
}

#[test]
fn what_stands_is_said_once_and_again_when_it_comes_back() {
    let (known, now) = (Knowledge::default(), Instant::now());
    assert_eq!(known.hear(look(None), now), ["NVML of driver 580 tells of 1 cards"]);
    assert_eq!(known.hear(look(None), now), Vec::<String>::new());
    let said = known.hear(look(Some(FailureKind::Other)), now);
    assert_eq!(said, [format!("NVML tells nothing of {UUID}: nvmlDeviceGetMemoryInfo: words")]);
    let nothing = || Message::Nothing("it cannot be loaded".to_owned());
    assert_eq!(known.hear(nothing(), now), ["the prober does not reach NVML: it cannot be loaded"]);
    assert_eq!(known.hear(nothing(), now), Vec::<String>::new());
    assert_eq!(known.hear(look(None), now).len(), 1);
}

#[test]
fn a_card_that_hangs_again_and_again_between_looks_at_the_others_is_said_once() {
    let (known, now) = (Knowledge::default(), Instant::now());
    let other = "GPU-00000000-0000-0000-0000-0000000000ff";
    known.hear(look(None), now);
    let hangs = known.hear(silent(Some(other)), now);
    assert_eq!(hangs, [format!("NVML hangs: it does not answer nvmlDeviceGetMemoryInfo about {other}")]);
    let again: Vec<_> = [look(None), silent(Some(other)), look(None)]
        .into_iter()
        .flat_map(|message| known.hear(message, now))
        .collect();
    assert_eq!(again, Vec::<String>::new());
    assert!(card(&known, now).look.is_some() && known.told(now).cards[other].hangs.is_some());
}

proptest! {
    /// Looks (`None`) and errors of the driver in any order.
    #[test]
    fn an_error_counts_exactly_until_enough_looks_followed_it(
        story in proptest::collection::vec(proptest::option::weighted(0.1, proptest::sample::select(vec![31_u64, 61, 63, 79])), 1..60),
    ) {
        let (known, now) = (Knowledge::default(), Instant::now());
        for (at, step) in story.iter().enumerate() {
            known.hear(step.map_or_else(|| look(None), xid), now);
            let so_far = &story[..=at];
            let last = so_far.iter().rposition(|step| step.is_some_and(|code| code != 31));
            let looks = |from: usize| so_far[from..].iter().filter(|step| step.is_none()).count();
            let recent = last.is_some_and(|last| looks(last) < GOOD_LOOKS as usize);
            let counts = so_far.contains(&Some(79)) || recent;
            prop_assert_eq!(card(&known, now).xid.is_some(), counts, "at {} of {:?}", at, &story);
        }
    }
}
