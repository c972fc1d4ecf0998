//! One thing that a process did or was told, as a line of the timeline.

use crate::driver;
use firstlight_contract::decode::Entry;
use firstlight_contract::record::{Caller, Kind, NO_FUNCTION, Refusal};
use std::borrow::Cow;

/// A line of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, nanoseconds since the epoch.
    pub at_ns: u64,
    /// Number of the record in its process.
    pub sequence: u32,
    /// Who called.
    pub caller: Caller,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The process started.
    Started,
    /// The process was forked, without exec, from the process with this pid.
    Forked {
        /// Pid of the parent.
        parent: u64,
    },
    /// No driver at this path.
    DriverSearched {
        /// The path.
        path: String,
        /// errno, or -1 where it was the shim itself.
        errno: i32,
    },
    /// The driver was opened.
    DriverOpened {
        /// Its path.
        path: String,
        /// Whether it is NVML.
        nvml: bool,
    },
    /// The driver is about to be opened.
    DriverOpening {
        /// Its path.
        path: String,
    },
    /// There is no driver.
    DriverMissing {
        /// How many paths were tried.
        tried: u64,
        /// The loader's last message.
        error: String,
    },
    /// A call began.
    Entered {
        /// The function.
        symbol: Symbol,
    },
    /// A call returned.
    Returned {
        /// The function.
        symbol: Symbol,
        /// The code it returned.
        code: i32,
        /// First argument or result, see [`firstlight_contract::record::Record`].
        arg0: u64,
        /// Second argument or result.
        arg1: u64,
    },
    /// A name that the driver does not know.
    Unanswered {
        /// The name asked for.
        name: String,
        /// The CUDA version asked for, 1000·major + 10·minor.
        version: u64,
        /// The driver's code; 0 where it gave no function, as the second version of the lookup says it.
        code: i32,
    },
    /// A private table was asked for.
    Table {
        /// UUID, 32 hexadecimal digits in memory order.
        uuid: String,
        /// The driver's code.
        code: i32,
    },
    /// A function that the driver lacks was called.
    ExportMissing {
        /// The function.
        symbol: String,
        /// The code that the caller got.
        code: i32,
    },
    /// The driver handed out the shim's own function; it was replaced.
    SelfPointer {
        /// The function.
        symbol: String,
    },
    /// Kernels and graphs launched so far.
    Launched {
        /// Kernel launches.
        kernels: u64,
        /// Graph launches.
        graphs: u64,
    },
    /// A recorded call came again with the same result.
    Repeated {
        /// The function.
        symbol: Symbol,
        /// The code.
        code: i32,
        /// How often since.
        times: u64,
    },
    /// The module behind a class of callers.
    Module {
        /// Its path.
        path: String,
    },
    /// A variable of the process, told because `cuInit` failed.
    Environment {
        /// `NAME=value`.
        variable: String,
    },
    /// A device node of NVIDIA's driver, told because `cuInit` failed.
    DeviceNode(Node),
    /// The quota refused memory.
    QuotaRefused {
        /// The function.
        symbol: Symbol,
        /// The code that the caller got.
        code: i32,
        /// Bytes asked for.
        asked: u64,
        /// The device's number in the grant.
        device: u64,
        /// Why, if this reader knows the reason.
        refusal: Option<Refusal>,
        /// What is used and allowed, or why the quota is not to be had.
        detail: String,
    },
}

/// A device node as a process found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its path.
    pub path: String,
    /// errno of `access(2)` for reading and writing; 0: by its permissions it may be opened.
    pub errno: i32,
    /// Number of the device (`st_rdev`).
    pub device: u64,
}

impl Node {
    /// Major number of the device (`linux/kdev_t.h`, `new_decode_dev`).
    const fn major(&self) -> u64 {
        self.device >> 8 & 0xFFF
    }

    /// What is wrong with it, for a sentence; `None`: nothing that its permissions and numbers tell.
    pub(crate) fn trouble(&self) -> Option<String> {
        /// errno.h
        const ENOENT: i32 = 2;
        /// The kernel's own memory devices: `/dev/null` mounted over a node hides it (`linux/major.h`).
        const MEM_MAJOR: u64 = 1;
        let Self { path, errno, .. } = self;
        match *errno {
            0 if self.major() == MEM_MAJOR => Some(format!("{path} is another device")),
            0 => None,
            ENOENT => Some(format!("{path} is not there")),
            errno => Some(format!("{path} may not be opened by this process (errno {errno})")),
        }
    }

