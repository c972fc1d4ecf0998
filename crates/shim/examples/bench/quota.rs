//! What a quota adds to an allocation and its free, in front of a driver whose own share of the time is small, and to a
//! launch.

use crate::calls::{Work, calls_of};
use crate::{Failure, line, open, symbol};
use std::cell::Cell;
use std::ffi::c_void;
use std::path::Path;

type Allocate = unsafe extern "C" fn(*mut u64, usize) -> i32;
type Free = unsafe extern "C" fn(u64) -> i32;

/// Bytes of an allocation.
const BYTES: usize = 4096;

/// Calls through the shim, which is preloaded with a grant that has a quota, and calls of the driver itself.
pub(crate) fn quota(driver: &Path) -> Result<bool, Failure> {
    let (direct, shim) = (open(driver)?, open(Path::new("libcuda.so.1"))?);
    let work = Work::begin(shim)?;
    let (base, ours) = (Pair::of(direct)?, Pair::of(shim)?);
    let (mut met, mut live) = (true, 0_usize);
    for wanted in [0, 10_000, 50_000] {
        while live < wanted {
            ours.allocate()?;
            live += 1;
        }
        for threads in [1, 2] {
            let what = format!("cuMemAlloc and cuMemFree, {wanted:>6} live, {threads} threads");
            met &= line(&what, work.added(threads, || base.both(), || ours.both()), 60.0, "ns");
        }
    }
    launched(&work, (direct, shim), f64::INFINITY)?;
    Ok(met)
}

/// A launch under a quota, in front of a driver that does something for it.
pub(crate) fn launch(driver: &Path) -> Result<bool, Failure> {
    let (direct, shim) = (open(driver)?, open(Path::new("libcuda.so.1"))?);
    launched(&Work::begin(shim)?, (direct, shim), 2.0)
}

fn launched(work: &Work, (direct, shim): (*mut c_void, *mut c_void), bar: f64) -> Result<bool, Failure> {
    let (base, ours) = (calls_of(direct, work)?, calls_of(shim, work)?);
    Ok(line("cuLaunchKernel (counted), under a quota", work.added(1, base, ours), bar, "ns"))
}

/// An allocation and its free.
#[derive(Clone, Copy)]
struct Pair {
    allocate: Allocate,
    free: Free,
}

impl Pair {
    fn of(library: *mut c_void) -> Result<Self, Failure> {
        let find = |name: &str| symbol(library, name);
        Ok(Self {
            // SAFETY: cuda.h: cuMemAlloc_v2.
            allocate: unsafe { std::mem::transmute::<*mut c_void, Allocate>(find("cuMemAlloc_v2")?) },
            // SAFETY: cuda.h: cuMemFree_v2.
            free: unsafe { std::mem::transmute::<*mut c_void, Free>(find("cuMemFree_v2")?) },
        })
    }

    fn allocate(self) -> Result<u64, Failure> {
        let mut address = 0;
        // SAFETY: the out-pointer is valid.
        match unsafe { (self.allocate)(&raw mut address, BYTES) } {
            0 => Ok(address),
            code => Err(format!("cuMemAlloc answered {code}").into()),
        }
    }

    fn both(self) {
        let address = Cell::new(0_u64);
        // SAFETY: the out-pointer is valid.
        let taken = unsafe { (self.allocate)(address.as_ptr(), BYTES) };
        // SAFETY: what was just allocated.
        let freed = unsafe { (self.free)(address.get()) };
        assert_eq!((taken, freed), (0, 0), "a call that fails takes another way");
    }
}
