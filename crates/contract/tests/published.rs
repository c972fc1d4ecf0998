//! What is published matches the code.

#[cfg(all(test, feature = "std"))]
mod published {
    use firstlight_contract::metrics::table;
    use firstlight_contract::names::annotation;
    use firstlight_contract::{docs, fault, models};
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn page(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
    }

    #[test]
    fn the_page_of_metrics_is_what_the_table_says() {
        let (path, text) = (page("metrics.md"), docs::metrics());
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &text).unwrap();
        }
        assert!(
            fs::read_to_string(&path).unwrap_or_default() == text,
            "docs/metrics.md is not what the code says; run UPDATE=1 cargo test -p firstlight-contract"
        );
    }

    #[test]
    fn dashboard_and_alerts_ask_for_metrics_that_exist() {
        for file in ["dashboards/firstlight.json", "rules/firstlight.yaml"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/firstlight").join(file);
            let text = fs::read_to_string(path).unwrap();
            let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("firstlight_")).collect();
            assert!(asked.len() > 1, "{file} asks for nothing");
            for name in asked {
                let name = name.strip_suffix("_bucket").unwrap_or(name);
                assert!(table::ALL.iter().any(|metric| metric.name == name), "{file}: there is no {name}");
            }
        }
    }

    #[test]
    fn the_page_of_configuration_leaves_out_nothing_that_can_be_written() {
        let text = fs::read_to_string(page("configuration.md")).unwrap();
        let faults = fault::SYNTAX.map(|(syntax, what)| format!("| `{syntax}` | {what}"));
        let plain = text.replace('`', "");
        for row in faults {
            assert!(plain.contains(&row.replace('`', "")), "docs/configuration.md has no row {row}");
        }
        let words = annotation::ASKS
            .into_iter()
            .chain([annotation::PROPAGATED, annotation::INJECTED, annotation::INJECTION])
            .chain(fault::TABLES)
            .chain(models::MODELS.map(|model| model.name));
        for word in words {
            assert!(text.contains(&format!("`{word}`")), "docs/configuration.md does not name {word}");
        }
    }
}
