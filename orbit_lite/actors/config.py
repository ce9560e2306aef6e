"""Settings of an actor system. Durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass

from orbit_lite.errors import ConfigurationError

__all__ = ["ActorConfig"]

_YEAR = 366 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorConfig:
    """How actors are hosted. Raises ConfigurationError for a value out of range.

    `mailbox_size`, `idle_timeout` and `invocation_timeout` are defaults that `@actor` may replace for one type.
    """

    mailbox_size: int = 1000
    """Calls that may wait for one actor, beside the one that runs; a further one is refused with OverloadedError."""

    max_addressables: int = 100_000
    """Actors that this node keeps active at a time; a call that would activate one more is refused with
    OverloadedError. Announced to other nodes."""

    idle_timeout: float | None = 300.0
    """Time without calls after which an actor is deactivated; None = never. As Orbit-RS."""

    sweep_interval: float = 60.0
    """Time between two looks for idle actors. As Orbit-RS."""

    invocation_timeout: float | None = 30.0
    """Time limit of a call, its wait in the mailbox included, where the caller gives none; None = no limit. Actor
    streams carry no time limits, so this one bounds what a client that has given up leaves running. As Orbit-RS's
    client."""

    activation_timeout: float = 30.0
    """Time limit of `on_activate`."""

    deactivation_timeout: float = 10.0
    """Time limit of `on_deactivate`."""

    wrap_arguments: bool = True
    """Send arguments to other nodes as `{"value", "type_name"}` objects, as Orbit-RS's actors expect them; false sends
    bare values. Both forms are accepted."""

    def __post_init__(self) -> None:
        self._whole("mailbox_size", 1, 1_000_000)
        self._whole("max_addressables", 1, (1 << 32) - 1)
        self._seconds("idle_timeout", 0.0, optional=True)
        self._seconds("sweep_interval", 0.001)
        self._seconds("invocation_timeout", 0.001, optional=True)
        self._seconds("activation_timeout", 0.001)
        self._seconds("deactivation_timeout", 0.001)
        if not isinstance(self.wrap_arguments, bool):
            raise ConfigurationError(f"wrap_arguments={self.wrap_arguments!r}: must be true or false")

    def _whole(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ConfigurationError(f"{name}={value!r}: must be a whole number from {low} to {high}")

    def _seconds(self, name: str, low: float, *, optional: bool = False) -> None:
        value = getattr(self, name)
        if value is None and optional:
            return
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= _YEAR:
            allowed = f"from {low:g} to {_YEAR:g} seconds" + (" or None" if optional else "")
            raise ConfigurationError(f"{name}={value!r}: must be {allowed}")