    /// Whether it is not there, or something else is.
    pub(crate) fn is_missing(&self) -> bool {
        self.trouble().is_some() && matches!(self.errno, 0 | 2)
    }
}

/// The symbol of a function; a number where the list of functions lacks it.
pub type Symbol = Cow<'static, str>;

impl Step {
    /// Reads a record; `None` for a kind that is never on its own.
    pub fn of(entry: &Entry) -> Option<Self> {
        let record = &entry.record;
        let text = || entry.text.as_str().to_owned();
        let symbol = || -> Symbol {
            driver::symbol(record.function).map_or_else(
                || match (record.function, entry.text.is_empty()) {
                    (_, false) => text().into(),
                    (NO_FUNCTION, true) => "unnamed function".into(),
                    (id, true) => format!("function {id}").into(),
                },
                Into::into,
            )
        };
        let what = match record.kind {
            Kind::Text => return None,
            Kind::Start => What::Started,
            Kind::Forked => What::Forked { parent: record.arg0 },
            Kind::DriverSearched => What::DriverSearched { path: text(), errno: record.result },
            Kind::DriverOpened => What::DriverOpened { path: text(), nvml: record.arg0 == 1 },
            Kind::DriverOpening => What::DriverOpening { path: text() },
            Kind::DriverMissing => What::DriverMissing { tried: record.arg0, error: text() },
            Kind::CallEntered => What::Entered { symbol: symbol() },
            Kind::CallReturned => {
                What::Returned { symbol: symbol(), code: record.result, arg0: record.arg0, arg1: record.arg1 }
            }
            Kind::LookupUnanswered => {
                What::Unanswered { name: text(), version: record.arg0, code: record.result }
            }
            Kind::TableAsked => {
                What::Table { uuid: driver::uuid(record.arg0, record.arg1), code: record.result }
            }
            Kind::ExportMissing => {
                let symbol = if entry.text.is_empty() { symbol().into_owned() } else { text() };
                What::ExportMissing { symbol, code: record.result }
            }
            Kind::SelfPointer => What::SelfPointer { symbol: text() },
            Kind::Launches => What::Launched { kernels: record.arg0, graphs: record.arg1 },
            Kind::Repeated => What::Repeated { symbol: symbol(), code: record.result, times: record.arg0 },
            Kind::Module => What::Module { path: text() },
            Kind::Environment => What::Environment { variable: text() },
            Kind::DeviceNode => {
                What::DeviceNode(Node { path: text(), errno: record.result, device: record.arg0 })
            }
            Kind::QuotaRefused => What::QuotaRefused {
                symbol: driver::symbol(record.function)
                    .map_or_else(|| format!("function {}", record.function).into(), Into::into),
                code: record.result,
                asked: record.arg0,
                device: record.arg1 & 0xFFFF_FFFF,
                refusal: u8::try_from(record.arg1 >> 32).ok().and_then(Refusal::from_u8),
                detail: text(),
            },
        };
        // Of its own doings the shim records no caller.
        let own = matches!(
            what,
            What::Started
                | What::Forked { .. }
                | What::DriverSearched { .. }
                | What::DriverOpened { .. }
                | What::DriverMissing { .. }
                | What::DriverOpening { .. }
                | What::SelfPointer { .. }
                | What::Launched { .. }
                | What::Environment { .. }
                | What::DeviceNode(_)
        );
        let caller = if own && record.caller == Caller::Unknown { Caller::Shim } else { record.caller };
        Some(Self { at_ns: record.time_ns, sequence: record.sequence, caller, what })
    }

