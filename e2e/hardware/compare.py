#!/usr/bin/env python3
"""Compares the steps of two reports of `kubectl firstlight run`: who called what, and how it ended.

Usage: compare.py REAL.json SIMULATED.json. Prints the share of equal steps and every difference.
"""
import difflib
import json
import re
import sys


def steps(path):
    """The steps of the report without what differs by nature: names of files, sizes, numbers of devices."""
    for step in json.load(open(path))["timeline"]:
        if step["caller"] == "shim":
            continue
        what = re.sub(r"(= )(\d[^ ]*.*)", r"\1…", step["what"]) if "table" not in step["what"] else step["what"]
        yield f"{step['caller']}: {what}"


real, simulated = (list(steps(path)) for path in sys.argv[1:3])
matcher = difflib.SequenceMatcher(a=real, b=simulated, autojunk=False)
equal = sum(block.size for block in matcher.get_matching_blocks())
print(f"    equal: {equal} of {max(len(real), len(simulated))} steps")
for line in difflib.unified_diff(real, simulated, "real", "simulated", lineterm="", n=0):
    if not line.startswith(("---", "+++", "@@")):
        print(f"      {line}")
