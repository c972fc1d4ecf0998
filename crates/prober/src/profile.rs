//! The name of an instance's profile.

use nvml_wrapper::struct_wrappers::device::DeviceAttributes;

const GIB: u64 = 1 << 30;

/// In the name of an instance, such as `NVIDIA H100 80GB HBM3 MIG 1g.10gb`.
pub(crate) fn in_name(name: &str) -> Option<String> {
    let (_, profile) = name.rsplit_once(" MIG ")?;
    let profile = profile.trim();
    (!profile.is_empty() && !profile.contains(' ')).then(|| profile.to_owned())
}

/// From what an instance has, where its name does not say it: slices of the card, and the eighths of its memory in whole
/// GB (NVIDIA, `go-nvlib`, `pkg/nvlib/device/mig_profile.go`); of a card whose memory is not told (0), its own. Media engines
/// are not told apart.
pub(crate) fn of_slices(has: &DeviceAttributes, whole: u64) -> String {
    let (gpu, compute) = (has.gpu_instance_slice_count, has.compute_instance_slice_count);
    let bytes = has.memory_size_mb.saturating_mul(1 << 20);
    let gigabytes = if whole == 0 {
        bytes.div_ceil(GIB)
    } else {
        let eighths = bytes.saturating_mul(8).div_ceil(whole);
        eighths.saturating_mul(whole.div_ceil(GIB)).saturating_add(4) / 8
    };
    let computing = if compute == gpu { String::new() } else { format!("{compute}c.") };
    format!("{computing}{gpu}g.{gigabytes}gb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_the_profile_behind_the_model() {
        assert_eq!(in_name("NVIDIA H100 80GB HBM3 MIG 1g.10gb").as_deref(), Some("1g.10gb"));
        assert_eq!(in_name("NVIDIA A100-SXM4-40GB MIG 1g.5gb+me").as_deref(), Some("1g.5gb+me"));
        for name in ["NVIDIA H100 80GB HBM3", "MIG 1g.10gb", "NVIDIA MIG ", "A MIG card of ours"] {
            assert_eq!(in_name(name), None, "{name}");
        }
    }

    #[test]
    fn slices_and_eighths_of_the_memory_name_the_others() {
        let named = |gpu, compute, mebibytes, whole_mebibytes: u64| {
            let has = DeviceAttributes {
                multiprocessor_count: 0,
                shared_copy_engine_count: 0,
                shared_decoder_count: 0,
                shared_encoder_count: 0,
                shared_jpeg_count: 0,
                shared_ofa_count: 0,
                gpu_instance_slice_count: gpu,
                compute_instance_slice_count: compute,
                memory_size_mb: mebibytes,
            };
            of_slices(&has, whole_mebibytes << 20)
        };
        // An A100 of 40 GB, and an H100 of 80 GB (NVIDIA, MIG User Guide).
        assert_eq!(named(1, 1, 4864, 40_960), "1g.5gb");
        assert_eq!(named(3, 3, 20_096, 40_960), "3g.20gb");
        assert_eq!(named(3, 1, 20_096, 40_960), "1c.3g.20gb");
        assert_eq!(named(1, 1, 9984, 81_559), "1g.10gb");
        assert_eq!(named(7, 7, 81_008, 81_559), "7g.80gb");
        assert_eq!(named(1, 1, 9984, 0), "1g.10gb");
        assert_eq!(named(0, 0, 0, 0), "0g.0gb");
    }
}
