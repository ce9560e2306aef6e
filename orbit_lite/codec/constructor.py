"""Field plan → source of the `__init__` of classes that derive from codec.Message.

It takes what a dataclass's would, in the same order, and writes the instance's `__dict__` directly: a field that is not
given is not in there. Only generated identifiers and integers enter the source; the arguments get their names in the
compiled code (compile.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from orbit_lite.codec.plan import UNSET, MessagePlan

__all__ = ["constructor_source"]


def constructor_source(plan: MessagePlan, names: Sequence[str], *, hook: bool) -> tuple[str, dict[str, object]]:
    """Source of `construct(self, a0=unset …)`, one argument for each name, and the values of its free names.

    hook: call `__post_init__` in the end.
    """
    fields = {field.name: field for field in plan.fields}
    free: dict[str, object] = {"unset": UNSET}
    free |= {f"k{group}": oneof for group, oneof in enumerate(plan.oneofs)}
    lines = ["d = self.__dict__"]
    if plan.oneofs:
        lines.append(" = ".join(f"g{group}" for group in range(len(plan.oneofs))) + " = None")
    absences = ["None" if plan.unset[name] is None else "unset" for name in names]
    for index, (name, absent) in enumerate(zip(names, absences, strict=True)):
        free[f"n{index}"] = name
        put = f"d[n{index}] = a{index}"
        if (oneof := fields[name].oneof) is not None:
            put += f"; g{plan.oneofs.index(oneof)} = n{index}"
        lines.append(f"if a{index} is not {absent}: {put}")
    if plan.oneofs:
        chosen = ", ".join(f"k{group}: g{group}" for group in range(len(plan.oneofs)))
        lines.append(f"d['_group_current'] = {{{chosen}}}")
    if hook:
        lines.append("self.__post_init__()")
    arguments = "".join(f", a{index}={absent}" for index, absent in enumerate(absences))
    return f"def construct(self, /{arguments}):\n" + "".join(f"  {line}\n" for line in lines), free
