//! The changes to one chosen container: resource limit, preload, faults on order.
//!
//! Adds what is missing and never replaces what the author wrote.

use super::ask::Ask;
use super::choose::Chosen;
use super::object::{Container, EnvVar, Resources, Text};
use super::patch::{Patch, Value, step};
use firstlight_contract::grant::PoolKind;
use firstlight_contract::names::{RESOURCE_PREFIX, annotation, env};
use firstlight_contract::paths::container::SHIM;

/// The changes to one container.
#[derive(Debug)]
pub(super) struct Plan<'p, 'a> {
    pub(super) chosen: Chosen<'p, 'a>,
    pub(super) resource: String,
    /// The amount to add as limit.
    pub(super) limit: Option<String>,
    preload: Preload,
    /// The value of the variable to add.
    simulate: Option<&'p str>,
    /// The container asks for somebody else's GPU and is left alone.
    pub(super) foreign: bool,
    /// What was left as it is, and why.
    pub(super) notes: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Preload {
    Keep,
    Add,
    /// Becomes the value of the variable at this place.
    Prepend(usize, String),
}

impl<'p, 'a> Plan<'p, 'a> {
    pub(super) fn new(chosen: Chosen<'p, 'a>, ask: &Ask<'p>, counted: bool) -> Self {
        let container = chosen.container;
        let mut notes = Vec::new();
        let mut plan = Self {
            chosen,
            resource: ask.pool.resource(),
            limit: None,
            preload: Preload::Keep,
            simulate: None,
            foreign: false,
            notes: Vec::new(),
        };
        if let Some(other) = foreign_gpu(container).filter(|_| ask.pool.kind() != PoolKind::Observer) {
            plan.foreign = true;
            notes.push(format!(
                "asks for {other} already and is left as it is; remove that, or ask for a pool of kind observer"
            ));
        } else {
            plan.limit = limit(container, &plan.resource, ask.count, counted, &mut notes);
            plan.preload = preload(container, &mut notes);
            plan.simulate = simulate(container, ask.simulate, &mut notes);
        }
        plan.notes = notes;
        plan
    }

    pub(super) fn name(&self) -> &str {
        self.chosen.container.name.as_str()
    }

    /// What was done, for a person who reads the pod.
    pub(super) fn sentence(&self) -> String {
        let mut parts = Vec::new();
        if let Some(amount) = &self.limit {
            parts.push(format!("added limit {}: {amount}", self.resource));
        }
        match self.preload {
            Preload::Keep => {}
            Preload::Add => parts.push(format!("set {}", env::LD_PRELOAD)),
            Preload::Prepend(..) => parts.push(format!("prepended to {}", env::LD_PRELOAD)),
        }
        if let Some(faults) = self.simulate {
            parts.push(format!("set {}={faults}", env::SIMULATE));
        }
        parts.extend(self.notes.iter().cloned());
        if parts.is_empty() {
            parts.push("everything was set already".to_owned());
        }
        format!("container {}: {}.", self.name(), parts.join("; "))
    }

    pub(super) fn write(&self, patch: &mut Patch) {
        let base = format!("/spec/{}/{}", self.chosen.list, self.chosen.index);
        if let Some(amount) = &self.limit {
            write_limit(self.chosen.container.resources.as_ref(), &base, &self.resource, amount, patch);
        }
        if let Preload::Prepend(index, value) = &self.preload {
            patch.add(&format!("{base}/env/{index}/value"), &Value::Text(value));
        }
        let added: Vec<Value<'_>> = self.added().collect();
        if self.chosen.container.env.is_some() {
            for variable in added {
                patch.add(&format!("{base}/env/-"), &variable);
            }
        } else if !added.is_empty() {
            patch.add(&format!("{base}/env"), &Value::List(added));
        }
    }

    /// The variables that are added.
    pub(super) fn added(&self) -> impl Iterator<Item = Value<'_>> {
        let preload = (self.preload == Preload::Add).then(|| variable(env::LD_PRELOAD, SHIM));
        preload.into_iter().chain(self.simulate.map(|faults| variable(env::SIMULATE, faults)))
    }

    /// The variable that takes the place of the author's own.
    pub(super) fn replaced(&self) -> Option<(usize, Value<'_>)> {
        match &self.preload {
            Preload::Prepend(index, value) => Some((*index, variable(env::LD_PRELOAD, value))),
            Preload::Keep | Preload::Add => None,
        }
    }
}

fn variable<'v>(name: &'v str, value: &'v str) -> Value<'v> {
    Value::Map(vec![("name", Value::Text(name)), ("value", Value::Text(value))])
}

