#!/usr/bin/env python3
"""Asks a CUDA driver what a client asks rarely, and prints each answer: the driver's manners at the edges.

Usage: questions.py LIBCUDA. Two drivers are compared by `diff` of what it prints.
"""
import ctypes
import os
import sys

sys.stdout.reconfigure(line_buffering=True)  # A driver may end the process.
libcuda = ctypes.CDLL(sys.argv[1], mode=os.RTLD_NOW | os.RTLD_LOCAL)
U32, U64, INT = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int
FILLED = 0xAAAAAAAAAAAAAAAA


def ask(what, name, *arguments, out=()):
    """Calls a function and prints its result and what it wrote."""
    result = getattr(libcuda, name)(*arguments)
    written = ["untouched" if value.value in (FILLED, FILLED & 0xFFFFFFFF) else
               "0" if value.value in (0, None) else str(value.value) if isinstance(value, U32) else "something"
               for value in out]
    print(f"{what}: {result}{''.join(' ' + one for one in written)}")
    return result


def lookup(name, version, flags=0):
    pointer, status = U64(FILLED), U32(FILLED & 0xFFFFFFFF)
    ask(f"lookup of {name!r} at {version}, flags {flags}", "cuGetProcAddress_v2", name.encode(),
        ctypes.byref(pointer), INT(version), U64(flags), ctypes.byref(status), out=(pointer, status))


def table(uuid):
    pointer = U64(FILLED)
    ask(f"table {uuid}", "cuGetExportTable", ctypes.byref(pointer), bytes.fromhex(uuid), out=(pointer,))


def number(what, name, *arguments, width=U64):
    value = width(FILLED & (2 ** (8 * ctypes.sizeof(width)) - 1))
    ask(what, name, ctypes.byref(value), *arguments, out=(value,))
    return value


# Before cuInit.
for name, version in [("", 0), ("", 12000), ("cuNoSuchFunction", 12000), ("cuInit", 0), ("cuInit", 1000),
                      ("cuInit", 2000), ("cuInit", 99000), ("cuLibraryLoadData", 11000), ("cuInit_v2", 12000),
                      ("cuMemAlloc_v2", 12000), ("cuMemAlloc", 3000), ("nvmlInit_v2", 12000), ("cuGetProcAddress", 11030)]:
    lookup(name, version)
lookup("cuMemcpyHtoD", 12000, 2)
lookup("cuInit", 12000, 1)
lookup("cuInit", 12000, 2)
lookup("cuInit", 12000, 4)
table("00" * 16)
table("42d85a8123f6cb478298f6e78a3aecdc")
number("version before init", "cuDriverGetVersion", width=U32)
number("count before init", "cuDeviceGetCount", width=U32)
number("device before init", "cuDeviceGet", INT(0), width=U32)
number("context before init", "cuCtxGetCurrent")
number("allocation before init", "cuMemAlloc_v2", U64(1024))
number("retain before init", "cuDevicePrimaryCtxRetain", INT(0))
name = ctypes.c_char_p()
for code in (0, 1, 46, 100, 222, 999, 12345):
    result = libcuda.cuGetErrorName(INT(code), ctypes.byref(name))
    print(f"name of error {code}: {result} {name.value}")
    result = libcuda.cuGetErrorString(INT(code), ctypes.byref(name))
    print(f"text of error {code}: {result} {name.value}")
ask("init with flags 1", "cuInit", U32(1))
ask("init", "cuInit", U32(0))
ask("init again", "cuInit", U32(0))
# Devices.
number("count", "cuDeviceGetCount", width=U32)
for index in (-1, 0, 99):
    number(f"device {index}", "cuDeviceGet", INT(index), width=U32)
for attribute in (0, 1, 75, 76, 120, 140, 145, 150, 9999):
    value = U32(FILLED & 0xFFFFFFFF)
    result = libcuda.cuDeviceGetAttribute(ctypes.byref(value), INT(attribute), INT(0))
    print(f"attribute {attribute} of device 0: {result}")
number("attribute 1 of device 99", "cuDeviceGetAttribute", INT(1), INT(99), width=U32)
number("memory of device 99", "cuDeviceTotalMem_v2", INT(99))
buffer = ctypes.create_string_buffer(b"\xaa" * 64)
print("name in 4 bytes:", libcuda.cuDeviceGetName(buffer, INT(4), INT(0)), len(buffer.value))
print("PCI id in 4 bytes:", libcuda.cuDeviceGetPCIBusId(buffer, INT(4), INT(0)))
print("PCI id in 64 bytes:", libcuda.cuDeviceGetPCIBusId(buffer, INT(64), INT(0)), len(buffer.value))
flags, active = U32(FILLED & 0xFFFFFFFF), INT(7)
print("primary context's state:",
      libcuda.cuDevicePrimaryCtxGetState(INT(0), ctypes.byref(flags), ctypes.byref(active)), flags.value, active.value)
