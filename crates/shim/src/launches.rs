//! Launches, counted per thread: a shared counter would cost every launch 4–20 ns.
#![expect(unsafe_code, reason = "a slab of counters that threads own one by one")]

use crate::recorder::{Note, RECORDER};
use crate::sys::{self, Clock, shared};
use crate::thread;
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst,
};
use firstlight_contract::record::Kind;

/// Counters of one thread, on a cache line of its own. Only the thread that owns it writes (by a plain increment
/// in the launch entries); anybody reads.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Node {
    /// Kernel launches.
    pub kernels: AtomicU64,
    /// Graph launches.
    pub graphs: AtomicU64,
    /// Their sum when the thread last looked whether the count is to be written.
    seen: AtomicU64,
}

impl Node {
    /// Whether the thread has launched since it last looked.
    fn has_grown(&self) -> bool {
        let sum = self.kernels.load(Relaxed).wrapping_add(self.graphs.load(Relaxed));
        if sum == self.seen.load(Relaxed) {
            return false;
        }
        self.seen.store(sum, Relaxed);
        true
    }
}

/// Threads that get counters of their own; later ones share the last, and its count may lose launches.
const MAX_THREADS: usize = 4096;
/// Least time between two records of the count.
const INTERVAL_NS: u64 = 1_000_000_000;

/// Nodes of all threads. The first belongs to none: it holds the sum that was written last, so that a forked child,
/// which sees the slab zeroed, starts with that at 0, too.
static SLAB: AtomicPtr<Node> = AtomicPtr::new(core::ptr::null_mut());
static USED: AtomicUsize = AtomicUsize::new(1);
static WRITTEN_AT: AtomicU64 = AtomicU64::new(0);
/// Ticks of the processor's counter between two looks at the clock: some 20 milliseconds.
const LOOK_TICKS: u64 = 1 << 26;
static LOOKED_AT: AtomicU64 = AtomicU64::new(0);

/// Where launches are counted when there is no memory for a slab.
static LAST_RESORT: Node =
    Node { kernels: AtomicU64::new(0), graphs: AtomicU64::new(0), seen: AtomicU64::new(0) };

/// With so many threads the sum over all is cheap.
const FEW_THREADS: usize = 16;

/// Counters for a thread that has none.
pub fn new_node() -> *const Node {
    let Some(slab) = shared::once(&SLAB, MAX_THREADS, sys::memory) else { return &raw const LAST_RESORT };
    let index = USED.fetch_add(1, SeqCst).min(MAX_THREADS - 1);
    slab.wrapping_add(index)
}

static BEGUN: AtomicBool = AtomicBool::new(false);

/// Remembers that something was launched.
pub fn begin() {
    BEGUN.store(true, Relaxed);
}

/// Whether anything was launched; the sum over all threads would tell, too, but not in a nanosecond.
pub fn have_begun() -> bool {
    BEGUN.load(Relaxed)
}

/// Kernel and graph launches of all threads so far.
fn total() -> (u64, u64) {
    let slab = SLAB.load(SeqCst);
    let mut sum = (LAST_RESORT.kernels.load(Relaxed), LAST_RESORT.graphs.load(Relaxed));
    if slab.is_null() {
        return sum;
    }
    for index in 1..USED.load(SeqCst).min(MAX_THREADS) {
        // SAFETY: the slab has MAX_THREADS nodes, and it is never freed.
        let node = unsafe { &*slab.wrapping_add(index) };
        sum.0 = sum.0.wrapping_add(node.kernels.load(Relaxed));
        sum.1 = sum.1.wrapping_add(node.graphs.load(Relaxed));
    }
    sum
}

/// Records the count if it grew and the last record is a second old, or if it has doubled since: a process that works
/// for less than a second and then waits shall not leave a count that is wrong by orders of magnitude.
///
/// A runner comes here a dozen times for each token: a system call each time would cost it half a percent. Nor does a
/// thread that has launched nothing sum up the counts of hundreds, who come here by themselves, each time.
pub fn flush() {
    if USED.load(Relaxed) > FEW_THREADS && !has_launched() && !is_due(sys::ticks()) {
        return;
    }
    let Some(grown) = grown() else {
        if USED.load(Relaxed) > FEW_THREADS {
            LOOKED_AT.store(sys::ticks(), Relaxed);
        }
        return;
    };
    let (ticks, doubled) = (sys::ticks(), grown.has_doubled());
    if !doubled && !is_due(ticks) {
        return;
    }
    LOOKED_AT.store(ticks, Relaxed);
    let at = WRITTEN_AT.load(Relaxed);
    let now = sys::now(Clock::MonotonicCoarse);
    let due = now.wrapping_sub(at) >= INTERVAL_NS || at == 0;
    if (due || doubled) && WRITTEN_AT.compare_exchange(at, now, SeqCst, SeqCst).is_ok() {
        grown.write();
    }
}

/// The same for a call that takes less time than a look at the clock: only after launches of the calling thread.
pub fn flush_own() {
    if has_launched() {
        flush();
    }
}

/// Whether the calling thread has launched since it was last asked.
fn has_launched() -> bool {
    let own = thread::present();
    // SAFETY: nodes are never freed.
    !own.is_null() && unsafe { &*own }.has_grown()
}

fn is_due(ticks: u64) -> bool {
    ticks.wrapping_sub(LOOKED_AT.load(Relaxed)) >= LOOK_TICKS
}

/// Records the count if it grew, when the process ends.
pub fn finish() {
    if let Some(grown) = grown() {
        grown.write();
    }
}

struct Grown {
    kernels: u64,
    graphs: u64,
    written: &'static AtomicU64,
}

/// The count, if it is another than the last one that was written.
fn grown() -> Option<Grown> {
    let slab = SLAB.load(SeqCst);
    if slab.is_null() {
        return None;
    }
    // SAFETY: the slab is never freed.
    let written = unsafe { &(*slab).kernels };
    let (kernels, graphs) = total();
    (kernels.wrapping_add(graphs) != written.load(Relaxed)).then_some(Grown { kernels, graphs, written })
}

impl Grown {
    fn sum(&self) -> u64 {
        self.kernels.wrapping_add(self.graphs)
    }

    fn has_doubled(&self) -> bool {
        self.sum() / 2 >= self.written.load(Relaxed)
    }

    fn write(&self) {
        self.written.store(self.sum(), Relaxed);
        RECORDER.write(&Note { arg0: self.kernels, arg1: self.graphs, ..Note::new(Kind::Launches, b"") });
    }
}
