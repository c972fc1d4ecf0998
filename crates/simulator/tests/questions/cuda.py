"""Questions to a CUDA driver. No question passes an address that is not there."""
import ctypes

from asking import INT, U32, U64, filled, ref, written

PTX = b".version 6.0\n.target sm_50\n.address_size 64\n.visible .entry kernel()\n{\nret;\n}\n"


def lookup(driver, name, version, flags=0):
    pointer, status = filled(), filled(U32)
    driver.ask(f"lookup of {name!r} at {version}, flags {flags}", "cuGetProcAddress_v2", name.encode(), ref(pointer),
               INT(version), U64(flags), ref(status), out=(pointer, status))
    return pointer


def table(driver, uuid):
    pointer = filled()
    driver.ask(f"table {uuid}", "cuGetExportTable", ref(pointer), bytes.fromhex(uuid), out=(pointer,))
    return pointer


def one_client_from_first_lookup_to_release(driver):
    # Before cuInit.
    for symbol, version in [("", 0), ("", 12000), ("cuNoSuchFunction", 12000), ("cuInit", 0), ("cuInit", 1000),
                            ("cuInit", 2000), ("cuInit", 99000), ("cuLibraryLoadData", 11000), ("cuInit_v2", 12000),
                            ("cuMemAlloc_v2", 12000), ("cuMemAlloc", 3000), ("nvmlInit_v2", 12000),
                            ("cuGetProcAddress", 11030)]:
        lookup(driver, symbol, version)
    lookup(driver, "cuMemcpyHtoD", 12000, 2)
    lookup(driver, "cuInit", 12000, 1)
    lookup(driver, "cuInit", 12000, 2)
    lookup(driver, "cuInit", 12000, 4)
    table(driver, "00" * 16)
    table(driver, "42d85a8123f6cb478298f6e78a3aecdc")
    driver.number("version before init", "cuDriverGetVersion", width=U32)
    driver.number("count before init", "cuDeviceGetCount", width=U32)
    driver.number("device before init", "cuDeviceGet", INT(0), width=U32)
    driver.number("context before init", "cuCtxGetCurrent")
    driver.number("allocation before init", "cuMemAlloc_v2", U64(1024))
    driver.number("retain before init", "cuDevicePrimaryCtxRetain", INT(0))
    name = ctypes.c_char_p()
    for code in (0, 1, 46, 100, 222, 999, 12345):
        result = driver.library.cuGetErrorName(INT(code), ref(name))
        print(f"name of error {code}: {result} {name.value}")
        result = driver.library.cuGetErrorString(INT(code), ref(name))
        print(f"text of error {code}: {result} {name.value}")
    driver.ask("init with flags 1", "cuInit", U32(1))
    driver.ask("init", "cuInit", U32(0))
    driver.ask("init again", "cuInit", U32(0))
    # Devices.
    driver.number("count", "cuDeviceGetCount", width=U32)
    for index in (-1, 0, 99):
        driver.number(f"device {index}", "cuDeviceGet", INT(index), width=U32)
    for attribute in (0, 1, 75, 76, 120, 140, 145, 150, 9999):
        value = filled(U32)
        result = driver.library.cuDeviceGetAttribute(ref(value), INT(attribute), INT(0))
        print(f"attribute {attribute} of device 0: {result}")
    driver.number("attribute 1 of device 99", "cuDeviceGetAttribute", INT(1), INT(99), width=U32)
    driver.number("memory of device 99", "cuDeviceTotalMem_v2", INT(99))
    buffer = ctypes.create_string_buffer(b"\xaa" * 64)
    print("name in 4 bytes:", driver.library.cuDeviceGetName(buffer, INT(4), INT(0)), len(buffer.value))
    print("PCI id in 4 bytes:", driver.library.cuDeviceGetPCIBusId(buffer, INT(4), INT(0)))
    print("PCI id in 64 bytes:", driver.library.cuDeviceGetPCIBusId(buffer, INT(64), INT(0)), len(buffer.value))
    flags, active = filled(U32), INT(7)
    print("primary context's state:",
          driver.library.cuDevicePrimaryCtxGetState(INT(0), ref(flags), ref(active)), flags.value, active.value)
    # Without a context.
    driver.number("context", "cuCtxGetCurrent")
    driver.number("device without a context", "cuCtxGetDevice", width=U32)
    driver.number("allocation without a context", "cuMemAlloc_v2", U64(1024))
    free, total = filled(), filled()
    driver.ask("memory without a context", "cuMemGetInfo_v2", ref(free), ref(total), out=(free, total))
    driver.number("module without a context", "cuModuleLoadData", b".version 6.0\n.target sm_50\n.address_size 64\n")
    driver.number("stream without a context", "cuStreamCreate", U32(0))
    driver.ask("synchronize without a context", "cuCtxSynchronize")
    driver.ask("release of what was not retained", "cuDevicePrimaryCtxRelease_v2", INT(0))
    driver.number("retain of device 99", "cuDevicePrimaryCtxRetain", INT(99))
    context = driver.number("retain", "cuDevicePrimaryCtxRetain", INT(0))
    driver.number("context after retain", "cuCtxGetCurrent")
    driver.ask("set current", "cuCtxSetCurrent", context)
    print("primary context's state:",
          driver.library.cuDevicePrimaryCtxGetState(INT(0), ref(flags), ref(active)), flags.value, active.value)
    driver.number("device of the context", "cuCtxGetDevice", width=U32)
    # Memory.
    driver.number("allocation of 0 bytes", "cuMemAlloc_v2", U64(0))
    driver.number("allocation of 2^60 bytes", "cuMemAlloc_v2", U64(1 << 60))
    one = driver.number("allocation", "cuMemAlloc_v2", U64(1000))
    print("aligned to:", min(one.value & -one.value, 512))
    base, size = filled(), filled()
    result = driver.library.cuMemGetAddressRange_v2(ref(base), ref(size), U64(one.value + 10))
    print("range of a place inside:", result, one.value - base.value, size.value)
    driver.ask("free of a place inside", "cuMemFree_v2", U64(one.value + 256))
    driver.ask("free", "cuMemFree_v2", one)
    driver.ask("free again", "cuMemFree_v2", one)
    driver.ask("free of 0", "cuMemFree_v2", U64(0))
    driver.ask("free of what was never there", "cuMemFree_v2", U64(0x1234567000))
    host = driver.number("pinned host memory", "cuMemHostAlloc", U64(4096), U32(0))
    kind = filled(U32)
    driver.ask("kind of pinned host memory", "cuPointerGetAttribute", ref(kind), INT(2), host, out=(kind,))
    driver.ask("kind of a stack address", "cuPointerGetAttribute", ref(kind), INT(2),
               U64(ctypes.addressof(kind)), out=(kind,))
    driver.ask("free of pinned host memory", "cuMemFreeHost", host)
    driver.ask("copy of 0 bytes", "cuMemcpyHtoD_v2", U64(0), buffer, U64(0))
    # Code.
    module, function = filled(), filled()
    driver.number("module of nonsense", "cuModuleLoadData", b"nonsense")
    driver.number("module of an empty text", "cuModuleLoadData", b"")
    driver.ask("module", "cuModuleLoadData", ref(module), PTX, out=(module,))
    driver.ask("function that is not there", "cuModuleGetFunction", ref(function), module, b"other", out=(function,))
    driver.ask("function", "cuModuleGetFunction", ref(function), module, b"kernel", out=(function,))
    launch = lambda grid, block, shared=0, kernel=function: (  # noqa: E731
        kernel, U32(grid), U32(1), U32(1), U32(block), U32(1), U32(1), U32(shared), None, None, None)
    driver.ask("launch", "cuLaunchKernel", *launch(1, 32))
    driver.ask("launch of 0 blocks", "cuLaunchKernel", *launch(0, 32))
    driver.ask("launch of 0 threads", "cuLaunchKernel", *launch(1, 0))
    driver.ask("launch of 2048 threads", "cuLaunchKernel", *launch(1, 2048))
    driver.ask("launch with 1 GiB of shared memory", "cuLaunchKernel", *launch(1, 32, 1 << 30))
    driver.ask("launch of nothing", "cuLaunchKernel", *launch(1, 32, 0, None))
    driver.ask("synchronize", "cuCtxSynchronize")
    stream, event = filled(), filled()
    driver.ask("stream", "cuStreamCreate", ref(stream), U32(1), out=(stream,))
    driver.ask("stream with flags 77", "cuStreamCreate", ref(U64()), U32(77))
    driver.ask("query", "cuStreamQuery", stream)
    driver.ask("event", "cuEventCreate", ref(event), U32(0), out=(event,))
    driver.ask("query of an event never recorded", "cuEventQuery", event)
    spent = ctypes.c_float(-1)
    print("time between events never recorded:", driver.library.cuEventElapsedTime(ref(spent), event, event))
    driver.ask("destruction of an event", "cuEventDestroy_v2", event)
    driver.ask("destruction of a stream", "cuStreamDestroy_v2", stream)
    driver.ask("unload", "cuModuleUnload", module)
    for which in (0, 1, 2, 5, 77):
        driver.number(f"limit {which}", "cuCtxGetLimit", INT(which))
    driver.ask("release", "cuDevicePrimaryCtxRelease_v2", INT(0))
    driver.ask("release again", "cuDevicePrimaryCtxRelease_v2", INT(0))
    driver.ask("allocation after release", "cuMemAlloc_v2", ref(one), U64(1024))


