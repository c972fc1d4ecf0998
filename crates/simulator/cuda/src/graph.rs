//! Graphs that a capture made. Nodes run in the order in which they were captured. Building a graph node by node is
//! not simulated.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Handle, Raw, driver, offer, put};
use crate::state::{Graph, Kind, State, state};
use crate::stream;
use crate::work::keep;

/// `CUgraphExecUpdateResult`: the nodes differ in number or kind.
const TOPOLOGY_CHANGED: u32 = 2;

/// `CUgraphExecUpdateResultInfo` (cuda.h).
#[repr(C)]
struct UpdateResult {
    result: u32,
    node: u64,
    from_node: u64,
}

/// `CUDA_GRAPH_INSTANTIATE_PARAMS` (cuda.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct InstantiateParameters {
    flags: u64,
    upload_stream: u64,
    error_node: u64,
    result: u32,
}

fn instantiate(state: &mut State, out: *mut Handle, graph: Handle, flags: u64) -> Done {
    let copy = state.graphs.get(&graph).ok_or(Code::INVALID_VALUE)?.clone();
    let executable = state.mint(Kind::GraphExec);
    put(out, executable)?;
    state.executables.insert(executable, (copy, flags));
    Ok(())
}

fn update(executable: Handle, graph: Handle) -> Result<u32, Code> {
    let mut state = state()?;
    let new = state.graphs.get(&graph).ok_or(Code::INVALID_VALUE)?.clone();
    let (old, _) = state.executables.get_mut(&executable).ok_or(Code::INVALID_VALUE)?;
    let alike =
        old.nodes.len() == new.nodes.len() && old.nodes.iter().zip(&new.nodes).all(|(a, b)| a.is_like(b));
    if alike {
        *old = new;
        return Ok(0);
    }
    Ok(TOPOLOGY_CHANGED)
}

fn verdict(result: u32) -> Done {
    if result == 0 { Ok(()) } else { Err(Code::GRAPH_UPDATE_FAILED) }
}

driver! {
    fn cuGraphCreate(out: *mut Handle, flags: u32) {
        let mut state = state()?;
        if flags != 0 {
            return Err(Code::INVALID_VALUE);
        }
        let graph = state.mint(Kind::Graph);
        put(out, graph)?;
        state.graphs.insert(graph, Graph::default());
        Ok(())
    }

    fn cuGraphClone(out: *mut Handle, graph: Handle) {
        let mut state = state()?;
        let copy = state.graphs.get(&graph).ok_or(Code::INVALID_VALUE)?.clone();
        let twin = state.mint(Kind::Graph);
        put(out, twin)?;
        state.graphs.insert(twin, copy);
        Ok(())
    }

    fn cuGraphDestroy(graph: Handle) {
        state()?.graphs.remove(&graph).map(|_| ()).ok_or(Code::INVALID_VALUE)
    }

    fn cuGraphInstantiate(out: *mut Handle, graph: Handle, error_node: *mut Handle, _log: Raw, _length: usize) {
        offer(error_node, 0);
        instantiate(&mut *state()?, out, graph, 0)
    }

    fn cuGraphInstantiate_v2(out: *mut Handle, graph: Handle, error_node: *mut Handle, _log: Raw, _length: usize) {
        offer(error_node, 0);
        instantiate(&mut *state()?, out, graph, 0)
    }

    fn cuGraphInstantiateWithFlags(out: *mut Handle, graph: Handle, flags: u64) {
        instantiate(&mut *state()?, out, graph, flags)
    }

    fn cuGraphInstantiateWithParams(out: *mut Handle, graph: Handle, parameters: *mut u8) {
        let parameters: *mut InstantiateParameters = parameters.cast();
        let asked = crate::abi::get(parameters)?;
        instantiate(&mut *state()?, out, graph, asked.flags)?;
        put(parameters, InstantiateParameters { error_node: 0, result: 0, ..asked })
    }

    fn cuGraphExecUpdate(executable: Handle, graph: Handle, error_node: *mut Handle, result: *mut u32) {
        let what = update(executable, graph)?;
        offer(error_node, 0);
        put(result, what)?;
        verdict(what)
    }

    fn cuGraphExecUpdate_v2(executable: Handle, graph: Handle, result: *mut u8) {
        let what = update(executable, graph)?;
        put(result.cast(), UpdateResult { result: what, node: 0, from_node: 0 })?;
        verdict(what)
    }

    fn cuGraphExecGetFlags(executable: Handle, out: *mut u64) {
        let state = state()?;
        put(out, state.executables.get(&executable).ok_or(Code::INVALID_VALUE)?.1)
    }

    fn cuGraphExecDestroy(executable: Handle) {
        state()?.executables.remove(&executable).map(|_| ()).ok_or(Code::INVALID_VALUE)
    }

    fn cuGraphUpload(executable: Handle, stream: Handle) {
        let state = state()?;
        stream::check(&state, stream)?;
        state.executables.get(&executable).map(|_| ()).ok_or(Code::INVALID_VALUE)
    }

    /// A captured launch keeps the nodes of the graph.
    fn cuGraphLaunch(executable: Handle, stream: Handle) {
        let mut state = state()?;
        let origin = stream::captured_by(&state, stream)?;
        let nodes = state.executables.get(&executable).ok_or(Code::INVALID_VALUE)?.0.nodes.clone();
        if let Some(origin) = origin {
            return nodes.into_iter().try_for_each(|node| keep(&mut state, origin, node));
        }
        drop(state);
        for node in nodes {
            node.run();
        }
        Ok(())
    }
}
