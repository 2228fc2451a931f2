"""Both verifiers on the same bytes: ours in this process, that of the page in a Node process at the end of a pipe."""

import base64
import json
import os
import select
import signal
import subprocess
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

from server.core.policies import parse_trust_policy
from server.errors import ObjectionError
from server.usecases.verify_bundle import verify_file

EXTENSION = Path(__file__).parents[2] / "extension"
MAX_CPU_S = 10  # a verifier that takes longer for 16 MiB at most does not bound its work
_MAX_WAIT_S = 120
Found = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What a verifier is given. ``policy``, ``status``: raw files, or None where nobody gave any. ``now``: seconds."""

    raw: bytes
    policy: bytes | None
    status: bytes | None
    now: int


class TooLong(BaseException):
    """The verifier used more processor time than any file may cost. No ``Exception``: nothing may swallow it."""


def verify_here(case: Case) -> Found:
    """Return verdict, checks and facts; or ``refused`` with the code; or ``crash`` or ``hang`` with words."""
    try:
        with _bounded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            policy = None if case.policy is None else parse_trust_policy(case.policy)
            report = verify_file(case.raw, policy=policy, now=case.now, status=case.status)
            checks = [[check.id, check.outcome, check.code] for check in report.checks]
            json.dumps(report.as_json(), ensure_ascii=False).encode()  # what the command prints
            return {"verdict": report.verdict, "checks": checks, "facts": json.loads(json.dumps(report.facts))}
    except ObjectionError as error:
        return {"refused": error.code}
    except TooLong:
        return {"hang": f"more than {MAX_CPU_S} s"}
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 (a panic of a native library is no Exception)
        return {"crash": traceback.format_exc(limit=-6)}


@contextmanager
def _bounded() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


class NodeVerifier:
    """The verifier of the page, in Node. A context manager; started anew when it dies or stops answering."""

    def __init__(self) -> None:
        self._process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def send(self, case: Case) -> None:
        files = {"file": case.raw, "policy": case.policy, "status": case.status}
        asked: dict[str, Any] = {name: base64.b64encode(raw).decode() for name, raw in files.items() if raw is not None}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked | {"now": case.now}).encode() + b"\n")
        self._process.stdin.flush()

    def receive(self) -> Found:
        line = self._line()
        if not line:
            hung = self._process.poll() is None
            self._end()
            self._process = self._start()
            return {"hang": "no answer"} if hung else {"crash": "Node ended"}
        found: Found = json.loads(line)
        return {"hang": "too long"} if found.pop("cpuMs") > MAX_CPU_S * 1000 else found

    def _start(self) -> "subprocess.Popen[bytes]":
        environment = os.environ | {"NODE_NO_WARNINGS": "1"}
        process = subprocess.Popen(
            ["node", "fuzz/verifier.mjs"],
            cwd=EXTENSION,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self._process, self._buffer = process, b""
        assert self._line() == b"ready", "node fuzz/verifier.mjs does not start: is node_modules there?"
        return process

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        number, end = self._process.stdout.fileno(), time.monotonic() + _MAX_WAIT_S
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([number], [], [], max(0, end - time.monotonic()))
            chunk = os.read(number, 1 << 20) if ready else b""
            if not chunk:
                return b""
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
