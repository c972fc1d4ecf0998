//! Node-level metrics over an own registry. Series of pods are not here: they are written at scrape time from
//! the grants that exist then (`publish::series`), so that they go with the pod.

use firstlight_contract::metrics as names;
use firstlight_contract::metrics::Outcome;
use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts,
    Registry, TextEncoder,
};

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
    /// Devices: `{pool,state}`.
    pub devices: GaugeVec,
    /// Grants: `{state}`.
    pub grants: GaugeVec,
}

impl Metrics {
    /// All metrics, registered; those with a known label start at 0.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counters = |name, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauges = |name, help: &str, labels: &[&str]| -> prometheus::Result<GaugeVec> {
            let metric = GaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let build = Gauge::with_opts(
            Opts::new(names::BUILD_INFO, "Constant 1.").const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build.set(1.0);
        registry.register(Box::new(build))?;
        let allocate = HistogramVec::new(
            HistogramOpts::new(names::ALLOCATE_DURATION, "Time of an Allocate.")
                .buckets(vec![0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.1, 1.0]),
            &["pool", "code"],
        )?;
        registry.register(Box::new(allocate.clone()))?;
        let init_duration = Histogram::with_opts(
            HistogramOpts::new(
                names::CUDA_INIT_DURATION,
                "From a process's first driver call to a usable context.",
            )
            .buckets(vec![0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]),
        )?;
        registry.register(Box::new(init_duration.clone()))?;
        let bytes_dropped = IntCounter::new(
            names::RECORD_BYTES_DROPPED_TOTAL,
            "Record bytes thrown away unread: a file had grown beyond its bound.",
        )?;
        registry.register(Box::new(bytes_dropped.clone()))?;
        let outcomes = counters(
            names::NODE_CUDA_INIT_TOTAL,
            "Outcomes of CUDA initialisation on this node since the plugin's start.",
            &["outcome"],
        )?;
        for outcome in Outcome::ALL {
            outcomes.with_label_values(&[outcome.as_str()]);
        }
        let api_errors = counters(names::API_ERRORS_TOTAL, "Failed calls to the API server.", &["what"])?;
        for what in ["condition", "event", "watch"] {
            api_errors.with_label_values(&[what]);
        }
        Ok(Self {
            allocate,
            registrations: counters(
                names::REGISTRATIONS_TOTAL,
                "Registrations with the kubelet.",
                &["pool", "result"],
            )?,
            registered: gauges(names::REGISTERED, "1 while the kubelet listens to the pool.", &["pool"])?,
            pod_resources_errors: counters(
                names::POD_RESOURCES_ERRORS_TOTAL,
                "PodResources calls that failed.",
                &["code"],
            )?,
            bytes_dropped,
            api_errors,
            init_duration,
            outcomes,
            device_healthy: gauges(
                names::DEVICE_HEALTHY,
                "1 while a device is healthy.",
                &["pool", "device"],
            )?,
            devices: gauges(names::DEVICES, "Allocatable and allocated units.", &["pool", "state"])?,
            grants: gauges(names::GRANTS, "Grants on the node's disk.", &["state"])?,
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
