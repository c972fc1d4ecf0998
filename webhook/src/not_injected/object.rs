//! What is read of an object: of its metadata what matters here, and of an annotated workload its template's
//! annotations.

use firstlight_contract::names::{DOMAIN, annotation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::Resource;
use kube::api::{ApiResource, ObjectMeta};
use kube::core::DynamicResourceScope;
use kube::core::object::Object as Whole;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// The kinds that may carry the annotation: those of the workload rule, and pods. A metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A pod.
    Pod,
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
    /// A CronJob.
    CronJob,
    /// A Job.
    Job,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Pod, Self::Deployment, Self::StatefulSet, Self::DaemonSet, Self::CronJob, Self::Job];

    /// The kind's name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::CronJob => "CronJob",
            Self::Job => "Job",
        }
    }

    /// Where the API server has it.
    pub fn resource(self) -> ApiResource {
        let group = match self {
            Self::Pod => "",
            Self::Deployment | Self::StatefulSet | Self::DaemonSet => "apps",
            Self::CronJob | Self::Job => "batch",
        };
        ApiResource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            api_version: if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") },
            kind: self.as_str().to_owned(),
            plural: format!("{}s", self.as_str().to_ascii_lowercase()),
        }
    }
}

/// An object's metadata, as the API server sends it to those who ask for no more.
///
/// Of annotations only ours are read and whether one marks a static pod; `managedFields`, the bulk of it, is
/// skipped.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Wire")]
pub struct Object(pub ObjectMeta);

#[derive(Debug, Deserialize)]
struct Wire {
    #[serde(default)]
    metadata: WireMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<Time>,
    #[serde(default, deserialize_with = "ours")]
    annotations: BTreeMap<String, String>,
    owner_references: Option<Vec<OwnerReference>>,
}

impl From<Wire> for Object {
    fn from(Wire { metadata }: Wire) -> Self {
        Self(ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            deletion_timestamp: metadata.deletion_timestamp,
            annotations: Some(metadata.annotations),
            owner_references: metadata.owner_references,
            ..ObjectMeta::default()
        })
    }
}

/// Set by the kubelet on the API server's copy of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

fn ours<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Ours;
    impl<'de> Visitor<'de> for Ours {
        type Value = BTreeMap<String, String>;
        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("annotations")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = BTreeMap::new();
            while let Some(key) = map.next_key::<String>()? {
                let mine = key.strip_prefix(DOMAIN).is_some_and(|rest| rest.starts_with('/'));
                if mine || key == MIRROR {
                    found.insert(key, map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }
    deserializer.deserialize_any(Ours)
}

impl Object {
    /// Its name.
    pub fn name(&self) -> &str {
        self.0.name.as_deref().unwrap_or_default()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.0.namespace.as_deref().unwrap_or_default()
    }

    /// Its UID.
    pub fn uid(&self) -> &str {
        self.0.uid.as_deref().unwrap_or_default()
    }

    /// The value of one of our annotations.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.0.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Whether it asks for a GPU and is to stay.
    pub fn asks(&self) -> bool {
        self.annotation(annotation::GPU).is_some() && self.0.deletion_timestamp.is_none()
    }

    /// Whether it is the API server's copy of a static pod.
    pub fn is_static(&self) -> bool {
        self.annotation(MIRROR).is_some()
    }

    /// Kind and name of what made and manages it.
    pub fn controller(&self) -> Option<(&str, &str)> {
        let owner = self.0.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
        Some((&owner.kind, &owner.name))
    }
}

impl Resource for Object {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn metadata_api() -> bool {
        true
    }

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0
    }
}

/// A workload, as far as its metadata leaves the question open.
pub type Workload = Whole<Spec, Status>;

/// See [`Workload`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    template: Option<Template>,
    job_template: Option<JobTemplate>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct JobTemplate {
    spec: Option<JobSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct JobSpec {
    template: Option<Template>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Template {
    metadata: Option<TemplateMetadata>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct TemplateMetadata {
    #[serde(default, deserialize_with = "ours")]
    annotations: BTreeMap<String, String>,
}

/// See [`Workload`].
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Status {
    conditions: Option<Vec<Condition>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    status: String,
}

/// Whether the pods of a workload ask for a GPU: its template carries the annotation.
pub fn template_asks(workload: &Workload) -> bool {
    let spec = &workload.spec;
    let nested = || spec.job_template.as_ref()?.spec.as_ref()?.template.as_ref();
    let template = spec.template.as_ref().or_else(nested);
    let metadata = template.and_then(|template| template.metadata.as_ref());
    metadata.is_some_and(|metadata| metadata.annotations.contains_key(annotation::GPU))
}

/// Whether it is a Job that makes no pods any more.
pub fn is_finished(workload: &Workload) -> bool {
    let conditions = workload.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    conditions
        .into_iter()
        .any(|one| one.status == "True" && ["Complete", "Failed"].contains(&one.kind.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_metadata_only_what_matters_is_kept() {
        let object: Object = serde_json::from_value(json!({"kind": "PartialObjectMetadata", "metadata": {
            "name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"},
            "managedFields": [{"fieldsV1": {"f:spec": {}}}],
            "annotations": {"firstlight.dev/gpu": "x", "firstlight.developer/y": "z", "other": "o"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "v", "controller": true}]}}))
        .unwrap();
        assert_eq!(object.0.annotations.as_ref().map(BTreeMap::len), Some(1));
        assert_eq!(object.controller(), Some(("ReplicaSet", "r")));
        assert!(object.asks() && object.0.managed_fields.is_none() && object.0.labels.is_none());
    }

    #[test]
    fn what_is_null_or_missing_is_nothing() {
        for metadata in [json!({}), json!({"annotations": null, "ownerReferences": null})] {
            let object: Object = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
            assert!(!object.asks() && object.controller().is_none());
        }
    }

    #[test]
    fn the_template_is_found_in_every_kind() {
        let template = json!({"metadata": {"annotations": {"firstlight.dev/gpu": "x"}}});
        for spec in [json!({"template": template}), json!({"jobTemplate": {"spec": {"template": template}}})]
        {
            let workload: Workload = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            assert!(template_asks(&workload), "{spec}");
        }
        for spec in [json!({}), json!({"template": {"metadata": {"annotations": null}}})] {
            let workload: Workload = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            assert!(!template_asks(&workload), "{spec}");
        }
    }

    #[test]
    fn a_job_is_finished_by_its_conditions() {
        let job = |kind: &str, status: &str| -> Workload {
            let conditions =
                json!([{"type": "SuccessCriteriaMet", "status": "True"}, {"type": kind, "status": status}]);
            serde_json::from_value(json!({"metadata": {}, "spec": {}, "status": {"conditions": conditions}}))
                .unwrap()
        };
        assert!(is_finished(&job("Complete", "True")) && is_finished(&job("Failed", "True")));
        assert!(!is_finished(&job("Complete", "False")) && !is_finished(&job("Suspended", "True")));
    }

    #[test]
    fn kinds_stand_where_the_api_server_has_them() {
        let places: Vec<String> =
            Kind::ALL.map(Kind::resource).iter().map(|resource| Object::url_path(resource, None)).collect();
        assert_eq!(
            places,
            [
                "/api/v1/pods",
                "/apis/apps/v1/deployments",
                "/apis/apps/v1/statefulsets",
                "/apis/apps/v1/daemonsets",
                "/apis/batch/v1/cronjobs",
                "/apis/batch/v1/jobs"
            ]
        );
    }
}