def lookups_before_init(driver):
    for version in (11999, 12090, 12990, 12999, 13000, 13001, 13009, 13010, 13020, 13050, 13080, 13090, 13990, 13999,
                    14000, 20000, 99000, 2 ** 31 - 1, -1, -13000):
        lookup(driver, "cuInit", version)
    for version in (13000, 13050, 14000, -1):
        lookup(driver, "cuNoSuchFunction", version)
    for flags in (3, 5, 8, 2 ** 32, 2 ** 63):
        lookup(driver, "cuInit", 12000, flags)
    lookup(driver, "cuInit", 1000, 4)
    lookup(driver, "cuInit", 14000, 4)
    lookup(driver, "cuMemcpyHtoD", 12000, 1)
    lookup(driver, "cuMemcpyHtoD", 2000, 2)
    lookup(driver, "cuInit\n", 12000)
    lookup(driver, "CUINIT", 12000)
    lookup(driver, "cuGetProcAddress_v2", 12000)
    lookup(driver, "cuDevicePrimaryCtxRelease", 7000)
    for symbol, version, exported in [("cuGetProcAddress", 11030, "cuGetProcAddress"),
                                      ("cuGetProcAddress", 12000, "cuGetProcAddress_v2"),
                                      ("cuMemAlloc", 3020, "cuMemAlloc_v2"), ("cuCtxGetDevice", 2000, "cuCtxGetDevice"),
                                      ("cuDevicePrimaryCtxRelease", 7000, "cuDevicePrimaryCtxRelease"),
                                      ("cuDevicePrimaryCtxRelease", 11000, "cuDevicePrimaryCtxRelease_v2")]:
        pointer = filled()
        result = driver.call("cuGetProcAddress_v2", symbol.encode(), ref(pointer), INT(version), U64(0), None)
        same = pointer.value == ctypes.cast(getattr(driver.library, exported), ctypes.c_void_p).value
        print(f"{symbol} at {version} is the exported {exported}: {result} {same}")


