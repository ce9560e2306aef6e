"""Whether a failed call is tried again, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import ConnectError, ConnectionLost, Executed, OrbitError, OverloadedError, Status
from orbit_lite.rpc.config import RetryConfig, TransportConfig
from orbit_lite.rpc.errors import Internal, ResourceExhausted, Unavailable, rpc_error
from orbit_lite.rpc.framing import frame_message
from orbit_lite.rpc.retry import PUSHBACK_METADATA, RetryBudget, RetryPolicy

NEVER = [
    Status.INVALID_ARGUMENT,
    Status.NOT_FOUND,
    Status.PERMISSION_DENIED,
    Status.UNAUTHENTICATED,
    Status.UNIMPLEMENTED,
    Status.FAILED_PRECONDITION,
    Status.ABORTED,
    Status.INTERNAL,
    Status.DATA_LOSS,
]


def decide(
    error: OrbitError,
    *,
    failures: int = 1,
    remaining: float | None = 30.0,
    idempotent: bool = False,
    budget: RetryBudget | None = None,
    draw: float = 1.0,
    transport: TransportConfig | None = None,
    config: RetryConfig | None = None,
) -> float | None:
    config = config or RetryConfig()
    policy = RetryPolicy(transport or TransportConfig(), config)
    return policy.delay(
        error,
        failures=failures,
        remaining=remaining,
        idempotent=idempotent,
        budget=budget or RetryBudget(config),
        draw=draw,
    )


# ---------------------------------------------------------------- whether


@pytest.mark.parametrize(
    "error",
    [
        ConnectError("refused"),
        ConnectionLost("gone", executed=Executed.NO),
        Unavailable("REFUSED_STREAM", executed=Executed.NO),
        OverloadedError("queue full"),
    ],
)
def test_what_surely_did_not_run_is_tried_again_whatever_the_method(error: OrbitError) -> None:
    assert decide(error) is not None


@pytest.mark.parametrize("executed", [Executed.MAYBE, Executed.YES])
def test_what_may_have_run_is_tried_again_only_where_that_does_no_harm(executed: Executed) -> None:
    error = ConnectionLost("gone", executed=executed)
    assert decide(error) is None
    assert decide(error, idempotent=True) is not None


@pytest.mark.parametrize("status", NEVER)
def test_these_statuses_end_the_call_even_of_idempotent_methods(status: Status) -> None:
    assert decide(rpc_error(status, "no", executed=Executed.NO), idempotent=True) is None


def test_a_status_that_the_configuration_does_not_name_is_not_retried() -> None:
    config = RetryConfig(retryable_codes=frozenset({Status.UNAVAILABLE}))
    exhausted = ResourceExhausted("quota", executed=Executed.NO)
    assert decide(exhausted) is not None
    assert decide(exhausted, config=config) is None
    assert decide(ConnectError("refused"), config=config) is not None  # no status: nothing was answered


def test_a_message_that_is_too_large_here_is_too_large_the_next_time() -> None:
    with pytest.raises(ResourceExhausted) as caught:
        frame_message(b"x" * 11, 10)
    assert caught.value.executed is Executed.NO
    assert decide(caught.value, idempotent=True) is None


# ---------------------------------------------------------------- when


def test_three_retries_are_four_tries() -> None:
    error = ConnectError("refused")
    assert [decide(error, failures=n) is None for n in (1, 2, 3, 4)] == [False, False, False, True]
    assert decide(error, transport=TransportConfig(retry_attempts=0)) is None


def test_delays_double_up_to_the_cap() -> None:
    error, config = ConnectError("refused"), RetryConfig(backoff_max=0.35)
    assert [decide(error, failures=n) for n in (1, 2, 3)] == pytest.approx([0.1, 0.2, 0.4])
    assert [decide(error, failures=n, config=config) for n in (1, 2, 3)] == pytest.approx([0.1, 0.2, 0.35])


@given(draw=st.floats(0, 1), failures=st.integers(1, 3), jitter=st.floats(0, 1))
def test_a_delay_is_drawn_between_nothing_and_its_bound(draw: float, failures: int, jitter: float) -> None:
    bound = 0.1 * 2.0 ** (failures - 1)
    full = decide(ConnectError("refused"), failures=failures, draw=draw)
    assert full == pytest.approx(bound * draw)
    part = decide(ConnectError("refused"), failures=failures, draw=draw, config=RetryConfig(jitter=jitter))
    assert part is not None
    assert bound * (1 - jitter) - 1e-12 <= part <= bound + 1e-12


@given(failures=st.integers(1, 10**9), multiplier=st.floats(1, 100), initial=st.floats(0, 3600), cap=st.floats(0, 3600))
def test_no_configuration_overflows(failures: int, multiplier: float, initial: float, cap: float) -> None:
    transport = TransportConfig(retry_backoff_initial=initial, retry_backoff_multiplier=multiplier)
    assert 0.0 <= RetryPolicy(transport, RetryConfig(backoff_max=cap)).bound(failures) <= cap


def test_no_retry_whose_delay_would_pass_the_deadline() -> None:
    error = ConnectError("refused")
    assert decide(error, remaining=0.1) is None
    assert decide(error, remaining=0.11) == pytest.approx(0.1)
    assert decide(error, remaining=None) == pytest.approx(0.1)
    assert decide(error, remaining=0.0, draw=0.0) is None


# ---------------------------------------------------------------- what the server says


def pushed(*values: str | bytes) -> OrbitError:
    return Unavailable("busy", executed=Executed.NO, metadata=[(PUSHBACK_METADATA, value) for value in values])


def test_the_server_may_set_the_delay() -> None:
    assert decide(pushed("0")) == 0.0
    assert decide(pushed("1500")) == 1.5
    assert decide(pushed("1500"), remaining=1.5) is None


@pytest.mark.parametrize("value", ["-1", "", "soon", "1.5", "٣", "1_0", " 1", "99999999999", b"10"])
def test_a_pushback_that_is_no_delay_forbids_the_retry(value: str | bytes) -> None:
    assert decide(pushed(value)) is None


def test_two_pushbacks_say_nothing_and_forbid_the_retry() -> None:
    assert decide(pushed("1", "1")) is None


# ---------------------------------------------------------------- the budget (gRFC A6, throttling)


def test_the_budget_ends_retries_when_half_of_it_is_used() -> None:
    budget = RetryBudget(RetryConfig(budget_tokens=10.0))
    made = [decide(ConnectError("refused"), budget=budget) is not None for _ in range(7)]
    assert made == [True, True, True, True, False, False, False]
    assert budget.tokens == 3.0


def test_successes_give_the_budget_back_slowly_and_never_more_than_all_of_it() -> None:
    budget = RetryBudget(RetryConfig(budget_tokens=10.0, budget_ratio=0.5))
    budget.succeeded()
    assert budget.tokens == 10.0
    for _ in range(20):
        budget.failed()
    assert budget.tokens == 0.0
    for _ in range(11):
        assert not budget.allows
        budget.succeeded()
    assert budget.tokens == 5.5
    assert budget.allows


def test_what_is_not_retried_anyway_costs_the_budget_nothing() -> None:
    budget = RetryBudget(RetryConfig())
    decide(ConnectionLost("gone", executed=Executed.MAYBE), budget=budget)
    decide(Internal("broken"), budget=budget, idempotent=True)
    assert budget.tokens == 10.0
    decide(ConnectError("refused"), budget=budget, failures=4)  # no attempts are left, but the server is in trouble
    decide(pushed("-1"), budget=budget)
    assert budget.tokens == 8.0


def test_without_a_budget_every_retry_is_made() -> None:
    config = RetryConfig(budget_tokens=0.0)
    budget = RetryBudget(config)
    assert all(decide(ConnectError("refused"), budget=budget, config=config) is not None for _ in range(50))
