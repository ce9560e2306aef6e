"""Field plan → source of one straight-line function that reads messages of one class.

`decode(buf, pos, end, depth, m)` reads `buf[pos:end]` into a new message, or into `m`, which merges as protobuf does
it: scalars are replaced, repeated fields extended, sub-messages merged. `buf` may go on after `end`: a value that
reaches past it is found when the field is done. depth: how many levels may still be nested inside.

The fields are tested in the order of their numbers, in which nearly all peers write them, and each test is followed by
the next one: a message in order costs one comparison per field of the class, not one chain of them per field received.
A tag that no test takes comes to the end of the loop: known and out of order → once more from the top; unknown → kept.

Strings and bytes are sliced and sub-messages are read in place. A known field with another wire type than its own is
unknown, except that numbers are taken packed and unpacked alike.

Only generated identifiers and integers enter the source. Names from a schema are bound to identifiers by `names`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from textwrap import indent
from typing import Any

from orbit_lite.codec.faults import READ_ERRORS, locate
from orbit_lite.codec.plan import UNSET, FieldPlan, Label, MessagePlan, raw_state
from orbit_lite.codec.scalars import SCALARS, unzigzag
from orbit_lite.codec.wire import LEN, Fault, overrun, read_length, read_tag, read_uint64, skip, tag_of

__all__ = ["decoder_source", "tuple_source"]

#: So many fields share one test of whether the tag can be among them, which bounds the cost of a tag out of order.
_GROUP = 12

_NEXT = """\
if pos >= end:
  if pos > end: raise overrun(pos, end)
  if rest: keep(d, rest)
  return m
tag = buf[pos]
pos += 1"""

_LENGTH = """\
n = buf[pos]
pos += 1
if n > 127: n, pos = read_length(buf, pos, n)
stop = pos + n"""

# What calls further functions has to know first that it stays within the message.
_BOUNDED = f"{_LENGTH}\nif stop > end: raise overrun(stop, end)"

# A tag may be longer than it needs to be, so where it starts is only known before it is read.
_LONG_TAG = """\
if tag > 127:
  start = pos - 1
  tag, pos = read_tag(buf, pos, tag)"""


_UNKNOWN = """\
pos = skip(buf, pos, end, tag, depth)
if not rest: rest = []
rest.append(buf[start:pos])"""

_CHECK_DEPTH = "if depth < 0: raise Fault('nested deeper than the limit', pos, between=True)"

#: Kinds of fewer bits than a varint or with a sign: the largest number that stands for itself, and what a larger is.
_FOLDED = {
    "int64": (2**63 - 1, "v - (1 << 64)"),
    "uint32": (2**32 - 1, "v & 0xFFFF_FFFF"),
    "sint32": (2**32 - 1, "v & 0xFFFF_FFFF"),
    "int32": (2**31 - 1, "(v & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000"),
    "enum": (2**31 - 1, "(v & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000"),
}

_START = f"""\
{_CHECK_DEPTH}
if m is None:
  m = new()
  d = state(m)
  NEW
else:
  d = state(m)
  d['_serialized_on_wire'] = True
  OLD
