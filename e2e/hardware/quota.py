#!/usr/bin/env python3
"""Holds a driver behind the shim to its quota: what is told, what is given, what is refused, to the byte.

Usage: kubectl-firstlight run --memory SIZE [--driver PATH] -- quota.py BYTES   (BYTES: the same size, as a number)
Each line is a question with its answer; ends with 1 where an answer is not the one that a quota of BYTES gives.
`quota.py hold BYTES` takes so much and keeps it until its input ends: the other process of some questions.
"""
import ctypes
import subprocess
import sys

cuda = ctypes.CDLL("libcuda.so.1")
OK, OUT_OF_MEMORY, NOT_SUPPORTED = 0, 2, 801
PAGE = 2 << 20  # what NVIDIA's driver creates memory in (cuMemGetAllocationGranularity)
wrong = []


def number(value=0):
    return ctypes.c_uint64(value)


def must(name, *words):
    code = getattr(cuda, name)(*words)
    if code:
        sys.exit(f"{name} answers {code}")


def begin():
    """A primary context of device 0, made current."""
    context = ctypes.c_void_p()
    must("cuInit", 0)
    must("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
    must("cuCtxSetCurrent", context)


def told():
    """(left, total) of cuMemGetInfo."""
    left, total = number(), number()
    must("cuMemGetInfo_v2", ctypes.byref(left), ctypes.byref(total))
    return left.value, total.value


def expect(question, answer, wanted):
    wrong.extend([] if answer == wanted else [question])
    print(f"{question}: {answer}" + ("" if answer == wanted else f", which should be {wanted}"), flush=True)


def allocate(size):
    """(code, how to give it back) of cuMemAlloc."""
    address = number()
    code = cuda.cuMemAlloc_v2(ctypes.byref(address), number(size))
    return code, lambda: cuda.cuMemFree_v2(address)


def managed(size):
    address = number()
    code = cuda.cuMemAllocManaged(ctypes.byref(address), number(size), 1)
    return code, lambda: cuda.cuMemFree_v2(address)


def ordered(size):
    address = number()
    code = cuda.cuMemAllocAsync(ctypes.byref(address), number(size), None)
    return code, lambda: cuda.cuMemFreeAsync(address, None) or cuda.cuStreamSynchronize(None)


def rows(size):
    address, pitch = number(), number()
    code = cuda.cuMemAllocPitch_v2(ctypes.byref(address), ctypes.byref(pitch), number(4096), number(size // 4096), 4)
    return code, lambda: cuda.cuMemFree_v2(address)


def array(size):
    """Two dimensions of 32-bit words (CUDA_ARRAY_DESCRIPTOR of cuda.h)."""
    out = ctypes.c_void_p()
    descriptor = (ctypes.c_uint64 * 3)(4096, size // 4 // 4096, 0x20 | 1 << 32)
    code = cuda.cuArrayCreate_v2(ctypes.byref(out), descriptor)
    return code, lambda: cuda.cuArrayDestroy(out)


def created(size):
    """Pinned memory on device 0 (CUmemAllocationProp of cuda.h)."""
    handle = number()
    properties = (ctypes.c_int * 8)(1, 0, 1, 0)
    code = cuda.cuMemCreate(ctypes.byref(handle), number(size), properties, number(0))
    return code, lambda: cuda.cuMemRelease(handle)


def other(size):
    """A process that holds so much, and what its cuMemAlloc answered."""
    holder = subprocess.Popen([sys.executable, __file__, "hold", str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return holder, int(holder.stdout.readline())


def figures(quota):
    left, total = told()
    expect("cuMemGetInfo: total", total, quota)
    whole = number()
    must("cuDeviceTotalMem_v2", ctypes.byref(whole), 0)
    expect("cuDeviceTotalMem", whole.value, quota)
    nvml, device = ctypes.CDLL("libnvidia-ml.so.1"), ctypes.c_void_p()
    one, two = (ctypes.c_uint64 * 3)(), (ctypes.c_uint64 * 5)(2 << 24 | 40)
    expect("NVML comes up", nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)), OK)
    expect("nvmlDeviceGetMemoryInfo", (nvml.nvmlDeviceGetMemoryInfo(device, one), list(one)), (OK, [quota, left, quota - left]))
    code = nvml.nvmlDeviceGetMemoryInfo_v2(device, two)
    expect("nvmlDeviceGetMemoryInfo_v2: total, used", (code, two[1], two[4]), (OK, quota, quota - left))


def edges():
    left, _ = told()
    code, give = allocate(left)
    expect(f"all that is left ({left} bytes)", code, OK)
    expect("then there is left", told()[0], 0)
    expect("one byte more", allocate(1)[0], OUT_OF_MEMORY)
    give()
    expect("given back, there is left", told()[0], left)
    expect("one byte more than that", allocate(left + 1)[0], OUT_OF_MEMORY)


def ways():
    for way in [allocate, managed, ordered, rows, array, created]:
        left, _ = told()
        code, give = way(16 << 20)
        if code == NOT_SUPPORTED:
            print(f"{way.__name__}: this driver has none")
            continue
        taken = left - told()[0]
        expect(f"{way.__name__}: 16 MiB are given, and charged", (code, taken >= 16 << 20), (OK, True))
        expect(f"{way.__name__}: given back, there is left", (give(), told()[0]), (OK, left))
        over = (left // PAGE + 1) * PAGE
        expect(f"{way.__name__}: more than is left", (way(over)[0], told()[0]), (OUT_OF_MEMORY, left))


def processes():
    left, _ = told()
    half = left // 2 // PAGE * PAGE
    holder, code = other(half)
    expect("another process takes half", code, OK)
    room = told()[0]
    expect("what was left before is refused", allocate(left)[0], OUT_OF_MEMORY)
    code, give = allocate(room)
    expect("what is left now is given", code, OK)
    give()
    holder.kill()
    holder.wait()
    code, give = allocate(left)
    expect("the other one was killed: all is given at once", code, OK)
    give()


begin()
if sys.argv[1] == "hold":
    print(allocate(int(sys.argv[2]))[0], flush=True)
    sys.stdin.read()
    sys.exit()
limit = int(sys.argv[1])
figures(limit)
edges()
ways()
processes()
print(f"wrong: {', '.join(wrong)}" if wrong else "every answer is that of the quota")
sys.exit(1 if wrong else 0)
