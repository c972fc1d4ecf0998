//! The stages that a process passes on its way to a GPU, in order.

use std::fmt;

macro_rules! stages {
    ($($variant:ident = $number:literal $name:literal $operator:literal),+ $(,)?) => {
        /// A stage. The number is what dashboards show; the order is the order in which things happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Stage { $(#[doc = $operator] $variant = $number),+ }

        impl Stage {
            /// All stages, in order.
            pub const ALL: [Self; [$($number),+].len()] = [$(Self::$variant),+];

            /// Word for JSON and text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What happens in this stage, for a reader who does not know CUDA; completes "while …".
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $operator),+ }
            }

            /// The stage of a word.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|stage| stage.as_str() == word)
            }
        }
    };
}

stages! {
    Process = 0 "process" "starting a process with the recorder in it",
    Select = 1 "select" "choosing a GPU backend",
    BackendLoad = 2 "backend-load" "loading the GPU backend",
    BackendEntry = 3 "backend-entry" "entering the GPU backend",
    DriverFind = 4 "driver-find" "finding the driver library and its functions",
    DriverVersion = 5 "driver-version" "asking the driver for its version",
    DriverInit = 6 "driver-init" "initialising the driver",
    Handshake = 7 "handshake" "fetching the driver's private tables",
    Enumerate = 8 "enumerate" "listing the devices",
    Enumerated = 9 "enumerated" "reporting the list of devices",
    Properties = 10 "properties" "reading the properties of the devices",
    Context = 11 "context" "creating a context on the device",
    NativeProbe = 12 "native-probe" "asking the driver directly, beside the runtime",
    Filter = 13 "filter" "choosing among the devices",
    RunnerInit = 14 "runner-init" "initialising the driver in the process that serves the model",
    Allocate = 15 "allocate" "allocating device memory",
    Compute = 16 "compute" "loading and launching the first kernel",
    Serving = 17 "serving" "serving requests",
    Health = 18 "health" "running on after the start",
}

impl Stage {
    /// The number: 0 to 18.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// As in `S6 driver-init`.
impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "S{} {}", self.number(), self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_run_from_0_to_18_and_words_lead_back() {
        let numbers: Vec<u8> = Stage::ALL.iter().map(|stage| stage.number()).collect();
        assert_eq!(numbers, (0..=18).collect::<Vec<_>>());
        assert!(Stage::ALL.iter().all(|stage| Stage::from_word(stage.as_str()) == Some(*stage)));
    }
}
