//! The driver's functions by name, as `cuGetProcAddress` finds them.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "only in what the compiler evaluates: an index or a length beyond bounds does not compile"
)]

use crate::function::{DRIVER_FUNCTIONS, Function};

/// The rows of [`DRIVER_FUNCTIONS`], ordered by name: a runtime looks some 440 names up when it starts.
static BY_NAME: [u16; DRIVER_FUNCTIONS.len()] = {
    let mut rows = [0; DRIVER_FUNCTIONS.len()];
    let mut row = 0;
    while row < rows.len() {
        let mut place = row;
        while place > 0
            && is_less(DRIVER_FUNCTIONS[row].name, DRIVER_FUNCTIONS[rows[place - 1] as usize].name)
        {
            rows[place] = rows[place - 1];
            place -= 1;
        }
        rows[place] = row as u16;
        row += 1;
    }
    rows
};

/// `left < right`, for the compiler.
const fn is_less(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut at = 0;
    while at < left.len() && at < right.len() && left[at] == right[at] {
        at += 1;
    }
    at < right.len() && (at == left.len() || left[at] < right[at])
}

/// The driver's functions of a name, one for each ABI and kind of stream.
fn named(name: &str) -> impl Iterator<Item = &'static Function> {
    let row = |row: &u16| DRIVER_FUNCTIONS.get(usize::from(*row));
    let first = BY_NAME.partition_point(|at| row(at).is_some_and(|function| function.name < name));
    let rest = BY_NAME.get(first..).unwrap_or(&[]).iter().filter_map(row);
    rest.take_while(move |function| function.name == name)
}

/// `cuGraphInstantiate` asked at 12000 or later is `cuGraphInstantiateWithFlags` (cuda.h 12 maps the name).
const RENAMED: (&str, u32, &str) = ("cuGraphInstantiate", 12000, "cuGraphInstantiateWithFlags");

/// What `cuGetProcAddress` hands out for a name at a version: the newest ABI not newer than asked, for the
/// per-thread default stream where that was asked and a variant exists (CUDA driver API, *Driver Entry Point
/// Access*).
pub fn resolve(name: &str, version: u32, per_thread: bool) -> Option<&'static Function> {
    let name = if name == RENAMED.0 && version >= RENAMED.1 { RENAMED.2 } else { name };
    let newest = |thread: bool| {
        named(name)
            .filter(|function| function.per_thread == thread)
            .filter_map(|function| {
                let known = function.versions.iter().copied().filter(|known| *known <= version).max()?;
                Some((known, function))
            })
            .max_by_key(|(known, _)| *known)
            .map(|(_, function)| function)
    };
    if per_thread { newest(true).or_else(|| newest(false)) } else { newest(false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_asked_at_two_versions_resolve_to_different_abis() {
        let pairs: [(&str, u32, &str); 34] = [
            ("cuGetProcAddress", 11030, "cuGetProcAddress"),
            ("cuGetProcAddress", 12000, "cuGetProcAddress_v2"),
            ("cuEventElapsedTime", 2000, "cuEventElapsedTime"),
            ("cuEventElapsedTime", 12080, "cuEventElapsedTime_v2"),
            ("cuGraphAddNode", 12020, "cuGraphAddNode"),
            ("cuGraphAddNode", 12030, "cuGraphAddNode_v2"),
            ("cuGraphAddDependencies", 10000, "cuGraphAddDependencies"),
            ("cuGraphAddDependencies", 12030, "cuGraphAddDependencies_v2"),
            ("cuGraphInstantiate", 10000, "cuGraphInstantiate"),
            ("cuGraphInstantiate", 11000, "cuGraphInstantiate_v2"),
            ("cuGraphInstantiate", 12000, "cuGraphInstantiateWithFlags"),
            ("cuIpcOpenMemHandle", 4010, "cuIpcOpenMemHandle"),
            ("cuIpcOpenMemHandle", 11000, "cuIpcOpenMemHandle_v2"),
            ("cuMemAdvise", 8000, "cuMemAdvise"),
            ("cuMemAdvise", 12020, "cuMemAdvise_v2"),
            ("cuMemPrefetchAsync", 8000, "cuMemPrefetchAsync"),
            ("cuMemPrefetchAsync", 12020, "cuMemPrefetchAsync_v2"),
            ("cuStreamBeginCapture", 10000, "cuStreamBeginCapture"),
            ("cuStreamBeginCapture", 10010, "cuStreamBeginCapture_v2"),
            ("cuStreamGetCaptureInfo", 10010, "cuStreamGetCaptureInfo"),
            ("cuStreamGetCaptureInfo", 11030, "cuStreamGetCaptureInfo_v2"),
            ("cuStreamGetCaptureInfo", 12030, "cuStreamGetCaptureInfo_v3"),
            ("cuDeviceGetUuid", 9020, "cuDeviceGetUuid"),
            ("cuDeviceGetUuid", 11040, "cuDeviceGetUuid_v2"),
            ("cuCtxGetDevice", 2000, "cuCtxGetDevice"),
            ("cuCtxGetDevice", 13000, "cuCtxGetDevice_v2"),
            ("cuCtxSynchronize", 2000, "cuCtxSynchronize"),
            ("cuCtxSynchronize", 13000, "cuCtxSynchronize_v2"),
            ("cuLaunchHostFunc", 10000, "cuLaunchHostFunc"),
            ("cuLaunchHostFunc", 13010, "cuLaunchHostFunc_v2"),
            ("cuMemcpyBatchAsync", 13000, "cuMemcpyBatchAsync_v2"),
            ("cuStreamGetCtx", 12050, "cuStreamGetCtx_v2"),
            ("cuDevicePrimaryCtxRelease", 7000, "cuDevicePrimaryCtxRelease"),
            ("cuMemAlloc", 3020, "cuMemAlloc_v2"),
        ];
        for (name, version, symbol) in pairs {
            assert_eq!(
                resolve(name, version, false).map(|function| function.symbol),
                Some(symbol),
                "{name}@{version}"
            );
        }
    }

    #[test]
    fn the_per_thread_default_stream_gets_its_variant_where_there_is_one() {
        let symbol = |name| resolve(name, 12000, true).map(|function| function.symbol);
        assert_eq!(symbol("cuMemcpyHtoD"), Some("cuMemcpyHtoD_v2_ptds"));
        assert_eq!(symbol("cuLaunchKernel"), Some("cuLaunchKernel_ptsz"));
        assert_eq!(symbol("cuInit"), Some("cuInit"));
    }

    #[test]
    fn a_name_nobody_declares_or_a_version_before_its_time_finds_nothing() {
        assert_eq!(resolve("cuCoffee", 13000, false), None);
        assert_eq!(resolve("", 0, false), None);
        assert_eq!(resolve("cuLibraryLoadData", 11000, false), None);
    }
}
