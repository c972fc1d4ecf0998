//! `AdmissionReview` v1: reads a request, applies a rule, writes the response.
//!
//! Own small structs: the object stays borrowed from the body, and the patch travels as base64 (kube's own
//! response type writes it as a list of numbers, 3.5 times the bytes).

use crate::mutate::object::{Pod, Text, Workload, partial};
use crate::mutate::{Answer, Policy, Request, pod::pod, workload::workload};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Which rule a request is for; the path says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `/mutate/workloads`
    Workloads,
    /// `/mutate/pods`
    Pods,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 2] = [Self::Workloads, Self::Pods];

    /// The path on which the API server asks.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Workloads => "/mutate/workloads",
            Self::Pods => "/mutate/pods",
        }
    }

    /// The metric label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Workloads => "workloads",
            Self::Pods => "pods",
        }
    }
}

/// What became of a request; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Admitted with changes.
    Mutated,
    /// Admitted as it was.
    Unchanged,
    /// Admitted as it was, with a warning.
    Warned,
    /// Refused.
    Refused,
    /// Not understood: admitted with a warning, or answered 400 where there is nothing to answer to.
    Error,
}

impl Outcome {
    /// All values, in label order.
    pub const ALL: [Self; 5] = [Self::Mutated, Self::Unchanged, Self::Warned, Self::Refused, Self::Error];

    /// The metric label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mutated => "mutated",
            Self::Unchanged => "unchanged",
            Self::Warned => "warned",
            Self::Refused => "refused",
            Self::Error => "error",
        }
    }
}

/// An answer to the API server.
#[derive(Debug)]
pub struct Reply {
    /// The response's body: JSON, or a sentence where `status` is not 200.
    pub body: Vec<u8>,
    /// HTTP status: 200, or 400 for something that is no review.
    pub status: u16,
    /// What became of the request.
    pub outcome: Outcome,
}

/// `AdmissionReview`, generic over the object.
#[derive(Debug, Default)]
struct Review<'a, T> {
    api_version: Text<'a>,
    request: Option<Admission<'a, T>>,
}

#[derive(Debug)]
struct Admission<'a, T> {
    uid: Text<'a>,
    kind: Kind<'a>,
    operation: Text<'a>,
    object: Option<T>,
    old: Option<T>,
}

partial!(
    /// `request.kind`.
    Kind {
        /// The kind itself.
        "kind" => kind: Text<'a>,
    }
);

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Review<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReviewVisitor<'a, T>(PhantomData<(&'a (), T)>);
        impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for ReviewVisitor<'a, T> {
            type Value = Review<'a, T>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an AdmissionReview")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Review<'a, T>, A::Error> {
                let mut review = Review { api_version: Text::default(), request: None };
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    match key.as_str() {
                        "apiVersion" => review.api_version = map.next_value()?,
                        "request" => review.request = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(review)
            }
        }
        deserializer.deserialize_any(ReviewVisitor(PhantomData))
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Admission<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AdmissionVisitor<'a, T>(PhantomData<(&'a (), T)>);
        impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for AdmissionVisitor<'a, T> {
            type Value = Admission<'a, T>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object: the request of an AdmissionReview")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Admission<'a, T>, A::Error> {
                let mut admission = Admission {
                    uid: Text::default(),
                    kind: Kind::default(),
                    operation: Text::default(),
                    object: None,
                    old: None,
                };
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    match key.as_str() {
                        "uid" => admission.uid = map.next_value()?,
                        "kind" => admission.kind = map.next_value()?,
                        "operation" => admission.operation = map.next_value()?,
                        "object" => admission.object = map.next_value()?,
                        "oldObject" => admission.old = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(admission)
            }
        }
        deserializer.deserialize_any(AdmissionVisitor(PhantomData))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    api_version: &'a str,
    kind: &'a str,
    response: WireResponse<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireResponse<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<WireStatus<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
}

#[derive(Debug, Serialize)]
struct WireStatus<'a> {
    code: u16,
    message: &'a str,
}

const API_VERSION: &str = "admission.k8s.io/v1";

/// Answers one review. Never fails: an object that cannot be read is admitted with a warning, since a webhook
/// that stops pods for its own confusion does more harm than a missing GPU.
pub fn answer(rule: Rule, body: &[u8], policy: Policy<'_>) -> Reply {
    let read = match rule {
        Rule::Pods => decide::<Pod<'_>>(body, |request| pod(&request, policy)),
        Rule::Workloads => decide::<Workload<'_>>(body, |request| workload(&request, policy)),
    };
    let error = match read {
        Ok(Some((uid, answer))) => return reply(&uid.0, answer, None),
        Ok(None) => "it has no request, or is not admission.k8s.io/v1".to_owned(),
        Err(error) => {
            let text = format!("Firstlight cannot read this object and leaves it as it is: {error}");
            if let Ok(Some((uid, _))) = decide::<IgnoredAny>(body, |_| Answer::default()) {
                return reply(&uid.0, Answer::warn(text), Some(Outcome::Error));
            }
            error.to_string()
        }
    };
    let body = format!("this is no AdmissionReview: {error}\n").into_bytes();
    Reply { body, status: 400, outcome: Outcome::Error }
}

type Decision<'a> = Option<(Text<'a>, Answer)>;

fn decide<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    rule: impl FnOnce(Request<'a, T>) -> Answer,
) -> Result<Decision<'a>, serde_json::Error> {
    let review: Review<'a, T> = serde_json::from_slice(body)?;
    let Some(request) = review.request.filter(|_| review.api_version.as_str() == API_VERSION) else {
        return Ok(None);
    };
    let answer = request.object.map_or_else(Answer::default, |object| {
        rule(Request {
            review: body,
            object,
            old: request.old,
            update: request.operation.as_str() == "UPDATE",
            kind: request.kind.kind.0.into_owned(),
        })
    });
    Ok(Some((request.uid, answer)))
}

fn reply(uid: &str, answer: Answer, outcome: Option<Outcome>) -> Reply {
    let outcome = outcome.unwrap_or(match &answer {
        Answer { refusal: Some(_), .. } => Outcome::Refused,
        Answer { patch, .. } if !patch.is_empty() => Outcome::Mutated,
        Answer { warnings, .. } if !warnings.is_empty() => Outcome::Warned,
        _ => Outcome::Unchanged,
    });
    let changed = !answer.patch.is_empty();
    let wire = Wire {
        api_version: API_VERSION,
        kind: "AdmissionReview",
        response: WireResponse {
            uid,
            allowed: answer.refusal.is_none(),
            status: answer.refusal.as_deref().map(|message| WireStatus { code: 403, message }),
            warnings: &answer.warnings,
            patch_type: changed.then_some("JSONPatch"),
            patch: changed.then(|| STANDARD.encode(answer.patch.into_json())),
        },
    };
    let patch = wire.response.patch.as_ref().map_or(0, String::len);
    let mut body = Vec::with_capacity(patch + 512);
    match serde_json::to_writer(&mut body, &wire) {
        Ok(()) => Reply { body, status: 200, outcome },
        // Strings and booleans always serialise; this is for the compiler.
        Err(error) => Reply { body: error.to_string().into_bytes(), status: 500, outcome: Outcome::Error },
    }
}