if pos >= end: return m
rest = ()
tag = 0"""
_CHOICES = "d['_group_current'] = g = choices.copy()", "g = d['_group_current']"


def decoder_source(plan: MessagePlan) -> tuple[str, dict[str, object]]:
    """Source of `decode(buf, pos, end, depth, m=None)` and the values of its free names.

    A name with a FieldPlan for value stands for the function that reads one value of that field, or one entry of that
    map, with the arguments of `decode`, where `m` is the value so far: the caller puts it there.
    """
    names = _COMMON | {
        "blank": dict(plan.blank),
        "choices": dict.fromkeys(plan.oneofs),
        "new": partial(object.__new__, plan.cls),
        "known": frozenset(tag for field in plan.fields for tag in _tags(field)),
        "labels": {tag: field.name for field in plan.fields for tag in _tags(field)},
    }
    names |= {f"k{index}": oneof for index, oneof in enumerate(plan.oneofs)}
    wide = bool(plan.fields) and plan.fields[-1].number > 15
    following = f"{_NEXT}\n{_LONG_TAG}" if wide else _NEXT
    tests = []
    for index, field in enumerate(plan.fields):
        names[f"n{index}"] = field.name
        if field.kind not in SCALARS or field.label is Label.MAP:
            names[f"f{index}"] = field
        tests.append(_field(index, field, plan, following, names))
    if len(tests) > _GROUP:
        tests = [
            f"if tag < {tag_of(plan.fields[:at][-1].number + 1, 0)}:\n" + _inside("\n".join(tests[at - _GROUP : at]))
            for at in range(_GROUP, len(tests) + _GROUP, _GROUP)
        ]
    # Nothing took the tag: it is out of order, or unknown.
    if wide:
        rest = "if tag in known: continue\nif tag == buf[pos - 1]: start = pos - 1"
    else:
        rest = f"if tag in known: continue\nstart = pos - 1\n{_LONG_TAG}\n  if tag in known: continue"
    loop = "\n".join([*tests, rest, _UNKNOWN, following])
    first = "tag = buf[pos]\npos += 1" + (f"\n{_LONG_TAG}" if wide else "")
    # A class without oneofs never writes to `_group_current`, so its messages share one empty dict.
    fresh, merged = _CHOICES if plan.oneofs else ("", "")
    start = _START.replace("state(m)", "m.__dict__") if plan.lean else _START
    start = start.replace("NEW", fresh if plan.lean else f"d |= blank\n  {fresh}").replace("OLD", merged)
    return _function("m=None", start, f"{first}\nwhile True:\n{_inside(loop)}", "d"), names


def tuple_source(parts: Sequence[FieldPlan], defaults: Sequence[object]) -> tuple[str, dict[str, object]]:
    """Source of `decode(buf, pos, end, depth, a0, a1 …)` for small messages that are shown as plain values.

    These are map entries, wrappers, Timestamps and Durations. The arguments are the values so far, the result is the
    tuple of them all; unknown fields are dropped. A sub-message starts as None and is there in any case in the end.
    """
    names: dict[str, object] = _COMMON | {"labels": {_tags(part)[0]: part.name for part in parts}, "nothing": {}}
    tests, arguments, ending = [], [], ""
    for i, part in enumerate(parts):
        names[f"z{i}0"] = defaults[i]
        arguments.append(f"a{i}=z{i}0")
        if part.kind in SCALARS:
            read = _scalar(i, part.kind, part.cls, names, into=f"a{i}")
        else:
            names[f"f{i}"] = part
            read = f"{_BOUNDED}\na{i} = f{i}(buf, pos, stop, depth - 1, a{i})\npos = stop"
            ending += f"if a{i} is None: a{i} = f{i}(buf, end, end, depth, None)\n"
        tests.append(f"if tag == {_tags(part)[0]}:\n{_inside(read)}\n")
    tests.append("se: pos = skip(buf, pos, end, tag, depth)")  # joined to `else`
    body = "tag = buf[pos]\npos += 1\nif tag > 127: tag, pos = read_tag(buf, pos, tag)\n" + "el".join(tests)
    result = ", ".join(f"a{i}" for i in range(len(parts)))
    loop = f"while pos < end:\n{_inside(body)}\nif pos > end: raise overrun(pos, end)\n{ending}return {result},"
    return _function(", ".join(arguments), f"{_CHECK_DEPTH}\ntag = 0", loop, "nothing"), names


def _function(arguments: str, start: str, body: str, state: str) -> str:
    return (
        f"def decode(buf, pos, end, depth, {arguments}):\n{_inside(start)}\n  try:\n{_inside(_inside(body))}\n"
        f"  except errors as error:\n    raise locate(error, labels, {state}, tag, pos) from None\n"
    )


def _inside(text: str) -> str:
    return indent(text, "  ")


def _tags(field: FieldPlan) -> list[int]:
    """The tags under which the field is read, its own first."""
    scalar = SCALARS.get(field.kind)
    if scalar is None or field.label is Label.MAP or scalar.wire_type == LEN:
        return [tag_of(field.number, LEN)]
    single = tag_of(field.number, scalar.wire_type)
    if field.label is not Label.REPEATED:
        return [single]
    packed = tag_of(field.number, LEN)
    return [packed, single] if field.packed else [single, packed]


def _field(i: int, field: FieldPlan, plan: MessagePlan, following: str, names: dict[str, object]) -> str:
    """Test for the field's tags and read what follows."""
    first, *others = _tags(field)
    if field.label is Label.MAP:
        read = f"{_BOUNDED}\nk, v = f{i}(buf, pos, stop, depth - 1, None)\npos = stop\nitems[k] = v"
        return _several(i, first, read, following, plan)
    if field.label is Label.REPEATED:
        reads = [(tag, _append(i, field, tag, names)) for tag in (first, *others)]
        return "\n".join(_several(i, tag, read, following, plan) for tag, read in reads)
    if field.kind in SCALARS:
        read = _scalar(i, field.kind, field.cls, names, into=f"d[n{i}]")
    else:
        so_far = f"v = d[n{i}] if n{i} in d else None" if plan.lean else f"v = d[n{i}]\nif v is unset: v = None"
        read = f"{_BOUNDED}\n{so_far}\nd[n{i}] = f{i}(buf, pos, stop, depth - 1, v)\npos = stop"
    if field.oneof is not None:
        gone = "d.pop(x, None)" if plan.lean else "d[x] = unset"
        group = f"k{plan.oneofs.index(field.oneof)}"
        read += f"\nx = g[{group}]\nif x != n{i}:\n  if x is not None: {gone}\n  g[{group}] = n{i}"
    return f"if tag == {first}:\n{_inside(read)}\n{_inside(following)}"