def lookups_without_a_status(driver):
    for symbol, version, flags in [("cuInit", 12000, 0), ("cuNoSuchFunction", 12000, 0), ("cuInit", 1000, 0),
                                   ("cuInit", 14000, 0), ("cuInit", 99000, 0), ("cuInit", 12000, 4), ("", 12000, 0)]:
        pointer = filled()
        driver.ask(f"lookup without status of {symbol!r} at {version}, flags {flags}", "cuGetProcAddress_v2",
                   symbol.encode(), ref(pointer), INT(version), U64(flags), None, out=(pointer,))


def lookups_with_four_arguments(driver):
    for symbol, version, flags in [("cuInit", 12000, 0), ("cuInit", 11030, 0), ("cuNoSuchFunction", 12000, 0),
                                   ("cuInit", 1000, 0), ("cuLibraryLoadData", 11000, 0), ("cuInit", 14000, 0),
                                   ("cuInit", 99000, 0), ("cuInit", -1, 0), ("cuInit", 12000, 4), ("", 12000, 0)]:
        pointer = filled()
        driver.ask(f"first lookup of {symbol!r} at {version}, flags {flags}", "cuGetProcAddress", symbol.encode(),
                   ref(pointer), INT(version), U64(flags), out=(pointer,))


def lookups_of_null(driver):
    status = filled(U32)
    driver.ask("lookup into nothing", "cuGetProcAddress_v2", b"cuInit", None, INT(12000), U64(0), ref(status),
               out=(status,))
    pointer, status = filled(), filled(U32)
    driver.ask("lookup of no name", "cuGetProcAddress_v2", None, ref(pointer), INT(12000), U64(0), ref(status),
               out=(pointer, status))


def lookups_after_init(driver):
    driver.ask("init", "cuInit", U32(0))
    for symbol, version in [("cuInit", 12000), ("cuInit", 13000), ("cuInit", 13050), ("cuInit", 14000), ("cuInit", 99000),
                            ("cuNoSuchFunction", 12000)]:
        lookup(driver, symbol, version)


def export_tables(driver):
    for uuid in ("6bd5fb6c5bf4e74a8987d93912fd9df9", "a094798c2e742e7493f20800200c0a66", "42d85a8123f6cb478298f6e78a3aecdc",
                 "21318c60971432488ca641ff7324c8f2", "c693336e1121df11a8c368f355d89593", "263e88607cd2614392f6bbd5006dfa7e",
                 "d4082055bde6704b8d34ba123c66e1f2", "f8cff95121468b4eb9e2fb469e7c0dd9"):
        pointer = table(driver, uuid)
        if pointer.value != filled().value and pointer.value:
            first = ctypes.cast(pointer.value, ctypes.POINTER(ctypes.c_uint64))[0]
            print(f"first word of {uuid}: {first if first < 65536 else 'something'}")


def devices(driver):
    driver.ask("init", "cuInit", U32(0))
    unknown = []
    for attribute in range(221):
        value = filled(U32)
        if driver.call("cuDeviceGetAttribute", ref(value), INT(attribute), INT(0)):
            unknown.append(f"{attribute}{'' if value.value == filled(U32).value else '!'}")
    print("attributes of 0 to 220 that are unknown:", *unknown)
    for room in (0, 1, 4, 12, 13, 14, 64):
        buffer = ctypes.create_string_buffer(b"\xaa" * 64)
        print(f"PCI id in {room} bytes:", driver.library.cuDeviceGetPCIBusId(buffer, INT(room), INT(0)),
              "untouched" if buffer.raw[0] == 0xAA else "empty" if buffer.raw[0] == 0 else "something")


def a_name_in_no_room(driver):
    driver.ask("init", "cuInit", U32(0))
    buffer = ctypes.create_string_buffer(b"\xaa" * 64)
    print("name in 0 bytes:", driver.library.cuDeviceGetName(buffer, INT(0), INT(0)))


