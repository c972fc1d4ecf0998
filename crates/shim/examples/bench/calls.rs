//! What a call costs more through the shim than straight into the driver.

use crate::{Failure, line, median, open, symbol};
use std::ffi::{CStr, c_void};
use std::hint::black_box;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

type Launch = unsafe extern "C" fn(usize, u32, u32, u32, u32, u32, u32, u32, usize, usize, usize) -> i32;
type Two = unsafe extern "C" fn(*mut usize, *mut usize) -> i32;

/// A kernel that does nothing, for every driver (PTX ISA 6.0).
const KERNEL: &CStr =
    c".version 6.0\n.target sm_50\n.address_size 64\n.visible .entry kernel()\n{\nret;\n}\n";
/// Calls in one measurement, in batches, fewer where they take longer than this; measurements of each side.
const CALLS: u32 = 200_000;
const BATCH: u32 = 5_000;
const LONG: Duration = Duration::from_millis(40);
const ROUNDS: usize = 41;

/// Calls through the shim, which is preloaded, and calls of the driver itself.
pub(crate) fn calls(driver: &Path, barred: bool) -> Result<bool, Failure> {
    let bar = |bar: f64| if barred { bar } else { f64::INFINITY };
    let (direct, shim) = (open(driver)?, open(Path::new("libcuda.so.1"))?);
    let pair = |name: &str| -> Result<(*mut c_void, *mut c_void), Failure> {
        Ok((symbol(direct, name)?, symbol(shim, name)?))
    };
    let (init, ours) = pair("cuInit")?;
    if init == ours {
        return Err("the shim is not in this process".into());
    }
    let work = Work::begin(shim)?;
    let two = |address| {
        // SAFETY: cuMemGetInfo takes two out-pointers, cuCtxGetCurrent one and does not look at the second.
        let function = unsafe { std::mem::transmute::<*mut c_void, Two>(address) };
        move || {
            let mut values = [0_usize; 2];
            let [first, second] = &mut values;
            // SAFETY: both are valid for writes.
            black_box(unsafe { function(first, second) });
            black_box(values);
        }
    };
    let launch = |address| work.launch(address);
    let mut met = true;
    let (base, ours) = pair("cuCtxGetCurrent")?;
    met &= line("cuCtxGetCurrent (forwarded)", work.added(1, two(base), two(ours)), bar(2.0), "ns");
    let (base, ours) = pair("cuMemGetInfo_v2")?;
    met &= line("cuMemGetInfo", work.added(1, two(base), two(ours)), bar(5.0), "ns");
    let (base, ours) = pair("cuLaunchKernel")?;
    met &=
        line("cuLaunchKernel (counted), 1 thread", work.added(1, launch(base), launch(ours)), bar(2.0), "ns");
    met &= line(
        "cuLaunchKernel (counted), 2 threads",
        work.added(2, launch(base), launch(ours)),
        bar(2.0),
        "ns",
    );
    // A runner waits a dozen times for each token; each time the shim looks whether the count is to be written.
    let (launch_base, launch_ours) = (launch(base), launch(ours));
    let (base, ours) = pair("cuStreamSynchronize")?;
    let wait = |address| {
        // SAFETY: cuda.h: `CUresult cuStreamSynchronize(CUstream)`.
        let function =
            unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn(usize) -> i32>(address) };
        // SAFETY: the default stream.
        move || assert_eq!(unsafe { function(0) }, 0, "a wait that fails takes another way")
    };
    let (wait_base, wait_ours) = (wait(base), wait(ours));
    let both = |launch: &dyn Fn(), wait: &dyn Fn()| {
        launch();
        wait();
    };
    let added = work.added(1, || both(&launch_base, &wait_base), || both(&launch_ours, &wait_ours));
    line("cuLaunchKernel and cuStreamSynchronize", added, f64::INFINITY, "ns");
    Ok(met)
}

/// A launch through a library.
pub(crate) fn calls_of(library: *mut c_void, work: &Work) -> Result<impl Fn() + Sync + use<>, Failure> {
    Ok(work.launch(symbol(library, "cuLaunchKernel")?))
}

/// A context and a kernel in it.
pub(crate) struct Work {
    context: usize,
    enter: unsafe extern "C" fn(usize) -> i32,
    kernel: usize,
}

