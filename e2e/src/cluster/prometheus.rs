//! What the node's Prometheus scrapes.

use std::path::Path;

/// Pods with a container port named `metrics`, and pods annotated `prometheus.io/scrape: "true"`.
///
/// `honor_labels`: the plugin's series carry the namespace and pod they speak of, not the plugin's own.
pub(super) fn config(kubeconfig: &Path) -> String {
    let discovery = format!("    kubernetes_sd_configs: [{{role: pod, kubeconfig_file: '{}'}}]", kubeconfig.display());
    let common = "      - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
      - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
      - {source_labels: [__meta_kubernetes_pod_node_name], target_label: node}";
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
scrape_configs:
  - job_name: metrics-port
    honor_labels: true
{discovery}
    relabel_configs:
      - {{source_labels: [__meta_kubernetes_pod_container_port_name], regex: metrics, action: keep}}
      - {{source_labels: [__meta_kubernetes_pod_phase], regex: Running, action: keep}}
{common}
  - job_name: annotated
    honor_labels: true
{discovery}
    relabel_configs:
      - {{source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], regex: 'true', action: keep}}
      - {{source_labels: [__meta_kubernetes_pod_container_port_name], regex: metrics, action: drop}}
      - {{source_labels: [__meta_kubernetes_pod_phase], regex: Running, action: keep}}
      - source_labels: [__meta_kubernetes_pod_ip, __meta_kubernetes_pod_annotation_prometheus_io_port]
        regex: '(.+);(.+)'
        replacement: '$1:$2'
        target_label: __address__
      - {{source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path], regex: '(.+)', target_label: __metrics_path__}}
{common}
"
    )
}
