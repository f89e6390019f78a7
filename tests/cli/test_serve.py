"""`finecut serve` as a process: says where it is, answers, and ends when told to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request

from cli.conftest import Library, Run


def test_serve_answers_until_it_is_stopped(library: Library):
    command = [sys.executable, "-m", "finecut", "serve", "--index", str(library.index)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        place = json.loads(process.stdout.readline())
        with urllib.request.urlopen(f"{place['api']}/search?q=red", timeout=60) as answer:
            found = json.load(answer)
        assert found["results"][0]["video"].endswith("red.mp4")
        with urllib.request.urlopen(place["openapi"], timeout=60) as answer:
            assert json.load(answer)["openapi"].startswith("3.")
        with urllib.request.urlopen(place["url"], timeout=60) as answer:
            assert "<title>" in answer.read().decode()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "Traceback" not in said


def test_other_machines_need_a_token(library: Library, call: Run):
    done = call("serve", "--index", library.index, "--host", "0.0.0.0", "--port", "0")
    assert (done.code, done.out) == (2, "")
    assert "--token" in done.err


def test_a_taken_port_is_said(library: Library, call: Run):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = call("serve", "--index", library.index, "--port", taken.getsockname()[1])
    assert done.code == 2
    assert "--port" in done.err
