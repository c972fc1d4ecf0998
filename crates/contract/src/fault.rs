//! The grammar of `firstlight.dev/simulate` and `FIRSTLIGHT_SIMULATE`: faults of the simulated driver, named by
//! what the driver *does*, never by a cause.
//!
//! A value is a list of faults, separated by commas; see [`SYNTAX`].

use std::fmt;
use std::time::Duration;

/// One thing that the simulated driver does wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `cuInit` returns this code.
    InitReturns(u32),
    /// `cuDeviceGetCount` and the queries of a device return this code.
    QueryReturns(u32),
    /// Creating or retaining a context returns this code.
    ContextReturns(u32),
    /// Every allocation of device memory returns this code.
    AllocateReturns(u32),
    /// `cuMemGetInfo` returns this code.
    MemoryInfoReturns(u32),
    /// Loading a module or a library of kernels returns this code.
    LoadReturns(u32),
    /// Every kernel launch returns this code.
    LaunchReturns(u32),
    /// `cuGetExportTable` is neither exported nor found by lookup.
    NoExportTable,
    /// `cuGetExportTable` refuses this table (a name of [`TABLES`]) with this code.
    RefuseTable {
        /// Name of the table.
        table: String,
        /// The code.
        code: u32,
    },
    /// This function is neither exported nor found by lookup.
    NoFunction(String),
    /// `cuDriverGetVersion` answers this version, 1000·major + 10·minor.
    DriverVersion(u32),
    /// This function does not return before the time is over.
    Hang {
        /// Name as asked of `cuGetProcAddress`, such as `cuInit`.
        function: String,
        /// How long.
        duration: Duration,
    },
    /// After this many launches the device falls off the bus: every call, also of new processes' calls after
    /// their own launches, returns 999 and NVML says that the GPU is lost.
    LostAfterLaunches(u64),
}

/// One row for each fault: how it is written, and what the driver then does.
pub const SYNTAX: [(&str, &str); 13] = [
    ("init-returns=CODE", "cuInit returns CODE"),
    ("query-returns=CODE", "cuDeviceGetCount and the device queries return CODE"),
    ("context-returns=CODE", "creating or retaining a context returns CODE"),
    ("allocate-returns=CODE", "allocations of device memory return CODE"),
    ("memory-info-returns=CODE", "cuMemGetInfo returns CODE"),
    ("load-returns=CODE", "loading a module or a library of kernels returns CODE"),
    ("launch-returns=CODE", "kernel launches return CODE"),
    ("no-export-table", "cuGetExportTable is not there"),
    ("refuse-table=TABLE:CODE", "cuGetExportTable answers CODE for TABLE"),
    ("no-function=NAME", "the function NAME is not there"),
    ("driver-version=VERSION", "cuDriverGetVersion answers VERSION, e.g. 11080"),
    ("hang=NAME:SECONDS", "the function NAME returns only after SECONDS"),
    ("lost-after-launches=COUNT", "the device falls off the bus after COUNT launches"),
];

/// Names of the private tables that the CUDA runtime asks for.
pub const TABLES: [&str; 8] = [
    "cudart-interface",
    "tools-runtime-callback",
    "tools-tls",
    "tools-context",
    "context-local-storage",
    "context-checks",
    "integrity-check",
    "optional-12-9",
];

/// Longest hang, so that a forgotten fault ends.
pub const MAX_HANG: Duration = Duration::from_mins(10);

/// Why a text is no list of faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultError {
    /// The fault as it was written.
    pub fault: String,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

impl fmt::Display for FaultError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "fault {:?}: {}", self.fault, self.problem)
    }
}

impl std::error::Error for FaultError {}

/// Parses a list of faults; an empty text is an empty list.
pub fn parse(text: &str) -> Result<Vec<Fault>, FaultError> {
    text.split(',').map(str::trim).filter(|piece| !piece.is_empty()).map(Fault::parse).collect()
}

