//! The webhook's metrics, on an own registry.

use crate::review::{Outcome, Rule};
use firstlight_contract::metrics as names;
use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
    TextEncoder,
};

/// All metrics; cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    reviews: [[IntCounter; Outcome::ALL.len()]; Rule::ALL.len()],
    durations: [Histogram; Rule::ALL.len()],
    /// When the certificate that is served expires, seconds since the epoch.
    pub certificate_expiry: Gauge,
    /// Attempts to get a certificate that failed.
    pub certificate_failures: IntCounter,
    /// Changed configurations that were bad.
    pub config_failures: IntCounter,
}

impl Metrics {
    /// Registers everything; all series start at 0.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let reviews = IntCounterVec::new(
            Opts::new(names::WEBHOOK_REVIEWS_TOTAL, "Admission requests by rule and what became of them."),
            &["rule", "outcome"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                names::WEBHOOK_REVIEW_DURATION,
                "Time from a request's header to its answer, seconds.",
            )
            .buckets(vec![0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1, 1.0]),
            &["rule"],
        )?;
        let certificate_expiry = Gauge::new(
            names::WEBHOOK_CERTIFICATE_EXPIRY,
            "When the certificate that is served expires, seconds since the epoch.",
        )?;
        let certificate_failures = IntCounter::new(
            names::WEBHOOK_CERTIFICATE_FAILURES_TOTAL,
            "Attempts to get a certificate that failed; the old one stays in use.",
        )?;
        let config_failures = IntCounter::new(
            names::WEBHOOK_CONFIG_FAILURES_TOTAL,
            "Changed configurations that were bad; the old one stays in use.",
        )?;
        let build = Gauge::with_opts(
            Opts::new(names::BUILD_INFO, "Constant 1.").const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build.set(1.0);
        registry.register(Box::new(reviews.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        registry.register(Box::new(certificate_expiry.clone()))?;
        registry.register(Box::new(certificate_failures.clone()))?;
        registry.register(Box::new(config_failures.clone()))?;
        registry.register(Box::new(build))?;
        Ok(Self {
            registry,
            reviews: Rule::ALL.map(|rule| {
                Outcome::ALL.map(|outcome| reviews.with_label_values(&[rule.as_str(), outcome.as_str()]))
            }),
            durations: Rule::ALL.map(|rule| durations.with_label_values(&[rule.as_str()])),
            certificate_expiry,
            certificate_failures,
            config_failures,
        })
    }

    /// Counts one review that took this many seconds.
    pub fn reviewed(&self, rule: Rule, outcome: Outcome, seconds: f64) {
        let row = Rule::ALL.iter().position(|one| *one == rule).unwrap_or_default();
        let column = Outcome::ALL.iter().position(|one| *one == outcome).unwrap_or_default();
        if let Some(counter) = self.reviews.get(row).and_then(|row| row.get(column)) {
            counter.inc();
        }
        if let Some(histogram) = self.durations.get(row) {
            histogram.observe(seconds);
        }
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }
}
