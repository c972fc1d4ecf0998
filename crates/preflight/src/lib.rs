//! The preflight: what keeps CUDA from coming up in this container, found out in the container itself, as its user,
//! in its image and environment, before (or beside) Ollama.
//!
//! ```text
//! firstlight-preflight (static: runs in any image)
//!   ├─ reads     libc, Ollama's files, environment, preloads, loader's path, device nodes
//!   ├─ starts    firstlight-preflight-dynamic, one process a step that may crash or hang ──► findings, line by line
//!   └─ leaves    report (termination message), document (--json), verdict, exit code
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`args`] | what can be asked |
//! | [`supervise`] | everything in its order |
//! | [`report`] | findings as they come: said, collected, written |
//! | [`image`], [`ollama`], [`backend`] | what the image brings |
//! | [`loader`] | where the dynamic loader looks (pure); its cache is read in the contract |
//! | [`files`], [`elf`], [`preloads`], [`nodes`] | what lies there |
//! | [`child`] | a process with limits on its time and words |
//! | [`steps`] | the dynamic half's steps, and what its end means (pure) |
//! | [`wire`] | what the halves say to each other |
//! | [`verdict`] | what follows |
//!
//! Nothing here writes anywhere but to standard output, the report, and the pipes of its own children.

pub mod args;
pub mod backend;
pub mod child;
pub mod elf;
pub mod files;
pub mod image;
pub mod loader;
pub mod nodes;
pub mod ollama;
pub mod preloads;
pub mod report;
pub mod steps;
pub mod supervise;
pub mod verdict;
pub mod wire;
