//! The node agent.
pub mod api;
pub mod ids;
pub mod inventory;
pub mod node_files;
pub mod plan;
