//! Traces in the words of the domain, for tests.

use crate::facts::{ContainerState, Facts};
use crate::{Container, Verdict};
use firstlight_contract::decode::{Entry, Item};
use firstlight_contract::grant::PoolKind;
use firstlight_contract::record::{Caller, Kind, NO_FUNCTION, Record, Refusal, Role};
use firstlight_contract::text::ForeignText;
use firstlight_driver_api::by_symbol;

pub(crate) const SECOND: u64 = 1_000_000_000;
/// When tests begin.
pub(crate) const EPOCH: u64 = 1_700_000_000 * SECOND;
pub(crate) const DRIVER: &str = "/opt/firstlight/driver/libcuda.so.1";
pub(crate) const CUDART_12: &str = "/usr/lib/ollama/cuda_v12/libcudart.so.12";
pub(crate) const CUDART_13: &str = "/usr/lib/ollama/cuda_v13/libcudart.so.13";

/// errno.h
pub(crate) const ENOENT: i32 = 2;
pub(crate) const EACCES: i32 = 13;

/// The records of one process, a millisecond apart.
#[derive(Clone)]
pub(crate) struct Trace {
    pid: u32,
    now_ns: u64,
    caller: Caller,
    pub(crate) entries: Vec<Entry>,
}

impl Trace {
    /// A process that started this many seconds after the epoch.
    pub(crate) fn start(pid: u32, role: Role, second: u64) -> Self {
        Self::start_with(pid, role, second, 0)
    }

    /// The same, with bits of its start record.
    pub(crate) fn start_with(pid: u32, role: Role, second: u64, bits: u64) -> Self {
        let mut trace =
            Self { pid, now_ns: EPOCH + second * SECOND, caller: Caller::Runtime, entries: Vec::new() };
        trace.push(Kind::Start, NO_FUNCTION, 0, (role as u64, bits), role.as_str());
        trace
    }

    pub(crate) fn push(&mut self, kind: Kind, function: u16, result: i32, args: (u64, u64), text: &str) {
        let record = Record {
            kind,
            time_ns: self.now_ns,
            pid: self.pid,
            tid: self.pid,
            process: u64::from(self.pid) * 1_000,
            sequence: u32::try_from(self.entries.len()).unwrap(),
            function,
            caller: self.caller,
            result,
            arg0: args.0,
            arg1: args.1,
        };
        self.entries.push(Entry { record, text: ForeignText::new(text.as_bytes()) });
        self.now_ns += 1_000_000;
    }

    pub(crate) fn called_by(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }

    pub(crate) fn later(mut self, seconds: u64) -> Self {
        self.now_ns += seconds * SECOND;
        self
    }

    pub(crate) fn opens(mut self, path: &str) -> Self {
        self.push(Kind::DriverOpened, NO_FUNCTION, 0, (0, 0), path);
        self
    }

    /// Begins to open a driver.
    pub(crate) fn begins_to_open(mut self, path: &str) -> Self {
        self.push(Kind::DriverOpening, NO_FUNCTION, 0, (0, 0), path);
        self
    }

    pub(crate) fn misses_driver(mut self, paths: &[(&str, i32)]) -> Self {
        for (path, errno) in paths {
            self.push(Kind::DriverSearched, NO_FUNCTION, *errno, (0, 0), path);
        }
        self.push(Kind::DriverMissing, NO_FUNCTION, 0, (paths.len() as u64, 0), "");
        self
    }

    pub(crate) fn runtime(mut self, path: &str) -> Self {
        self.push(Kind::Module, NO_FUNCTION, 0, (0, 0), path);
        self
    }

    pub(crate) fn enters(mut self, symbol: &str) -> Self {
        self.push(Kind::CallEntered, by_symbol(symbol).unwrap().id, 0, (0, 0), "");
        self
    }

    pub(crate) fn gets(mut self, symbol: &str, code: i32) -> Self {
        self.push(Kind::CallReturned, by_symbol(symbol).unwrap().id, code, (0, 0), "");
        self
    }

    /// The call came again with the same code.
    pub(crate) fn gets_again(mut self, symbol: &str, code: i32) -> Self {
        self.push(Kind::Repeated, by_symbol(symbol).unwrap().id, code, (1, 0), "");
        self
    }

