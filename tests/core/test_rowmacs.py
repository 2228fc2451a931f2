"""Check values of rows and tables: no two rows share one, and sums do not depend on the order."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from server.core.rowmacs import RowMacs, Sum, format_sums, parse_sums
from server.errors import ParseError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
MACS = RowMacs(KEY)
VALUES = st.one_of(st.none(), st.integers(-9, 99), st.binary(max_size=3), st.text(max_size=3))
ROWS = st.lists(VALUES, max_size=4)


@given(ROWS, ROWS)
def test_only_equal_rows_have_one_check_value(one: list[object], other: list[object]) -> None:
    same = [(type(value), value) for value in one] == [(type(value), value) for value in other]
    assert (MACS.mac("t", one) == MACS.mac("t", other)) == same  # type: ignore[arg-type]


def test_the_check_value_is_of_key_table_and_row() -> None:
    other = RowMacs(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    values = {MACS.mac("t", [b"a"]), MACS.mac("u", [b"a"]), MACS.mac("t", [b"b"]), other.mac("t", [b"a"])}
    assert len(values) == 4
    # Written once: another value would make every stored row look changed.
    assert (
        MACS.mac("t", [b"a", "b", 1, None]).hex() == "07d3e807032a29cf9f0ba612637362c53357a648b6adf5d016bf5829ca25b40f"
    )


@given(st.lists(st.binary(min_size=32, max_size=32)), st.randoms())
def test_a_sum_does_not_depend_on_the_order(macs: list[bytes], source: object) -> None:
    shuffled = macs.copy()
    source.shuffle(shuffled)  # type: ignore[attr-defined]
    total = Sum().plus(macs)
    assert Sum.of(shuffled) == total
    assert total.minus(shuffled) == Sum()
    assert parse_sums(format_sums({"t": total})) == {"t": total}


@pytest.mark.parametrize(
    "text",
    [
        f'{{"t":{{"rows":"1","total":"{"0" * 64}"}}}}',
        "",
        "{",
        "[]",
        '{"t":1}',
        '{"t":{"rows":1}}',
        '{"t":{"rows":1,"total":"00"}}',
        '{"t":{"rows":"1","total":""}}',
    ],
)
def test_malformed_sums_are_refused(text: str) -> None:
    with pytest.raises(ParseError, match="not in their form"):
        parse_sums(text)
