"""Questions to NVML. No question passes an address that is not there, and nothing is changed on the card."""
import ctypes
import os

from asking import INT, U32, U64, filled, ref

# Text, size of the longest: `NVML_DEVICE_NAME_V2_BUFFER_SIZE`.
LONG = 96


def opened(nvml):
    """Init and the first device; says nothing."""
    nvml.library.nvmlInit_v2()
    handle = filled()
    nvml.library.nvmlDeviceGetHandleByIndex_v2(U32(0), ref(handle))
    return handle


def before_init(nvml):
    nvml.property("count", "nvmlDeviceGetCount_v2")
    nvml.property("device", "nvmlDeviceGetHandleByIndex_v2", U32(0), width=U64)
    nvml.text("driver version", "nvmlSystemGetDriverVersion", room=80)
    nvml.text("NVML version", "nvmlSystemGetNVMLVersion", room=80)
    nvml.property("CUDA version", "nvmlSystemGetCudaDriverVersion")
    nvml.property("CUDA version, version 2", "nvmlSystemGetCudaDriverVersion_v2")
    nvml.property("units", "nvmlUnitGetCount")
    nvml.property("excluded devices", "nvmlGetExcludedDeviceCount")
    nvml.property("set of events", "nvmlEventSetCreate", width=U64)
    nvml.ask("shutdown", "nvmlShutdown")


def error_strings(nvml):
    nvml.library.nvmlErrorString.restype = ctypes.c_char_p
    for code in [*range(0, 35), 100, 998, 999, 1000, -1]:
        print(f"text of error {code}:", nvml.library.nvmlErrorString(INT(code)))


def init_and_shutdown(nvml):
    nvml.ask("init with flags 4", "nvmlInitWithFlags", U32(4))
    nvml.ask("init with flags -1", "nvmlInitWithFlags", U32(0xFFFFFFFF))
    nvml.ask("shutdown after that", "nvmlShutdown")
    nvml.ask("shutdown again", "nvmlShutdown")
    nvml.ask("init", "nvmlInit_v2")
    nvml.ask("init again", "nvmlInit_v2")
    nvml.ask("shutdown", "nvmlShutdown")
    nvml.number("count between", "nvmlDeviceGetCount_v2", width=U32)
    nvml.ask("last shutdown", "nvmlShutdown")
    nvml.number("count after", "nvmlDeviceGetCount_v2", width=U32)
    nvml.ask("one shutdown more", "nvmlShutdown")
    for flags in (1, 2, 3):
        nvml.ask(f"init with flags {flags}", "nvmlInitWithFlags", U32(flags))
    nvml.ask("first init", "nvmlInit")
    nvml.number("count then", "nvmlDeviceGetCount_v2", width=U32)


def a_device_kept_over_shutdown(nvml):
    handle = opened(nvml)
    nvml.ask("shutdown", "nvmlShutdown")
    nvml.text("its name", "nvmlDeviceGetName", handle, room=LONG)
    nvml.ask("init", "nvmlInit_v2")
    again = filled()
    nvml.library.nvmlDeviceGetHandleByIndex_v2(U32(0), ref(again))
    print("it is the same:", again.value == handle.value)


