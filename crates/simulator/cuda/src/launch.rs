//! Launches. A kernel is found and its launch checked and counted (by the shim); nothing computes.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Handle, Raw, driver, get};
use crate::capture;
use crate::kernel;
use crate::state::{Kind, current, is, state};
use crate::stream;
use crate::work::{Node, submit};

/// Most threads of a block, and of its third dimension; most blocks in each direction.
const MOST_THREADS: u64 = 1024;
const DEEPEST: u32 = 64;
const MOST_BLOCKS: [u32; 3] = [0x7fff_ffff, 0xffff, 0xffff];

/// `CUlaunchConfig` (cuda.h).
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Config {
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared: u32,
    pub(crate) stream: Handle,
    pub(crate) attributes: *const Attribute,
    pub(crate) count: u32,
}

/// `CUlaunchAttribute` (cuda.h); of the union its first words.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Attribute {
    pub(crate) id: u32,
    padding: u32,
    pub(crate) value: [u32; 16],
}

const _: () = {
    assert!(size_of::<Config>() == 56);
    assert!(size_of::<Attribute>() == 72);
};

fn launch(function: Handle, grid: [u32; 3], block: [u32; 3], shared: u32, stream: Handle) -> Done {
    let threads = block.iter().fold(1_u64, |product, side| product.saturating_mul(u64::from(*side)));
    let too_many = grid.iter().zip(MOST_BLOCKS).any(|(blocks, most)| *blocks > most);
    if grid.contains(&0) || too_many || threads == 0 || threads > MOST_THREADS || block[2] > DEEPEST {
        return Err(Code::INVALID_VALUE);
    }
    if !is(function, Kind::Kernel) {
        return Err(Code::INVALID_HANDLE);
    }
    if shared > kernel::SHARED && shared > kernel::most_shared(&*state()?, function)? {
        return Err(Code::INVALID_VALUE);
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
        shared: u32, stream: Handle, _parameters: Raw, _extra: Raw,
    ) {
        launch(function, [grid_x, grid_y, grid_z], [block_x, block_y, block_z], shared, stream)
    }

    fn cuLaunchKernelEx(config: *const u8, function: Handle, _parameters: Raw, _extra: Raw) {
        let config: Config = get(config.cast())?;
        launch(function, config.grid, config.block, config.shared, config.stream)
    }

    fn cuLaunchCooperativeKernel(
        function: Handle, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32,
        shared: u32, stream: Handle, _parameters: Raw,
    ) {
        launch(function, [grid_x, grid_y, grid_z], [block_x, block_y, block_z], shared, stream)
    }
}
