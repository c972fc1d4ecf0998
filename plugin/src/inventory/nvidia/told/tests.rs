use super::*;
use firstlight_contract::prober::{Asking, Ecc, Failure, Rows};

const UUID: &str = "GPU-00000000-0000-0000-0000-000000000001";

fn card() -> Card {
    Card {
        uuid: UUID.to_owned(),
        pci: "00000000:41:00.0".to_owned(),
        model: "NVIDIA A40".to_owned(),
        minor: Some(0),
        numa: None,
        port: None,
        fault: None,
    }
}

fn judged(told: ToldCard) -> Option<(HealthReason, String)> {
    let told = Told { cards: BTreeMap::from([(UUID.to_owned(), told)]), hangs: None };
    told.fault(&card(), "the card").map(|fault| (fault.reason, fault.sentence))
}

fn looked(change: impl FnOnce(&mut prober::Card)) -> Option<(HealthReason, String)> {
    let mut look = prober::Card { uuid: UUID.to_owned(), ..prober::Card::default() };
    change(&mut look);
    judged(ToldCard { look: Some(look), ..ToldCard::default() })
}

#[test]
fn what_was_not_told_is_held_against_no_card() {
    assert_eq!(Told::default().fault(&card(), "the card"), None);
    assert_eq!(judged(ToldCard::default()), None);
    assert_eq!(looked(|_| {}), None);
    let other = Failure {
        kind: FailureKind::Other,
        call: "nvmlDeviceGetUUID".into(),
        words: "an internal error".into(),
    };
    assert_eq!(looked(|look| look.failure = Some(other)), None);
}

#[test]
fn nvlinks_lead_to_cards_by_their_names_and_those_to_a_switch_to_nobody() {
    let nvlinks =
        [("00000000:41:00.0", 4), ("00000000:99:00.0", 12)].map(|(pci, count)| (pci.to_owned(), count));
    let look = prober::Card { nvlinks: nvlinks.into(), ..prober::Card::default() };
    let from = ToldCard { look: Some(look), ..ToldCard::default() };
    let told = Told { cards: BTreeMap::from([("GPU-of-the-other-end".to_owned(), from)]), hangs: None };
    let cards = [card()];
    let wanted = BTreeMap::from([(UUID.to_owned(), 4)]);
    assert_eq!(told.nvlinks("GPU-of-the-other-end", cards.iter()), wanted);
    assert_eq!(told.nvlinks(UUID, cards.iter()), BTreeMap::new());
}

#[test]
fn a_card_that_nvml_lost_and_one_that_needs_a_reset_say_so_in_nvmls_words() {
    let failure =
        |kind| Some(Failure { kind, call: "nvmlDeviceGetMemoryInfo".into(), words: "GPU is lost".into() });
    let (reason, sentence) = looked(|look| look.failure = failure(FailureKind::Lost)).unwrap();
    assert_eq!(reason, HealthReason::Lost);
    assert!(
        sentence.starts_with("the card is lost (NVML answers nvmlDeviceGetMemoryInfo: GPU is lost); drain")
    );
    let (_, sentence) = looked(|look| look.failure = failure(FailureKind::Reset)).unwrap();
    assert!(sentence.contains("needs a reset") && sentence.contains("nvidia-smi --gpu-reset"), "{sentence}");
}

#[test]
fn an_error_of_the_driver_says_when_the_card_is_given_again() {
    let xid = |code| judged(ToldCard { xid: Some(code), ..ToldCard::default() }).unwrap();
    let (reason, sentence) = xid(61);
    assert_eq!(reason, HealthReason::Xid);
    assert!(
        sentence.starts_with("the driver reported Xid 61 of the card; it is given again after a minute"),
        "{sentence}"
    );
    let (_, sentence) = xid(79);
    assert!(
        sentence.starts_with("the driver reported Xid 79 (fallen off the bus) of the card; drain"),
        "{sentence}"
    );
}

#[test]
fn errors_of_the_memory_count_where_error_correction_is_on() {
    let ecc = |enabled, uncorrected| looked(|look| look.ecc = Some(Ecc { enabled, uncorrected }));
    assert_eq!((ecc(true, 0), ecc(false, 7)), (None, None));
    assert!(ecc(true, 2).unwrap().1.contains("(2 since the driver was loaded)"));
    let rows = |pending, failed| looked(|look| look.rows = Some(Rows { pending, failed }));
    assert_eq!(rows(false, false), None);
    assert!(rows(true, false).unwrap().1.contains("waits for a reset"));
    assert!(rows(true, true).unwrap().1.contains("have the card replaced"));
}

#[test]
fn a_card_that_hardware_divides_names_the_key_and_the_command_that_ends_it() {
    let Fault { reason, sentence } = divided(&card(), "the card");
    assert_eq!(reason, HealthReason::Mig);
    assert!(
        sentence.starts_with(
            "MIG is on: the card is divided by hardware; give its instances by a pool with the key `mig`"
        ),
        "{sentence}"
    );
    assert!(sentence.contains("nvidia-smi -i 00000000:41:00.0 -mig 0"), "{sentence}");
}

#[test]
fn a_compute_mode_that_refuses_what_the_pool_needs_names_the_command_that_ends_it() {
    let refuses = |compute, shared| {
        let look = prober::Card { uuid: UUID.to_owned(), compute, ..prober::Card::default() };
        let told = ToldCard { look: Some(look), ..ToldCard::default() };
        let told = Told { cards: BTreeMap::from([(UUID.to_owned(), told)]), hangs: None };
        told.refuses(&card(), "the card", shared).map(|fault| (fault.reason, fault.sentence))
    };
    for (mode, shared) in [
        (None, true),
        (Some(ComputeMode::Default), true),
        (Some(ComputeMode::Exclusive), false),
        (Some(ComputeMode::Other), true),
    ] {
        assert_eq!(refuses(mode, shared), None, "{mode:?}");
    }
    let (reason, sentence) = refuses(Some(ComputeMode::Exclusive), true).unwrap();
    assert_eq!(reason, HealthReason::ComputeMode);
    assert_eq!(
        sentence,
        "the compute mode of the card is EXCLUSIVE_PROCESS: CUDA refuses every process but one, and the pool shares it (46, \
         devices unavailable); set it back (nvidia-smi -i 00000000:41:00.0 -c DEFAULT)"
    );
    let (_, sentence) = refuses(Some(ComputeMode::Prohibited), false).unwrap();
    assert!(sentence.contains("is PROHIBITED: CUDA refuses every process (46"), "{sentence}");
}

#[test]
fn where_nvml_hangs_at_no_card_all_are_in_doubt() {
    let asking = Some(Asking { call: "nvmlInit".into(), card: None });
    let told = Told { cards: BTreeMap::new(), hangs: Some(Silent { seconds: 60, asking }) };
    let fault = told.fault(&card(), "the card").unwrap();
    assert_eq!(fault.reason, HealthReason::NvmlHangs);
    assert!(
        fault.sentence.starts_with("NVML hangs: nvmlInit has not returned for 60 s"),
        "{}",
        fault.sentence
    );
}
