//! Looks at a pool's devices every few seconds. A device that failed is trusted again only after several good
//! looks in a row, so that one that comes and goes does not take pods with it.

use crate::book::Book;
use crate::clock;
use crate::device_events::Change;
use crate::inventory::{Driver, Health, Inventory, PoolDevice, Snapshot};
use crate::kubelet_list::number;
use crate::metrics::Metrics;
use firstlight_contract::metrics::{DriverWay, HealthReason};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(2);
/// Good looks in a row before a failed device is healthy again.
const GOOD_LOOKS: u32 = 3;

/// The task behind a pool's snapshot.
#[derive(Debug)]
pub struct Prober {
    pool: String,
    resource: String,
    inventory: Box<dyn Inventory>,
    sender: watch::Sender<Arc<Snapshot>>,
    good: BTreeMap<String, u32>,
    book: Arc<Book>,
    metrics: Arc<Metrics>,
}

impl Prober {
    /// Takes the first look at once.
    pub fn new(
        pool: &str,
        resource: String,
        inventory: Box<dyn Inventory>,
        book: Arc<Book>,
        metrics: Arc<Metrics>,
    ) -> (Self, watch::Receiver<Arc<Snapshot>>) {
        let first = Arc::new(inventory.probe());
        let (sender, receiver) = watch::channel(Arc::clone(&first));
        let prober =
            Self { pool: pool.to_owned(), resource, inventory, sender, good: BTreeMap::new(), book, metrics };
        // What fails at our start is news, too: whoever was told before may be gone.
        let nothing = Snapshot { driver: first.driver.clone(), devices: Vec::new(), remark: None };
        prober.announce(&nothing, &first);
        prober.tell(&first);
        (prober, receiver)
    }

    /// Runs until the process ends.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look();
        }
    }

    fn look(&mut self) {
        let before = Arc::clone(&self.sender.borrow());
        let now = Arc::new(self.settle(&before, self.inventory.probe()));
        if *now != *before {
            self.announce(&before, &now);
            self.tell(&now);
            self.sender.send_replace(now);
        }
    }

    /// The new look, with devices that failed kept unhealthy until they were good often enough.
    fn settle(&mut self, before: &Snapshot, mut now: Snapshot) -> Snapshot {
        for device in &mut now.devices {
            let known = before.devices.iter().find(|known| known.name == device.name);
            match (known.map(|known| &known.health), &device.health) {
                (Some(Health::Unhealthy(fault)), Health::Healthy) => {
                    let good = self.good.entry(device.name.clone()).or_default();
                    *good += 1;
                    if *good < GOOD_LOOKS {
                        device.health = Health::Unhealthy(fault.clone());
                    }
                }
                _ => {
                    self.good.remove(&device.name);
                }
            }
        }
        now
    }

    /// Says what changed: a device that failed, one that works again.
    fn announce(&self, before: &Snapshot, now: &Snapshot) {
        if before.remark != now.remark {
            let remark = now.remark.as_deref().unwrap_or("nothing: every card of the pool is listed");
            tracing::info!(pool = self.pool, remark, "cards");
        }
        if let (Some(way), true) =
            (now.driver.way(), before.driver != now.driver || before.devices.is_empty())
        {
            let version = match &now.driver {
                Driver::Direct(direct) => direct.set.as_ref().map_or("none", |set| set.version.as_str()),
                _ => "as the container runtime brings it",
            };
            tracing::info!(pool = self.pool, version, mode = way.as_str(), "driver");
        }
        for device in &now.devices {
            let known = before.devices.iter().find(|known| known.name == device.name);
            let unhealthy = match (known.map(|known| &known.health), &device.health) {
                (Some(Health::Healthy) | None, Health::Unhealthy(fault)) => Some(fault.sentence.clone()),
                (Some(Health::Unhealthy(_)), Health::Healthy) => None,
                _ => continue,
            };
            let (pool, device) = (self.pool.clone(), device.name.clone());
            self.book.changes.push(Change { pool, device, unhealthy, time_ns: clock::now_ns() });
        }
    }

    /// At most one reason stands at a time.
    fn reason(&self, device: &PoolDevice) {
        for reason in HealthReason::ALL {
            let labels = [self.pool.as_str(), device.name.as_str(), reason.as_str()];
            match &device.health {
                Health::Unhealthy(fault) if fault.reason == reason => {
                    self.metrics.device_unhealthy.with_label_values(&labels).set(1.0);
                }
                // Most were never set; that is no mistake.
                _ => drop(self.metrics.device_unhealthy.remove_label_values(&labels)),
            }
        }
    }

    /// At most one way stands at a time.
    fn way(&self, driver: &Driver) {
        for way in DriverWay::ALL {
            let labels = [self.pool.as_str(), way.as_str()];
            if driver.way() == Some(way) {
                self.metrics.pool_driver.with_label_values(&labels).set(1.0);
            } else {
                // Most were never set; that is no mistake.
                drop(self.metrics.pool_driver.remove_label_values(&labels));
            }
        }
    }

    fn tell(&self, snapshot: &Snapshot) {
        self.way(&snapshot.driver);
        let mut unhealthy = BTreeSet::new();
        let mut allocatable = 0;
        for device in &snapshot.devices {
            let healthy = device.health.is_healthy();
            // A seat beside another vendor's plugin is no device.
            if snapshot.driver != Driver::Foreign {
                self.metrics
                    .device_healthy
                    .with_label_values(&[self.pool.as_str(), &device.name])
                    .set(if healthy { 1.0 } else { 0.0 });
            }
            self.reason(device);
            match &device.health {
                Health::Healthy => allocatable += device.units.len(),
                Health::Unhealthy(fault) => {
                    let reason = &fault.sentence;
                    tracing::warn!(pool = self.pool, device = device.name, reason, "unhealthy");
                    unhealthy.extend(device.units.iter().map(|unit| unit.id.clone()));
                }
            }
        }
        self.metrics.devices.with_label_values(&[self.pool.as_str(), "allocatable"]).set(number(allocatable));
        self.book.set_unhealthy(&self.resource, unhealthy);
    }
}

#[cfg(test)]
mod tests;
