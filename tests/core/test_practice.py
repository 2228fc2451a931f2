"""Whose address is practice: only one that leads to the reader's own computer, however it is dressed up."""

import pytest

from server.core.practice import is_for_practice


# The same as in extension/tests/unit/practice.test.ts.
@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8000/practice",
        "http://127.0.0.1",
        "https://127.8.9.10:65535/x",
        "http://localhost:8000",
        "http://register.localhost/",
        "http://LOCALHOST",
        "http://[::1]:8000",
    ],
)
def test_ones_own_computer_is_practice(address: str) -> None:
    assert is_for_practice(address)
    assert is_for_practice(None, address)


@pytest.mark.parametrize(
    "address",
    [
        "https://register.example",
        "https://register.example/practice",
        "http://127.0.0.1.example",
        "http://127.0.0.1@register.example",
        "http://127.0.0.1:8000@register.example/",
        "http://localhost.example",
        "http://notlocalhost",
        "https://register.example/http://127.0.0.1/",
        "http://128.0.0.1",
        "http://10.0.0.1",
        "",
    ],
)
def test_any_other_is_not(address: str) -> None:
    assert not is_for_practice(address)
    assert not is_for_practice(None)