def devices_by_other_names(driver):
    driver.ask("init", "cuInit", U32(0))
    for room in (1, 2):
        buffer = ctypes.create_string_buffer(b"\xaa" * 64)
        print(f"name in {room} bytes:", driver.library.cuDeviceGetName(buffer, INT(room), INT(0)),
              "untouched" if buffer.raw[0] == 0xAA else "empty" if buffer.raw[0] == 0 else "something")
    buffer = ctypes.create_string_buffer(64)
    driver.library.cuDeviceGetPCIBusId(buffer, INT(64), INT(0))
    own = buffer.value
    for what, spelled in [("own PCI id", own), ("own PCI id in lower case", own.lower()), ("own PCI id without function",
                          own.split(b".")[0]), ("own PCI id without domain", own[own.index(b":") + 1:]),
                          ("a PCI id that is not there", b"0000:FE:1F.0"), ("nonsense", b"nonsense"), ("nothing", b"")]:
        driver.number(f"device by {what}", "cuDeviceGetByPCIBusId", spelled, width=U32)
    uuid = ctypes.create_string_buffer(b"\xaa" * 16)
    print("UUID:", driver.call("cuDeviceGetUuid", uuid, INT(0)), "same as version 2:",
          (lambda other: (driver.call("cuDeviceGetUuid_v2", other, INT(0)), other.raw == uuid.raw))(
              ctypes.create_string_buffer(16)))
    print("UUID of device 99:", driver.call("cuDeviceGetUuid_v2", uuid, INT(99)))
    print("name of device 99:", driver.call("cuDeviceGetName", buffer, INT(64), INT(99)))
    major, minor = filled(U32), filled(U32)
    result = driver.call("cuDeviceComputeCapability", ref(major), ref(minor), INT(0))
    print("capability:", result, "something" if major.value < 100 and minor.value < 10 else "untouched")
    driver.number("peer access of a device to itself", "cuDeviceCanAccessPeer", INT(0), INT(0), width=U32)
    driver.number("peer access to device 99", "cuDeviceCanAccessPeer", INT(0), INT(99), width=U32)
    driver.number("loading mode", "cuModuleGetLoadingMode", width=U32)


def start(driver):
    """Init, and the primary context made current; says nothing."""
    driver.library.cuInit(U32(0))
    context = filled()
    driver.library.cuDevicePrimaryCtxRetain(ref(context), INT(0))
    driver.library.cuCtxSetCurrent(context)
    return context


def state(driver, when):
    flags, active = filled(U32), INT(7)
    result = driver.call("cuDevicePrimaryCtxGetState", INT(0), ref(flags), ref(active))
    print(f"primary context {when}: {result} {flags.value} {active.value}")


def contexts(driver):
    driver.ask("init", "cuInit", U32(0))
    driver.number("pop of nothing", "cuCtxPopCurrent_v2")
    driver.ask("push of nothing", "cuCtxPushCurrent_v2", None)
    driver.ask("destruction of nothing", "cuCtxDestroy_v2", None)
    driver.number("flags without a context", "cuCtxGetFlags", width=U32)
    driver.number("limit without a context", "cuCtxGetLimit", INT(0))
    driver.number("context on device 99", "cuCtxCreate_v2", U32(0), INT(99))
    driver.number("context with flags 1 << 20", "cuCtxCreate_v2", U32(1 << 20), INT(0))
    one = driver.number("context", "cuCtxCreate_v2", U32(0), INT(0))
    two = driver.number("another context", "cuCtxCreate_v2", U32(0), INT(0))
    top = driver.number("current one", "cuCtxGetCurrent")
    print("the second is current:", top.value == two.value)
    state(driver, "beside others")
    memory = driver.number("allocation", "cuMemAlloc_v2", U64(1024))
    driver.ask("pop", "cuCtxPopCurrent_v2", ref(top))
    driver.ask("free of another context's memory", "cuMemFree_v2", memory)
    driver.ask("set current", "cuCtxSetCurrent", two)
    driver.ask("destruction of the current one", "cuCtxDestroy_v2", two)
    driver.number("current one after that", "cuCtxGetCurrent")
    driver.number("allocation after that", "cuMemAlloc_v2", U64(1024))
    driver.number("pop after that", "cuCtxPopCurrent_v2")
    primary = driver.number("retain", "cuDevicePrimaryCtxRetain", INT(0))
    driver.ask("push of the primary one", "cuCtxPushCurrent_v2", primary)
    driver.ask("destruction of the primary one", "cuCtxDestroy_v2", primary)
    driver.ask("flags of the primary one while active", "cuDevicePrimaryCtxSetFlags_v2", INT(0), U32(4))
    driver.ask("flags of the primary one, unknown", "cuDevicePrimaryCtxSetFlags_v2", INT(0), U32(1 << 20))
    state(driver, "after its flags were set")
    driver.number("retain again", "cuDevicePrimaryCtxRetain", INT(0))
    driver.ask("release", "cuDevicePrimaryCtxRelease_v2", INT(0))
    state(driver, "retained twice and released once")
    driver.number("device 1", "cuDevicePrimaryCtxRetain", INT(1))
    driver.ask("current is nothing", "cuCtxSetCurrent", None)
    driver.number("device of nothing", "cuCtxGetDevice", width=U32)
    driver.ask("reset of device 99", "cuDevicePrimaryCtxReset_v2", INT(99))
    driver.ask("limit 0 to 2048", "cuCtxSetLimit", INT(0), U64(2048))


def limits(driver):
    start(driver)
    for which in range(-1, 14):
        driver.number(f"limit {which}", "cuCtxGetLimit", INT(which))
    for which, value in [(0, 2048), (0, 1 << 40), (1, 1 << 20), (2, 1 << 24), (77, 1)]:
        driver.ask(f"limit {which} to {value}", "cuCtxSetLimit", INT(which), U64(value))
    least, most = filled(U32), filled(U32)
    result = driver.call("cuCtxGetStreamPriorityRange", ref(least), ref(most))
    print("priorities:", result, ctypes.c_int32(least.value).value, ctypes.c_int32(most.value).value)


