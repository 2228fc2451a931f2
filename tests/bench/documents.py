"""What proofs cost to make and to check, in one process: ``python -m tests.bench.documents [FOLDER]``.

The baseline in the same run is a bare Flask application that returns as many bytes. With FOLDER, the proofs are left
there for the verifier in the browser's own measurement (``extension/bench/verification.mjs``).
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flask import Flask, Response

from server.usecases.verify_bundle import verify_file
from tests.fixtures.anchoring import anchoring_of
from tests.fixtures.documents import screenshot
from tests.fixtures.holders import Holder
from tests.fixtures.servers import PUBLIC_URL, make_settings, register_of, running
from tests.usecases.test_later_receipts import sent

_ROUNDS = 12


def main(folder: Path) -> None:
    with running(make_settings(folder / "register")) as app:
        policy = register_of(app).keyring.policy
        holder = Holder()
        objection = holder.objection({"notice.txt": b"AI at Meta", "screenshot.jpg": screenshot(kind="JPEG")})
        token = sent(app, objection)["token"]
        anchoring_of(app, lambda: int(time.time())).run_once()
        address = f"/v1/receipts/{objection.sha256}/bundle"

        def fetch(media_type: str, language: str) -> bytes:
            headers = {
                "Authorization": f"DPoP {token}",
                "DPoP": holder.dpop(token, "GET", PUBLIC_URL + address),
                "Objection-Holder-Share": objection.holder_share,
                "Accept": media_type,
                "Accept-Language": language,
            }
            response = app.test_client().get(address, headers=headers)
            assert response.status_code == 200, response.data
            return response.data

        container = fetch("application/vnd.etsi.asic-e+zip", "en")
        certificate = fetch("application/pdf", "fr")
        for name, data in (("proof.asice", container), ("proof.pdf", certificate)):
            (folder / name).write_bytes(data)
        print(f"{'':34} {'ms':>8} {'a second':>9} {'of bare Flask':>14}   bytes")
        for title, media_type, kept in (
            ("ASiC-E", "application/vnd.etsi.asic-e+zip", container),
            ("PDF certificate, made once a minute", "application/pdf", certificate),
        ):
            bare = _median_s(_bare(kept))
            _tell(title, _median_s(lambda media_type=media_type: fetch(media_type, "fr")), bare, len(kept))  # type: ignore[misc]
        kept_ones = register_of(app).documents._sealed
        anew = _median_s(lambda: (kept_ones.clear(), fetch("application/pdf", "fr")))
        _tell("PDF certificate, made anew", anew, bare, len(certificate))
        for title, raw in (("ASiC-E", container), ("PDF", certificate), ("token", token.encode())):
            seconds = _median_s(lambda raw=raw: verify_file(raw, policy=policy, now=int(time.time())))  # type: ignore[misc]
            _tell(f"verify_file, {title}", seconds, None, len(raw))


def _bare(body: bytes) -> Callable[[], object]:
    app = Flask("bare")
    app.add_url_rule("/", view_func=lambda: Response(body))
    return lambda: app.test_client().get("/").data


def _median_s(work: Callable[[], object]) -> float:
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def _tell(title: str, seconds: float, bare: float | None, size: int) -> None:
    ratio = "" if bare is None else f"{bare / seconds:14.3f}"
    print(f"{title:34} {seconds * 1000:8.1f} {1 / seconds:9.1f} {ratio:>14} {size:>7}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
