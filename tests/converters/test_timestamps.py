"""Points in time keep what a datetime can hold; what it cannot is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.converters import TimestampConverter
from orbit_lite.errors import ConversionError
from orbit_lite.testing import strategies as orbit

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))


@given(orbit.timestamps())
def test_utc_passes_unchanged(moment: datetime) -> None:
    assert TimestampConverter.from_proto(TimestampConverter.to_proto(moment)) == moment


def test_other_zones_become_the_same_moment_in_utc() -> None:
    noon = datetime(2024, 2, 29, 12, tzinfo=EAST)
    assert TimestampConverter.to_proto(noon) == noon
    assert TimestampConverter.to_proto(noon).tzinfo is UTC


@pytest.mark.parametrize("convert", [TimestampConverter.to_proto, TimestampConverter.from_proto])
def test_naive_datetimes_are_refused(convert: object) -> None:
    assert callable(convert)
    with pytest.raises(ConversionError, match="no time zone"):
        convert(datetime(2024, 1, 1))  # noqa: DTZ001  (that is the point)


@pytest.mark.parametrize(
    "moment", [datetime.min.replace(tzinfo=EAST), datetime.max.replace(tzinfo=WEST)], ids=["year 0", "year 10000"]
)
def test_moments_outside_utcs_years_are_refused(moment: datetime) -> None:
    with pytest.raises(ConversionError, match=r"outside the years 1\.\.9999"):
        TimestampConverter.to_proto(moment)
    with pytest.raises(ConversionError, match=r"outside the years 1\.\.9999"):
        TimestampConverter.to_unix_ms(moment)


@pytest.mark.parametrize(
    ("moment", "milliseconds"),
    [
        (EPOCH, 0),
        (EPOCH + timedelta(microseconds=1999), 1),
        (EPOCH - timedelta(microseconds=1), -1),
        (EPOCH - timedelta(microseconds=1001), -2),
        (datetime(2024, 2, 29, 12, 0, 0, 123000, tzinfo=UTC), 1_709_208_000_123),
        (datetime.min.replace(tzinfo=UTC), -62_135_596_800_000),
        (datetime.max.replace(tzinfo=UTC), 253_402_300_799_999),
    ],
)
def test_milliseconds_round_down_before_1970_too(moment: datetime, milliseconds: int) -> None:
    assert TimestampConverter.to_unix_ms(moment) == milliseconds


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_every_millisecond_of_the_years_1_to_9999_comes_back(milliseconds: int) -> None:
    assert TimestampConverter.to_unix_ms(TimestampConverter.from_unix_ms(milliseconds)) == milliseconds


@pytest.mark.parametrize("milliseconds", [-62_135_596_800_001, 253_402_300_800_000, -(1 << 63), (1 << 63) - 1, 1 << 64])
def test_milliseconds_outside_the_years_are_refused_and_not_now(milliseconds: int) -> None:
    with pytest.raises(ConversionError, match=r"outside the years 1\.\.9999"):
        TimestampConverter.from_unix_ms(milliseconds)
