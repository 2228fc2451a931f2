"""The status list, as somebody with the register's key could spell it wrongly."""

import zlib

import pytest

from server.core.encoding import format_base64url
from server.core.statuslists import ERASED, STANDS, STATUS_LIST_SIZE, WITHDRAWN, verify_status_list
from server.errors import ParseError
from tests.fixtures.records import TestRegister

_WHOLE = zlib.compress(bytes(STATUS_LIST_SIZE // 4), 9)


@pytest.fixture(scope="module")
def register() -> TestRegister:
    return TestRegister()


def test_every_place_has_its_own_value(register: TestRegister) -> None:
    statuses = {0: ERASED, 1: WITHDRAWN, 3: ERASED, 65_535: WITHDRAWN}
    listed = verify_status_list(register.status_list(statuses).decode(), register.policy)
    assert [listed.status(index) for index in (0, 1, 2, 3, 4)] == [ERASED, WITHDRAWN, STANDS, ERASED, STANDS]
    assert listed.status(65_535) == WITHDRAWN


@pytest.mark.parametrize("index", [-1, STATUS_LIST_SIZE, 2**53 - 1])
def test_no_place_outside_the_list(index: int, register: TestRegister) -> None:
    listed = verify_status_list(register.status_list().decode(), register.policy)
    with pytest.raises(ParseError) as caught:
        listed.status(index)
    assert caught.value.code == "status_malformed"


@pytest.mark.parametrize(
    "packed",
    [
        zlib.compress(bytes(STATUS_LIST_SIZE // 4 - 1)),
        zlib.compress(bytes(STATUS_LIST_SIZE // 4 + 1)),
        zlib.compress(bytes(5_000_000)),
        _WHOLE[:-4],  # without its check sum
        _WHOLE + b"x",
        b"not packed",
    ],
    ids=["short", "long", "a bomb", "cut off", "more behind it", "not packed"],
)
def test_a_list_of_another_size_is_refused(packed: bytes, register: TestRegister) -> None:
    text = register.status_list(status_list={"bits": 2, "lst": format_base64url(packed)}).decode()
    with pytest.raises(ParseError) as caught:
        verify_status_list(text, register.policy)
    assert caught.value.code == "status_malformed"


def test_a_list_too_long_is_not_even_read(register: TestRegister) -> None:
    with pytest.raises(ParseError) as caught:
        verify_status_list("." * 65_537, register.policy)
    assert caught.value.code == "status_malformed"