impl Work {
    fn launch(&self, address: *mut c_void) -> impl Fn() + Sync + use<> {
        // SAFETY: cuda.h: cuLaunchKernel.
        let function = unsafe { std::mem::transmute::<*mut c_void, Launch>(address) };
        let kernel = self.kernel;
        move || {
            // SAFETY: a kernel without parameters, on the default stream.
            let code = black_box(unsafe { function(kernel, 1, 1, 1, 32, 1, 1, 0, 0, 0, 0) });
            assert_eq!(code, 0, "a launch that fails takes another way");
        }
    }

    pub(crate) fn begin(shim: *mut c_void) -> Result<Self, Failure> {
        macro_rules! function {
            ($name:literal, $type:ty) => {
                // SAFETY: the type is cuda.h's for this function, handles as words.
                unsafe { std::mem::transmute::<*mut c_void, $type>(symbol(shim, $name)?) }
            };
        }
        let done = |name: &str, code: i32| match code {
            0 => Ok(()),
            _ => Err(format!("{name} answered {code} behind the shim")),
        };
        let (mut context, mut module, mut kernel) = (0, 0, 0);
        let init = function!("cuInit", unsafe extern "C" fn(u32) -> i32);
        // SAFETY: as cuda.h has it.
        done("cuInit", unsafe { init(0) })?;
        let retain = function!("cuDevicePrimaryCtxRetain", unsafe extern "C" fn(*mut usize, i32) -> i32);
        // SAFETY: the out-pointer is valid.
        done("cuDevicePrimaryCtxRetain", unsafe { retain(&raw mut context, 0) })?;
        let enter = function!("cuCtxSetCurrent", unsafe extern "C" fn(usize) -> i32);
        // SAFETY: the context that was just retained.
        done("cuCtxSetCurrent", unsafe { enter(context) })?;
        let load = function!("cuModuleLoadData", unsafe extern "C" fn(*mut usize, *const u8) -> i32);
        // SAFETY: the out-pointer is valid, the image ends with a NUL.
        done("cuModuleLoadData", unsafe { load(&raw mut module, KERNEL.as_ptr().cast()) })?;
        let find =
            function!("cuModuleGetFunction", unsafe extern "C" fn(*mut usize, usize, *const u8) -> i32);
        // SAFETY: the out-pointer is valid, the name ends with a NUL.
        done("cuModuleGetFunction", unsafe { find(&raw mut kernel, module, c"kernel".as_ptr().cast()) })?;
        Ok(Self { context, enter, kernel })
    }

    /// Nanoseconds that a call takes longer: the median over rounds in which both sides take turns.
    pub(crate) fn added(&self, threads: usize, direct: impl Fn() + Sync, ours: impl Fn() + Sync) -> f64 {
        direct();
        ours();
        let mut differences: Vec<f64> = (0..ROUNDS)
            .map(|round| {
                // Who is first alternates, too.
                let (first, second) = if round % 2 == 0 {
                    (self.time(threads, &direct), self.time(threads, &ours))
                } else {
                    let late = self.time(threads, &ours);
                    (self.time(threads, &direct), late)
                };
                second - first
            })
            .collect();
        median(&mut differences)
    }

    /// Nanoseconds for a call, in each of several threads at once.
    fn time(&self, threads: usize, call: &(impl Fn() + Sync)) -> f64 {
        let together = Barrier::new(threads);
        let one = || {
            // SAFETY: a context that lives as long as the process.
            unsafe { (self.enter)(self.context) };
            call();
            together.wait();
            let begin = Instant::now();
            let mut calls = 0;
            while calls < CALLS && begin.elapsed() < LONG {
                for _ in 0..BATCH {
                    call();
                }
                calls += BATCH;
            }
            begin.elapsed().as_secs_f64() / f64::from(calls)
        };
        let sum: f64 = std::thread::scope(|scope| {
            let running: Vec<_> = (1..threads).map(|_| scope.spawn(one)).collect();
            let own = one();
            own + running.into_iter().filter_map(|thread| thread.join().ok()).sum::<f64>()
        });
        sum * 1e9 / f64::from(u32::try_from(threads).unwrap_or(1))
    }
}