/// Adds a limit, and the same request where the author wrote requests: they must be equal, and the API
/// server fills in only what is missing.
fn write_limit(
    resources: Option<&Resources<'_>>,
    base: &str,
    resource: &str,
    amount: &str,
    patch: &mut Patch,
) {
    let only = || Value::Map(vec![(resource, Value::Text(amount))]);
    let Some(resources) = resources else {
        patch.add(&format!("{base}/resources"), &Value::Map(vec![("limits", only())]));
        return;
    };
    if resources.limits.is_some() {
        patch.add(&format!("{base}/resources/limits/{}", step(resource)), &Value::Text(amount));
    } else {
        patch.add(&format!("{base}/resources/limits"), &only());
    }
    if resources.requests.as_ref().is_some_and(|requests| requests.get(resource).is_none()) {
        patch.add(&format!("{base}/resources/requests/{}", step(resource)), &Value::Text(amount));
    }
}

/// Names of the extended resources that a container limits or requests.
fn extended<'c>(container: &'c Container<'_>) -> impl Iterator<Item = &'c str> {
    let resources = container.resources.iter();
    resources
        .flat_map(|resources| [&resources.limits, &resources.requests])
        .flatten()
        .flat_map(|quantities| &quantities.extended)
        .map(|(name, _)| name.as_str())
}

/// A GPU resource of another vendor's device plugin: `nvidia.com/gpu`, `nvidia.com/mig-1g.5gb`, `amd.com/gpu`,
/// `gpu.intel.com/i915`, `volcano.sh/vgpu-number` and their like.
fn foreign_gpu<'c>(container: &'c Container<'_>) -> Option<&'c str> {
    extended(container).find(|name| {
        !name.starts_with(RESOURCE_PREFIX) && (name.starts_with("nvidia.com/") || name.contains("gpu"))
    })
}

fn limit(
    container: &Container<'_>,
    resource: &str,
    count: u32,
    counted: bool,
    notes: &mut Vec<String>,
) -> Option<String> {
    if let Some(other) =
        extended(container).find(|name| name.starts_with(RESOURCE_PREFIX) && *name != resource)
    {
        notes.push(format!("asks for {other} itself, so {resource} is not added"));
        return None;
    }
    let resources = container.resources.as_ref();
    let limit =
        resources.and_then(|resources| resources.limits.as_ref()).and_then(|limits| limits.get(resource));
    let request = resources
        .and_then(|resources| resources.requests.as_ref())
        .and_then(|requests| requests.get(resource));
    let count = count.to_string();
    let own = limit.or(request);
    if let Some(own) = own.filter(|own| counted && *own != count) {
        notes.push(format!(
            "asks for {own} of {resource} itself, so {} {count} is not set",
            annotation::COUNT
        ));
    }
    if resources.is_some_and(|resources| resources.claims.as_ref().is_some_and(|claims| !claims.is_empty())) {
        notes.push("has resource claims; if one is for a GPU, it has two now".to_owned());
    }
    match (limit, request) {
        (Some(_), _) => None,
        (None, Some(request)) => Some(request.to_owned()),
        (None, None) => Some(count),
    }
}

/// The variable that counts where a name stands twice: the last one.
fn variable_of<'c, 'a>(container: &'c Container<'a>, name: &str) -> Option<(usize, &'c EnvVar<'a>)> {
    container.env.iter().flatten().enumerate().filter(|(_, variable)| variable.name.as_str() == name).last()
}

fn preload(container: &Container<'_>, notes: &mut Vec<String>) -> Preload {
    let name = env::LD_PRELOAD;
    let Some((index, variable)) = variable_of(container, name) else {
        if container.env_from.as_ref().is_some_and(|sources| !sources.is_empty()) {
            notes.push(format!("an {name} that comes by envFrom is hidden by ours"));
        }
        return Preload::Add;
    };
    if variable.value_from.is_some() {
        notes.push(format!("{name} comes by valueFrom and is left as it is: put {SHIM} first there"));
        return Preload::Keep;
    }
    let value = variable.value.as_ref().map_or("", |value| value.as_str());
    if value.split([':', ' ']).any(|object| object == SHIM) {
        return Preload::Keep;
    }
    let joined = if value.is_empty() { SHIM.to_owned() } else { format!("{SHIM}:{value}") };
    Preload::Prepend(index, joined)
}

fn simulate<'p>(
    container: &Container<'_>,
    faults: Option<&'p str>,
    notes: &mut Vec<String>,
) -> Option<&'p str> {
    let faults = faults?;
    let Some((_, variable)) = variable_of(container, env::SIMULATE) else { return Some(faults) };
    let own = variable.value.as_ref().map(Text::as_str);
    if own != Some(faults) || variable.value_from.is_some() {
        notes.push(format!("sets {} itself, so {} does nothing", env::SIMULATE, annotation::SIMULATE));
    }
    None
}
