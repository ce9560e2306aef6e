from __future__ import annotations

import pytest

from orbit_lite.actors import ActorConfig
from orbit_lite.errors import ConfigurationError


def test_defaults_are_those_of_orbit_rs_where_it_has_them() -> None:
    config = ActorConfig()
    assert (config.idle_timeout, config.sweep_interval, config.invocation_timeout) == (300.0, 60.0, 30.0)
    assert config.wrap_arguments


@pytest.mark.parametrize("name", ["idle_timeout", "invocation_timeout"])
def test_none_means_no_limit(name: str) -> None:
    assert getattr(ActorConfig(**{name: None}), name) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("mailbox_size", 0, "a whole number from 1 to 1000000"),
        ("mailbox_size", True, "a whole number"),
        ("mailbox_size", 1.0, "a whole number"),
        ("max_addressables", 1 << 32, "a whole number"),
        ("idle_timeout", -1.0, "seconds or None"),
        ("sweep_interval", 0.0, "from 0.001"),
        ("sweep_interval", None, "from 0.001"),
        ("invocation_timeout", float("nan"), "seconds or None"),
        ("activation_timeout", float("inf"), "seconds"),
        ("deactivation_timeout", "1", "seconds"),
        ("wrap_arguments", 1, "true or false"),
    ],
)
def test_a_wrong_value_is_told_with_its_name_and_what_is_allowed(name: str, value: object, allowed: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}=.*: must be .*{allowed}"):
        ActorConfig(**{name: value})  # type: ignore[arg-type]