# Without a context.
number("context", "cuCtxGetCurrent")
number("device without a context", "cuCtxGetDevice", width=U32)
number("allocation without a context", "cuMemAlloc_v2", U64(1024))
free, total = U64(FILLED), U64(FILLED)
ask("memory without a context", "cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total), out=(free, total))
number("module without a context", "cuModuleLoadData", b".version 6.0\n.target sm_50\n.address_size 64\n")
number("stream without a context", "cuStreamCreate", U32(0))
ask("synchronize without a context", "cuCtxSynchronize")
ask("release of what was not retained", "cuDevicePrimaryCtxRelease_v2", INT(0))
number("retain of device 99", "cuDevicePrimaryCtxRetain", INT(99))
context = number("retain", "cuDevicePrimaryCtxRetain", INT(0))
number("context after retain", "cuCtxGetCurrent")
ask("set current", "cuCtxSetCurrent", context)
print("primary context's state:",
      libcuda.cuDevicePrimaryCtxGetState(INT(0), ctypes.byref(flags), ctypes.byref(active)), flags.value, active.value)
number("device of the context", "cuCtxGetDevice", width=U32)
# Memory.
number("allocation of 0 bytes", "cuMemAlloc_v2", U64(0))
number("allocation of 2^60 bytes", "cuMemAlloc_v2", U64(1 << 60))
one = number("allocation", "cuMemAlloc_v2", U64(1000))
print("aligned to:", min(one.value & -one.value, 512))
base, size = U64(FILLED), U64(FILLED)
result = libcuda.cuMemGetAddressRange_v2(ctypes.byref(base), ctypes.byref(size), U64(one.value + 10))
print("range of a place inside:", result, one.value - base.value, size.value)
ask("free of a place inside", "cuMemFree_v2", U64(one.value + 256))
ask("free", "cuMemFree_v2", one)
ask("free again", "cuMemFree_v2", one)
ask("free of 0", "cuMemFree_v2", U64(0))
ask("free of what was never there", "cuMemFree_v2", U64(0x1234567000))
host = number("pinned host memory", "cuMemHostAlloc", U64(4096), U32(0))
kind = U32(FILLED & 0xFFFFFFFF)
ask("kind of pinned host memory", "cuPointerGetAttribute", ctypes.byref(kind), INT(2), host, out=(kind,))
ask("kind of a stack address", "cuPointerGetAttribute", ctypes.byref(kind), INT(2),
    U64(ctypes.addressof(kind)), out=(kind,))
ask("free of pinned host memory", "cuMemFreeHost", host)
ask("copy of 0 bytes", "cuMemcpyHtoD_v2", U64(0), buffer, U64(0))
# Code.
module, function = U64(FILLED), U64(FILLED)
number("module of nonsense", "cuModuleLoadData", b"nonsense")
number("module of an empty text", "cuModuleLoadData", b"")
PTX = b".version 6.0\n.target sm_50\n.address_size 64\n.visible .entry kernel()\n{\nret;\n}\n"
ask("module", "cuModuleLoadData", ctypes.byref(module), PTX, out=(module,))
ask("function that is not there", "cuModuleGetFunction", ctypes.byref(function), module, b"other", out=(function,))
ask("function", "cuModuleGetFunction", ctypes.byref(function), module, b"kernel", out=(function,))
launch = lambda grid, block, shared=0, kernel=function: (  # noqa: E731
    kernel, U32(grid), U32(1), U32(1), U32(block), U32(1), U32(1), U32(shared), None, None, None)
ask("launch", "cuLaunchKernel", *launch(1, 32))
ask("launch of 0 blocks", "cuLaunchKernel", *launch(0, 32))
ask("launch of 0 threads", "cuLaunchKernel", *launch(1, 0))
ask("launch of 2048 threads", "cuLaunchKernel", *launch(1, 2048))
ask("launch with 1 GiB of shared memory", "cuLaunchKernel", *launch(1, 32, 1 << 30))
ask("launch of nothing", "cuLaunchKernel", *launch(1, 32, 0, None))
ask("synchronize", "cuCtxSynchronize")
stream, event = U64(FILLED), U64(FILLED)
ask("stream", "cuStreamCreate", ctypes.byref(stream), U32(1), out=(stream,))
ask("stream with flags 77", "cuStreamCreate", ctypes.byref(U64()), U32(77))
ask("query", "cuStreamQuery", stream)
ask("event", "cuEventCreate", ctypes.byref(event), U32(0), out=(event,))
ask("query of an event never recorded", "cuEventQuery", event)
spent = ctypes.c_float(-1)
print("time between events never recorded:", libcuda.cuEventElapsedTime(ctypes.byref(spent), event, event))
ask("destruction of an event", "cuEventDestroy_v2", event)
ask("destruction of a stream", "cuStreamDestroy_v2", stream)
ask("unload", "cuModuleUnload", module)
limit = U64(FILLED)
for which in (0, 1, 2, 5, 77):
    limit.value = FILLED
    ask(f"limit {which}", "cuCtxGetLimit", ctypes.byref(limit), INT(which), out=(limit,))
ask("release", "cuDevicePrimaryCtxRelease_v2", INT(0))
ask("release again", "cuDevicePrimaryCtxRelease_v2", INT(0))
ask("allocation after release", "cuMemAlloc_v2", ctypes.byref(one), U64(1024))
