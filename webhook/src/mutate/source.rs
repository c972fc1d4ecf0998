//! The members of a container that a preflight copies, as they stand in a review.
//!
//! Most of them are read by nobody else, and reading them all would slow every review down: pods that ask for a
//! preflight are read a second time.

use super::object::{Text, partial};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::marker::PhantomData;

/// The containers of the pod in a review, for copying.
pub fn sources(review: &[u8]) -> Result<Vec<Source<'_>>, serde_json::Error> {
    let review: Review<'_> = serde_json::from_slice(review)?;
    let spec = review.request.and_then(|request| request.object).and_then(|pod| pod.spec);
    Ok(spec.and_then(|spec| spec.containers).unwrap_or_default())
}

partial!(
    /// An `AdmissionReview`.
    Review {
        /// The request.
        "request" => request: Option<Request<'a>>,
    }
);

partial!(
    /// Its `request`.
    Request {
        /// The object to be admitted.
        "object" => object: Option<Pod<'a>>,
    }
);

partial!(
    /// The pod.
    Pod {
        /// Its specification.
        "spec" => spec: Option<Spec<'a>>,
    }
);

partial!(
    /// Its specification.
    Spec {
        /// Its containers.
        "containers" => containers: Option<Vec<Source<'a>>>,
    }
);

partial!(
    /// The members of a container in which a program runs as its own would. Not those of a service: ports,
    /// probes, lifecycle.
    Source {
        /// What it runs in.
        "image" => image: Option<&'a RawValue>,
        /// When the image is fetched.
        "imagePullPolicy" => pull_policy: Option<&'a RawValue>,
        /// Variables, one by one.
        "env" => env: Option<Vec<&'a RawValue>>,
        /// Variables of whole ConfigMaps and Secrets.
        "envFrom" => env_from: Option<&'a RawValue>,
        /// Limits and requests: the devices come with them.
        "resources" => resources: Option<Resources<'a>>,
        /// User, capabilities, profiles.
        "securityContext" => security_context: Option<&'a RawValue>,
        /// Block devices.
        "volumeDevices" => volume_devices: Option<&'a RawValue>,
        /// Files and folders.
        "volumeMounts" => volume_mounts: Option<&'a RawValue>,
        /// Where it runs.
        "workingDir" => working_dir: Option<&'a RawValue>,
    }
);

partial!(
    /// `resources`; without them the copy would be of another class of service.
    Resources {
        /// Upper bounds.
        "limits" => limits: Option<Members<'a>>,
        /// What is reserved.
        "requests" => requests: Option<Members<'a>>,
        /// Dynamic resource allocation.
        "claims" => claims: Option<&'a RawValue>,
    }
);

/// An object's members.
#[derive(Debug, Default)]
pub struct Members<'a>(pub Vec<(Text<'a>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for MembersVisitor<'a> {
            type Value = Members<'a>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'a>, A::Error> {
                let mut members = Members::default();
                while let Some(member) = map.next_entry()? {
                    members.0.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_any(MembersVisitor(PhantomData))
    }
}
