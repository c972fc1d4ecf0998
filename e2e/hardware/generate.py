#!/usr/bin/env python3
"""Starts llama-server with the tiny model on the GPU and prints its tokens per second: the median of nine answers.

Usage: generate.py BUNDLE PORT. What the server says goes to /tmp/llama-PORT.log.
"""
import json
import subprocess
import sys
import time
import urllib.request

bundle, port = sys.argv[1:]
command = [f"{bundle}/lib/llama-server", "-m", f"{bundle}/tiny.gguf", "-ngl", "99", "--port", port]
server = subprocess.Popen(command, stdout=open(f"/tmp/llama-{port}.log", "w"), stderr=subprocess.STDOUT)


def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=60))


for _ in range(400):
    try:
        ask("/health")
        break
    except OSError:
        if server.poll() is not None:
            sys.exit(f"llama-server ended with {server.returncode}: see /tmp/llama-{port}.log")
        time.sleep(0.2)
question = {"prompt": "The light", "n_predict": 256, "ignore_eos": True, "temperature": 0, "cache_prompt": False}
ask("/completion", question)
rates = sorted(ask("/completion", question)["timings"]["predicted_per_second"] for _ in range(9))
print(rates[4])
server.terminate()
server.wait()