def devices(nvml):
    handle = opened(nvml)
    nvml.number("count", "nvmlDeviceGetCount_v2", width=U32)
    nvml.number("count, version 1", "nvmlDeviceGetCount", width=U32)
    for index in (0, 1, 99, 0xFFFFFFFF):
        nvml.property(f"device {index}", "nvmlDeviceGetHandleByIndex_v2", U32(index), width=U64)
        nvml.property(f"device {index}, version 1", "nvmlDeviceGetHandleByIndex", U32(index), width=U64)
    index = filled(U32)
    nvml.ask("its index", "nvmlDeviceGetIndex", handle, ref(index), out=(index,))
    uuid = nvml.text("its UUID", "nvmlDeviceGetUUID", handle, room=LONG)
    print("the UUID's beginning and length:", uuid[:4], len(uuid))
    for what, asked in [("its UUID", uuid), ("its UUID in capitals", uuid.upper()), ("its UUID without GPU-", uuid[4:]),
                        ("its UUID with MIG-", b"MIG" + uuid[3:]), ("its UUID's first half", uuid[:20]),
                        ("its UUID and more", uuid + b"0"), ("its UUID without dashes", b"GPU-" + uuid[4:].replace(b"-", b"")),
                        ("another UUID", b"GPU-00000000-0000-0000-0000-000000000001"), ("nonsense", b"nonsense"),
                        ("nothing", b"")]:
        nvml.property(f"device by {what}", "nvmlDeviceGetHandleByUUID", asked, width=U64)

    class Uuid(ctypes.Structure):
        _fields_ = [("version", U32), ("kind", U32), ("value", ctypes.c_char * 41)]
    one = ctypes.sizeof(Uuid) | 1 << 24
    for what, version, kind, value in [("its UUID in a structure", one, 1, uuid), ("version 0", 0, 1, uuid),
                                       ("version 99", one + (98 << 24), 1, uuid), ("kind 0", one, 0, uuid),
                                       ("kind 3", one, 3, uuid), ("another UUID in a structure", one, 1, b"GPU-" + b"0" * 36)]:
        nvml.property(f"device by {what}", "nvmlDeviceGetHandleByUUIDV", ref(Uuid(version, kind, value)), width=U64)

    class Pci(ctypes.Structure):
        _fields_ = [("legacy", ctypes.c_char * 16), ("domain", U32), ("bus", U32), ("device", U32), ("id", U32),
                    ("subsystem", U32), ("text", ctypes.c_char * 32)]
    pci = Pci(domain=0xAAAA)
    print("its PCI id:", nvml.call("nvmlDeviceGetPciInfo_v3", handle, ref(pci)), len(pci.text), len(pci.legacy))
    print("it is in capitals:", pci.text == pci.text.upper(), "the legacy one is its end:",
          pci.text.endswith(pci.legacy), pci.legacy == b"%04X:%02X:%02X.0" % (pci.domain, pci.bus, pci.device))
    place = (pci.domain, pci.bus, pci.device)
    for what, asked in [("its PCI id", pci.text), ("its PCI id in lower case", pci.text.lower()),
                        ("its legacy PCI id", pci.legacy), ("a domain of 4 digits", b"%04x:%02x:%02x.0" % place),
                        ("a domain of 8 digits", b"%08x:%02x:%02x.0" % place), ("no function", b"%04x:%02x:%02x" % place),
                        ("no domain", b"%02x:%02x.0" % place[1:]), ("a domain of 1 digit", b"%x:%x:%x.0" % place),
                        ("0x before it", b"0x%04x:%02x:%02x.0" % place), ("function 1", b"%04x:%02x:%02x.1" % place),
                        ("a blank before it", b" %04x:%02x:%02x.0" % place), ("more behind it", b"%04x:%02x:%02x.0 x" % place),
                        ("another place", b"0000:fe:1f.0"), ("nonsense", b"nonsense"), ("nothing", b"")]:
        nvml.property(f"device by {what}", "nvmlDeviceGetHandleByPciBusId_v2", asked, width=U64)
        nvml.property(f"device by {what}, version 1", "nvmlDeviceGetHandleByPciBusId", asked, width=U64)
    other = filled()
    nvml.library.nvmlDeviceGetHandleByUUID(uuid, ref(other))
    print("by UUID it is the same:", other.value == handle.value)

    class Extended(ctypes.Structure):
        _fields_ = [("version", U32), ("rest", U32 * 7), ("text", ctypes.c_char * 32)]
    for version in (0, ctypes.sizeof(Extended), ctypes.sizeof(Extended) | 1 << 24, ctypes.sizeof(Extended) | 2 << 24):
        extended = Extended(version)
        print(f"PCI id in a structure of version {version >> 24}{'' if version & 0xFF else ' without a size'}:",
              nvml.call("nvmlDeviceGetPciInfoExt", handle, ref(extended)), "something" if extended.text else "untouched")


def texts(nvml):
    handle = opened(nvml)
    for what, name in [("name", "nvmlDeviceGetName"), ("UUID", "nvmlDeviceGetUUID"), ("serial", "nvmlDeviceGetSerial"),
                       ("VBIOS version", "nvmlDeviceGetVbiosVersion"), ("board part", "nvmlDeviceGetBoardPartNumber"),
                       ("inforom image", "nvmlDeviceGetInforomImageVersion")]:
        for room in (0, 1, 4, 12, LONG):
            nvml.text(f"{what} in {room} bytes", name, handle, room=room)
    uuid = nvml.text("UUID in 80 bytes", "nvmlDeviceGetUUID", handle, room=80)
    for room in (len(uuid), len(uuid) + 1):
        nvml.text(f"UUID in {room} bytes", "nvmlDeviceGetUUID", handle, room=room)
    for what, name in [("driver version", "nvmlSystemGetDriverVersion"), ("NVML version", "nvmlSystemGetNVMLVersion")]:
        for room in (0, 1, 4, 80):
            nvml.text(f"{what} in {room} bytes", name, room=room)
    for what, pid in [("process 0", 0), ("this process", os.getpid()), ("a process that is not there", 4194303)]:
        for room in (0, 1, 4, 100):
            nvml.text(f"name of {what} in {room} bytes", "nvmlSystemGetProcessName", U32(pid), room=room)


