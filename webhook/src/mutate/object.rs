//! The parts of pods and workloads that the rules read, borrowed from the request's bytes.
//!
//! Only these are read, for speed (three times faster than whole typed objects) and because a field that this
//! version does not know must survive. A member that is `null` is absent, as in Go. A list where an object belongs is an
//! error: serde's derive would take it for a struct, and a patch made from it could not apply.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// A string, borrowed where it holds no escape (serde's own `Option<Cow>` and `Vec<Cow>` always copy).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for TextVisitor<'a> {
            type Value = Text<'a>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'a>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'a>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_unit<E>(self) -> Result<Text<'a>, E> {
                Ok(Text::default())
            }
        }
        deserializer.deserialize_any(TextVisitor(PhantomData))
    }
}

/// Declares a struct that reads some keys of a JSON object and skips all others.
macro_rules! partial {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $key:literal => $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name<'a> {
            $($(#[$field_doc])* pub $field: $type,)*
            #[doc(hidden)]
            pub borrowed: PhantomData<&'a ()>,
        }

        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ObjectVisitor<'a>(PhantomData<&'a ()>);
                impl<'de: 'a, 'a> Visitor<'de> for ObjectVisitor<'a> {
                    type Value = $name<'a>;
                    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                        out.write_str(concat!("an object: ", stringify!($name)))
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name<'a>, A::Error> {
                        let mut object = $name::default();
                        while let Some(key) = map.next_key::<Text<'de>>()? {
                            match key.as_str() {
                                $($key => object.$field = map.next_value()?,)*
                                _ => { map.next_value::<IgnoredAny>()?; }
                            }
                        }
                        Ok(object)
                    }
                }
                deserializer.deserialize_any(ObjectVisitor(PhantomData))
            }
        }
    };
}
pub(crate) use partial;

partial!(
    /// A pod, or a pod template: they have the same shape.
    Pod {
        /// Absent in templates that somebody wrote without it.
        "metadata" => metadata: Option<Metadata<'a>>,
        /// The pod's specification.
        "spec" => spec: Option<PodSpec<'a>>,
    }
);

partial!(
    /// `metadata`.
    Metadata {
        /// The object's annotations.
        "annotations" => annotations: Option<Annotations<'a>>,
        /// Who made the object.
        "ownerReferences" => owners: Option<Vec<Owner<'a>>>,
    }
);

partial!(
    /// An entry of `ownerReferences`.
    Owner {
        /// Whether the owner manages the object.
        "controller" => controller: Option<bool>,
    }
);

partial!(
    /// `spec` of a pod.
    PodSpec {
        /// The containers.
        "containers" => containers: Option<Vec<Container<'a>>>,
        /// Init containers and sidecars.
        "initContainers" => init_containers: Option<Vec<Container<'a>>>,
        /// Conditions that the pod's readiness waits for.
        "readinessGates" => readiness_gates: Option<Vec<ReadinessGate<'a>>>,
    }
);

partial!(
    /// An entry of `readinessGates`.
    ReadinessGate {
        /// The condition.
        "conditionType" => condition: Text<'a>,
    }
);

partial!(
    /// A container.
    Container {
        /// Its name.
        "name" => name: Text<'a>,
        /// Its image.
        "image" => image: Text<'a>,
        /// Replaces the image's entry point.
        "command" => command: Option<Vec<Text<'a>>>,
        /// Replaces the image's arguments.
        "args" => args: Option<Vec<Text<'a>>>,
        /// Environment variables.
        "env" => env: Option<Vec<EnvVar<'a>>>,
        /// Whole ConfigMaps and Secrets as environment.
        "envFrom" => env_from: Option<Vec<IgnoredAny>>,
        /// Declared ports.
        "ports" => ports: Option<Vec<Port<'a>>>,
        /// Limits and requests.
        "resources" => resources: Option<Resources<'a>>,
        /// `Always` makes a sidecar of an init container.
        "restartPolicy" => restart_policy: Text<'a>,
    }
);

partial!(
    /// An environment variable.
    EnvVar {
        /// Its name.
        "name" => name: Text<'a>,
        /// The literal value.
        "value" => value: Option<Text<'a>>,
        /// Where the value comes from, if it is no literal.
        "valueFrom" => value_from: Option<IgnoredAny>,
    }
);

partial!(
    /// A declared port.
    Port {
        /// Its number.
        "containerPort" => number: Option<i64>,
    }
);

partial!(
    /// `resources` of a container.
    Resources {
        /// Upper bounds; for extended resources the only ones that count.
        "limits" => limits: Option<Quantities<'a>>,
        /// What is reserved; for extended resources equal to the limit.
        "requests" => requests: Option<Quantities<'a>>,
        /// Dynamic resource allocation.
        "claims" => claims: Option<Vec<IgnoredAny>>,
    }
);

partial!(
    /// A Deployment, StatefulSet, DaemonSet, Job or CronJob.
    Workload {
        /// The workload's own metadata.
        "metadata" => metadata: Option<Metadata<'a>>,
        /// Its specification.
        "spec" => spec: Option<WorkloadSpec<'a>>,
        /// What is known of a Job's run.
        "status" => status: Option<JobStatus<'a>>,
    }
);

partial!(
    /// `spec` of a workload.
    WorkloadSpec {
        /// The pod template, except of a CronJob.
        "template" => template: Option<Pod<'a>>,
        /// The Job template of a CronJob.
        "jobTemplate" => job_template: Option<JobTemplate<'a>>,
        /// Whether a Job is held back.
        "suspend" => suspend: Option<bool>,
    }
);

