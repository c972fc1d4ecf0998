use super::*;
use proptest::option;
use proptest::prelude::*;

const UUID: &str = "GPU-6f1c1b54-0000-5000-8000-000000000000";

fn uuids() -> impl Strategy<Value = String> {
    any::<u32>().prop_map(|number| format!("GPU-{number:08x}-0000-5000-8000-000000000000"))
}

fn asking() -> impl Strategy<Value = Asking> {
    ("[a-zA-Z]{0,40}", option::of(uuids())).prop_map(|(call, card)| Asking { call, card })
}

fn failures() -> impl Strategy<Value = Failure> {
    let kinds = [FailureKind::Lost, FailureKind::Reset, FailureKind::Other];
    let texts = ("[a-zA-Z]{0,40}", "[ -~]{0,80}");
    (proptest::sample::select(kinds.to_vec()), texts).prop_map(|(kind, (call, words))| Failure {
        kind,
        call,
        words,
    })
}

fn instances() -> impl Strategy<Value = Vec<Instance>> {
    let one = (any::<u32>(), any::<(u32, u32)>(), "[1-7]g\\.[1-9]0gb", any::<Option<u64>>());
    let one = one.prop_map(|(number, (gi, ci), profile, memory)| {
        let uuid = format!("MIG-{number:08x}-0000-5000-8000-000000000000");
        Instance { uuid, gi, ci, profile, memory }
    });
    proptest::collection::vec(one, 0..MAX_INSTANCES)
}

fn modes() -> impl Strategy<Value = ComputeMode> {
    let modes = [ComputeMode::Default, ComputeMode::Exclusive, ComputeMode::Prohibited, ComputeMode::Other];
    proptest::sample::select(modes.to_vec())
}

fn cards() -> impl Strategy<Value = Card> {
    let memory =
        any::<(u64, u64, u64)>().prop_map(|(total, reserved, used)| Memory { total, reserved, used });
    let ecc = any::<(bool, u64)>().prop_map(|(enabled, uncorrected)| Ecc { enabled, uncorrected });
    let rows = any::<(bool, bool)>().prop_map(|(pending, failed)| Rows { pending, failed });
    let known = (option::of(memory), any::<Option<(u32, u32)>>(), any::<Option<bool>>(), option::of(ecc));
    let places = (0_u32..256).prop_map(|bus| format!("00000000:{bus:02x}:00.0"));
    let nvlinks = proptest::collection::btree_map(places, any::<u32>(), 0..4);
    let divided = (option::of(instances()), option::of(modes()));
    let last = (option::of(rows), nvlinks, option::of(failures()));
    (uuids(), known, divided, last).prop_map(
        |(uuid, known, (instances, compute), (rows, nvlinks, failure))| {
            let (memory, capability, mig, ecc) = known;
            let pci = Some("00000000:41:00.0".to_owned());
            Card { uuid, pci, memory, capability, mig, instances, compute, ecc, rows, nvlinks, failure }
        },
    )
}

fn messages() -> impl Strategy<Value = Message> {
    let looks = (
        "[0-9.]{0,12}",
        proptest::collection::vec(cards(), 0..8),
        proptest::collection::vec("[ -~]{0,60}", 0..3),
    );
    prop_oneof![
        asking().prop_map(Message::Asking),
        looks.prop_map(|(driver, cards, nameless)| Message::Look(Look { driver, cards, nameless })),
        (uuids(), any::<u64>()).prop_map(|(card, code)| Message::Xid(Xid { card, code })),
        "[ -~]{0,100}".prop_map(Message::Nothing),
        (any::<u64>(), option::of(asking()))
            .prop_map(|(seconds, asking)| Message::Silent(Silent { seconds, asking })),
    ]
}

#[test]
fn a_line_names_its_version_and_says_nothing_of_what_is_not_known() {
    let card = Card { uuid: UUID.to_owned(), mig: Some(false), ..Card::default() };
    let look =
        Message::Look(Look { driver: "580.95.05".to_owned(), cards: vec![card], nameless: Vec::new() });
    let wanted = format!(
        r#"{{"version":1,"look":{{"driver":"580.95.05","cards":[{{"uuid":"{UUID}","mig":false}}]}}}}"#
    );
    assert_eq!(look.line(), wanted);
}

