//! Launches. A kernel is found and its launch checked and counted (by the shim); nothing computes.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Handle, Raw, driver, get};
use crate::capture;
use crate::state::{Kind, current, is, state};
use crate::stream;
use crate::work::{Node, submit};

/// Most threads of a block.
const MOST_THREADS: u64 = 1024;

/// `CUlaunchConfig` (cuda.h), what is read of it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Config {
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    stream: Handle,
}

fn launch(function: Handle, grid: [u32; 3], block: [u32; 3], stream: Handle) -> Done {
    let threads = block.iter().fold(1_u64, |product, side| product.saturating_mul(u64::from(*side)));
    if grid.contains(&0) || threads == 0 || threads > MOST_THREADS {
        return Err(Code::INVALID_VALUE);
    }
    if !is(function, Kind::Kernel) {
        return Err(Code::INVALID_HANDLE);
    }
    // The way without a lock: nothing is captured, and handles are right by their kind.
    if current() != 0 && !capture::any() && (stream::is_default(stream) || is(stream, Kind::Stream)) {
        return Ok(());
    }
    let state = state()?;
    state.context(0)?;
    submit(state, stream, Node::Kernel(function))
}

driver! {
    fn cuLaunchKernel(
        function: Handle, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32,
        _shared: u32, stream: Handle, _parameters: Raw, _extra: Raw,
    ) {
        launch(function, [grid_x, grid_y, grid_z], [block_x, block_y, block_z], stream)
    }

    fn cuLaunchKernelEx(config: *const u8, function: Handle, _parameters: Raw, _extra: Raw) {
        let config: Config = get(config.cast())?;
        launch(function, config.grid, config.block, config.stream)
    }

    fn cuLaunchCooperativeKernel(
        function: Handle, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32,
        _shared: u32, stream: Handle, _parameters: Raw,
    ) {
        launch(function, [grid_x, grid_y, grid_z], [block_x, block_y, block_z], stream)
    }
}
