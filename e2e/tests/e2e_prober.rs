//! What the prober tells decides about cards: tests that change the installation.

use anyhow::Result;
use firstlight_e2e::harness::cards::uuid;
use firstlight_e2e::harness::install;
use firstlight_e2e::harness::scenario::{Scenario, scenario, then_always};

/// A card is unhealthy for this reason.
fn unhealthy(s: &Scenario, number: u32, reason: &str) -> Result<()> {
    let series =
        format!("firstlight_device_unhealthy_info{{device=\"{}\",reason=\"{reason}\"}}", uuid(number));
    s.metric(&series, |found| found.value > 0.0).map(drop)
}

#[test]
#[ignore = "needs the local cluster"]
fn cards_that_are_too_small_or_at_which_nvml_hangs_are_not_offered_until_that_is_over() -> Result<()> {
    scenario(|s| {
        let checks = || {
            // More than a card has: only NVML knows. The agent remembers, and is not ready from its start on.
            install::chart_that_is_never_ready(&["pools[6].memory=64GiB"])?;
            unhealthy(s, 3, "memory-exceeded")?;
            s.offered("cards", "2")?;

            // Taken back: the agent that stayed has the kubelet again.
            install::chart(&[])?;
            s.offered("told", "2")?;
            s.offered("cards", "2")?;

            // It hangs at every card, which each process learns of the one it asks first: of another than the ones before.
            // The pool of instances waits for it.
            install::chart_that_is_never_ready(&[
                "pools[6].memory=40GiB",
                "prober.env[2].name=FIRSTLIGHT_SIMULATE",
                "prober.env[2].value=hang=nvmlDeviceGetMemoryInfo_v2:600",
                "prober.env[3].name=FIRSTLIGHT_PROBER_DEADLINE_SECONDS",
                "prober.env[3].value=5.5",
            ])?;
            for number in [0, 1] {
                s.prober_says(&format!(
                    "while it asked nvmlDeviceGetMemoryInfo of {}: its process was killed",
                    uuid(number)
                ))?;
                unhealthy(s, number, "nvml-hangs")?;
            }
            s.offered("cards", "0")
        };
        then_always(checks, || install::chart(&[]))?;
        s.offered("cards", "2")
    })
}
