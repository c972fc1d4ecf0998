//! What the node's Prometheus scrapes.

use std::path::Path;

/// Finds the pods to scrape and writes them where [`config`] looks.
pub(super) const DISCOVERY: &str = include_str!("discovery.py");

/// Scrapes the pods that [`DISCOVERY`] writes to `targets`.
///
/// `honor_labels`: the plugin's series carry the namespace and pod they speak of, not the plugin's own.
pub(super) fn config(targets: &Path) -> String {
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
scrape_configs:
  - job_name: pods
    honor_labels: true
    file_sd_configs: [{{files: ['{}']}}]
",
        targets.display()
    )
}
