//! The admission webhook: gives pods that ask for it by annotation what they need to get a GPU.
//!
//! ```text
//!  API server ──TLS──► server ──► admission ──► review ──► mutate (pure)
//!                        ▲ tls (the pair in use)   ▲ pools
//!                        │
//!  Secret, caBundle ◄─► keeper ──► authority, rollout (pure)
//!  mounted files ─────► given
//!
//!  metadata ──────────► not_injected ──► Events, metric
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`args`], [`app`] | flags to configuration; what runs and when it ends |
//! | [`mutate`] | pure: the workload rule and the pod rule |
//! | [`review`] | `AdmissionReview` in, `AdmissionReview` out |
//! | [`admission`], [`server`] | the routes of the API server; connections, within bounds |
//! | [`tls`], [`given`] | the certificate in use; one that somebody else keeps |
//! | [`authority`], [`rollout`], [`keeper`] | our own: what is due; when it is used; Secret and caBundle |
//! | [`not_injected`] | what was annotated and never injected |
//! | [`pools`] | the pools, read again when they change |
//! | [`http`], [`metrics`], [`readiness`] | telling Kubernetes and Prometheus |

pub mod admission;
pub mod app;
pub mod args;
pub mod authority;
pub mod given;
pub mod http;
pub mod keeper;
pub mod metrics;
pub mod mutate;
pub mod not_injected;
pub mod pools;
pub mod readiness;
pub mod review;
pub mod rollout;
pub mod server;
pub mod tls;