def _so_far(i: int, plan: MessagePlan) -> str:
    """The field's value before it is read."""
    return f"d[n{i}] if n{i} in d else unset" if plan.lean else f"d[n{i}]"


def _several(i: int, tag: int, read: str, following: str, plan: MessagePlan) -> str:
    """Test for the tag of a repeated field or map, and stay as long as it comes again."""
    empty = "{}" if plan.fields[i].label is Label.MAP else "[]"
    loop = f"{read}\n{following}\nif tag != {tag}: break"
    start = f"items = {_so_far(i, plan)}\nif items is unset: items = d[n{i}] = {empty}\nwhile True:"
    return f"if tag == {tag}:\n{_inside(start)}\n{_inside(_inside(loop))}"


def _append(i: int, field: FieldPlan, tag: int, names: dict[str, object]) -> str:
    """Read one value, or a packed run of them, into the list `items`."""
    scalar = SCALARS.get(field.kind)
    if scalar is None:
        return f"{_BOUNDED}\nitems.append(f{i}(buf, pos, stop, depth - 1, None))\npos = stop"
    if scalar.wire_type == LEN or tag & 7 != LEN:
        return f"{_scalar(i, field.kind, field.cls, names, into='v')}\nitems.append(v)"
    names[f"p{i}"] = scalar.unpack
    values = f"p{i}(buf, pos, stop)"
    if scalar.zigzag:
        values = f"map(unzigzag, {values})"
    elif field.kind == "bool":
        values = f"map(bool, {values})"
    elif field.kind == "enum":
        names[f"q{i}"] = field.cls.try_value  # type: ignore[union-attr]  # an enum field has a class
        values = f"map(q{i}, {values})"
    return f"{_BOUNDED}\nitems.extend({values})\npos = stop"


def _scalar(i: int, kind: str, cls: type[Any] | None, names: dict[str, object], *, into: str) -> str:
    """Read one scalar into a variable or place."""
    scalar = SCALARS[kind]
    if kind == "string":
        return f"{_LENGTH}\n{into} = buf[pos:stop].decode()\npos = stop"
    if kind == "bytes":
        return f"{_LENGTH}\n{into} = buf[pos:stop]\npos = stop"
    if scalar.layout is not None:
        names[f"r{i}"] = scalar.layout.unpack_from
        return f"({into},) = r{i}(buf, pos)\npos += {scalar.layout.size}"
    read = "v = buf[pos]\npos += 1\nif v > 127:\n  v, pos = read_uint64(buf, pos, v)"
    if kind in _FOLDED:
        largest, folded = _FOLDED[kind]
        read += f"\n  if v > {largest}: v = {folded}"
    if scalar.zigzag:
        return f"{read}\n{into} = v >> 1 ^ -(v & 1)"
    if kind == "bool":
        return f"{read}\n{into} = v != 0"
    if kind == "enum":
        names |= {f"y{i}": cls._value_map_.get, f"z{i}": cls.try_value}  # type: ignore[union-attr]  # see above
        return f"{read}\nx = y{i}(v)\n{into} = z{i}(v) if x is None else x"
    return f"{read}\n{into} = v" if into != "v" else read


def _keep(state: dict[str, Any], parts: list[bytes]) -> None:
    """Add to a message's unknown fields.

    A bytearray from the second time on, that is when the message is merged with further occurrences of its field: with
    bytes, a peer could make us copy megabytes once for each of very many occurrences.
    """
    before = state.get("_unknown_fields", b"")
    if before and type(before) is not bytearray:
        before = bytearray(before)
    before += b"".join(parts)
    state["_unknown_fields"] = before


_COMMON: dict[str, object] = {
    "Fault": Fault,
    "errors": READ_ERRORS,
    "keep": _keep,
    "locate": locate,
    "overrun": overrun,
    "read_length": read_length,
    "read_tag": read_tag,
    "read_uint64": read_uint64,
    "skip": skip,
    "state": raw_state,
    "unset": UNSET,
    "unzigzag": unzigzag,
}
