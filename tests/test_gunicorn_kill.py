"""What was acknowledged survives: real gunicorn under load, killed at once, started again, three times."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from server.core.encoding import parse_json
from server.core.policies import TrustPolicy, parse_trust_policy
from server.core.proofs import format_entry, parse_proof, verify_proof
from tests.fixtures.auditor import Audit, audit_rows
from tests.fixtures.holders import Holder, Submission
from tests.fixtures.servers import ROOT, Gunicorn, serving

CLIENTS = 16
RUN_S = 1.5
Acknowledged = list[tuple[Submission, dict[str, Any]]]


def record_until_it_dies(server: Gunicorn, acknowledged: Acknowledged, stop: threading.Event) -> None:
    holder = Holder()
    while not stop.is_set():
        submission = holder.objection({"notice.txt": os.urandom(200)})
        try:
            status, answer = server.post(submission)
        except (OSError, HTTPException, ValueError):  # cut off, or half an answer
            continue
        if status == 201:
            acknowledged.append((submission, answer))


def kill_under_load(server: Gunicorn) -> Acknowledged:
    acknowledged: Acknowledged = []
    stop = threading.Event()
    clients = [threading.Thread(target=record_until_it_dies, args=(server, acknowledged, stop)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(RUN_S)
    server.kill()
    stop.set()
    for client in clients:
        client.join()
    return acknowledged


def expect_in_log(submission: Submission, answer: dict[str, Any], policy: TrustPolicy) -> int:
    """Check the answer's proof; return the receipt's index in the log."""
    proof = parse_proof(answer["proof"])
    entry = format_entry(
        kind="objection",
        salt=proof.salt,
        receipt_sha256=bytes.fromhex(submission.sha256),
        received_at=answer["received_at"],
    )
    verify_proof(proof, entry=entry, log=policy.log)
    return proof.index


def check_log(server: Gunicorn) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server.cli", "log", "check"]
    return subprocess.run(
        command, cwd=ROOT, env=server.environment, capture_output=True, text=True, timeout=60, check=False
    )


def audit_files(server: Gunicorn) -> Audit:
    """Derive the log from the files as the crash left them, before anything of ours has opened them again."""
    key = load_pem_private_key((server.data_dir / "keys/log-1.key").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    with contextlib.closing(sqlite3.connect(server.data_dir / "register.sqlite")) as connection:
        return audit_rows(
            lambda statement: connection.execute(statement).fetchall(),
            name="register.example/log",
            key=key.public_key(),
            blobs=server.data_dir / "blobs",
        )


def test_nothing_acknowledged_is_lost_when_everything_is_killed(tmp_path: Path) -> None:
    everything: Acknowledged = []
    with serving(tmp_path, workers=3) as server:
        for _ in range(3):
            acknowledged = kill_under_load(server)
            assert len(acknowledged) > 10, "hardly any load"
            everything += acknowledged
            found = audit_files(server)
            for submission, answer in everything:
                index = found.records[bytes.fromhex(submission.sha256)]
                assert f"\nindex {index}\n" in answer["proof"]
            server.start()
            # The same process that recovered answers for what was recorded before it.
            for submission, first in everything[-2:]:
                status, again = server.post(submission)
                assert (status, again["token"]) == (200, first["token"])

        with urllib.request.urlopen(f"{server.url}/v1/policy", timeout=60) as response:
            policy = parse_trust_policy(response.read())

        def repeat(item: tuple[Submission, dict[str, Any]]) -> int:
            submission, first = item
            status, again = server.post(submission)
            assert status == 200, again
            assert again["token"] == first["token"]
            assert again["received_at"] == first["received_at"]
            index = expect_in_log(submission, first, policy)
            assert expect_in_log(submission, again, policy) == index
            return index

        with ThreadPoolExecutor(CLIENTS) as pool:
            indexes = list(pool.map(repeat, everything))
        assert len(set(indexes)) == len(everything)
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=60) as response:
            size = parse_json(response.read())["log_size"]
        # Some may be recorded that were not acknowledged in time; no more than were under way.
        assert len(everything) <= size <= len(everything) + 3 * CLIENTS
        checked = check_log(server)
        assert checked.returncode == 0, checked.stderr
        assert f"{size} entries, {size} records" in checked.stdout
