//! The gate: a pod that asks for it is Ready only once a usable GPU was seen in it.
//!
//! The agent on the node sets the condition that the gate waits for. It speaks of containers that Firstlight
//! gave a device and that stay; in a pod without one the gate would never open, so there is none.

use super::object::PodSpec;
use super::patch::{Patch, Value};
use super::plan::Plan;
use firstlight_contract::names::{annotation, condition::GPU_READY};

/// What becomes of a pod's readiness gates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Gate {
    /// Nothing is asked for.
    #[default]
    Off,
    /// It is there already.
    Keep,
    /// It is added to the author's own.
    Append,
    /// It is the only one.
    Begin,
    /// It is asked for, and would never open.
    Without,
}

impl Gate {
    pub(super) fn new(asked: bool, spec: &PodSpec<'_>, plans: &[Plan<'_, '_>]) -> Self {
        let spoken_of = |plan: &Plan<'_, '_>| !plan.foreign && !plan.chosen.ends_before_the_others();
        match &spec.readiness_gates {
            _ if !asked => Self::Off,
            Some(gates) if gates.iter().any(|gate| gate.condition.as_str() == GPU_READY) => Self::Keep,
            _ if !plans.iter().any(spoken_of) => Self::Without,
            Some(_) => Self::Append,
            None => Self::Begin,
        }
    }

    /// What was done, for a person who reads the pod.
    pub(super) fn sentence(self) -> Option<String> {
        match self {
            Self::Off => None,
            Self::Keep | Self::Append | Self::Begin => Some(format!("pod: Ready waits for {GPU_READY}.")),
            Self::Without => Some(format!(
                "pod: {} is \"ready\", but no container that stays is given a GPU by Firstlight: a gate on \
                 {GPU_READY} would never open and is not set.",
                annotation::GATE
            )),
        }
    }

    /// What the author may not have wanted.
    pub(super) fn warning(self) -> Option<String> {
        self.sentence().filter(|_| self == Self::Without)
    }

    pub(super) fn write(self, patch: &mut Patch) {
        let gate = Value::Map(vec![("conditionType", Value::Text(GPU_READY))]);
        match self {
            Self::Off | Self::Keep | Self::Without => {}
            Self::Append => patch.add("/spec/readinessGates/-", &gate),
            Self::Begin => patch.add("/spec/readinessGates", &Value::List(vec![gate])),
        }
    }
}