/// Writes a list of faults as [`parse`] reads it.
pub fn print(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl Fault {
    /// Parses one fault.
    pub fn parse(text: &str) -> Result<Self, FaultError> {
        let fail = |problem: String| FaultError { fault: text.to_owned(), problem };
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let wanted = || {
            let row = SYNTAX.iter().find(|(syntax, _)| syntax.split('=').next() == Some(name));
            row.map_or_else(
                || {
                    let known: Vec<&str> = SYNTAX.iter().map(|(syntax, _)| *syntax).collect();
                    format!("unknown; allowed are {}", known.join(", "))
                },
                |(syntax, _)| format!("write {syntax}"),
            )
        };
        let code = |value: &str| value.parse().ok().filter(|code| *code > 0 && *code < 10_000);
        let parsed = match (name, value) {
            ("init-returns", Some(value)) => code(value).map(Self::InitReturns),
            ("query-returns", Some(value)) => code(value).map(Self::QueryReturns),
            ("context-returns", Some(value)) => code(value).map(Self::ContextReturns),
            ("allocate-returns", Some(value)) => code(value).map(Self::AllocateReturns),
            ("memory-info-returns", Some(value)) => code(value).map(Self::MemoryInfoReturns),
            ("load-returns", Some(value)) => code(value).map(Self::LoadReturns),
            ("launch-returns", Some(value)) => code(value).map(Self::LaunchReturns),
            ("no-export-table", None) => Some(Self::NoExportTable),
            ("refuse-table", Some(value)) => {
                let (table, number) = value.split_once(':').ok_or_else(|| fail(wanted()))?;
                if !TABLES.contains(&table) {
                    return Err(fail(format!("no table {table:?}; the tables are {}", TABLES.join(", "))));
                }
                code(number).map(|code| Self::RefuseTable { table: table.to_owned(), code })
            }
            ("no-function", Some(value)) => {
                function(value).map_err(&fail)?;
                Some(Self::NoFunction(value.to_owned()))
            }
            ("driver-version", Some(value)) => value
                .parse()
                .ok()
                .filter(|version| (1000..100_000).contains(version))
                .map(Self::DriverVersion),
            ("hang", Some(value)) => {
                let (name, seconds) = value.split_once(':').ok_or_else(|| fail(wanted()))?;
                function(name).map_err(&fail)?;
                let duration: Option<u64> = seconds.strip_suffix('s').unwrap_or(seconds).parse().ok();
                let duration = duration.map(Duration::from_secs).filter(|duration| *duration <= MAX_HANG);
                let problem =
                    || fail(format!("{seconds:?} is not a number of seconds up to {}", MAX_HANG.as_secs()));
                Some(Self::Hang { function: name.to_owned(), duration: duration.ok_or_else(problem)? })
            }
            ("lost-after-launches", Some(value)) => value.parse().ok().map(Self::LostAfterLaunches),
            _ => None,
        };
        parsed.ok_or_else(|| fail(wanted()))
    }
}

fn function(name: &str) -> Result<(), String> {
    let rest = name.strip_prefix("cu").or_else(|| name.strip_prefix("nvml"));
    let good = rest.is_some_and(|rest| {
        rest.starts_with(|first: char| first.is_ascii_uppercase())
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    if good { Ok(()) } else { Err(format!("{name:?} is not the name of a driver function, such as cuInit")) }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InitReturns(code) => write!(out, "init-returns={code}"),
            Self::QueryReturns(code) => write!(out, "query-returns={code}"),
            Self::ContextReturns(code) => write!(out, "context-returns={code}"),
            Self::AllocateReturns(code) => write!(out, "allocate-returns={code}"),
            Self::MemoryInfoReturns(code) => write!(out, "memory-info-returns={code}"),
            Self::LoadReturns(code) => write!(out, "load-returns={code}"),
            Self::LaunchReturns(code) => write!(out, "launch-returns={code}"),
            Self::NoExportTable => write!(out, "no-export-table"),
            Self::RefuseTable { table, code } => write!(out, "refuse-table={table}:{code}"),
            Self::NoFunction(name) => write!(out, "no-function={name}"),
            Self::DriverVersion(version) => write!(out, "driver-version={version}"),
            Self::Hang { function, duration } => write!(out, "hang={function}:{}", duration.as_secs()),
            Self::LostAfterLaunches(count) => write!(out, "lost-after-launches={count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_list_of_faults_prints_to_what_was_parsed() {
        let text = "init-returns=999,refuse-table=tools-tls:801,hang=cuInit:40,no-export-table";
        assert_eq!(parse(text).map(|faults| print(&faults)), Ok(text.to_owned()));
    }

    #[test]
    fn an_unknown_fault_is_answered_with_all_that_are_known() {
        let error = parse("explode").unwrap_err().to_string();
        assert!(SYNTAX.iter().all(|(syntax, _)| error.contains(syntax)), "{error}");
    }

    #[test]
    fn a_bad_value_is_answered_with_the_form() {
        assert_eq!(
            parse("init-returns=many").unwrap_err().to_string(),
            "fault \"init-returns=many\": write init-returns=CODE"
        );
    }

    #[test]
    fn success_is_no_fault() {
        assert!(parse("init-returns=0").is_err());
    }

    #[test]
    fn an_unknown_table_is_answered_with_the_tables() {
        assert!(parse("refuse-table=coffee:1").unwrap_err().problem.contains("tools-tls"));
    }

    #[test]
    fn a_function_must_look_like_one() {
        assert!(parse("no-function=curl_easy_init").is_err());
        assert_eq!(
            parse("no-function=cuDeviceGetUuid"),
            Ok(vec![Fault::NoFunction("cuDeviceGetUuid".to_owned())])
        );
    }

    #[test]
    fn every_fault_and_every_table_is_documented() {
        let page = include_str!("../../../docs/configuration.md");
        assert!(SYNTAX.iter().all(|(syntax, _)| page.contains(&format!("`{syntax}`"))));
        assert!(TABLES.iter().all(|table| page.contains(&format!("`{table}`"))));
    }

    #[test]
    fn a_hang_has_an_end() {
        assert!(parse("hang=cuInit:601").is_err());
        assert!(parse("hang=cuInit:40s").is_ok());
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_parses_prints_to_itself(text in "[a-z=:,A-Z0-9 -]{0,60}") {
            if let Ok(faults) = parse(&text) {
                prop_assert_eq!(parse(&print(&faults)), Ok(faults));
            }
        }
    }
}