#[test]
fn a_line_of_another_release_is_told_from_nonsense() {
    let error = Message::parse(br#"{"version":2,"sight":{"cards":7}}"#).unwrap_err();
    assert_eq!(error, WireError::Version(2));
    assert!(error.to_string().starts_with("version 2; wanted 1: agent and prober"), "{error}");
    for nonsense in
        ["", "hello", "{}", r#"{"version":1}"#, r#"{"version":1,"sight":{}}"#, r#"{"version":-1}"#]
    {
        assert!(matches!(Message::parse(nonsense.as_bytes()), Err(WireError::Other(_))), "{nonsense}");
    }
}

#[test]
fn a_newer_field_is_no_mistake() {
    let line = format!(r#"{{"version":1,"xid":{{"card":"{UUID}","code":31,"when":"today"}},"mood":"good"}}"#);
    let xid = Message::Xid(Xid { card: UUID.to_owned(), code: 31 });
    assert_eq!(Message::parse(line.as_bytes()), Ok(xid));
}

#[test]
fn a_mode_of_a_newer_release_is_no_mistake_and_an_instance_has_a_name() {
    let line = |card: &str| {
        format!(r#"{{"version":1,"look":{{"driver":"","cards":[{{"uuid":"{UUID}",{card}}}]}}}}"#)
    };
    let parse = |card: &str| -> Result<Card, WireError> {
        match Message::parse(line(card).as_bytes())? {
            Message::Look(look) => Ok(look.cards[0].clone()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(parse(r#""compute":"shy""#).unwrap().compute, Some(ComputeMode::Other));
    let error = parse(r#""instances":[{"uuid":"MIG-7","gi":1,"ci":0,"profile":"1g.10gb"}]"#).unwrap_err();
    assert_eq!(error.to_string(), "\"MIG-7\" is no instance's UUID; wanted MIG- and 36 characters");
    let many = vec![Instance { uuid: UUID.replace("GPU", "MIG"), ..Instance::default() }; MAX_INSTANCES + 1];
    let card = Card { uuid: UUID.to_owned(), instances: Some(many), ..Card::default() };
    let look = Message::Look(Look { cards: vec![card], ..Look::default() });
    let error = Message::parse(look.line().as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "17 instances of a card; wanted at most 16");
}

#[test]
fn what_is_too_much_is_refused() {
    let long = Message::Nothing("x".repeat(MAX_LINE)).line();
    assert_eq!(Message::parse(long.as_bytes()), Err(WireError::TooLong(long.len())));
    let card = Card { uuid: UUID.to_owned(), ..Card::default() };
    let many = Look { cards: vec![card; MAX_CARDS + 1], ..Look::default() };
    let error = Message::parse(Message::Look(many).line().as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "65 cards; wanted at most 64");
    let nobody = Message::parse(br#"{"version":1,"xid":{"card":"GPU-7","code":79}}"#).unwrap_err();
    assert_eq!(nobody.to_string(), "\"GPU-7\" is no card's UUID; wanted GPU- and 36 characters");
}

proptest! {
    #[test]
    fn what_is_said_is_read_back(message in messages()) {
        let line = message.line();
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(Message::parse(line.as_bytes()), Ok(message));
    }

    #[test]
    fn no_bytes_are_too_odd(bytes: Vec<u8>, message in messages(), place: usize, byte: u8) {
        let _ = Message::parse(&bytes);
        let mut line = message.line().into_bytes();
        let place = place % line.len();
        line[place] = byte;
        let _ = Message::parse(&line);
    }

    #[test]
    fn foreign_words_are_cut_and_escaped(words in ".{0,400}") {
        let line = Message::Nothing(words).line();
        let Ok(Message::Nothing(words)) = Message::parse(line.as_bytes()) else { panic!("{line}") };
        prop_assert!(words.len() <= 10 * MAX_TEXT && !words.chars().any(char::is_control), "{words:?}");
    }
}
