"""Start the workers of a run on this machine."""

import json
import os
import socket
import subprocess
import sys

import tiny


def addresses(count=2):
    """HOST:PORT of ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return found


def tf_config(workers, index):
    """The text of TF_CONFIG."""
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


def start(*words, cluster=None):
    """A Python process on the repository; `cluster` is its TF_CONFIG."""
    environment = {**os.environ, "PYTHONPATH": str(tiny.ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    if cluster:
        environment["TF_CONFIG"] = cluster
    return subprocess.Popen(
        [sys.executable, *map(str, words)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(processes, seconds=240):
    """(exit code, stdout, stderr) of each; one that hangs is killed, and fails the test."""
    found = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=seconds)
            found.append((process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return found