def after_the_last_release(driver):
    primary = start(driver)
    memory, module, stream, event = filled(), filled(), filled(), filled()
    driver.library.cuMemAlloc_v2(ref(memory), U64(1024))
    driver.library.cuModuleLoadData(ref(module), PTX)
    driver.ask("release", "cuDevicePrimaryCtxRelease_v2", INT(0))
    state(driver, "after that")
    current = driver.number("current one", "cuCtxGetCurrent")
    print("it is the primary one:", current.value == primary.value)
    driver.number("its device", "cuCtxGetDevice", width=U32)
    driver.number("its flags", "cuCtxGetFlags", width=U32)
    driver.number("a limit", "cuCtxGetLimit", INT(0))
    driver.number("allocation", "cuMemAlloc_v2", U64(1024))
    driver.number("pinned host memory", "cuMemHostAlloc", U64(4096), U32(0))
    free, total = filled(), filled()
    driver.ask("memory", "cuMemGetInfo_v2", ref(free), ref(total), out=(free, total))
    driver.ask("synchronize", "cuCtxSynchronize")
    driver.ask("stream", "cuStreamCreate", ref(stream), U32(0), out=(stream,))
    driver.ask("event", "cuEventCreate", ref(event), U32(0), out=(event,))
    driver.ask("query of the default stream", "cuStreamQuery", None)
    driver.number("module", "cuModuleLoadData", PTX)
    driver.ask("free of what was there", "cuMemFree_v2", memory)
    driver.ask("free of 0", "cuMemFree_v2", U64(0))
    driver.ask("set current", "cuCtxSetCurrent", primary)
    driver.ask("push", "cuCtxPushCurrent_v2", primary)
    again = driver.number("retain again", "cuDevicePrimaryCtxRetain", INT(0))
    print("it is the same one:", again.value == primary.value)
    driver.number("allocation then", "cuMemAlloc_v2", U64(1024))
    driver.ask("reset", "cuDevicePrimaryCtxReset_v2", INT(0))
    state(driver, "after that reset")
    driver.number("allocation after that", "cuMemAlloc_v2", U64(1024))
    driver.ask("release after that", "cuDevicePrimaryCtxRelease_v2", INT(0))


def reset_of_what_is_not_active(driver):
    driver.ask("init", "cuInit", U32(0))
    driver.ask("reset", "cuDevicePrimaryCtxReset_v2", INT(0))
    state(driver, "after that")
    driver.ask("flags", "cuDevicePrimaryCtxSetFlags_v2", INT(0), U32(4))
    state(driver, "with flags 4")


def memory(driver):
    start(driver)
    one = driver.number("allocation", "cuMemAlloc_v2", U64(4096))
    host = ctypes.create_string_buffer(1 << 16)
    driver.ask("copy to the device", "cuMemcpyHtoD_v2", one, host, U64(4096))
    driver.ask("copy from address 0", "cuMemcpyDtoH_v2", host, U64(0), U64(16))
    driver.ask("copy from what was never there", "cuMemcpyDtoH_v2", host, U64(0x1234567000), U64(16))
    driver.ask("fill of address 0", "cuMemsetD8_v2", U64(0), U32(0), U64(16))
    driver.ask("fill of 0 bytes", "cuMemsetD8_v2", one, U32(0), U64(0))
    driver.ask("fill", "cuMemsetD8_v2", one, U32(1), U64(4096))
    driver.ask("fill of what is not aligned", "cuMemsetD32_v2", U64(one.value + 1), U32(1), U64(4))
    driver.ask("address range of what was never there", "cuMemGetAddressRange_v2", ref(filled()), ref(filled()),
               U64(0x1234567000))
    for attribute in (1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 77):
        for what, address in [("device memory", one.value + 16), ("what was never there", 0x1234567000)]:
            value = (ctypes.c_uint64 * 4)(filled().value, filled().value)
            result = driver.call("cuPointerGetAttribute", value, INT(attribute), U64(address))
            print(f"pointer attribute {attribute} of {what}: {result}",
                  "untouched" if value[0] == filled().value else "0" if value[0] & 0xFFFFFFFF == 0 else "something")
    pinned = filled()
    driver.ask("pinned host memory of 0 bytes", "cuMemHostAlloc", ref(pinned), U64(0), U32(0), out=(pinned,))
    driver.ask("pinned host memory with flags 1 << 20", "cuMemHostAlloc", ref(pinned), U64(64), U32(1 << 20), out=(pinned,))
    driver.ask("pinned host memory", "cuMemHostAlloc", ref(pinned), U64(4096), U32(0), out=(pinned,))
    there = driver.number("its device address", "cuMemHostGetDevicePointer_v2", pinned, U32(0))
    print("it is the same:", there.value == pinned.value)
    driver.number("its flags", "cuMemHostGetFlags", pinned, width=U32)
    driver.ask("free of it as device memory", "cuMemFree_v2", pinned)
    driver.number("device address of a stack address", "cuMemHostGetDevicePointer_v2", host, U32(0))
    driver.ask("free of a stack address as pinned host memory", "cuMemFreeHost", host)
    page = ctypes.c_void_p((ctypes.addressof(host) + 4095) & ~4095)
    driver.ask("registration", "cuMemHostRegister_v2", page, U64(8192), U32(0))
    driver.ask("registration again", "cuMemHostRegister_v2", page, U64(8192), U32(0))
    driver.ask("registration of 0 bytes", "cuMemHostRegister_v2", page, U64(0), U32(0))
    driver.ask("end of registration", "cuMemHostUnregister", page)
    driver.ask("end of registration again", "cuMemHostUnregister", page)
    driver.number("managed memory with flags 0", "cuMemAllocManaged", U64(4096), U32(0))
    driver.number("managed memory", "cuMemAllocManaged", U64(4096), U32(1))
    pitch = filled()
    driver.number("memory with a pitch, elements of 5 bytes", "cuMemAllocPitch_v2", ref(pitch), U64(100), U64(10), U32(5))
    driver.number("memory with a pitch", "cuMemAllocPitch_v2", ref(pitch), U64(100), U64(10), U32(4))
    print("the pitch:", pitch.value)


