"""A wrong number of proxies is told once, without an address."""

from pathlib import Path

import pytest

from tests.fixtures.servers import make_settings, running

ADDRESSES = ("203.0.113.7", "198.51.100.9", "192.0.2.1")


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (("0", "203.0.113.7", "/"), "OBJECTION_TRUSTED_PROXIES is 0"),
        (("0", None, "/"), None),
        (("1", "203.0.113.7", "/"), None),
        (("1", "203.0.113.7, 198.51.100.9", "/"), None),
        (("1", None, "/"), "with 0 entries in X-Forwarded-For, and OBJECTION_TRUSTED_PROXIES is 1"),
        (("1", None, "/healthz"), None),
        (("1", None, "/readyz"), None),
        (("2", "203.0.113.7", "/"), "with 1 entries in X-Forwarded-For, and OBJECTION_TRUSTED_PROXIES is 2"),
        (("2", "203.0.113.7, 198.51.100.9", "/"), None),
    ],
)
def test_a_wrong_number_of_proxies_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, case: tuple[str, str | None, str], says: str | None
) -> None:
    trusted, header, path = case
    with running(make_settings(tmp_path, trusted_proxies=trusted)) as app:
        for _ in range(3):
            headers = {} if header is None else {"X-Forwarded-For": header}
            app.test_client().get(path, headers=headers, environ_base={"REMOTE_ADDR": ADDRESSES[2]})
    told = [record.getMessage() for record in caplog.records if record.name == "objection.proxies"]
    assert len(told) == (says is not None)
    assert all((says or "") in line and not any(address in line for address in ADDRESSES) for line in told)
