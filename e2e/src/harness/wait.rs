//! Waiting for something, and saying what was seen instead when it does not come.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(100);

/// What one look at a condition showed.
#[derive(Debug)]
pub enum Progress<T> {
    /// It holds.
    Done(T),
    /// It does not hold yet; the text says what is there instead.
    Waiting(String),
}

impl<T> Progress<T> {
    /// Not yet, with what was seen.
    pub fn waiting(seen: impl Into<String>) -> Self {
        Self::Waiting(seen.into())
    }
}

/// Looks until `look` is done, fails, or `patience` is over.
///
/// # Errors
/// What `look` fails with, or after `patience` a sentence with `what` was awaited and what was seen last.
pub fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Progress<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        match look()? {
            Progress::Done(value) => return Ok(value),
            Progress::Waiting(seen) if started.elapsed() >= patience => {
                let seen = if seen.trim().is_empty() { "nothing" } else { seen.trim() };
                bail!("waited {} s for {what}; last seen: {seen}", patience.as_secs());
            }
            Progress::Waiting(_) => std::thread::sleep(PERIOD),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_late_is_given_back() {
        let mut looks = 0;
        let value = wait_for("the third look", Duration::from_secs(5), || {
            looks += 1;
            Ok(if looks == 3 { Progress::Done(looks) } else { Progress::waiting("earlier") })
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn what_does_not_come_is_reported_with_what_was_seen_last() {
        let error =
            wait_for::<()>("a miracle", Duration::ZERO, || Ok(Progress::waiting("rain"))).unwrap_err();
        assert_eq!(error.to_string(), "waited 0 s for a miracle; last seen: rain");
    }

    #[test]
    fn a_look_that_fails_ends_the_wait_at_once() {
        let error =
            wait_for::<()>("a miracle", Duration::from_mins(1), || bail!("the world ended")).unwrap_err();
        assert_eq!(error.to_string(), "the world ended");
    }
}
