"""Which settings of consensus make sense together."""

from __future__ import annotations

from typing import Any

import pytest

from orbit_lite.errors import ConfigurationError
from orbit_lite.raft import RaftConfig

MIB = 1024 * 1024


def test_the_timings_of_orbit_rs_are_at_hand() -> None:
    config = RaftConfig.orbit_rs()
    assert (config.election_timeout_min, config.election_timeout_max, config.heartbeat_interval) == (0.15, 0.3, 0.05)


@pytest.mark.parametrize(
    "settings",
    [
        {"heartbeat_interval": 0.0},
        {"heartbeat_interval": 1.0, "election_timeout_min": 1.0},
        {"election_timeout_min": 3.0},
        {"max_clock_drift": 1.0},
        {"lease_reads": True, "check_quorum": False},
        {"max_entry_bytes": 3 * MIB},
        {"max_append_bytes": 3 * MIB},
        {"snapshot_chunk_bytes": 4 * MIB},
        {"snapshot_chunk_bytes": 0},
        {"snapshot_trailing_entries": -1},
    ],
    ids=str,
)
def test_a_setting_that_makes_no_sense_is_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        RaftConfig(**settings)
    assert any(name in refused.value.message for name in settings)


def test_the_largest_settings_leave_room_for_framing() -> None:
    room = 4 * MIB - 64 * 1024
    RaftConfig(max_entry_bytes=room * 3 // 4, max_append_bytes=room * 3 // 4, snapshot_chunk_bytes=room)
