from __future__ import annotations

import dataclasses
import json
import operator
import re
from pathlib import Path

from orbit_lite.node.config import NodeConfig
from orbit_lite.node.settings import SECTIONS, SETTINGS

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_every_field_of_every_configuration_class_is_a_setting() -> None:
    attributes = {setting.attribute for setting in SETTINGS}
    own = {field.name for field in dataclasses.fields(NodeConfig)}
    assert {name for name in attributes if "." not in name} == own - set(SECTIONS)
    for section, cls in SECTIONS.items():
        fields = {f"{section}.{field.name}" for field in dataclasses.fields(cls)}
        assert fields - attributes <= {"server.http2"}, "which is for programs only"


def test_keys_attributes_and_variables_are_unique() -> None:
    for names in (
        [setting.key for setting in SETTINGS],
        [setting.attribute for setting in SETTINGS],
        [variable for setting in SETTINGS for variable in setting.env + setting.fallback_env],
    ):
        assert len(names) == len(set(names))


def test_no_key_is_a_table_of_others() -> None:
    keys = {setting.key for setting in SETTINGS}
    assert not {key for key in keys for other in keys if other.startswith(f"{key}.")}


def test_our_own_variables_have_our_prefix_and_others_have_not() -> None:
    for setting in SETTINGS:
        assert all(variable.startswith("ORBIT_") for variable in setting.env)
        assert not any(variable.startswith("ORBIT_") for variable in setting.fallback_env)


def test_every_default_can_be_written_and_read_back() -> None:
    for setting in SETTINGS:
        default = operator.attrgetter(setting.attribute)(NodeConfig())
        if default is not None:
            assert setting.kind.read(setting.kind.show(default)) == default


def test_the_document_names_every_setting_with_its_variables_and_default() -> None:
    """docs/configuration.md has a table per section; its meaning is for people, the rest is checked."""
    written = {}
    section = ""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"## \[(.+)\]", line):
            section = heading[1]
        elif section and (row := re.fullmatch(r"\| `(\w+)` \| (.*?) \| (.*?) \| (.+) \|", line)):
            assert row[4].strip()
            written[f"{section}.{row[1]}"] = (tuple(re.findall(r"`(\w+)`", row[2])), row[3])
    expected = {}
    for setting in SETTINGS:
        default = operator.attrgetter(setting.attribute)(NodeConfig())
        shown = "–" if default is None else f"`{json.dumps(setting.kind.show(default))}`"
        expected[setting.key] = (setting.env + setting.fallback_env, shown)
    assert written == expected
