"""The file that ships with the demo, `sample.csv`, and how it was made: the same bytes on every run and Python.

    python -m orbit_lite.cli.demo.sample     writes it anew

Most rows are ordinary. Some ask for more than there is; many pay into one money box until it is full, so that credits
are refused and debits given back; and some are bad in all the ways that files are bad.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TypeVar

__all__ = ["ROWS", "make_sample", "read_sample"]

ROWS = 2_000  # without the header and the bad ones
_SEED = 9113
_MONEY_BOX = "Sparschwein 🐷"

_FIRST = (
    *("Ada", "Benoît", "Çağla", "Dvořák", "Елена", "Fátima", "Γιάννης", "हरीश", "İpek", "Jūratė", "김민준", "Łukasz"),
    *("مريم", "Nguyễn", "Ólafur", "Păcală", "דוד", "Renée", "Søren", "தமிழ்", "Ürün", "Вікторія", "王芳", "さくら"),
)
_LAST = ("Arden", "Берёза", "Castaño", "D'Arc", "Ekström", "富士")
_NOTES = (
    "",
    "rent",
    "coffee ☕ and cake 🍰",
    "Miete für März, danke schön!",
    "שכר דירה לחודש מרץ",
    "إيجار شهر مارس",
    "房租,三月",
    "家賃 3月分",
    'the "good" one',
    "two lines:\nthe second",
    "e\u0301t\u0065\u0301: accents as combining characters",
    "👩‍👩‍👧‍👦 family, 🏳️‍🌈 flag, 👍🏽 thumb",
    "नमस्ते, किराया",
    "ค่าเช่า",
    "mixed שלום and hello, 1,000.00 inside",
    "zero\u200bwidth",
)

#: (before which row, the row): one of each way to be bad.
_BAD_ROWS: tuple[tuple[int, bytes], ...] = (
    (100, b"Ada Arden,Ren\xe9e Arden,10.00,Latin-1 instead of UTF-8"),
    (266, "Ada Arden,Søren Arden,12.345,a tenth of a cent".encode()),
    (433, "Ada Arden,Søren Arden,10.00".encode()),
    (600, "Søren Arden,Søren Arden,5.00,to oneself".encode()),
    (766, b",Ada Arden,5.00,from nobody"),
    (933, b"Ada Arden,  ,5.00,to nobody"),
    (1100, "Ada Arden,Søren Arden,-20.00,give it back".encode()),
    (1266, "Ada Arden,Søren Arden,zwölf,in words".encode()),
    (1433, 'Ada Arden,Søren Arden,"1,000",with a thousands separator'.encode()),
    (1600, "Ada Arden,Søren Arden,0,nothing".encode()),
    (1733, "Ada Arden,Søren\x00Arden,5.00,NUL".encode()),
    (1800, 'Ada Arden,Søren Arden,5.00,"closed" too early'.encode()),
    (1866, "Ada Arden,Søren Arden,99999999999.00,more than there is in the world".encode()),
)

_T = TypeVar("_T")


def make_sample() -> bytes:
    """The bytes of sample.csv."""
    dice = random.Random(_SEED)
    names = [f"{first} {last}" for last in _LAST for first in _FIRST]
    bad = dict(_BAD_ROWS)
    lines = [b"from,to,amount,note"]
    for number in range(ROWS):
        if number in bad:
            lines.append(bad[number])
        sender, receiver = _two(dice, names)
        if number % 40 == 7:
            receiver = _MONEY_BOX
        amount = 1 + _below(dice, 18_000) if number % 3 else 100 * (1 + _below(dice, 400))
        note = _pick(dice, _NOTES)
        row = (sender, receiver, f"{amount // 100}.{amount % 100:02}", note)
        lines.append(",".join(map(_field, row)).encode())
    return b"\n".join(lines) + b"\n"


def read_sample() -> bytes:
    """The shipped file."""
    return resources.files("orbit_lite.cli.demo").joinpath("sample.csv").read_bytes()


def _below(dice: random.Random, bound: int) -> int:
    return int(dice.random() * bound)  # of all that `random` draws, only random() is promised to stay the same


def _pick(dice: random.Random, choices: Sequence[_T]) -> _T:
    return choices[_below(dice, len(choices))]


def _two(dice: random.Random, names: Sequence[str]) -> tuple[str, str]:
    first = _below(dice, len(names))
    second = (first + 1 + _below(dice, len(names) - 1)) % len(names)
    return names[first], names[second]


def _field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(char in text for char in '",\n\r') else text


if __name__ == "__main__":
    Path(__file__).with_name("sample.csv").write_bytes(make_sample())