    /// The line for a reader, without time and process.
    pub fn line(&self) -> String {
        match &self.what {
            What::Started => "process started".to_owned(),
            What::Forked { parent } => format!("forked from process {parent}"),
            What::DriverSearched { path, errno: -1 } => format!("{path} is the recorder itself: skipped"),
            What::DriverSearched { path, errno } => format!("no driver at {path} (errno {errno})"),
            What::DriverOpened { path, nvml: false } => format!("opened the driver {path}"),
            What::DriverOpened { path, nvml: true } => format!("opened NVML {path}"),
            What::DriverOpening { path } => format!("opens {path}"),
            What::DriverMissing { tried, error } if error.is_empty() => {
                format!("no driver in {tried} places")
            }
            What::DriverMissing { tried, error } => format!("no driver in {tried} places: {error}"),
            What::Entered { symbol } => format!("{symbol} called"),
            What::Returned { symbol, code, arg0, arg1 } => returned(symbol, *code, *arg0, *arg1),
            What::Unanswered { name, version, code } => {
                let name = if name.is_empty() { "an empty name" } else { name.as_str() };
                match code {
                    0 => format!("asked for {name} (CUDA {}): no such function", say_version(*version)),
                    1 => format!(
                        "asked for {name} (CUDA {}): refused, {}",
                        say_version(*version),
                        driver::say_code(1)
                    ),
                    _ => format!("asked for {name} (CUDA {}): not found", say_version(*version)),
                }
            }
            What::Table { uuid, code } => {
                let name = driver::table(uuid).unwrap_or("unknown");
                match code {
                    0 => format!("table {name} ({uuid}) handed out"),
                    _ => format!("table {name} ({uuid}) refused: {}", driver::say_code(*code)),
                }
            }
            What::ExportMissing { symbol, code } => {
                format!("{symbol} called, but the driver lacks it: {}", driver::say_code(*code))
            }
            What::SelfPointer { symbol } => {
                format!("{symbol}: the driver answered with the recorder's own function; corrected")
            }
            What::Launched { kernels, graphs } => {
                format!("launched so far: {kernels} kernels, {graphs} graphs")
            }
            What::Repeated { symbol, code, times } => {
                format!("{symbol} = {} again, {times} times", say_result(symbol, *code))
            }
            What::Module { path } => format!("calls of {} come from {path}", self.caller.as_str()),
            What::Environment { variable } => format!("the process has {variable}"),
            What::DeviceNode(node) => {
                node.trouble().unwrap_or_else(|| format!("{} is there and may be opened", node.path))
            }
            What::QuotaRefused { symbol, code, asked, device, refusal, detail } => {
                let refusal = refusal.map_or("unknown", Refusal::as_str);
                let (asked, code) = (say_bytes(*asked), driver::say_code(*code));
                format!(
                    "{symbol} of {asked} on device {device} refused by the quota ({refusal}; {detail}): {code}"
                )
            }
        }
    }
}

/// `12.8` for 12080.
pub(crate) fn say_version(version: u64) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// Bytes for a sentence: binary units, one decimal.
pub fn say_bytes(bytes: u64) -> String {
    let units = [("TiB", 40u32), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    units.into_iter().find(|(_, shift)| bytes >> shift > 0).map_or_else(
        || format!("{bytes} bytes"),
        |(unit, shift)| {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        },
    )
}

fn say_result(symbol: &str, code: i32) -> String {
    if driver::duty(symbol) == driver::Duty::Nvml {
        driver::say_nvml_code(code)
    } else {
        driver::say_code(code)
    }
}

fn returned(symbol: &str, code: i32, arg0: u64, arg1: u64) -> String {
    use driver::Duty;
    if code != 0 {
        return match driver::duty(symbol) {
            Duty::Allocate => format!("{symbol} of {} = {}", say_bytes(arg0), driver::say_code(code)),
            _ => format!("{symbol} = {}", say_result(symbol, code)),
        };
    }
    match driver::duty(symbol) {
        Duty::Version => format!("{symbol} = CUDA {}", say_version(arg0)),
        Duty::Count => format!("{symbol} = {arg0} devices"),
        Duty::TotalMemory => format!("{symbol} = {}", say_bytes(arg0)),
        Duty::MemoryInfo => format!("{symbol} = {} free of {}", say_bytes(arg0), say_bytes(arg1)),
        Duty::Allocate => format!("{symbol} of {} = ok", say_bytes(arg0)),
        Duty::Nvml if driver::base(symbol) == "nvmlDeviceGetCount" => format!("{symbol} = {arg0} devices"),
        _ if driver::base(symbol) == "cuDeviceGetAttribute" => format!("{symbol} {arg1} = {arg0}"),
        _ => format!("{symbol} = ok"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_versions_read_as_people_write_them() {
        assert_eq!(say_bytes(48 << 30), "48.0 GiB");
        assert_eq!(say_bytes(1_500_000), "1.4 MiB");
        assert_eq!(say_bytes(7), "7 bytes");
        assert_eq!(say_version(12_080), "12.8");
    }
}
