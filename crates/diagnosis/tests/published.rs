//! What is published matches the code: the page of causes and the schema of reports.

#[cfg(test)]
mod published {
    use firstlight_contract::decode::{Entry, Item};
    use firstlight_contract::grant::PoolKind;
    use firstlight_contract::record::{Caller, Kind, NO_FUNCTION, Record};
    use firstlight_contract::text::ForeignText;
    use firstlight_diagnosis::{Cause, Container, Facts, Report, Stage};
    use serde_json::{Value, json};
    use std::fs;
    use std::path::{Path, PathBuf};

    fn docs(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
    }

    /// Compares a committed file with what the code says; `UPDATE=1` writes it.
    fn assert_published(name: &str, text: &str) {
        let path = docs(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/{name} is not what the code says; run UPDATE=1 cargo test -p firstlight-diagnosis"
        );
    }

    fn words(words: impl Iterator<Item = &'static str>) -> Value {
        Value::Array(words.map(Value::from).collect())
    }

    /// The schema: names and types of [`Report`], words from the enums.
    fn schema() -> Value {
        let text = json!({"type": "string"});
        let texts = json!({"type": "array", "items": {"type": "string"}});
        let optional = json!({"type": ["string", "null"]});
        let number = json!({"type": "integer", "minimum": 0});
        let object = |properties: Value| {
            let required: Vec<Value> = properties.as_object().unwrap().keys().map(|key| json!(key)).collect();
            json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties})
        };
        let stage = json!({"enum": words(Stage::ALL.iter().map(|stage| stage.as_str()))});
        let cause = json!({"enum": words(Cause::ALL.iter().map(|cause| cause.id()))});
        let verdict = object(json!({
            "outcome": {"enum": ["success", "failure", "unknown"]},
            "stage": stage,
            "stage_number": {"type": "integer", "minimum": 0, "maximum": 18},
            "cause": cause,
            "confidence": {"enum": ["certain", "likely", "unknown"]},
            "ready": {"enum": ["True", "False", "Unknown"]},
            "confirmed": {"type": "boolean"},
            "simulated": {"type": "boolean"},
            "summary": text,
            "evidence": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "ruled_out": {"type": "array", "items": object(json!({"cause": cause, "why": text}))},
            "fix": text,
        }));
        let step = object(json!({
            "time": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$"},
            "pid": number, "role": text, "caller": text, "what": text,
        }));
        let process = object(json!({
            "pid": number, "role": text, "argv": text, "started": text, "gapless": {"type": "boolean"},
            "stage": stage, "driver": optional, "driver_version": optional, "runtime": optional,
            "modules": texts, "unanswered": texts, "launches": number, "steps_dropped": number,
        }));
        let mut report = object(json!({
            "verdict": verdict,
            "timeline": {"type": "array", "items": step},
            "processes": {"type": "array", "items": process},
        }));
        let head = report.as_object_mut().unwrap();
        head.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        head.insert("title".to_owned(), json!("Firstlight's report on a container"));
        report
    }

    fn report(kinds: &[(Kind, u16, i32)]) -> Report {
        let items: Vec<Item> = (0..)
            .zip(kinds)
            .map(|(sequence, (kind, function, result))| {
                let record = Record {
                    kind: *kind,
                    time_ns: 1_700_000_000_000_000_000,
                    pid: 7,
                    tid: 7,
                    process: 1,
                    sequence,
                    function: *function,
                    caller: Caller::Runtime,
                    result: *result,
                    arg0: 1,
                    arg1: 2,
                };
                Item::Entry(Entry { record, text: ForeignText::new(b"python3 probe.py") })
            })
            .collect();
        let mut container = Container::new();
        container.observe(&items);
        container.report(1_700_000_060_000_000_000, &Facts::of(PoolKind::Simulated))
    }

    fn some_reports() -> Vec<Report> {
        let init = firstlight_driver_api::by_symbol("cuInit").unwrap().id;
        vec![
            report(&[]),
            report(&[(Kind::Start, NO_FUNCTION, 0)]),
            report(&[(Kind::Start, NO_FUNCTION, 0), (Kind::CallReturned, init, 999)]),
            report(&Kind::ALL.iter().map(|kind| (*kind, init, 3)).collect::<Vec<_>>()),
        ]
    }

    #[test]
    fn the_page_of_causes_is_what_the_catalogue_says() {
        assert_published("causes.md", &firstlight_diagnosis::docs::causes());
    }

    #[test]
    fn the_schema_is_what_the_report_says() {
        assert_published("report.schema.json", &(serde_json::to_string_pretty(&schema()).unwrap() + "\n"));
    }

    #[test]
    fn reports_fit_the_schema_and_come_back_from_json() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        for report in some_reports() {
            let value = serde_json::to_value(&report).unwrap();
            let mistakes: Vec<String> =
                validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert!(mistakes.is_empty(), "{mistakes:?}\n{value:#}");
            assert_eq!(serde_json::from_value::<Report>(value).unwrap(), report);
        }
    }

    #[test]
    fn a_report_with_another_word_does_not_fit_the_schema() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let mut value = serde_json::to_value(&some_reports()[2]).unwrap();
        value["verdict"]["cause"] = json!("bad-weather");
        assert!(!validator.is_valid(&value));
    }
}
