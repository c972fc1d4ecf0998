//! The webhook's metrics, on an own registry.

use crate::not_injected::object::Kind;
use crate::not_injected::offenders::Offenders;
use crate::review::{Outcome, Rule};
use firstlight_contract::metrics::{Metric, table};
use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Upper bounds of a review's time, seconds.
const REVIEW_BUCKETS: [f64; 10] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1, 1.0];

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
    /// Calls of the search for what was not injected that failed.
    pub search_failures: IntCounter,
    not_injected: IntGaugeVec,
    not_injected_rest: IntGauge,
}

impl Metrics {
    /// Registers everything; all series start at 0.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let row = table::WEBHOOK_REVIEWS_TOTAL;
        let reviews = IntCounterVec::new(Opts::new(row.name, row.help), row.labels)?;
        let row = table::WEBHOOK_REVIEW_DURATION;
        let options = HistogramOpts::new(row.name, row.help).buckets(REVIEW_BUCKETS.to_vec());
        let durations = HistogramVec::new(options, row.labels)?;
        let row = table::WEBHOOK_CERTIFICATE_EXPIRY;
        let certificate_expiry = Gauge::new(row.name, row.help)?;
        let counter = |row: Metric| IntCounter::new(row.name, row.help);
        let certificate_failures = counter(table::WEBHOOK_CERTIFICATE_FAILURES_TOTAL)?;
        let config_failures = counter(table::WEBHOOK_CONFIG_FAILURES_TOTAL)?;
        let search_failures = counter(table::WEBHOOK_SEARCH_FAILURES_TOTAL)?;
        let row = table::NOT_INJECTED;
        let not_injected = IntGaugeVec::new(Opts::new(row.name, row.help), row.labels)?;
        let row = table::NOT_INJECTED_REST;
        let not_injected_rest = IntGauge::new(row.name, row.help)?;
        let row = table::BUILD_INFO;
        let build = GaugeVec::new(Opts::new(row.name, row.help), row.labels)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        registry.register(Box::new(reviews.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        registry.register(Box::new(certificate_expiry.clone()))?;
        registry.register(Box::new(certificate_failures.clone()))?;
        registry.register(Box::new(config_failures.clone()))?;
        registry.register(Box::new(search_failures.clone()))?;
        registry.register(Box::new(not_injected.clone()))?;
        registry.register(Box::new(not_injected_rest.clone()))?;
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
            search_failures,
            not_injected,
            not_injected_rest,
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

    /// Shows the offenders that there are now; the series of others go.
    pub fn not_injected(&self, known: &Offenders) {
        self.not_injected.reset();
        for ((namespace, kind), count) in known.counts() {
            self.not_injected.with_label_values(&[namespace, kind.as_str()]).set(count);
        }
        let rest: usize = Kind::ALL.into_iter().map(|kind| known.rest(kind)).sum();
        self.not_injected_rest.set(i64::try_from(rest).unwrap_or(i64::MAX));
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }
}
