"""Makes certificates in every language and state, to look at: ``python -m tests.bundles.show_documents FOLDER``."""

import sys
import tempfile
import time
from pathlib import Path

from server.bundles.certificate import set_certificate
from server.bundles.words import LANGUAGES
from tests.fixtures.documents import cases


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, case in cases().items():
        for language in LANGUAGES:
            start = time.perf_counter()
            raw = set_certificate(case.facts, case.files, language)
            spent = (time.perf_counter() - start) * 1000
            path = folder / f"{name}.{language}.pdf"
            path.write_bytes(raw)
            print(f"{path}  {len(raw):>9,} bytes  {spent:4.0f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="certificates-")))