def system(nvml):
    opened(nvml)
    version = filled(U32)
    nvml.ask("CUDA version", "nvmlSystemGetCudaDriverVersion", ref(version), out=(version,))
    version = filled(U32)
    nvml.ask("CUDA version, version 2", "nvmlSystemGetCudaDriverVersion_v2", ref(version), out=(version,))
    nvml.number("units", "nvmlUnitGetCount", width=U32)
    nvml.property("unit 0", "nvmlUnitGetHandleByIndex", U32(0), width=U64)
    nvml.number("excluded devices", "nvmlGetExcludedDeviceCount", width=U32)
    print("excluded device 0:", nvml.call("nvmlGetExcludedDeviceInfoByIndex", U32(0), ctypes.create_string_buffer(256)))


def figures(nvml):
    handle = opened(nvml)
    memory = (U64 * 3)(*[filled().value] * 3)
    print("memory:", nvml.call("nvmlDeviceGetMemoryInfo", handle, memory), "total is free and used:",
          memory[0] == memory[1] + memory[2])
    for version in (0, 1 << 24 | 40, 2 << 24 | 40, 3 << 24 | 40, 2 << 24 | 24, 2):
        memory = (U64 * 5)(version, *[filled().value] * 4)
        result = nvml.call("nvmlDeviceGetMemoryInfo_v2", handle, memory)
        print(f"memory, version {version:#x}: {result}", "untouched" if memory[1] == filled().value else
              f"total is reserved, free and used: {memory[1] == memory[2] + memory[3] + memory[4]}")
    bar = (U64 * 3)()
    print("BAR1:", nvml.call("nvmlDeviceGetBAR1MemoryInfo", handle, bar), "a power of two:", bin(bar[0]).count("1") == 1)
    used = (U32 * 2)(*[filled(U32).value] * 2)
    print("utilisation:", nvml.call("nvmlDeviceGetUtilizationRates", handle, used), all(one <= 100 for one in used))
    rate, period = filled(U32), filled(U32)
    for name in ("Encoder", "Decoder", "Jpg", "Ofa"):
        print(f"utilisation of {name}:", nvml.call(f"nvmlDeviceGet{name}Utilization", handle, ref(rate), ref(period)))
    for sensor in (0, 1, 99):
        nvml.property(f"temperature of sensor {sensor}", "nvmlDeviceGetTemperature", handle, U32(sensor))

    class Temperature(ctypes.Structure):
        _fields_ = [("version", U32), ("sensor", U32), ("value", INT)]
    for version in (0, ctypes.sizeof(Temperature) | 1 << 24, ctypes.sizeof(Temperature) | 2 << 24):
        print(f"temperature, version {version >> 24}:",
              nvml.call("nvmlDeviceGetTemperatureV", handle, ref(Temperature(version, 0, 0))))
    for threshold in (0, 1, 2, 3, 4, 5, 6, 7, 8, 99):
        nvml.property(f"temperature threshold {threshold}", "nvmlDeviceGetTemperatureThreshold", handle, U32(threshold))
    for name in ("PowerUsage", "PowerState", "PerformanceState", "PowerManagementLimit", "PowerManagementDefaultLimit",
                 "EnforcedPowerLimit", "PowerManagementMode", "FanSpeed", "NumFans", "PersistenceMode", "ComputeMode",
                 "DisplayMode", "DisplayActive", "Brand", "Architecture", "NumGpuCores", "MemoryBusWidth", "MinorNumber",
                 "MultiGpuBoard", "BoardId", "MaxMigDeviceCount", "IrqNum", "CurrPcieLinkGeneration", "CurrPcieLinkWidth",
                 "MaxPcieLinkGeneration", "MaxPcieLinkWidth", "PcieReplayCounter", "PcieSpeed", "BusType",
                 "AdaptiveClockInfoStatus", "VirtualizationMode"):
        nvml.property(name, f"nvmlDeviceGet{name}", handle)
    nvml.property("TotalEnergyConsumption", "nvmlDeviceGetTotalEnergyConsumption", handle, width=U64)
    nvml.property("SupportedEventTypes", "nvmlDeviceGetSupportedEventTypes", handle, width=U64)
    nvml.property("ClocksEventReasons", "nvmlDeviceGetCurrentClocksEventReasons", handle, width=U64)
    nvml.property("ClocksThrottleReasons", "nvmlDeviceGetCurrentClocksThrottleReasons", handle, width=U64)
    for kind in (0, 1, 2, 3, 99):
        nvml.property(f"clock {kind}", "nvmlDeviceGetClockInfo", handle, U32(kind))
        nvml.property(f"highest clock {kind}", "nvmlDeviceGetMaxClockInfo", handle, U32(kind))
    nvml.property("PCIe throughput", "nvmlDeviceGetPcieThroughput", handle, U32(0))
    now, pending = filled(U32), filled(U32)
    nvml.ask("ECC mode", "nvmlDeviceGetEccMode", handle, ref(now), ref(pending), out=(now, pending))
    nvml.property("ECC errors", "nvmlDeviceGetTotalEccErrors", handle, U32(0), U32(0), width=U64)
    nvml.property("retired pages", "nvmlDeviceGetRetiredPagesPendingStatus", handle)
    rows = [filled(U32) for _ in range(4)]
    print("remapped rows:", nvml.call("nvmlDeviceGetRemappedRows", handle, *map(ref, rows)))
    major, minor = filled(U32), filled(U32)
    print("capability:", nvml.call("nvmlDeviceGetCudaComputeCapability", handle, ref(major), ref(minor)))
    low, high = filled(U32), filled(U32)
    print("power limits:", nvml.call("nvmlDeviceGetPowerManagementLimitConstraints", handle, ref(low), ref(high)))
    print("violations:", nvml.call("nvmlDeviceGetViolationStatus", handle, U32(0), (U64 * 2)()))
    print("attributes:", nvml.call("nvmlDeviceGetAttributes_v2", handle, (U64 * 8)()))
    mask = (U64 * 16)()
    print("CPUs near by:", nvml.call("nvmlDeviceGetCpuAffinity", handle, U32(16), mask))
    print("CPUs near by, 0 words:", nvml.call("nvmlDeviceGetCpuAffinity", handle, U32(0), mask))


