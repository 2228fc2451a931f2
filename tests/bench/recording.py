"""Receipts per second of the register, as a ratio to bare Flask reading the same body, in the same run.

Both run on gunicorn with server/gunicorn_conf.py; wrk sends distinct pre-signed receipts over loopback.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path
from typing import Any

from tests.fixtures.holders import Holder
from tests.fixtures.ports import free_port

ROOT = Path(__file__).parents[2]
BOUNDARY = "objection-bench-boundary"
CONNECTIONS = (1, 16, 64)
SECONDS = 5
RECEIPTS = {1: 6_000, 16: 16_000, 64: 16_000}  # more than any machine here takes in SECONDS
SCREENSHOT_BYTES = 100_000  # a 1280 × 800 page as JPEG


@dataclass(frozen=True)
class Load:
    name: str
    evidence: dict[str, bytes]


LOADS = (
    Load(
        "receipt, notice and 100 kB screenshot",
        {"notice.txt": b"n" * 1_500, "screenshot.jpg": os.urandom(SCREENSHOT_BYTES)},
    ),
    Load("receipt alone", {}),
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = [measure(load, Path(folder)) for load in LOADS]
    print(json.dumps(report, indent=2) if "--json" in sys.argv else table(report))


def measure(load: Load, folder: Path) -> dict[str, Any]:
    receipts, body = folder / "receipts", folder / "body"
    body.write_bytes(evidence_parts(load.evidence))
    with Pool() as pool:
        lines = pool.map(sign_line, [load.evidence] * sum(RECEIPTS.values()), chunksize=500)
    receipts.write_text("\n".join(lines) + "\n")
    data = folder / "data"
    settings = {
        "OBJECTION_DATA_DIR": str(data),
        "OBJECTION_RECORD_RATE": "100000000 per minute",
        "PYTHONPATH": str(ROOT),
    }
    with serving("tests.bench.bare:application", {"PYTHONPATH": str(ROOT)}) as url:
        bare = run_levels(url, receipts, body, distinct=False)
    with serving("wsgi:application", settings) as url:
        register = run_levels(url, receipts, body, distinct=True)
    recorded = sum(level["requests"] for level in register.values())
    stored = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
    shutil.rmtree(data)
    evidence = sum(map(len, load.evidence.values()))
    return {
        "load": load.name,
        "levels": [{"connections": level, "register": register[level], "bare": bare[level]} for level in CONNECTIONS],
        "bytes_per_receipt_beyond_evidence": round(stored / recorded) - evidence,
    }


def sign_line(evidence: dict[str, bytes]) -> str:
    submission = Holder().objection(evidence)
    return f"{submission.receipt} {submission.holder_share}"


def evidence_parts(evidence: dict[str, bytes]) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="evidence"; filename="{name}"\r\n'
        f"Content-Type: application/octet-stream\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in evidence.items()
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


@contextmanager
def serving(application: str, settings: dict[str, str]) -> Iterator[str]:
    """Start gunicorn on a free port; stop it, by process group, in any case."""
    port = free_port()
    environment = os.environ | settings | {"OBJECTION_BIND": f"127.0.0.1:{port}"}
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "python:server.gunicorn_conf",
        "--log-level",
        "error",
        application,
    ]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the server did not start")


def run_levels(url: str, receipts: Path, body: Path, *, distinct: bool) -> dict[int, dict[str, Any]]:
    results, skipped = {}, 0
    for connections in CONNECTIONS:
        results[connections] = wrk(url, receipts, body, connections, skipped)
        if distinct and results[connections]["used"] > RECEIPTS[connections]:
            raise RuntimeError("this machine is faster than expected: some receipts were sent twice; raise RECEIPTS")
        skipped += RECEIPTS[connections]
    return results


def wrk(url: str, receipts: Path, body: Path, connections: int, skip: int) -> dict[str, Any]:
    window = receipts.with_suffix(f".{connections}")
    lines = receipts.read_text().splitlines()[skip : skip + RECEIPTS[connections]]
    window.write_text("\n".join(lines) + "\n")
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{SECONDS}s",
        "--timeout",
        "20s",
        "-s",
        str(ROOT / "tests/bench/post.lua"),
    ]
    command += [f"{url}/v1/receipts", "--", str(window), "0", str(body), BOUNDARY]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS + 60).stdout
    result: dict[str, Any] = json.loads(output.rpartition("RESULT ")[2])
    if result["failed"]:
        raise RuntimeError(f"{result['failed']} requests failed: {output}")
    result["per_second"] = result["requests"] / result["seconds"]
    return result


def table(report: list[dict[str, Any]]) -> str:
    lines = []
    for load in report:
        lines.append(f"\n{load['load']}")
        lines.append("  connections  register/s  bare Flask/s  ratio    p50 ms   p95 ms   p99 ms")
        for level in load["levels"]:
            ours, bare = level["register"], level["bare"]
            ratio = ours["per_second"] / bare["per_second"]
            lines.append(
                f"  {level['connections']:>11}  {ours['per_second']:>10.0f}  {bare['per_second']:>12.0f}  {ratio:>5.2f}"
                f"  {ours['p50_ms']:>8.1f} {ours['p95_ms']:>8.1f} {ours['p99_ms']:>8.1f}"
            )
        lines.append(
            f"  stored beyond the evidence itself: {load['bytes_per_receipt_beyond_evidence']} bytes a receipt"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