    pub(crate) fn gets_with(mut self, symbol: &str, code: i32, args: (u64, u64)) -> Self {
        self.push(Kind::CallReturned, by_symbol(symbol).unwrap().id, code, args, "");
        self
    }

    /// The quota refuses memory of the grant's device 0, and the caller gets 2.
    pub(crate) fn quota_refuses(self, symbol: &str, asked: u64, why: Refusal, detail: &str) -> Self {
        self.quota_refuses_for(symbol, asked, why as u64, detail)
    }

    /// The same with the number of a reason that may be unknown.
    pub(crate) fn quota_refuses_for(mut self, symbol: &str, asked: u64, why: u64, detail: &str) -> Self {
        let id = by_symbol(symbol).unwrap().id;
        self.push(Kind::QuotaRefused, id, 2, (asked, why << 32), detail);
        self
    }

    /// The process has this variable.
    pub(crate) fn has(mut self, variable: &str) -> Self {
        self.push(Kind::Environment, NO_FUNCTION, 0, (0, 0), variable);
        self
    }

    /// The process finds a device node of the driver so: errno of `access(2)`.
    pub(crate) fn finds(mut self, path: &str, errno: i32) -> Self {
        const NVIDIA: u64 = 195 << 8;
        self.push(Kind::DeviceNode, NO_FUNCTION, errno, (if errno == ENOENT { 0 } else { NVIDIA }, 0), path);
        self
    }

    pub(crate) fn unanswered(mut self, name: &str, code: i32) -> Self {
        self.push(Kind::LookupUnanswered, NO_FUNCTION, code, (12_080, 0), name);
        self
    }

    pub(crate) fn table(mut self, name: &str, code: i32) -> Self {
        let uuid = firstlight_driver_api::tables::by_name(name).unwrap().uuid;
        let half = |range: std::ops::Range<usize>| u64::from_le_bytes(uuid[range].try_into().unwrap());
        self.push(Kind::TableAsked, NO_FUNCTION, code, (half(0..8), half(8..16)), "");
        self
    }

    pub(crate) fn launches(mut self, kernels: u64) -> Self {
        self.push(Kind::Launches, NO_FUNCTION, 0, (kernels, 0), "");
        self
    }

    pub(crate) fn launches_graphs(mut self, graphs: u64) -> Self {
        self.push(Kind::Launches, NO_FUNCTION, 0, (0, graphs), "");
        self
    }

    /// Version and `cuInit` as they should be.
    pub(crate) fn initialises(self) -> Self {
        self.opens(DRIVER).gets_with("cuDriverGetVersion", 0, (13_000, 0)).enters("cuInit").gets("cuInit", 0)
    }

    /// Everything up to the runtime's list of devices.
    pub(crate) fn enumerates(self) -> Self {
        self.initialises()
            .table("cudart-interface", 0)
            .gets_with("cuDeviceGetCount", 0, (1, 0))
            .gets_with("cuDeviceTotalMem_v2", 0, (48 << 30, 0))
            .table("integrity-check", 0)
    }

    /// Everything up to a usable context.
    pub(crate) fn comes_up(self) -> Self {
        self.enumerates().enters("cuDevicePrimaryCtxRetain").gets("cuDevicePrimaryCtxRetain", 0).gets_with(
            "cuMemGetInfo_v2",
            0,
            (40 << 30, 48 << 30),
        )
    }

    pub(crate) fn items(self) -> Vec<Item> {
        self.entries.into_iter().map(Item::Entry).collect()
    }
}

/// A running container in a pool of this kind.
pub(crate) fn facts(kind: PoolKind) -> Facts {
    Facts {
        devices: Some(1),
        injected: Some(true),
        annotated: Some(true),
        state: ContainerState::Running { since_ns: EPOCH },
        ..Facts::of(kind)
    }
}

/// The verdict on these processes, this many seconds after the epoch.
pub(crate) fn verdict_at(second: u64, facts: &Facts, traces: Vec<Trace>) -> Verdict {
    container(traces).verdict(EPOCH + second * SECOND, facts)
}

/// The verdict on these processes in a pool of whole GPUs, an hour later.
pub(crate) fn verdict(traces: Vec<Trace>) -> Verdict {
    verdict_at(3600, &facts(PoolKind::Whole), traces)
}

pub(crate) fn container(traces: Vec<Trace>) -> Container {
    let mut container = Container::new();
    for trace in traces {
        container.observe(&trace.items());
    }
    container
}
