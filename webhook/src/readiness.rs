//! Whether the API server should ask us, and if not, why.

use crate::tls::Serving;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Told by those who provide the certificate and by the end of the process; asked by `/readyz`.
#[derive(Debug)]
pub struct Readiness {
    serving: Arc<Serving>,
    obstacle: Mutex<Option<String>>,
    draining: AtomicBool,
}

impl Readiness {
    /// Not ready: there is no certificate yet.
    pub fn new(serving: Arc<Serving>) -> Self {
        Self {
            serving,
            obstacle: Mutex::new(Some("nobody has looked for a certificate yet".to_owned())),
            draining: AtomicBool::new(false),
        }
    }

    /// What stands between us and the first review. Once that was overcome, a later failure leaves us ready: the
    /// old certificate works until it expires.
    pub fn obstacle(&self, reason: impl Into<String>) {
        let mut obstacle = self.obstacle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(obstacle) = obstacle.as_mut() {
            *obstacle = reason.into();
        }
    }

    /// API servers can reach us.
    pub fn reachable(&self) {
        *self.obstacle.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The process is about to end.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Why no review should come here; `None` if it should.
    pub fn unready(&self, now: SystemTime) -> Option<String> {
        if self.is_draining() {
            return Some("draining: the process has been told to end".to_owned());
        }
        if let Some(obstacle) = self.obstacle.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Some(obstacle);
        }
        match self.serving.current() {
            None => Some("there is no certificate".to_owned()),
            Some(pair) => now
                .duration_since(pair.validity.until)
                .ok()
                .map(|over| format!("the certificate expired {} seconds ago", over.as_secs())),
        }
    }
}
