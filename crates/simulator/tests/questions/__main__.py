"""Asks a CUDA driver and the NVML beside it what a client asks rarely, and prints each answer: their manners at the edges.

Usage: python3 crates/simulator/tests/questions LIBCUDA. Two drivers are compared by what this prints. Each part begins
with a line `== NAME` and runs in a process of its own, so that a part which ends its process ends no other.
"""
import os
import sys

sys.dont_write_bytecode = True
sys.stdout.reconfigure(line_buffering=True)  # A driver may end the process.

import asking  # noqa: E402
import cuda  # noqa: E402
import nvml  # noqa: E402

libcuda = os.path.abspath(sys.argv[1])
for part in cuda.PARTS:
    asking.part("cuda", part, libcuda)
for part in nvml.PARTS:
    asking.part("nvml", part, os.path.join(os.path.dirname(libcuda), "libnvidia-ml.so.1"))
