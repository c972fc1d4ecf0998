//! The admission webhook: gives pods that ask for it by annotation what they need to get a GPU.
//!
//! | module | what |
//! |---|---|
//! | [`mutate`] | pure: the workload rule and the pod rule |
//! | [`review`] | `AdmissionReview` in, `AdmissionReview` out |
pub mod mutate;
pub mod review;
