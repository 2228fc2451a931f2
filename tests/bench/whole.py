"""Processor time of a whole objection, of two code trees in turn: ``python -m tests.bench.whole [--baseline REV]``.

A whole objection is what the extension asks for: record, poll, fetch the bundle, poll once it is anchored, fetch the
anchored bundle; three in ten holders fetch the certificate as PDF, too. Each tree runs in a process of its own, with
the same receipts and the same evidence, a batch of one and then a batch of the other. Counted is the time, user and
system, of the WSGI application with its log writer; neither the client nor gunicorn nor the worker that anchors.
Without ``--baseline``, one tree is measured alone.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from cryptography.hazmat.primitives import serialization

from server.app import create_app
from tests.fixtures.anchoring import anchoring_of
from tests.fixtures.documents import NOTICE, screenshot
from tests.fixtures.holders import Holder, Submission
from tests.fixtures.servers import MULTIPART, PUBLIC_URL, format_multipart, make_settings, parts_of, register_of

ROOT = Path(__file__).parents[2]
VERIFIER = Path("server/assets/verify.html")
STEPS = ("record", "poll", "bundle", "pdf")
BATCH = 10
WITH_PDF = {0, 3, 6}  # of each ten
LANGUAGES = ("de", "en", "fr")


def main() -> None:
    arguments = _arguments()
    if arguments.side:
        serve_side(Path(arguments.side))
        return
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as open_things:
        folder = Path(temporary)
        for name, data in {"notice.txt": NOTICE, "screenshot.jpg": screenshot(kind="JPEG")}.items():
            (folder / name).write_bytes(data)
        trees = {"this tree": ROOT}
        if arguments.baseline:
            trees["baseline"] = open_things.enter_context(_checked_out(arguments.baseline, folder / "baseline"))
        sides = {name: open_things.enter_context(_side(tree, folder)) for name, tree in trees.items()}
        batches: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for number in range(arguments.batches + 1):
            samples = [_sample(folder, index) for index in range(BATCH)]
            order = list(sides) if number % 2 else list(reversed(sides))
            for name in order:
                measured = _run_batch(sides[name], samples)
                if number:  # the first batch warms up
                    batches[name].append(measured)
        calls = {name: _ask(side, {"count": [_sample(folder, 1), _sample(folder, 1)]}) for name, side in sides.items()}
    _tell(batches, calls)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--baseline", help="a git revision to compare with")
    parser.add_argument("--batches", type=int, default=8, help=f"of {BATCH} objections, for each tree")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    return parser.parse_args()


@contextmanager
def _checked_out(revision: str, folder: Path) -> Iterator[Path]:
    """Check ``revision`` out, with the verifier's page of this tree, which is built and in no repository."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), revision], check=True)
    try:
        (folder / VERIFIER).parent.mkdir(parents=True)
        (folder / VERIFIER).symlink_to(ROOT / VERIFIER)
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


@contextmanager
def _side(tree: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"PYTHONPATH": str(tree)}
    command = [sys.executable, "-P", __file__, "--side", str(folder)]
    with subprocess.Popen(
        command, cwd=tree, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        _pipe(process.stdin).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("a process without pipes")
    return pipe


def _ask(side: subprocess.Popen[str], question: Mapping[str, Any]) -> Any:
    _pipe(side.stdin).write(json.dumps(question) + "\n")
    _pipe(side.stdin).flush()
    return json.loads(_pipe(side.stdout).readline())


def _run_batch(side: subprocess.Popen[str], samples: list[dict[str, Any]]) -> dict[str, float]:
    measured: dict[str, float] = _ask(side, {"samples": samples})
    return measured


def _sample(folder: Path, index: int) -> dict[str, Any]:
    holder = Holder()
    evidence = {name: (folder / name).read_bytes() for name in ("notice.txt", "screenshot.jpg")}
    submission = holder.objection(evidence)
    pem = holder.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "key": pem.decode(),
        "receipt": submission.receipt,
        "holder_share": submission.holder_share,
        "pdf": LANGUAGES[index % len(LANGUAGES)] if index in WITH_PDF else None,
    }


