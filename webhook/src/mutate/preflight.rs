//! The preflight: an init container that probes the GPU in a chosen container's own image, user and environment.
//!
//! It is a copy of the chosen container, with what we add to that, and another program.
//!
//! Of equal limits in an init container and in a container that starts after it the scheduler counts one, and
//! the kubelet gives both the same devices. That is not so beside a sidecar, which starts first and stays.

use super::ask::Mode;
use super::object::PodSpec;
use super::patch::{Patch, Value};
use super::plan::Plan;
use super::source::{Members, Source, sources};
use firstlight_contract::names::{added, annotation};
use firstlight_contract::paths::container::PREFLIGHT;
use serde_json::value::RawValue;

/// The init containers of a pod's preflight.
#[derive(Debug, Default)]
pub(super) struct Preflight {
    probes: Vec<Probe>,
    /// Sentences about what is asked for and not done.
    pub(super) without: Vec<String>,
}

/// One init container.
#[derive(Debug)]
struct Probe {
    name: String,
    mode: Mode,
    /// The chosen container: its place among the plans.
    plan: usize,
    /// An earlier pass has added it.
    there: bool,
}

impl Preflight {
    pub(super) fn new(mode: Option<Mode>, spec: &PodSpec<'_>, plans: &[Plan<'_, '_>]) -> Self {
        let Some(mode) = mode else { return Self::default() };
        let (early, main): (Vec<_>, Vec<_>) = plans
            .iter()
            .enumerate()
            .filter(|(_, plan)| !plan.foreign)
            .partition(|(_, plan)| plan.chosen.is_init());
        let mut without: Vec<String> = early
            .into_iter()
            .map(|(_, plan)| {
                format!("container {}: has no preflight, for init containers start before one.", plan.name())
            })
            .collect();
        if main.is_empty() && without.is_empty() {
            without.push(format!(
                "pod: {} is \"{}\", but no container is given a GPU by Firstlight: there is nothing to probe.",
                annotation::PREFLIGHT,
                mode.as_str()
            ));
        }
        let alone = main.len() == 1;
        let all = || spec.init_containers.iter().chain(&spec.containers).flatten();
        let probes = main.into_iter().map(|(place, plan)| {
            let name = added::preflight_of(plan.name(), alone);
            let there = all().any(|container| container.name.as_str() == name);
            Probe { name, mode, plan: place, there }
        });
        Self { probes: probes.collect(), without }
    }

    /// What was done, for a person who reads the pod.
    pub(super) fn sentences(&self, plans: &[Plan<'_, '_>]) -> Vec<String> {
        let said = self.probes.iter().filter_map(|probe| {
            let container = plans.get(probe.plan)?.name();
            let ends = match probe.mode {
                Mode::Report => "and reports",
                Mode::Block => "and stops the pod on a certain cause",
            };
            Some(format!("pod: init container {} probes the GPU of {container} first {ends}.", probe.name))
        });
        said.chain(self.without.iter().cloned()).collect()
    }

    /// Adds what is not there yet. `review`: the bytes of the whole request.
    pub(super) fn write(
        &self,
        review: &[u8],
        spec: &PodSpec<'_>,
        plans: &[Plan<'_, '_>],
        patch: &mut Patch,
    ) -> Result<(), serde_json::Error> {
        if self.probes.iter().all(|probe| probe.there) {
            return Ok(());
        }
        let sources = sources(review)?;
        let mut list = spec.init_containers.is_some();
        for probe in self.probes.iter().filter(|probe| !probe.there) {
            let Some(plan) = plans.get(probe.plan) else { continue };
            let Some(source) = sources.get(plan.chosen.index) else { continue };
            let container = source.probe(probe, plan);
            if list {
                patch.add("/spec/initContainers/-", &container);
            } else {
                patch.add("/spec/initContainers", &Value::List(vec![container]));
                list = true;
            }
        }
        Ok(())
    }
}

impl Members<'_> {
    /// The members, with one more.
    fn with<'v>(&'v self, more: Option<(&'v str, &'v str)>) -> Value<'v> {
        let own = self.0.iter().map(|(name, value)| (name.as_str(), raw(value)));
        let more = more.filter(|(name, _)| !self.0.iter().any(|(own, _)| own.as_str() == *name));
        Value::Map(own.chain(more.map(|(name, amount)| (name, Value::Text(amount)))).collect())
    }
}

fn raw(value: &RawValue) -> Value<'_> {
    Value::Raw(value.get())
}

impl Source<'_> {
    fn probe<'v>(&'v self, probe: &'v Probe, plan: &'v Plan<'_, '_>) -> Value<'v> {
        let list = |words: &[&'v str]| Value::List(words.iter().copied().map(Value::Text).collect());
        let mut members = vec![
            ("name", Value::Text(&probe.name)),
            ("command", list(&[PREFLIGHT])),
            ("args", list(&["--mode", probe.mode.as_str()])),
        ];
        let copied = [
            ("image", self.image),
            ("imagePullPolicy", self.pull_policy),
            ("envFrom", self.env_from),
            ("securityContext", self.security_context),
            ("volumeDevices", self.volume_devices),
            ("volumeMounts", self.volume_mounts),
            ("workingDir", self.working_dir),
        ];
        members.extend(copied.into_iter().filter_map(|(name, value)| Some((name, raw(value?)))));
        let mut env: Vec<Value<'v>> = self.env.iter().flatten().map(|variable| raw(variable)).collect();
        if let Some((place, variable)) = plan.replaced()
            && let Some(own) = env.get_mut(place)
        {
            *own = variable;
        }
        env.extend(plan.added());
        if !env.is_empty() {
            members.push(("env", Value::List(env)));
        }
        members.extend(self.resources(plan).map(|resources| ("resources", resources)));
        Value::Map(members)
    }

    fn resources<'v>(&'v self, plan: &'v Plan<'_, '_>) -> Option<Value<'v>> {
        let added = plan.limit.as_deref().map(|amount| (plan.resource.as_str(), amount));
        let only =
            || Value::Map(added.into_iter().map(|(name, amount)| (name, Value::Text(amount))).collect());
        let Some(own) = &self.resources else {
            return added.map(|_| Value::Map(vec![("limits", only())]));
        };
        let limits = own.limits.as_ref().map(|limits| limits.with(added)).or(added.map(|_| only()));
        let requests = own.requests.as_ref().map(|requests| requests.with(added));
        let all = [("limits", limits), ("requests", requests), ("claims", own.claims.map(raw))];
        Some(Value::Map(all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()))
    }
}
