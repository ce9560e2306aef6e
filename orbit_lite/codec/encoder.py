"""Field plan → source of one straight-line function that writes messages of one class.

The function reads the instance's `__dict__`, past betterproto's attribute hooks, and appends to one list. It calls the
functions of sub-messages, so sizes are known when a length is written. What it writes, by presence:

- a scalar without presence, when it is not the default (-0.0 is not);
- `optional` fields and wrappers, when not None;
- of a oneof the member that `_group_current` names;
- a sub-message, when it was decoded, assigned to or given arguments (`_serialized_on_wire`) or has content. betterproto
  puts an empty one in place when an unset field is merely read: that one is not written. Nor is `Outer(inner=Inner())`
  of plain betterproto classes, for they leave no difference between the two; codec.Message does;
- a Timestamp or Duration, when set, the epoch and zero included; not what a read put there (plan.READ_TIMESTAMP).

Known fields go out in the order of their numbers, then the unknown ones as they came in.

Only generated identifiers and integers enter the source. Names from a schema are bound to identifiers by `names`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from textwrap import indent
from typing import Any

from orbit_lite.codec.plan import READ_DURATION, READ_TIMESTAMP, UNSET, FieldPlan, Label, MessagePlan, raw_state
from orbit_lite.codec.scalars import SCALARS, is_negative_zero
from orbit_lite.codec.values import write_duration, write_timestamp
from orbit_lite.codec.wire import LEN, head_table, tag_of, varint

__all__ = ["encoder_source", "wrapper_writer"]

#: Fields up to this number share tables of tag and following byte (5 KB each); the others concatenate.
_TABLED = 127

#: Kinds whose positive numbers are plain varints, and the largest of them.
_WHOLE = {"int32": 2**31 - 1, "int64": 2**63 - 1, "uint32": 2**32 - 1, "uint64": 2**64 - 1, "enum": 2**31 - 1}
#: Whether there is a value `v`, and whether it is not empty; in classes of codec.Message nothing holds UNSET.
_PRESENT = {False: "v is not unset and v is not None", True: "v is not None"}
_FILLED = {False: "v and v is not unset", True: "v"}


def encoder_source(plan: MessagePlan) -> tuple[str, dict[str, object]]:
    """Source of `encode(m)` and the values of its free names.

    A name with a FieldPlan for value stands for the function that writes that field's sub-message: the caller puts it
    there.
    """
    names: dict[str, object] = {
        "as_bytes": _as_bytes,
        "as_list": _as_list,
        "expect": _expect,
        "is_negative_zero": is_negative_zero,
        "read_duration": READ_DURATION,
        "read_timestamp": READ_TIMESTAMP,
        "state": raw_state,
        "unset": UNSET,
        "varint": varint,
        "write_duration": write_duration,
        "write_timestamp": write_timestamp,
    }
    lines = ["d = m.__dict__" if plan.lean else "d = state(m)", "o = []"]
    for index, oneof in enumerate(plan.oneofs):
        names[f"k{index}"] = oneof
        lines.append(f"g{index} = d['_group_current'][k{index}]")
    numbered = enumerate(plan.fields)
    for oneof, run in groupby(numbered, key=lambda item: item[1].oneof):
        fields = [(index, field, _put(index, field, names)) for index, field in run]
        if oneof is None:
            lines += [_field(index, field, put, lean=plan.lean) for index, field, put in fields]
        else:
            lines.append(_oneof(plan.oneofs.index(oneof), fields, lean=plan.lean))
    if plan.lean:
        lines.append("if '_unknown_fields' in d: o.append(d['_unknown_fields'])")
    else:
        lines += ["u = d['_unknown_fields']", "if u: o.append(u)"]
    lines.append("return b''.join(o)")
    return "def encode(m):\n" + _inside("\n".join(lines)), names


def _inside(text: str) -> str:
    return indent(text, "  ")


def _field(i: int, field: FieldPlan, put: str, *, lean: bool) -> str:
    """Read a field outside oneofs and write it if it is there. lean: as in MessagePlan."""
    read = f"v = d[n{i}]\nif {_condition(field, lean=lean)}:\n{_inside(_write(field, put))}"
    return f"if n{i} in d:\n{_inside(read)}" if lean else read


def _condition(field: FieldPlan, *, lean: bool) -> str:
    if field.label in (Label.MAP, Label.REPEATED):
        return _FILLED[lean]
    if field.label is Label.IMPLICIT:
        if field.kind in ("float", "double"):
            return f"{_PRESENT[lean]} and (v or is_negative_zero(v))"
        if field.kind in ("timestamp", "duration"):
            return f"{_PRESENT[lean]} and v is not read_{field.kind}"
        if field.kind in SCALARS:
            return _FILLED[lean]
    return _PRESENT[lean]


def _write(field: FieldPlan, put: str) -> str:
    if field.label is Label.MAP:
        return f"for k, v in v.items():\n{_inside(put)}"
    if field.label is Label.REPEATED:
        packed = field.packed and field.kind in SCALARS
        return "if type(v) is not list: v = as_list(v)\n" + (put if packed else f"for v in v:\n{_inside(put)}")
    return put


def _oneof(group: int, members: Iterable[tuple[int, FieldPlan, str]], *, lean: bool) -> str:
    """Write the chosen one of neighbouring members."""
    branches = [
        f"if g{group} == n{i}:\n  v = d[n{i}]\n  if {_PRESENT[lean]}:\n{_inside(_inside(put))}" for i, _, put in members
    ]
    return f"if g{group} is not None:\n" + _inside("\nel".join(branches))


def _put(i: int, field: FieldPlan, names: dict[str, object]) -> str:
    """Write the value `v`, of a map the entry of `k` and `v`, whatever it is."""
    scalar = SCALARS.get(field.kind)
    wire_type = LEN if scalar is None or field.packed or field.label is Label.MAP else scalar.wire_type
    tag = tag_of(field.number, wire_type)
    names |= {f"n{i}": field.name, f"t{i}": varint(tag)}
    tabled = field.number <= _TABLED
    if tabled:
        names[f"h{i}"] = head_table(tag)
    if field.kind == "message":
        names |= {f"c{i}": field.cls, f"e{i}": field}
    elif field.kind == "wrapper":
        names[f"e{i}"] = wrapper_writer(field.wrapped)
    elif scalar is not None:
        names[f"w{i}"] = scalar.pack if field.packed else scalar.write
    head = f"h{i}[n] if n < 128 else t{i} + varint(n)" if tabled else f"t{i} + varint(n)"
    body = f"n = len(b)\no.append({head})\no.append(b)"
    if field.label is Label.MAP:
        return _put_entry(i, field, names) + body
    if field.packed:
        return f"b = w{i}(v)\n{body}"
    if field.kind == "message":
        if field.label is Label.IMPLICIT:
            empty = f"elif v._serialized_on_wire: o.append(t{i} + b'\\0')"
            body = f"if b:\n{_inside(body)}\n{empty}"
        return f"if type(v) is not c{i}: expect(v, c{i})\nb = e{i}(v)\n{body}"
    if field.kind in ("timestamp", "duration"):
        return f"b = write_{field.kind}(v)\n{body}"
    if field.kind == "wrapper":
        return f"b = e{i}(v)\n{body}"
    if field.kind == "string":
        return f"b = v.encode()\n{body}"
    if field.kind == "bytes":
        return f"b = v if type(v) is bytes else as_bytes(v)\n{body}"
    if not tabled:
        return f"o.append(t{i} + w{i}(v))"
    if field.kind in _WHOLE:
        return (
            f"o.append(h{i}[v] if 0 <= v < 128 else t{i} + (varint(v) if 0 < v <= {_WHOLE[field.kind]} else w{i}(v)))"
        )
    if scalar is not None and scalar.zigzag:
        return f"x = v + v if v >= 0 else -v - v - 1\no.append(h{i}[x] if x < 128 else t{i} + w{i}(v))"
    if field.kind == "bool":
        return f"o.append(h{i}[1] if v is True else t{i} + w{i}(v))"
    return f"o.append(t{i} + w{i}(v))"


def _put_entry(i: int, field: FieldPlan, names: dict[str, object]) -> str:
    """`b` = the body of a map entry. Both fields are always there, as protobuf's own runtimes do it."""
    key = SCALARS[field.key or ""]
    names |= {f"kt{i}": varint(tag_of(1, key.wire_type)), f"kw{i}": key.write}
    scalar = SCALARS.get(field.kind)
    names[f"vt{i}"] = varint(tag_of(2, LEN if scalar is None else scalar.wire_type))
    start = f"b = kt{i} + kw{i}(k) + vt{i} + "
    if scalar is not None:
        return f"{start}w{i}(v)\n"
    if field.kind == "message":
        write = f"if type(v) is not c{i}: expect(v, c{i})\nx = e{i}(v)\n"
    else:
        write = f"x = write_{field.kind}(v)\n"
    return f"{write}{start}varint(len(x)) + x\n"


def wrapper_writer(kind: str | None) -> Callable[[Any], bytes]:
    """Writes the body of a wrapper around a scalar of this kind, such as google.protobuf.Int32Value for int32."""
    scalar = SCALARS[kind or ""]
    tag = varint(tag_of(1, scalar.wire_type))
    zero = scalar.write(scalar.default)

    def write(value: object) -> bytes:
        body = scalar.write(value)
        return tag + body if body != zero else b""

    return write


def _as_bytes(value: object) -> bytes:
    if not isinstance(value, bytearray | memoryview | bytes):
        raise TypeError(f"expected bytes, found {type(value).__name__}")
    return bytes(value)


def _as_list(value: object) -> list[object]:
    """Any sequence will do for a repeated field, but not text, whose items are text again."""
    if isinstance(value, str | bytes | bytearray | memoryview) or not isinstance(value, Iterable):
        raise TypeError(f"expected a list, found {type(value).__name__}")
    return list(value)


def _expect(value: object, cls: type[Any]) -> None:
    """A subclass passes, for it has at least the fields."""
    if not isinstance(value, cls):
        raise TypeError(f"expected {cls.__name__}, found {type(value).__name__}")
