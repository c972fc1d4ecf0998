//! The pools, read again when their file changes: a new pool needs no restart.

use crate::metrics::Metrics;
use arc_swap::ArcSwap;
use firstlight_contract::pools::Pools;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Reads a file of pools, again and again.
#[derive(Debug)]
pub struct Reload {
    /// The file.
    pub file: PathBuf,
    /// How often.
    pub every: Duration,
    /// The pools in use.
    pub pools: Arc<ArcSwap<Pools>>,
    /// Failures.
    pub metrics: Metrics,
}

impl Reload {
    /// Runs until the process ends.
    pub async fn run(self) {
        let mut told = None;
        loop {
            tokio::time::sleep(self.every).await;
            self.look(&mut told);
        }
    }

    /// Uses what is new and good. What is bad is told once; the old pools stay.
    fn look(&self, told: &mut Option<String>) {
        let read = std::fs::read_to_string(&self.file)
            .map_err(|error| error.to_string())
            .and_then(|text| Pools::parse(&text).map_err(|error| error.to_string()));
        match read {
            Ok(pools) => {
                *told = None;
                if pools != **self.pools.load() {
                    tracing::info!(pools = pools.pools.len(), "new configuration");
                    self.pools.store(Arc::new(pools));
                }
            }
            Err(problem) if told.as_ref() == Some(&problem) => {}
            Err(problem) => {
                self.metrics.config_failures.inc();
                tracing::error!("{}: {problem}; the old pools stay", self.file.display());
                *told = Some(problem);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_pool_is_known_and_a_bad_file_leaves_the_old_ones() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let reload = Reload {
            file: file.path().to_owned(),
            every: Duration::from_secs(10),
            pools: Arc::default(),
            metrics: Metrics::new().unwrap(),
        };
        let mut told = None;
        let mut write = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            reload.look(&mut told);
            reload.look(&mut told);
            reload.pools.load().pools.len()
        };
        assert_eq!(write("pools: [{name: a, kind: simulated}]"), 1);
        assert_eq!(write("pools: [{name: a, kind: magic}]"), 1);
        assert_eq!(write("pools: [{name: a, kind: simulated}, {name: b, kind: simulated}]"), 2);
        assert_eq!(reload.metrics.config_failures.get(), 1);
    }
}