def mapped_memory(driver):
    start(driver)
    class Properties(ctypes.Structure):
        _fields_ = [("kind", U32), ("handles", U32), ("place", U32), ("device", INT), ("unused", U64), ("flags", U64)]
    class Access(ctypes.Structure):
        _fields_ = [("place", U32), ("device", INT), ("access", U32)]
    wanted, rights = Properties(1, 0, 1, 0, 0, 0), Access(1, 0, 3)
    size = filled()
    driver.ask("granularity", "cuMemGetAllocationGranularity", ref(size), ref(wanted), U32(0))
    print("it is:", size.value)
    driver.ask("granularity, recommended", "cuMemGetAllocationGranularity", ref(size), ref(wanted), U32(1))
    print("it is:", size.value)
    size = size.value
    driver.ask("granularity on device 99", "cuMemGetAllocationGranularity", ref(filled()), ref(Properties(1, 0, 1, 99)), U32(0))
    driver.number("memory of 1000 bytes", "cuMemCreate", U64(1000), ref(wanted), U64(0))
    driver.number("memory of 0 bytes", "cuMemCreate", U64(0), ref(wanted), U64(0))
    driver.number("memory of 2^50 bytes", "cuMemCreate", U64(1 << 50), ref(wanted), U64(0))
    driver.number("addresses for 1000 bytes", "cuMemAddressReserve", U64(1000), U64(0), U64(0), U64(0))
    driver.number("addresses for 0 bytes", "cuMemAddressReserve", U64(0), U64(0), U64(0), U64(0))
    handle = driver.number("memory", "cuMemCreate", U64(size), ref(wanted), U64(0))
    base = driver.number("addresses", "cuMemAddressReserve", U64(2 * size), U64(0), U64(0), U64(0))
    driver.ask("rights before it is mapped", "cuMemSetAccess", base, U64(size), ref(rights), U64(1))
    driver.ask("mapping of more than there is", "cuMemMap", base, U64(2 * size), U64(0), handle, U64(0))
    driver.ask("mapping with an offset", "cuMemMap", base, U64(size), U64(size), handle, U64(0))
    driver.ask("mapping", "cuMemMap", base, U64(size), U64(0), handle, U64(0))
    driver.ask("mapping again", "cuMemMap", base, U64(size), U64(0), handle, U64(0))
    driver.ask("rights", "cuMemSetAccess", base, U64(size), ref(rights), U64(1))
    driver.ask("fill", "cuMemsetD8_v2", base, U32(1), U64(16))
    driver.ask("release while mapped", "cuMemRelease", handle)
    driver.ask("free of its address", "cuMemFree_v2", base)
    driver.ask("end of addresses while mapped", "cuMemAddressFree", base, U64(2 * size))
    driver.ask("end of mapping of what was not mapped", "cuMemUnmap", U64(base.value + size), U64(size))
    driver.ask("end of mapping", "cuMemUnmap", base, U64(size))
    driver.ask("end of half the addresses", "cuMemAddressFree", base, U64(size))
    driver.ask("end of addresses", "cuMemAddressFree", base, U64(2 * size))
    driver.ask("end of addresses again", "cuMemAddressFree", base, U64(2 * size))


HEADER = b".version 6.0\n.target sm_50\n.address_size 64\n"
ENTRY = b".visible .entry kernel()\n{\nret;\n}\n"
ELF = b"\x7fELF\x02\x01\x01\x33\x07" + b"\0" * 7 + b"\x02\0\xbe\0" + b"\x01\0\0\0"
IMAGES = [
    ("a comment, then PTX", b"// a comment\n//\n" + PTX),
    ("a comment of another kind, then PTX", b"/* a comment */\n" + PTX),
    ("empty lines, then PTX", b"\n\n\t " + PTX),
    ("a word, then PTX", b"word\n" + PTX),
    ("PTX, then nonsense", PTX + b"nonsense\n"),
    ("a version alone", b".version 8.0"),
    ("a version in a comment alone", b"// .version 6.0\n"),
    ("a header alone", HEADER),
    ("PTX without a target", b".version 6.0\n" + ENTRY),
    ("PTX without a version", b".target sm_50\n.address_size 64\n" + ENTRY),
    ("PTX of version 99.0", PTX.replace(b"6.0", b"99.0")),
    ("PTX of version 9.1", PTX.replace(b"6.0", b"9.1")),
    ("PTX of version 9.0", PTX.replace(b"6.0", b"9.0").replace(b"sm_50", b"sm_75")),
    ("PTX of version 9.0 for sm_50", PTX.replace(b"6.0", b"9.0")),
    ("PTX of version 1.0", PTX.replace(b"6.0", b"1.0")),
    ("PTX for sm_999", PTX.replace(b"sm_50", b"sm_999")),
    ("PTX for sm_120", PTX.replace(b"6.0", b"8.7").replace(b"sm_50", b"sm_120")),
    ("PTX with a wrong instruction", PTX.replace(b"ret;", b"wrong;")),
    ("PTX cut off", PTX[:-4]),
    ("PTX that calls what is not there",
     HEADER + b".extern .func other();\n.visible .entry kernel()\n{\ncall other;\nret;\n}\n"),
    ("a blank", b" "),
    ("one byte", b"\x01"),
    ("four bytes of 0xff", b"\xff\xff\xff\xff"),
    ("the first bytes of an ELF file, then zeros", b"\x7fELF"),
    ("the header of a cubin, then zeros", ELF),
    ("the header of another machine's ELF file", ELF.replace(b"\xbe", b"\x3e")),
    ("the header of a fatbin without content", bytes.fromhex("50ed55ba0100100000000000")),
    ("the header of a fatbin of version 99", bytes.fromhex("50ed55ba6300100000000000")),
]


