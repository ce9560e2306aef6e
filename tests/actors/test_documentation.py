"""What docs/actors.md shows works as it is written there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from orbit_lite.actors import ActorConfig, ActorSystem, actor_type_of
from orbit_lite.errors import InvocationFailed

DOCUMENT = (Path(__file__).parents[2] / "docs" / "actors.md").read_text(encoding="utf-8")


async def test_the_example_keeps_accounts(host: Callable[..., ActorSystem]) -> None:
    example = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)[0]
    names: dict[str, object] = {}
    exec(example, names)  # noqa: S102  (the document is ours)
    account = names["Account"]
    assert isinstance(account, type)
    actor_type = actor_type_of(account)
    assert actor_type is not None
    system = host(account)
    alice, bob = system.ref("Account", "alice"), system.ref("Account", "bob")
    assert await alice.invoke("credit", 100) == 100
    await alice.invoke("transfer", 30, "bob")
    assert await bob.invoke("credit", 0) == 30
    with pytest.raises(InvocationFailed, match="transfer on Account - insufficient funds"):
        await alice.invoke("transfer", 1000, "bob")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("mailbox_size", "1000"),
        ("idle_timeout", "5 minutes"),
        ("sweep_interval", "1 minute"),
        ("invocation_timeout", "30 s"),
        ("activation_timeout", "30 s"),
        ("deactivation_timeout", "10 s"),
        ("max_addressables", "100 000"),
    ],
)
def test_the_defaults_in_the_text_are_those_of_the_code(name: str, shown: str) -> None:
    number, _, unit = shown.replace("100 000", "100000").partition(" ")
    factor = {"": 1, "s": 1, "minute": 60, "minutes": 60}[unit]
    assert getattr(ActorConfig(), name) == int(number) * factor
    text = DOCUMENT.replace("\n", " ")
    assert re.search(rf"`{name}`[^`]*?{shown}|{shown}[^`]*?`{name}`", text), f"{name} is not given as {shown}"
