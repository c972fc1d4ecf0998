//! Seats: the right to be observed. The GPU itself comes from another vendor's device plugin.

use super::{Driver, Health, Inventory, Links, PoolDevice, Snapshot, Unit};

/// An observer pool's seats.
#[derive(Clone, Debug)]
pub struct Observer {
    seats: Vec<String>,
}

impl Observer {
    /// `seats` containers at a time.
    pub fn new(seats: u32) -> Self {
        Self { seats: (0..seats).map(|seat| format!("seat-{seat}")).collect() }
    }
}

impl Inventory for Observer {
    fn probe(&self) -> Snapshot {
        let device = |seat: &String| PoolDevice {
            name: seat.clone(),
            health: Health::Healthy,
            numa: None,
            links: Links::default(),
            granted: None,
            nodes: Vec::new(),
            units: vec![Unit::whole(seat.clone())],
        };
        Snapshot { driver: Driver::Foreign, devices: self.seats.iter().map(device).collect(), remark: None }
    }
}
