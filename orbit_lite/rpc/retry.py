"""Whether a failed call is tried again, and when (gRFC A6). Pure: values in, a delay or a refusal out.

*Whether* rests on `executed`: what surely did not run may always be tried again, what may have run only if running it
twice does no harm. *When* is exponential backoff with full jitter, never past the deadline, which covers all attempts.
A budget per endpoint keeps retries from multiplying the load of a server that is failing already.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orbit_lite.errors import Executed, OrbitError, TimeoutError
from orbit_lite.rpc.config import RetryConfig, TransportConfig
from orbit_lite.rpc.errors import RpcError

__all__ = ["PUSHBACK_METADATA", "RetryBudget", "RetryPolicy"]

#: Trailing metadata by which a server says when to come back, in milliseconds; anything else means "not at all".
PUSHBACK_METADATA = "grpc-retry-pushback-ms"

_MILLISECONDS = re.compile(r"[0-9]{1,9}")


class RetryBudget:
    """Token bucket of one endpoint (gRFC A6, throttling): a retry needs more than half of the tokens."""

    __slots__ = ("_config", "tokens")

    def __init__(self, config: RetryConfig) -> None:
        self._config = config
        self.tokens = config.budget_tokens

    @property
    def allows(self) -> bool:
        """Whether a retry may be made now."""
        return self._config.budget_tokens == 0 or self.tokens > self._config.budget_tokens / 2

    def succeeded(self) -> None:
        """A call ended well."""
        self.tokens = min(self._config.budget_tokens, self.tokens + self._config.budget_ratio)

    def failed(self) -> None:
        """An attempt failed in a way that might be retried; to be told before `allows` is asked."""
        self.tokens = max(0.0, self.tokens - 1.0)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The decision for one call after each of its failures."""

    transport: TransportConfig
    config: RetryConfig

    def bound(self, failures: int) -> float:
        """Seconds that the delay after so many failures may last at most: initial, times the multiplier each time."""
        # The exponent is bounded so that no configuration overflows a float; the cap has been reached long before.
        growth = self.transport.retry_backoff_multiplier ** min(failures - 1, 100)
        return float(min(self.config.backoff_max, self.transport.retry_backoff_initial * growth))

    def may_repeat(self, error: OrbitError, *, idempotent: bool) -> bool:
        """Whether another attempt is harmless and may help, whatever attempts, budget and deadline say."""
        if not error.retryable:
            return False
        if isinstance(error, RpcError) and error.code not in self.config.retryable_codes:
            return False
        return error.executed is Executed.NO or idempotent

    def delay(
        self,
        error: OrbitError,
        *,
        failures: int,
        remaining: float | None,
        idempotent: bool,
        budget: RetryBudget,
        draw: float,
    ) -> float | None:
        """Seconds to wait before the next attempt; None: the call has failed for good.

        failures: attempts made, all of which failed, from 1. remaining: seconds until the deadline. draw: random number
        in 0..1. The failure is charged to the budget if it counts there.
        """
        if not self.may_repeat(error, idempotent=idempotent):
            return None
        budget.failed()
        if failures > self.transport.retry_attempts:
            return None
        if isinstance(error, TimeoutError) and remaining is not None and remaining <= 0.0:
            return None
        if not budget.allows:
            return None
        wait = self._pushback(error)
        if wait is None:
            bound = self.bound(failures)
            wait = bound * (1.0 - self.config.jitter * (1.0 - draw))
        if wait < 0.0 or (remaining is not None and wait >= remaining):
            return None
        return wait

    @staticmethod
    def _pushback(error: OrbitError) -> float | None:
        """Seconds that the server asked for; negative: it wants no retry; None: it did not say."""
        values = [value for name, value in error.metadata if name == PUSHBACK_METADATA]
        if not values:
            return None
        text = values[-1]
        if len(values) > 1 or not isinstance(text, str) or not _MILLISECONDS.fullmatch(text):
            return -1.0
        return int(text) / 1000
