//! What a context costs. NVML cannot tell it: it knows what a process holds in all, context and allocations together, and
//! without a process there is no context. So it is a number of the configuration.

use super::Fields;
use super::cards::Shares;
use super::node::Node;
use crate::bytes::Bytes;

/// What a context is charged unless told. NVIDIA's driver takes 100 to 500 MiB of a card, by model and version, and no
/// call of the process asks for it.
const DEFAULT: u64 = 256 << 20;

impl Fields<'_> {
    pub(super) fn context(&mut self) -> Option<u64> {
        match self.node.get("contextMemory") {
            None | Some(Node::Null) => Some(DEFAULT),
            Some(node) => self.bytes("contextMemory", node),
        }
    }

    /// Whether each part has room for more than one context: in a smaller one no process ever comes up.
    pub(super) fn room(&mut self, shares: &Shares, memory: Option<u64>, context: u64) -> bool {
        let small: Vec<(String, u64)> = match (shares, memory) {
            (Shares::Sizes(sizes), _) => {
                let sizes = sizes.iter().enumerate().filter(|(_, size)| **size <= context);
                sizes.map(|(index, size)| (format!("sizes[{index}]"), *size)).collect()
            }
            (Shares::Equal(count), Some(memory)) => {
                let part = memory / u64::from(*count).max(1);
                if part <= context { vec![("slices".to_owned(), part)] } else { Vec::new() }
            }
            // The node tells it, where the memory is known.
            (Shares::Equal(_), None) => Vec::new(),
        };
        for (key, part) in &small {
            let problem = format!(
                "a part of {}, of which the context of one process takes {} (contextMemory): no process could ever come up \
                 in it; wanted larger parts",
                Bytes(*part),
                Bytes(context)
            );
            self.wrong(key, problem);
        }
        small.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use crate::pools::{PoolSpec, Pools};

    fn context(keys: &str) -> Result<u64, String> {
        let pools = Pools::parse(&format!("pools: [{{name: s, kind: slice, {keys}}}]"));
        match pools.map_err(|error| error.to_string())?.pools.remove(0).spec {
            PoolSpec::Slice { context_bytes, .. } => Ok(context_bytes),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_context_costs_what_the_pool_says_or_256_mebibytes() {
        assert_eq!(context("slices: 2"), Ok(256 << 20));
        assert_eq!(context("slices: 2, contextMemory: 480MiB"), Ok(480 << 20));
        let small = context("slices: 2, contextMemory: 1MiB").unwrap_err();
        assert!(
            small.starts_with("pools[0].contextMemory: \"1MiB\"; wanted a size from 64MiB on"),
            "{small}"
        );
    }

    #[test]
    fn a_part_in_which_no_process_could_come_up_is_refused() {
        let sizes = context("sizes: [8GiB, 256MiB]").unwrap_err();
        let wanted = "pools[0].sizes[1]: a part of 256MiB, of which the context of one process takes 256MiB (contextMemory): \
                      no process could ever come up in it; wanted larger parts";
        assert_eq!(sizes, wanted);
        let equal = context("slices: 32, memory: 8GiB").unwrap_err();
        assert!(equal.starts_with("pools[0].slices: a part of 256MiB, of which"), "{equal}");
        assert_eq!(context("slices: 31, memory: 8GiB"), Ok(256 << 20));
        assert_eq!(context("sizes: [8GiB, 256MiB], contextMemory: 128MiB"), Ok(128 << 20));
    }
}