def images(driver):
    start(driver)
    for what, image in IMAGES:
        buffer = ctypes.create_string_buffer(image, 1 << 16)
        driver.number(f"module of {what}", "cuModuleLoadData", buffer)


def images_of_libraries(driver):
    driver.ask("init", "cuInit", U32(0))
    nothing = (None, None, U32(0), None, None, U32(0))
    driver.number("library without a context", "cuLibraryLoadData", PTX, *nothing)
    start(driver)
    for what, image in IMAGES:
        buffer = ctypes.create_string_buffer(image, 1 << 16)
        driver.number(f"library of {what}", "cuLibraryLoadData", buffer, *nothing)
    driver.number("library of nonsense", "cuLibraryLoadData", ctypes.create_string_buffer(b"nonsense", 4096), *nothing)
    driver.number("library of a missing file", "cuLibraryLoadFromFile", b"/nowhere", *nothing)
    driver.number("module of a missing file", "cuModuleLoad", b"/nowhere")
    driver.number("module of an empty file", "cuModuleLoad", b"/dev/null")
    driver.number("module of a text file", "cuModuleLoad", b"/etc/passwd")
    driver.number("module of a folder", "cuModuleLoad", b"/")


NAMES = HEADER + b"""
.visible .global .align 4 .u32 variable;
.visible .const .align 4 .b8 constant[12];
.global .align 4 .u32 hidden;
.visible .func used()
{
ret;
}
.visible .entry first(.param .u64 there)
{
ret;
}
.entry second()
.maxntid 64, 1, 1
{
ret;
}
.visible .entry _Z5thirdPf()
{
ret;
}
// .visible .entry commented()
"""


def names_in_images(driver):
    start(driver)
    module, library = filled(), filled()
    driver.ask("module", "cuModuleLoadData", ref(module), NAMES, out=(module,))
    driver.number("functions before any was asked for", "cuModuleGetFunctionCount", module, width=U32)
    found = {}
    for name in ("first", "second", "_Z5thirdPf", "third", "used", "commented", "variable", "First", "firs", "first ", ""):
        found[name] = driver.number(f"function {name!r}", "cuModuleGetFunction", module, name.encode())
    again = driver.number("the first function again", "cuModuleGetFunction", module, b"first")
    print("it is the same:", again.value == found["first"].value)
    driver.ask("function into nothing", "cuModuleGetFunction", None, module, b"first")
    driver.number("functions", "cuModuleGetFunctionCount", module, width=U32)
    for name in ("variable", "constant", "hidden", "first", "missing", ""):
        address, size = filled(), filled()
        result = driver.call("cuModuleGetGlobal_v2", ref(address), ref(size), module, name.encode())
        print(f"variable {name!r}: {result} {written(address)} {size.value if size.value < 1 << 32 else written(size)}")
    driver.ask("variable into nothing", "cuModuleGetGlobal_v2", None, None, module, b"variable")
    driver.ask("library", "cuLibraryLoadData", ref(library), NAMES, None, None, U32(0), None, None, U32(0), out=(library,))
    driver.number("kernels before any was asked for", "cuLibraryGetKernelCount", library, width=U32)
    for name in ("first", "missing", ""):
        found[name] = driver.number(f"kernel {name!r}", "cuLibraryGetKernel", library, name.encode())
    driver.number("function of a kernel", "cuKernelGetFunction", found["first"])
    driver.number("module of a library", "cuLibraryGetModule", library)
    for name in ("variable", "missing"):
        driver.ask(f"variable {name!r} of a library", "cuLibraryGetGlobal", ref(filled()), ref(filled()), library,
                   name.encode())


def launches(driver):
    start(driver)
    module, function, bounded = filled(), filled(), filled()
    driver.ask("module", "cuModuleLoadData", ref(module), NAMES, out=(module,))
    driver.ask("function", "cuModuleGetFunction", ref(function), module, b"_Z5thirdPf", out=(function,))
    driver.ask("function with a bound", "cuModuleGetFunction", ref(bounded), module, b"second", out=(bounded,))
    for attribute in range(-1, 18):
        driver.number(f"attribute {attribute} of a function", "cuFuncGetAttribute", INT(attribute), function, width=U32)

    def launch(what, grid=(1, 1, 1), block=(32, 1, 1), shared=0, kernel=function):
        driver.ask(f"launch with {what}", "cuLaunchKernel", kernel, *map(U32, grid), *map(U32, block), U32(shared), None,
                   None, None)
    launch("2^31 blocks", grid=(1 << 31, 1, 1))
    launch("65536 blocks in y", grid=(1, 65536, 1))
    launch("65536 blocks in z", grid=(1, 1, 65536))
    launch("65 threads in z", block=(1, 1, 65))
    launch("1025 threads in y", block=(1, 1025, 1))
    launch("65 threads of 64", block=(65, 1, 1), kernel=bounded)
    for shared in (48 << 10, (48 << 10) + 1, 64 << 10, 1 << 20):
        launch(f"{shared} bytes of shared memory", shared=shared)
    for shared in (64 << 10, 1 << 20, -1):
        driver.ask(f"dynamic shared memory to {shared}", "cuFuncSetAttribute", function, INT(8), INT(shared))
    launch("64 KiB of shared memory, allowed", shared=64 << 10)
    driver.ask("attribute 0 of a function to 1", "cuFuncSetAttribute", function, INT(0), INT(1))
    driver.ask("attribute 77 of a function to 1", "cuFuncSetAttribute", function, INT(77), INT(1))
    driver.ask("synchronize", "cuCtxSynchronize")


