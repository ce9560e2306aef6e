"""The shipped sample is what its script makes, and shows what the demo can say."""

from __future__ import annotations

from orbit_lite.cli.demo.rows import read_sheet
from orbit_lite.cli.demo.sample import ROWS, make_sample, read_sample


def test_the_shipped_file_is_what_the_script_makes() -> None:
    assert read_sample() == make_sample()


def test_the_sample_has_some_thousand_transfers_and_some_bad_rows() -> None:
    sheet = read_sheet(read_sample())
    assert len(sheet.transfers) == ROWS
    assert len(sheet.rejections) == 13
    assert len({rejection.reason for rejection in sheet.rejections}) == 13
    assert {"", "ש", "م", "🏳", "\u0301", "\n", '"'} <= {char for row in sheet.transfers for char in ["", *row.note]}
