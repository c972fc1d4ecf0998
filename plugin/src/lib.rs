//! The node agent: serves pools of GPUs to the kubelet, and says of each container whether CUDA came up.
//!
//! ```text
//!  kubelet ◄── registration ── pool ──► plan ──► grants (disk)
//!                 ▲             ▲                   │
//!          kubelet_dir     probing ◄ inventory      ▼
//!  kubelet ──► kubelet_list ──► book ◄── tailing ◄ records (what containers append)
//!  API     ──► pod_watch ────►   │ identity, judging
//!                                ├──► publish ──► condition, Events
//!                                └──► http ─────► metrics, readiness, reports
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`cli`], [`args`], [`app`] | commands; flags to configuration; what runs and when it ends |
//! | [`inventory`], [`probing`] | the devices of a pool (the seam to hardware); their health over time |
//! | [`foreign`] | other device plugins that serve the same cards |
//! | [`prober`] | what only NVML can tell, through a pod of its own |
//! | [`plan`], [`preference`] | Allocate as a pure function; the units that it would rather be given |
//! | [`pool`], [`registration`], [`kubelet_dir`] | the device plugin service; its way to the kubelet |
//! | [`node_files`], [`grants`], [`whole_file`], [`selinux`] | libraries and grants on the node's disk; their labels |
//! | [`kubelet_list`], [`pods`], [`pod_watch`] | which container holds which device; its pod |
//! | [`book`] | all grants in memory: identity, verdicts, series |
//! | [`records`], [`tailing`] | reading what containers append |
//! | [`ledgers`], [`unaccounted`] | reading how much of their quotas they use; what of a card nobody's quota counts |
//! | [`device_events`] | devices that failed or work again, as Events on the node |
//! | [`publish`], [`http`], [`metrics`] | telling Kubernetes and Prometheus |
//! | [`selftest`], [`cleanup`] | other commands: is the installation good; take everything off the node |
//! | [`api`], [`ids`], [`clock`] | generated kubelet API; stable identities; time |

pub mod api;
pub mod app;
pub mod args;
pub mod book;
pub mod cleanup;
pub mod cli;
pub mod clock;
pub mod device_events;
pub mod foreign;
pub mod grants;
pub mod http;
pub mod ids;
pub mod inventory;
pub mod kubelet_dir;
pub mod kubelet_list;
pub mod ledgers;
pub mod metrics;
pub mod node_files;
pub mod plan;
pub mod pod_watch;
pub mod pods;
pub mod pool;
pub mod preference;
pub mod prober;
pub mod probing;
pub mod publish;
pub mod records;
pub mod registration;
pub mod selftest;
pub mod selinux;
pub mod tailing;
pub mod unaccounted;
pub mod whole_file;