def streams_and_events(driver):
    start(driver)
    stream, other, event, quick = filled(), filled(), filled(), filled()
    driver.ask("query of the default stream", "cuStreamQuery", None)
    driver.ask("synchronize of the default stream", "cuStreamSynchronize", None)
    driver.ask("stream with priority -99", "cuStreamCreateWithPriority", ref(stream), U32(1), INT(-99), out=(stream,))
    priority = filled(U32)
    driver.ask("its priority", "cuStreamGetPriority", stream, ref(priority))
    print("it is:", ctypes.c_int32(priority.value).value)
    flags = filled(U32)
    driver.ask("its flags", "cuStreamGetFlags", stream, ref(flags), out=(flags,))
    driver.ask("stream", "cuStreamCreate", ref(other), U32(0), out=(other,))
    driver.number("event with flags 1 << 10", "cuEventCreate", U32(1 << 10))
    driver.number("event for other processes with times", "cuEventCreate", U32(4))
    driver.ask("event", "cuEventCreate", ref(event), U32(0), out=(event,))
    driver.ask("event without times", "cuEventCreate", ref(quick), U32(2), out=(quick,))
    driver.ask("synchronize of an event never recorded", "cuEventSynchronize", event)
    driver.ask("wait for an event never recorded", "cuStreamWaitEvent", stream, event, U32(0))
    driver.ask("wait with flags 7", "cuStreamWaitEvent", stream, event, U32(7))
    driver.ask("record", "cuEventRecord", event, stream)
    driver.ask("record of the other", "cuEventRecord", quick, stream)
    driver.ask("synchronize", "cuEventSynchronize", event)
    driver.ask("query", "cuEventQuery", event)
    spent = ctypes.c_float(-1)
    driver.ask("time from an event to itself", "cuEventElapsedTime", ref(spent), event, event)
    print("it is:", spent.value)
    driver.ask("time to an event without times", "cuEventElapsedTime", ref(spent), event, quick)
    driver.ask("end of a capture that did not begin", "cuStreamEndCapture", stream, ref(filled()))
    driver.ask("capture of the default stream", "cuStreamBeginCapture_v2", None, U32(0))
    driver.ask("capture in mode 77", "cuStreamBeginCapture_v2", stream, U32(77))
    graph = filled()
    driver.ask("capture", "cuStreamBeginCapture_v2", stream, U32(0))
    driver.ask("capture again", "cuStreamBeginCapture_v2", stream, U32(0))
    driver.number("allocation during a capture", "cuMemAlloc_v2", U64(1024))
    driver.ask("end of the capture", "cuStreamEndCapture", stream, ref(graph), out=(graph,))
    driver.ask("capture", "cuStreamBeginCapture_v2", stream, U32(1))
    driver.ask("synchronize during a capture", "cuStreamSynchronize", stream)
    driver.ask("end of that capture", "cuStreamEndCapture", stream, ref(graph), out=(graph,))
    driver.ask("empty capture", "cuStreamBeginCapture_v2", stream, U32(2))
    driver.ask("end of the empty capture", "cuStreamEndCapture", stream, ref(graph), out=(graph,))


def questions_about_nothing(driver):
    start(driver)
    graph = filled()
    driver.ask("an attribute into nothing", "cuDeviceGetAttribute", None, INT(1), INT(0))
    driver.ask("count into nothing", "cuDeviceGetCount", None)
    driver.ask("version into nothing", "cuDriverGetVersion", None)
    driver.ask("device into nothing", "cuDeviceGet", None, INT(0))
    driver.ask("memory into nothing", "cuMemGetInfo_v2", None, None)
    driver.ask("allocation into nothing", "cuMemAlloc_v2", None, U64(1024))
    driver.ask("destruction of no stream", "cuStreamDestroy_v2", None)
    driver.ask("destruction of no event", "cuEventDestroy_v2", None)
    driver.ask("record of no event", "cuEventRecord", None, None)
    driver.ask("query of no event", "cuEventQuery", None)
    driver.ask("synchronize of no event", "cuEventSynchronize", None)
    driver.ask("instance of no graph", "cuGraphInstantiateWithFlags", ref(graph), None, U64(0), out=(graph,))
    driver.ask("launch of no graph", "cuGraphLaunch", None, None)
    driver.ask("destruction of no graph", "cuGraphDestroy", None)
    driver.ask("destruction of no instance", "cuGraphExecDestroy", None)


PARTS = [one_client_from_first_lookup_to_release, lookups_before_init, lookups_without_a_status,
         lookups_with_four_arguments, lookups_of_null, lookups_after_init, export_tables, devices,
         a_name_in_no_room, devices_by_other_names, contexts, limits, after_the_last_release,
         reset_of_what_is_not_active, memory, mapped_memory, images, images_of_libraries, names_in_images, launches,
         streams_and_events, questions_about_nothing]