def serve_side(folder: Path) -> None:
    """Measure the tree that this process imports: a line in, a line out, until the pipe is closed."""
    evidence = {name: (folder / name).read_bytes() for name in ("notice.txt", "screenshot.jpg")}
    with tempfile.TemporaryDirectory() as data:
        app = create_app(make_settings(Path(data)))
        client = _Client(app, evidence)
        anchoring = anchoring_of(app, lambda: int(time.time()))
        try:
            for line in sys.stdin:
                question = json.loads(line)
                if "count" in question:
                    client.record(question["count"][0])
                    answer: Any = _calls(lambda sample=question["count"][1]: client.record(sample))
                else:
                    answer = _batch(client, anchoring.run_once, question["samples"])
                sys.stdout.write(json.dumps(answer) + "\n")
                sys.stdout.flush()
        finally:
            register_of(app).close()


def _batch(client: "_Client", anchor: Any, samples: list[dict[str, Any]]) -> dict[str, float]:
    client.seconds = dict.fromkeys(STEPS, 0.0)
    held = [(sample, client.record(sample)) for sample in samples]
    for sample, token in held:
        client.read("poll", sample, token, "")
        client.read("bundle", sample, token, "/bundle")
    anchor()
    for sample, token in held:
        client.read("poll", sample, token, "")
        client.read("bundle", sample, token, "/bundle")
        if sample["pdf"]:
            client.read("pdf", sample, token, "/bundle", {"HTTP_ACCEPT": "application/pdf"})
    return {step: seconds / len(samples) for step, seconds in client.seconds.items()}


class _Client:
    """Calls the application as a WSGI server does, and counts the time that passes inside by ``seconds[step]``."""

    def __init__(self, app: Any, evidence: Mapping[str, bytes]) -> None:
        self._app = app
        self._evidence = evidence
        self.seconds = dict.fromkeys(STEPS, 0.0)

    def record(self, sample: Mapping[str, Any]) -> str:
        submission = Submission(sample["receipt"], sample["holder_share"], self._evidence)
        body = format_multipart(parts_of(submission))
        environ = {"CONTENT_TYPE": MULTIPART, "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
        answer = self._call("record", "POST", "/v1/receipts", environ)
        return str(json.loads(answer)["token"])

    def read(
        self, step: str, sample: Mapping[str, Any], token: str, path: str, more: Mapping[str, str] | None = None
    ) -> None:
        key: Any = serialization.load_pem_private_key(sample["key"].encode(), None)
        address = f"/v1/receipts/{Submission(sample['receipt'], '', {}).sha256}{path}"
        environ = {
            "HTTP_AUTHORIZATION": f"DPoP {token}",
            "HTTP_DPOP": Holder(key).dpop(token, "GET", PUBLIC_URL + address),
            "HTTP_OBJECTION_HOLDER_SHARE": sample["holder_share"],
            "HTTP_ACCEPT_LANGUAGE": sample["pdf"] or "en",
            "wsgi.input": io.BytesIO(),
        }
        self._call(step, "GET", address, environ | dict(more or {}))

    def _call(self, step: str, method: str, path: str, environ: dict[str, Any]) -> bytes:
        statuses = []
        whole = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        } | environ
        before = time.process_time()
        answered = self._app.wsgi_app(whole, lambda status, *_: statuses.append(status))
        body = b"".join(answered)
        answered.close()
        self.seconds[step] += time.process_time() - before
        if not statuses[0].startswith("20"):
            raise RuntimeError(f"{method} {path}: {statuses[0]} {body!r}")
        return body


def _calls(work: Any) -> int:
    """Return how many functions this thread calls in ``work``: a measure that no other process disturbs."""
    count = 0

    def seen(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    threading.current_thread()
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def _tell(batches: Mapping[str, list[dict[str, float]]], calls: Mapping[str, int]) -> None:
    names = list(batches)
    print(f"{'processor time of an objection, ms':36}" + "".join(f"{name:>12}" for name in names) + "   ratio")
    rows = {step: {name: [each[step] for each in batches[name]] for name in names} for step in STEPS}
    rows["whole"] = {name: [sum(each.values()) for each in batches[name]] for name in names}
    titles = {"poll": "poll, twice", "bundle": "bundle, twice", "pdf": "PDF, three of ten"}
    for step, row in rows.items():
        medians = [statistics.median(row[name]) * 1000 for name in names]
        print(f"{titles.get(step, step):36}" + "".join(f"{value:12.2f}" for value in medians) + _ratio(medians))
    print(
        f"{'calls of one recording':36}" + "".join(f"{calls[name]:12}" for name in names) + _ratio(list(calls.values()))
    )


def _ratio(values: list[float] | list[int]) -> str:
    return f"   {values[0] / values[1]:5.2f}" if len(values) > 1 else ""


if __name__ == "__main__":
    main()
