//! Node-level metrics over an own registry. Series of pods are not here: they are written at scrape time from
//! the grants that exist then (`book::series`), so that they go with the pod.

use firstlight_contract::metrics::{Metric, Outcome, table};
use prometheus::{
    Encoder as _, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts,
    Registry, TextEncoder,
};

/// Upper bounds of an Allocate's time, seconds.
const ALLOCATE_BUCKETS: [f64; 8] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.1, 1.0];
/// Upper bounds of an initialisation's time, seconds.
const INIT_BUCKETS: [f64; 12] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The metrics of the process.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Time of an Allocate: `{pool,code}`.
    pub allocate: HistogramVec,
    /// Registrations: `{pool,result}`.
    pub registrations: IntCounterVec,
    /// Whether the kubelet listens: `{pool}`.
    pub registered: GaugeVec,
    /// Failed PodResources calls: `{code}`.
    pub pod_resources_errors: IntCounterVec,
    /// Record bytes that were thrown away.
    pub bytes_dropped: IntCounter,
    /// Failed calls to the API server: `{what}`.
    pub api_errors: IntCounterVec,
    /// From a process's first driver call to a usable context.
    pub init_duration: Histogram,
    /// Outcomes since our start: `{outcome}`.
    pub outcomes: IntCounterVec,
    /// Health of devices: `{pool,device}`.
    pub device_healthy: GaugeVec,
    /// Why devices are unhealthy: `{pool,device,reason}`.
    pub device_unhealthy: GaugeVec,
    /// How the driver gets into containers: `{pool,mode}`.
    pub pool_driver: GaugeVec,
    /// Devices: `{pool,state}`.
    pub devices: GaugeVec,
    /// Grants: `{state}`.
    pub grants: GaugeVec,
}

impl Metrics {
    /// All metrics, registered; those with a known label start at 0.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counters = |row: &Metric| -> prometheus::Result<IntCounterVec> {
            let metric = IntCounterVec::new(Opts::new(row.name, row.help), row.labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauges = |row: &Metric| -> prometheus::Result<GaugeVec> {
            let metric = GaugeVec::new(Opts::new(row.name, row.help), row.labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let histogram =
            |row: &Metric, buckets: &[f64]| HistogramOpts::new(row.name, row.help).buckets(buckets.to_vec());
        gauges(&table::BUILD_INFO)?.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let row = table::ALLOCATE_DURATION;
        let allocate = HistogramVec::new(histogram(&row, &ALLOCATE_BUCKETS), row.labels)?;
        registry.register(Box::new(allocate.clone()))?;
        let init_duration = Histogram::with_opts(histogram(&table::CUDA_INIT_DURATION, &INIT_BUCKETS))?;
        registry.register(Box::new(init_duration.clone()))?;
        let row = table::RECORD_BYTES_DROPPED_TOTAL;
        let bytes_dropped = IntCounter::new(row.name, row.help)?;
        registry.register(Box::new(bytes_dropped.clone()))?;
        let outcomes = counters(&table::NODE_CUDA_INIT_TOTAL)?;
        for outcome in Outcome::ALL {
            outcomes.with_label_values(&[outcome.as_str()]);
        }
        let api_errors = counters(&table::API_ERRORS_TOTAL)?;
        for what in ["condition", "event", "watch"] {
            api_errors.with_label_values(&[what]);
        }
        Ok(Self {
            allocate,
            registrations: counters(&table::REGISTRATIONS_TOTAL)?,
            registered: gauges(&table::REGISTERED)?,
            pod_resources_errors: counters(&table::POD_RESOURCES_ERRORS_TOTAL)?,
            bytes_dropped,
            api_errors,
            init_duration,
            outcomes,
            device_healthy: gauges(&table::DEVICE_HEALTHY)?,
            device_unhealthy: gauges(&table::DEVICE_UNHEALTHY_INFO)?,
            pool_driver: gauges(&table::POOL_DRIVER_INFO)?,
            devices: gauges(&table::DEVICES)?,
            grants: gauges(&table::GRANTS)?,
            registry,
        })
    }

    /// Text exposition of the node-level metrics.
    pub fn encode(&self, out: &mut Vec<u8>) -> prometheus::Result<()> {
        TextEncoder::new().encode(&self.registry.gather(), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_outcomes_are_born_at_zero() {
        let mut text = Vec::new();
        Metrics::new().unwrap().encode(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for outcome in ["success", "failure", "unknown"] {
            let line = format!("firstlight_node_cuda_init_total{{outcome=\"{outcome}\"}} 0");
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.contains("firstlight_build_info{version="));
    }
}
