use super::*;
use proptest::prelude::*;

/// All mistakes of a configuration, as they are shown.
pub(super) fn mistakes(yaml: &str) -> Vec<String> {
    let PoolsError(mistakes) = Pools::parse(yaml).unwrap_err();
    mistakes.into_iter().map(|mistake| format!("{}: {}", mistake.path, mistake.problem)).collect()
}

#[test]
fn the_three_kinds_are_read_with_their_defaults() {
    let pools = Pools::parse(
        "pools:\n- {name: simulated, kind: simulated, cudart: [12, \"13\"]}\n- {name: vendor, kind: observer}\n\
         - {name: mine, kind: custom, driver: /opt/my-driver/}\n",
    )
    .unwrap();
    assert_eq!(
        pools.pools[0].spec,
        PoolSpec::Simulated { devices: 1, model: models::DEFAULT_MODEL.to_owned(), slices: 1 }
    );
    assert_eq!(pools.pools[0].cudart.len(), 2);
    assert_eq!(pools.pools[1].spec, PoolSpec::Observer { seats: 32 });
    assert_eq!(pools.pools[2].spec, PoolSpec::Custom { driver: "/opt/my-driver".to_owned(), devices: 1 });
    assert_eq!(pools.find("mine").map(Pool::resource).as_deref(), Some("firstlight.dev/mine"));
}

#[test]
fn a_pool_does_not_take_the_probers_name() {
    let found = mistakes("pools: [{name: prober, kind: simulated}]");
    assert_eq!(found, ["pools[0].name: \"prober\" is the name of our own prober's resource; wanted another"]);
}

#[test]
fn all_mistakes_are_reported_at_once_with_path_and_allowed_values() {
    let found = mistakes(
        "pools:\n- {name: Upper, kind: simulated, devices: 17, model: A100}\n- {name: a, kind: magic}\n\
         - {name: b, kind: custom, colour: red}\nextra: 1\n",
    );
    let starts = [
        "extra: unknown key",
        "pools[0].name: \"Upper\"; wanted",
        "pools[0].devices: 17; wanted a number from 1 to 16",
        "pools[0].model: \"A100\"; allowed are SIM-T4",
        "pools[1].kind: \"magic\"; allowed are",
        "pools[2].colour: unknown key",
        "pools[2].driver: missing",
    ];
    for start in starts {
        assert!(found.iter().any(|mistake| mistake.starts_with(start)), "no {start:?} in {found:#?}");
    }
    assert_eq!(found.len(), starts.len(), "{found:#?}");
}

#[test]
fn a_name_that_stands_twice_is_refused() {
    let found = mistakes("pools:\n- {name: a, kind: observer}\n- {name: a, kind: simulated}\n");
    assert_eq!(found, ["pools[1].name: \"a\" is the name of an earlier pool; names are unique"]);
}

#[test]
fn broken_yaml_is_refused_with_the_place() {
    assert!(mistakes("pools: [\n")[0].starts_with("configuration: not YAML"));
}

#[test]
fn every_model_is_documented() {
    let page = include_str!("../../../../docs/configuration.md");
    assert!(models::MODELS.iter().all(|model| page.contains(&format!("`{}`", model.name))));
}

#[test]
fn no_pools_at_all_are_a_configuration() {
    assert_eq!(Pools::parse("pools: []\n"), Ok(Pools::default()));
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-z0-9:{}\\[\\], \\n\"-]{0,200}") {
        let _ = Pools::parse(&text);
    }
}
