//! MPS: cards shared through NVIDIA's control daemon, which the operator runs.

use super::Fields;
use super::node::Node;

/// The daemon's pipes, in a pool's directory (`CUDA_MPS_PIPE_DIRECTORY`).
pub const PIPE: &str = "pipe";
/// The daemon's `/dev/shm`, in a pool's directory.
pub const SHM: &str = "shm";
/// What lies among the pipes while a daemon runs.
pub const CONTROL: &str = "control";

impl Fields<'_> {
    /// The directory; `Err` is a mistake that has been said. `replicas` and `mig` are those of the same pool.
    pub(super) fn mps(&mut self, replicas: u32, mig: bool) -> Result<Option<String>, ()> {
        let problem = match self.node.get("mps") {
            None | Some(Node::Null) => return Ok(None),
            Some(found) if mig => {
                format!("{found}; a daemon serves one MIG instance, so `mps` and `mig` are not for one pool")
            }
            Some(found) if replicas < 2 => {
                format!(
                    "{found}; MPS is for cards that several containers have at a time: wanted `replicas`, from 2 on, too"
                )
            }
            Some(Node::Text(path)) if path.starts_with('/') && !path.split('/').any(|part| part == "..") => {
                return Ok(Some(path.trim_end_matches('/').to_owned()));
            }
            Some(other) => {
                format!("{other}; wanted the absolute path of a directory on the node with {PIPE} and {SHM}")
            }
        };
        self.wrong("mps", problem);
        Err(())
    }
}

#[cfg(test)]
mod tests {
    use crate::pools::{PoolSpec, Pools, tests};

    fn mistakes(keys: &str) -> Vec<String> {
        tests::mistakes(&format!("pools:\n- {{name: a, {keys}}}\n"))
    }

    #[test]
    fn a_pool_names_the_directory_of_its_daemon() {
        let pools =
            Pools::parse("pools: [{name: a, kind: whole, replicas: 4, mps: /run/nvidia/mps/}]").unwrap();
        let PoolSpec::Whole { mps, replicas: 4, .. } = &pools.pools[0].spec else { panic!("{pools:?}") };
        assert_eq!(mps.as_deref(), Some("/run/nvidia/mps"));
    }

    #[test]
    fn mps_is_refused_where_it_shares_nothing_and_where_cuda_refuses_it() {
        let alone = mistakes("kind: whole, mps: /run/nvidia/mps");
        assert!(
            alone[0].starts_with("pools[0].mps: \"/run/nvidia/mps\"; MPS is for cards that several"),
            "{alone:?}"
        );
        let instances = mistakes("kind: whole, mig: 1g.10gb, mps: /run/nvidia/mps");
        assert!(instances[0].contains("a daemon serves one MIG instance"), "{instances:?}");
        let relative = mistakes("kind: whole, replicas: 2, mps: run/nvidia");
        assert!(relative[0].contains("wanted the absolute path of a directory on the node"), "{relative:?}");
        let slice = mistakes("kind: slice, slices: 2, mps: /run/nvidia/mps");
        assert!(slice[0].ends_with("; mps is for kind whole") && slice.len() == 1, "{slice:?}");
    }
}
