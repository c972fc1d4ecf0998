//! Nodes of graphs that allocate: charged when they are added, and until the memory is freed, or the graph and what was
//! instantiated from it are gone.
#![expect(unsafe_code, reason = "calls of the client's, with its out-pointers")]
#![expect(clippy::many_single_char_names, reason = "argument words without a meaning of their own")]

use super::owners::{self, Owner};
use super::{Name, ask, created, end, key, onward, read, settle, take};
use crate::quota::live::Live;
use crate::rows::{self, id_of};

/// Executable graphs and what they were instantiated from: only of graphs with such nodes.
static EXECUTABLES: Live<u64> = Live::new();

/// `CUDA_MEM_ALLOC_NODE_PARAMS` (cuda.h): 88 bytes of pool properties, access descriptions, bytes, address.
const BYTES_AT: usize = 104;
const ADDRESS_AT: usize = 112;
/// `CU_GRAPH_NODE_TYPE_MEM_ALLOC`, and where its part of `CUgraphNodeParams` begins (cuda.h).
const ALLOCATES: u32 = 10;
const PART_AT: usize = 16;

/// # Safety
/// Called as `cuGraphAddMemAllocNode` or `cuGraphAddNode`.
pub unsafe extern "C" fn node<const ID: u16>(
    out: usize,
    graph: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    let arguments = [out, graph, c, d, e, f];
    let parameters = if ID == const { id_of("cuGraphAddNode_v2") } { f } else { e };
    let special = ID == const { id_of("cuGraphAddMemAllocNode") };
    // SAFETY: the client's parameters: their kind comes first.
    let allocates = parameters != 0 && (special || unsafe { read::<u32>(parameters) } == ALLOCATES);
    let part = if special { parameters } else { parameters.wrapping_add(PART_AT) };
    // SAFETY: the client's parameters, of this kind.
    let device = if allocates { unsafe { created::owner(part) } } else { None };
    let Some(device) = device.map(|owner| owner.device) else {
        // SAFETY: the client's arguments.
        return unsafe { onward(ID, arguments) };
    };
    // SAFETY: as above.
    let bytes: u64 = unsafe { read(part.wrapping_add(BYTES_AT)) };
    let tag = owners::enter(Name::Graph, graph, Some(device));
    let charge = match take(ID, bytes, Some(Owner { device, tag })) {
        Ok(charge) => charge,
        Err(code) => return code,
    };
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, arguments) };
    // SAFETY: written on success.
    let address = || unsafe { read::<usize>(part.wrapping_add(ADDRESS_AT)) };
    settle(
        ID,
        charge,
        result,
        || key(Name::Address, address()),
        || {
            // SAFETY: written on success.
            let node: usize = unsafe { read(out) };
            // SAFETY: the driver gave the node in this call, and nobody else knows of it.
            let _ = unsafe { ask(const { id_of("cuGraphDestroyNode") }, [node, 0, 0, 0, 0, 0]) };
        },
    )
}

/// # Safety
/// Called as one of `cuGraphInstantiate`.
pub unsafe extern "C" fn instantiate<const ID: u16>(
    out: usize,
    graph: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [out, graph, c, d, e, f]) };
    if result == 0 && owners::find(Name::Graph, graph).is_some() {
        // SAFETY: written on success. What cannot be kept ends with the graph.
        let _ = EXECUTABLES.insert(unsafe { read::<usize>(out) } as u64, graph as u64);
    }
    result
}

/// # Safety
/// Called as `cuGraphDestroy` or `cuGraphExecDestroy`.
pub unsafe extern "C" fn destroy<const ID: u16>(
    handle: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [handle, b, c, d, e, f]) };
    if result != 0 {
        return result;
    }
    let (owner, graph) = if rows::symbol(ID) == b"cuGraphDestroy\0" {
        (owners::find(Name::Graph, handle), Some(handle as u64))
    } else {
        // Of a graph that is still there the memory is the graph's.
        (owners::find(Name::Executable, handle), EXECUTABLES.remove(handle as u64))
    };
    let (Some(owner), Some(graph)) = (owner, graph) else { return result };
    let heir = EXECUTABLES.find(|_, of| *of == graph).and_then(|(heir, _)| usize::try_from(heir).ok());
    if let Some(heir) = heir {
        owners::rename(owner.tag, Name::Executable, heir);
    } else {
        end(owner.tag);
        owners::forget(owner.tag);
    }
    result
}