partial!(
    /// `jobTemplate` of a CronJob.
    JobTemplate {
        /// The Job's specification.
        "spec" => spec: Option<JobSpec<'a>>,
    }
);

partial!(
    /// `jobTemplate.spec` of a CronJob.
    JobSpec {
        /// The pod template.
        "template" => template: Option<Pod<'a>>,
    }
);

partial!(
    /// `status` of a Job.
    JobStatus {
        /// When it first ran.
        "startTime" => start_time: Option<Text<'a>>,
    }
);

/// The annotations of our domain; of all others only whether one marks a static pod.
#[derive(Debug, Default)]
pub struct Annotations<'a> {
    /// Ours, in the order of the object.
    pub ours: Vec<(Text<'a>, Text<'a>)>,
    /// Whether the pod mirrors a file on its node: it cannot be changed.
    pub mirror: bool,
}

/// `kubernetes.io/config.mirror`, set by the kubelet on the API server's copy of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnnotationsVisitor<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for AnnotationsVisitor<'a> {
            type Value = Annotations<'a>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object: annotations")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations<'a>, A::Error> {
                let mut found = Annotations::default();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    if is_ours(key.as_str()) {
                        let value = map.next_value()?;
                        found.ours.retain(|(earlier, _)| *earlier != key);
                        found.ours.push((key, value));
                    } else {
                        found.mirror |= key.as_str() == MIRROR;
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(found)
            }
        }
        deserializer.deserialize_any(AnnotationsVisitor(PhantomData))
    }
}

fn is_ours(key: &str) -> bool {
    key.strip_prefix(firstlight_contract::names::DOMAIN).is_some_and(|rest| rest.starts_with('/'))
}

/// A list of quantities; of the extended resources (`domain/name`) only.
#[derive(Debug, Default)]
pub struct Quantities<'a> {
    /// Name and amount.
    pub extended: Vec<(Text<'a>, Text<'a>)>,
}

impl Quantities<'_> {
    /// The amount of this resource.
    pub fn get(&self, resource: &str) -> Option<&str> {
        self.extended.iter().find(|(name, _)| name.as_str() == resource).map(|(_, amount)| amount.as_str())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Quantities<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct QuantitiesVisitor<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for QuantitiesVisitor<'a> {
            type Value = Quantities<'a>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object: quantities")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Quantities<'a>, A::Error> {
                let mut found = Quantities::default();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    if key.as_str().contains('/') {
                        let amount = map.next_value()?;
                        found.extended.retain(|(earlier, _)| *earlier != key);
                        found.extended.push((key, amount));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(found)
            }
        }
        deserializer.deserialize_any(QuantitiesVisitor(PhantomData))
    }
}

impl<'a> Pod<'a> {
    /// The value of one of our annotations.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        annotation(self.metadata.as_ref(), key)
    }

    /// Our annotations.
    pub fn ours(&self) -> &[(Text<'a>, Text<'a>)] {
        ours(self.metadata.as_ref())
    }
}

impl<'a> Workload<'a> {
    /// The pod template with its JSON pointer.
    pub fn template(&self) -> Option<(&Pod<'a>, &'static str)> {
        let spec = self.spec.as_ref()?;
        if let Some(template) = &spec.template {
            return Some((template, "/spec/template"));
        }
        let template = spec.job_template.as_ref()?.spec.as_ref()?.template.as_ref()?;
        Some((template, "/spec/jobTemplate/spec/template"))
    }

    /// The value of one of our annotations on the workload itself.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        annotation(self.metadata.as_ref(), key)
    }
}

impl Metadata<'_> {
    /// Whether a controller made and manages the object.
    pub fn controlled(&self) -> bool {
        self.owners.iter().flatten().any(|owner| owner.controller == Some(true))
    }
}

/// Our annotations in `metadata`.
pub fn ours<'m, 'a>(metadata: Option<&'m Metadata<'a>>) -> &'m [(Text<'a>, Text<'a>)] {
    metadata.and_then(|metadata| metadata.annotations.as_ref()).map_or(&[], |annotations| &annotations.ours)
}

fn annotation<'m>(metadata: Option<&'m Metadata<'_>>, key: &str) -> Option<&'m str> {
    ours(metadata).iter().find(|(name, _)| name.as_str() == key).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_means_absent() {
        let pod: Pod<'_> = serde_json::from_str(r#"{"metadata":{"annotations":null},"spec":null}"#).unwrap();
        assert!(pod.metadata.unwrap().annotations.is_none() && pod.spec.is_none());
    }

    #[test]
    fn a_list_is_no_object() {
        assert!(serde_json::from_str::<Pod<'_>>(r#"{"metadata":[]}"#).is_err());
    }

    #[test]
    fn plain_strings_are_borrowed_and_escaped_ones_are_read() {
        let name = |json| serde_json::from_str::<Container<'_>>(json).unwrap().name;
        assert!(matches!(name(r#"{"name":"ollama"}"#).0, Cow::Borrowed("ollama")));
        assert_eq!(name(r#"{"name":"oll\u0061ma"}"#).as_str(), "ollama");
    }

    #[test]
    fn only_annotations_of_our_domain_are_kept() {
        let text = r#"{"metadata":{"annotations":{"a":"b","firstlight.developer/x":"1","firstlight.dev/gpu":"true",
            "kubernetes.io/config.mirror":"x"}}}"#;
        let pod: Pod<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(pod.ours().len(), 1);
        assert_eq!(pod.annotation("firstlight.dev/gpu"), Some("true"));
        assert!(pod.metadata.unwrap().annotations.unwrap().mirror);
    }
}
