//! Which containers get the GPU.
//!
//! Where nobody names them, the first rule that finds any decides: a container that runs `ollama serve`, one
//! with an image called `ollama`, one called `ollama`, one that declares Ollama's port, the only one. None of
//! these alone is safe: the operator's container is called `server`, Open WebUI's image serves Ollama under
//! another name, and a chart's test pod carries Ollama's labels. Init containers and sidecars are taken only by
//! name.

use super::ask::{Ask, Mistake};
use super::object::{Container, PodSpec, Text};
use firstlight_contract::names::annotation;

/// A chosen container.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'p, 'a> {
    /// The list that it stands in: `containers` or `initContainers`.
    pub list: &'static str,
    /// Its place in the list.
    pub index: usize,
    /// The container.
    pub container: &'p Container<'a>,
}

impl Chosen<'_, '_> {
    /// Whether it is an init container or a sidecar.
    pub fn is_init(&self) -> bool {
        self.list == INIT
    }

    /// Whether it is an ordinary init container, gone before the others start.
    pub fn ends_before_the_others(&self) -> bool {
        self.is_init() && self.container.restart_policy.as_str() != "Always"
    }
}

/// The list of init containers and sidecars.
const INIT: &str = "initContainers";
/// The port on which Ollama listens.
const OLLAMA_PORT: i64 = 11434;

/// Chooses the containers of a pod, at least one.
pub fn choose<'p, 'a>(ask: &Ask<'_>, spec: &'p PodSpec<'a>) -> Result<Vec<Chosen<'p, 'a>>, Mistake> {
    let list = |list, containers: &'p Option<Vec<Container<'a>>>| {
        containers.iter().flatten().enumerate().map(move |(index, container)| Chosen {
            list,
            index,
            container,
        })
    };
    let main: Vec<Chosen<'p, 'a>> = list("containers", &spec.containers).collect();
    let Some(names) = &ask.containers else { return recognise(&main) };
    let all: Vec<Chosen<'p, 'a>> = main.into_iter().chain(list(INIT, &spec.init_containers)).collect();
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !all.iter().any(|one| one.container.name.as_str() == *name))
        .collect();
    if missing.is_empty() {
        return Ok(all.into_iter().filter(|one| names.contains(&one.container.name.as_str())).collect());
    }
    let sentence = format!(
        "{} is {:?}: the pod has no container {}; allowed are {}",
        annotation::CONTAINERS,
        names.join(","),
        missing.join(", "),
        listed(&all)
    );
    Err(Mistake { keys: &[annotation::CONTAINERS], sentence })
}

