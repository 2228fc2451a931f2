"""Addresses of tiles: one spelling each; bundles: exactly what they say."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.tiles import TilePath, format_entries, format_tile_path, parse_entries, parse_tile_path, width_at
from server.errors import ParseError

levels = st.none() | st.integers(0, 63)
tiles = st.builds(TilePath, levels, st.integers(0, 10**18 - 1) | st.integers(0, 2000), st.integers(1, 256))
entries = st.lists(st.binary(max_size=300) | st.just(b"e" * 65_535), max_size=8)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (TilePath(0, 0), "tile/0/000"),
        (TilePath(0, 999, 255), "tile/0/999.p/255"),
        (TilePath(1, 1000), "tile/1/x001/000"),
        (TilePath(63, 1_234_067, 1), "tile/63/x001/x234/067.p/1"),
        (TilePath(None, 1_234_067), "tile/entries/x001/x234/067"),
    ],
)
def test_paths_as_the_specification_spells_them(tile: TilePath, path: str) -> None:
    assert format_tile_path(tile) == path
    assert parse_tile_path(path) == tile


@given(tiles)
def test_every_tile_has_one_path(tile: TilePath) -> None:
    assert parse_tile_path(format_tile_path(tile)) == tile


@given(st.from_regex(r"tile/([0-9]{0,3}|entries)/(x?[0-9]{2,4}/){0,3}x?[0-9]{2,4}(\.p/[0-9]{0,4})?", fullmatch=True))
def test_no_path_is_a_second_spelling(path: str) -> None:
    try:
        tile = parse_tile_path(path)
    except ParseError as error:
        assert error.code == "tile_not_found"  # noqa: PT017 (most paths are refused, and some are not)
    else:
        assert format_tile_path(tile) == path


@pytest.mark.parametrize(
    "path",
    [
        *("tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/x000/000", "tile/0/x001", "tile/0/001/000", "tile/0/x01/000"),
        *("tile/00/000", "tile/64/000", "tile/-1/000", "tile/+1/000", "tile/data/000", "tile//000", "tile/0/"),
        *("tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p", "tile/0/000/"),
        *("/tile/0/000", "tile/0/000 ", "tile/0/000\n", "tile/0/٠٠٠", "tile/0/X001/000", "tile/entries/0", ""),
        "tile/0/" + "x001/" * 6 + "000",
    ],
)
def test_other_spellings_are_refused(path: str) -> None:
    with pytest.raises(ParseError, match="not the address") as caught:
        parse_tile_path(path)
    assert caught.value.code == "tile_not_found"


@given(st.integers(0, 1 << 40), st.integers(0, 5))
def test_widths_add_up_to_the_log(size: int, level: int) -> None:
    nodes = size >> (8 * level)
    last = nodes // 256
    assert width_at(size, level, last) == nodes % 256
    assert width_at(size, level, last + 1) == 0
    if last:
        assert width_at(size, level, last - 1) == 256


@given(entries)
def test_bundles_come_back(given_entries: list[bytes]) -> None:
    raw = format_entries(given_entries)
    assert parse_entries(raw, count=len(given_entries)) == given_entries


@given(entries.filter(len), st.data())
def test_bundles_cut_or_longer_are_refused(given_entries: list[bytes], data: st.DataObject) -> None:
    raw = format_entries(given_entries)
    cut = data.draw(st.integers(0, len(raw) - 1))
    for wrong, count in [(raw[:cut], len(given_entries)), (raw + b"\0", len(given_entries)), (raw, 0)]:
        with pytest.raises(ParseError, match=re.escape("a bundle that should have")):
            parse_entries(wrong, count=count)