def multi_instance(nvml):
    handle = opened(nvml)
    now, pending = filled(U32), filled(U32)
    nvml.ask("mode", "nvmlDeviceGetMigMode", handle, ref(now), ref(pending), out=(now, pending))
    nvml.property("most devices", "nvmlDeviceGetMaxMigDeviceCount", handle)
    nvml.property("device 0", "nvmlDeviceGetMigDeviceHandleByIndex", handle, U32(0), width=U64)
    nvml.property("device 99", "nvmlDeviceGetMigDeviceHandleByIndex", handle, U32(99), width=U64)
    is_one = filled(U32)
    nvml.ask("whether the device is one", "nvmlDeviceIsMigDeviceHandle", handle, ref(is_one), out=(is_one,))
    nvml.property("instance of the device", "nvmlDeviceGetGpuInstanceId", handle)
    nvml.property("parent of the device", "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle, width=U64)


def processes(nvml):
    handle = opened(nvml)
    for name in ("Compute", "Graphics", "MPSCompute"):
        for version in ("", "_v2", "_v3"):
            room, infos = U32(0), ctypes.create_string_buffer(1 << 14)
            result = nvml.call(f"nvmlDeviceGet{name}RunningProcesses{version}", handle, ref(room), None)
            print(f"{name} processes{version}, no room: {result} {'0' if room.value == 0 else 'something'}")
            room = U32(64)
            result = nvml.call(f"nvmlDeviceGet{name}RunningProcesses{version}", handle, ref(room), infos)
            print(f"{name} processes{version}: {result} {'0' if room.value == 0 else 'something'}")
    room = U32(0)
    print("utilisation of processes, no room:", nvml.call("nvmlDeviceGetProcessUtilization", handle, None, ref(room), U64(0)))
    room = U32(0)
    print("accounted processes, no room:", nvml.call("nvmlDeviceGetAccountingPids", handle, ref(room), None))
    mode = filled(U32)
    nvml.ask("accounting mode", "nvmlDeviceGetAccountingMode", handle, ref(mode), out=(mode,))


def fields(nvml):
    handle = opened(nvml)

    class Field(ctypes.Structure):
        _fields_ = [("id", U32), ("scope", U32), ("time", U64), ("latency", U64), ("kind", U32), ("result", U32),
                    ("value", U64)]
    asked = [0, 1, 2, 82, 83, 91, 92, 93, 94, 140, 141, 142, 147, 160, 186, 187, 193, 9999]
    several = (Field * len(asked))(*[Field(one, 0, 0, 0, 77, 77, 0) for one in asked])
    print("fields:", nvml.call("nvmlDeviceGetFieldValues", handle, INT(len(asked)), several))
    for one in several:
        print(f"field {one.id}: {one.result} of kind {one.kind}")
    print("no fields:", nvml.call("nvmlDeviceGetFieldValues", handle, INT(0), several))


def topology(nvml):
    handle = opened(nvml)
    ancestor, same, status = filled(U32), filled(U32), filled(U32)
    nvml.ask("common ancestor of a device and itself", "nvmlDeviceGetTopologyCommonAncestor", handle, handle, ref(ancestor),
             out=(ancestor,))
    nvml.ask("same board of a device and itself", "nvmlDeviceOnSameBoard", handle, handle, ref(same), out=(same,))
    for capability in (0, 4, 5, 99):
        status = filled(U32)
        nvml.ask(f"peer status {capability} of a device and itself", "nvmlDeviceGetP2PStatus", handle, handle,
                 INT(capability), ref(status), out=(status,))
    for level in (0, 10, 50, 99):
        room = U32(0)
        nvml.ask(f"devices at level {level}, no room", "nvmlDeviceGetTopologyNearestGpus", handle, INT(level), ref(room),
                 None, out=(room,))
    for link in (0, 17, 18, 99):
        nvml.property(f"state of link {link}", "nvmlDeviceGetNvLinkState", handle, U32(link))


def events(nvml):
    handle = opened(nvml)
    events = filled()
    nvml.ask("set", "nvmlEventSetCreate", ref(events), out=(events,))
    data = (U64 * 8)()
    print("wait for nothing:", nvml.call("nvmlEventSetWait_v2", events, data, U32(0)))
    nvml.ask("no events", "nvmlDeviceRegisterEvents", handle, U64(0), events)
    nvml.ask("errors", "nvmlDeviceRegisterEvents", handle, U64(8), events)
    nvml.ask("unknown events", "nvmlDeviceRegisterEvents", handle, U64(1 << 60), events)
    print("wait for what does not come:", nvml.call("nvmlEventSetWait_v2", events, data, U32(10)))
    print("wait for what does not come, version 1:", nvml.call("nvmlEventSetWait", events, data, U32(10)))
    nvml.ask("end of the set", "nvmlEventSetFree", events)


def questions_about_nothing(nvml):
    handle = opened(nvml)
    nvml.ask("count into nothing", "nvmlDeviceGetCount_v2", None)
    nvml.ask("device into nothing", "nvmlDeviceGetHandleByIndex_v2", U32(0), None)
    nvml.ask("device 99 into nothing", "nvmlDeviceGetHandleByIndex_v2", U32(99), None)
    nvml.property("device by no UUID", "nvmlDeviceGetHandleByUUID", None, width=U64)
    nvml.property("device by no PCI id", "nvmlDeviceGetHandleByPciBusId_v2", None, width=U64)
    nvml.ask("CUDA version into nothing", "nvmlSystemGetCudaDriverVersion", None)
    nvml.ask("driver version into nothing", "nvmlSystemGetDriverVersion", None, U32(80))
    nvml.ask("name into nothing", "nvmlDeviceGetName", handle, None, U32(64))
    nvml.ask("memory into nothing", "nvmlDeviceGetMemoryInfo", handle, None)
    nvml.ask("memory, version 2, into nothing", "nvmlDeviceGetMemoryInfo_v2", handle, None)
    nvml.ask("processes without a number", "nvmlDeviceGetComputeRunningProcesses_v3", handle, None, None)
    nvml.property("temperature of no device", "nvmlDeviceGetTemperature", None, U32(0))
    nvml.text("name of no device", "nvmlDeviceGetName", None, room=64)
    index = filled(U32)
    nvml.ask("index of no device", "nvmlDeviceGetIndex", None, ref(index), out=(index,))
    nvml.ask("end of no set", "nvmlEventSetFree", None)


PARTS = [before_init, error_strings, init_and_shutdown, a_device_kept_over_shutdown, devices, texts, system, figures,
         multi_instance, processes, fields, topology, events, questions_about_nothing]
