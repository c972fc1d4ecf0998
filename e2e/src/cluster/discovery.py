"""Tells Prometheus which pods to scrape: Debian builds it without the discovery of Kubernetes.

Usage: discovery.py API-SERVER CA CERTIFICATE KEY TARGETS-FILE
Pods with a container port named `metrics`, and pods annotated `prometheus.io/scrape: "true"` (port and path by
`prometheus.io/port` and `prometheus.io/path`).
"""

import http.client
import json
import os
import ssl
import sys
import time

server, authority, certificate, key, target_file = sys.argv[1:]
PREFIX = "prometheus.io/"


def targets(pod):
    meta, status = pod["metadata"], pod["status"]
    if status.get("phase") != "Running" or not status.get("podIP"):
        return
    annotations = meta.get("annotations", {})
    labels = {"namespace": meta["namespace"], "pod": meta["name"], "node": pod["spec"].get("nodeName", "")}
    containers = pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
    ports = [port["containerPort"] for container in containers for port in container.get("ports", []) if port.get("name") == "metrics"]
    job = "metrics-port"
    if not ports and annotations.get(PREFIX + "scrape") == "true" and PREFIX + "port" in annotations:
        ports, job = [annotations[PREFIX + "port"]], "annotated"
    labels["job"] = job
    if PREFIX + "path" in annotations:
        labels["__metrics_path__"] = annotations[PREFIX + "path"]
    for port in ports:
        yield {"targets": [f"{status['podIP']}:{port}"], "labels": labels}


def main():
    with open("/proc/self/comm", "w") as name:
        name.write("discovery")
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(certificate, key)
    connection, known = None, None
    while True:
        try:
            connection = connection or http.client.HTTPSConnection(server, context=context, timeout=5)
            # Version 0: from the API server's cache, whatever it holds.
            connection.request("GET", "/api/v1/pods?resourceVersion=0")
            pods = json.load(connection.getresponse())["items"]
            found = json.dumps(sorted((target for pod in pods for target in targets(pod)), key=json.dumps))
            if found != known:
                with open(target_file + ".new", "w") as file:
                    file.write(found)
                os.rename(target_file + ".new", target_file)
                known = found
        except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
            print(f"discovery: {error}", file=sys.stderr, flush=True)
            connection = None
        time.sleep(1)


main()