fn recognise<'p, 'a>(main: &[Chosen<'p, 'a>]) -> Result<Vec<Chosen<'p, 'a>>, Mistake> {
    let rules: [fn(&Container<'_>) -> bool; 4] = [serves, has_image, has_name, has_port];
    for rule in rules {
        let found: Vec<_> = main.iter().copied().filter(|one| rule(one.container)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    if main.len() == 1 {
        return Ok(main.to_vec());
    }
    let sentence = format!(
        "none of the pod's containers is recognised as Ollama: name one in {}; allowed are {}",
        annotation::CONTAINERS,
        listed(main)
    );
    Err(Mistake { keys: &[annotation::GPU, annotation::CONTAINERS], sentence })
}

fn listed(containers: &[Chosen<'_, '_>]) -> String {
    containers.iter().map(|one| one.container.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn serves(container: &Container<'_>) -> bool {
    let words: Vec<&str> = (container.command.iter().flatten())
        .chain(container.args.iter().flatten())
        .flat_map(|argument| argument.as_str().split_whitespace())
        .collect();
    let program = |word: &str| word.rsplit('/').next().is_some_and(|name| name == "ollama");
    words.windows(2).any(|pair| matches!(pair, [first, second] if program(first) && is_serve(second)))
        // With the image's own entry point, which is ollama.
        || (container.command.is_none() && has_image(container) && starts_with_serve(container.args.as_deref()))
}

/// `serve`, also as the last word of a shell command: `ollama serve&`, `ollama serve;`.
fn is_serve(word: &str) -> bool {
    word.trim_end_matches(['&', ';', ')', '\'', '"']) == "serve"
}

fn starts_with_serve(arguments: Option<&[Text<'_>]>) -> bool {
    arguments.and_then(<[Text<'_>]>::first).is_some_and(|first| first.as_str() == "serve")
}

fn has_image(container: &Container<'_>) -> bool {
    let name = container.image.as_str().rsplit('/').next().unwrap_or_default();
    name.split([':', '@']).next() == Some("ollama")
}

fn has_name(container: &Container<'_>) -> bool {
    container.name.as_str() == "ollama"
}

fn has_port(container: &Container<'_>) -> bool {
    container.ports.iter().flatten().any(|port| port.number == Some(OLLAMA_PORT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstlight_contract::pools::{Pool, PoolSpec};
    use std::collections::BTreeSet;

    fn chosen(spec: &str, names: Option<Vec<&str>>) -> Result<String, String> {
        let pool =
            Pool { name: "p".to_owned(), spec: PoolSpec::Observer { seats: 1 }, cudart: BTreeSet::new() };
        let ask =
            Ask { pool: &pool, count: 1, containers: names, simulate: None, gate: false, preflight: None };
        let spec: PodSpec<'_> = serde_json::from_str(spec).unwrap();
        choose(&ask, &spec).map(|chosen| listed(&chosen)).map_err(|mistake| mistake.sentence)
    }

    #[test]
    fn the_container_that_runs_ollama_serve_is_it() {
        for container in [
            r#"{"name":"b","command":["/bin/ollama","serve"]}"#,
            r#"{"name":"b","command":["sh","-c","sleep 1; ollama serve & wait"]}"#,
            r#"{"name":"b","command":["sh","-c"],"args":["exec /usr/bin/ollama serve;"]}"#,
            r#"{"name":"b","image":"docker.io/ollama/ollama:0.33.1","args":["serve"]}"#,
        ] {
            let spec =
                format!(r#"{{"containers":[{{"name":"ollama","image":"ollama/ollama"}},{container}]}}"#);
            assert_eq!(chosen(&spec, None).as_deref(), Ok("b"), "{container}");
        }
    }

    #[test]
    fn an_image_called_ollama_is_it_whatever_registry_and_tag() {
        for image in ["ollama", "ollama/ollama:0.33.1", "r.example:5000/x/ollama@sha256:00"] {
            let spec = format!(r#"{{"containers":[{{"name":"a"}},{{"name":"b","image":"{image}"}}]}}"#);
            assert_eq!(chosen(&spec, None).as_deref(), Ok("b"), "{image}");
        }
    }

    #[test]
    fn neighbours_of_ollama_are_not_it() {
        for image in ["ghcr.io/x/ollama-exporter", "ollama/webui", "ghcr.io/open-webui/open-webui:ollama"] {
            let spec = format!(r#"{{"containers":[{{"name":"a"}},{{"name":"b","image":"{image}"}}]}}"#);
            assert!(chosen(&spec, None).is_err(), "{image}");
        }
    }

    #[test]
    fn a_name_and_then_a_port_decide_where_nothing_better_does() {
        let port = r#"{"name":"c","ports":[{"containerPort":11434}]}"#;
        let spec = format!(r#"{{"containers":[{{"name":"a"}},{{"name":"ollama"}},{port}]}}"#);
        assert_eq!(chosen(&spec, None).as_deref(), Ok("ollama"));
        assert_eq!(chosen(&format!(r#"{{"containers":[{{"name":"a"}},{port}]}}"#), None).as_deref(), Ok("c"));
    }

    #[test]
    fn the_only_container_is_it() {
        assert_eq!(chosen(r#"{"containers":[{"name":"x"}]}"#, None).as_deref(), Ok("x"));
    }

    #[test]
    fn where_nothing_tells_the_names_are_said() {
        let sentence = chosen(r#"{"containers":[{"name":"x"},{"name":"y"}]}"#, None).unwrap_err();
        assert!(sentence.ends_with("allowed are x, y"), "{sentence}");
    }

    #[test]
    fn init_containers_are_taken_by_name_only() {
        let spec = r#"{"containers":[{"name":"x"}],"initContainers":[{"name":"ollama","command":["ollama","serve"]}]}"#;
        assert_eq!(chosen(spec, None).as_deref(), Ok("x"));
        assert_eq!(chosen(spec, Some(vec!["ollama"])).as_deref(), Ok("ollama"));
    }

    #[test]
    fn a_name_that_is_not_there_is_answered_with_those_that_are() {
        let sentence =
            chosen(r#"{"containers":[{"name":"x"},{"name":"y"}]}"#, Some(vec!["x", "z"])).unwrap_err();
        assert_eq!(
            sentence,
            "firstlight.dev/containers is \"x,z\": the pod has no container z; allowed are x, y"
        );
    }
}
