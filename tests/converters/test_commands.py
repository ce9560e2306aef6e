"""Raft commands as JSON: both dialects of Orbit-RS, our own, and nothing else."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.converters import RaftCommandConverter
from orbit_lite.errors import ConversionError
from orbit_lite.model import (
    CoordinatorAssignment,
    ElectLeader,
    HeartBeat,
    LiteCommand,
    LiteKind,
    NodeId,
    NodeJoin,
    NodeLeave,
    RaftCommand,
)
from orbit_lite.testing import strategies as orbit

NODE = NodeId("node-1", "default")
OBJECT = '{"key":"node-1","namespace":"default"}'

WRITTEN: list[tuple[RaftCommand, str]] = [
    (HeartBeat(), '"HeartBeat"'),
    (ElectLeader(NODE), f'{{"ElectLeader":{OBJECT}}}'),
    (
        CoordinatorAssignment("tx-1", NODE),
        f'{{"CoordinatorAssignment":{{"transaction_id":"tx-1","coordinator":{OBJECT}}}}}',
    ),
    (NodeJoin(NODE), f'{{"NodeJoin":{OBJECT}}}'),
    (NodeLeave(NodeId("größe", "ns")), '{"NodeLeave":{"key":"größe","namespace":"ns"}}'),
    (
        LiteCommand(LiteKind.DATA, "c", 7, b"\x00\xff"),
        '{"Lite":{"kind":"data","client":"c","seq":7,"data":"AP8="}}',
    ),
]


@pytest.mark.parametrize(("command", "text"), WRITTEN, ids=[type(command).__name__ for command, _ in WRITTEN])
def test_a_command_has_one_text(command: RaftCommand, text: str) -> None:
    assert RaftCommandConverter.to_proto(command) == text
    assert RaftCommandConverter.from_proto(text) == command


@given(orbit.raft_commands())
def test_commands_come_back(command: RaftCommand) -> None:
    assert RaftCommandConverter.from_proto(RaftCommandConverter.to_proto(command)) == command


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ('{"HeartBeat":null}', HeartBeat()),
        (' { "NodeJoin" : "node-1" } ', NodeJoin(NODE)),
        ('{"NodeJoin":"(default:node-1)"}', NodeJoin(NODE)),
        ('{"NodeLeave":{"namespace":"(default","key":"node-1)"}}', NodeLeave(NODE)),
        (f'{{"ElectLeader":{OBJECT[:-1]},"extra":[1]}}}}', ElectLeader(NODE)),
        (
            '{"CoordinatorAssignment":{"coordinator":"node-1","transaction_id":"tx-1"}}',
            CoordinatorAssignment("tx-1", NODE),
        ),
    ],
)
def test_other_texts_that_serde_reads_are_read(text: str, command: RaftCommand) -> None:
    assert RaftCommandConverter.from_proto(text) == command


CANONICAL = [text for _, text in WRITTEN if "Lite" in text]


def general(text: str) -> RaftCommand | str:
    """What the general way makes of the text: a blank before it is enough to send it there."""
    return outcome(f" {text}")


def outcome(text: str) -> RaftCommand | str:
    try:
        return RaftCommandConverter.from_proto(text)
    except ConversionError as error:
        return error.field


@given(orbit.raft_commands())
def test_the_short_way_reads_as_the_general_one(command: RaftCommand) -> None:
    text = RaftCommandConverter.to_proto(command)
    assert outcome(text) == general(text) == command


@given(st.integers(0, 60), st.integers(0, 3), st.text('{}":,\\\x00\x7f=A0-ä\u2028', max_size=3))
def test_both_ways_take_damage_alike(place: int, removed: int, instead: str) -> None:
    text = CANONICAL[0][:place] + instead + CANONICAL[0][place + removed :]
    assert outcome(text) == general(text)


@pytest.mark.parametrize(
    "tail",
    [
        "}}",  # no text at all: its opening quote must not do as the closing one
        '"}}',
        'AP8="}}"}}',
        'AP8="}}\n',
        'AP8"}}',
        'AP9="}}',
        'AP8=AP8="}}',
        'A P8="}}',
        'AP8=\n"}}',
        '===="}}',
        'äää="}}',
        '\\u0041P8="}}',
        'AP8=","data":"AP8="}}',
        'AP8=","epoch":"1"}}',
    ],
)
def test_both_ways_take_odd_ends_alike(tail: str) -> None:
    text = CANONICAL[0].replace('AP8="}}', tail)
    assert outcome(text) == general(text)


@given(st.text(), st.sampled_from(LiteKind), st.integers(0, 2**64 - 1), st.binary(max_size=40))
def test_a_command_is_written_alike_on_both_ways(client: str, kind: LiteKind, seq: int, data: bytes) -> None:
    fields = {"kind": kind.value, "client": client, "seq": seq, "data": base64.b64encode(data).decode()}
    text = json.dumps({"Lite": fields}, ensure_ascii=False, separators=(",", ":"))
    assert RaftCommandConverter.to_proto(LiteCommand(kind, client, seq, data)) == text


LITE = '{"Lite":{"kind":"data","client":"c","seq":1,"data":""}}'


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", ""),
        ("null", ""),
        ("1", ""),
        ("[]", ""),
        ("{}", ""),
        ("HeartBeat", ""),
        ('"Heartbeat"', ""),
        ('{"HeartBeat":null,"NodeJoin":"a"}', ""),
        ('{"HeartBeat":null,"HeartBeat":null}', ""),
        ('{"NodeJoin":{"key":"a","key":"b","namespace":"c"}}', ""),
        ('{"HeartBeat":{}}', "HeartBeat"),
        ('"NodeJoin"', "NodeJoin"),
        ('{"NodeJoin":null}', "NodeJoin"),
        ('{"NodeJoin":1}', "NodeJoin"),
        ('{"NodeJoin":""}', "NodeJoin"),
        ('{"NodeJoin":["node-1","default"]}', "NodeJoin"),
        ('{"NodeJoin":{"key":"a"}}', "NodeJoin.namespace"),
        ('{"NodeJoin":{"namespace":"a"}}', "NodeJoin.key"),
        ('{"NodeJoin":{"key":1,"namespace":"a"}}', "NodeJoin.key"),
        ('{"NodeJoin":{"key":"a","namespace":null}}', "NodeJoin.namespace"),
        ('{"NodeJoin":{"key":"","namespace":"a"}}', "NodeJoin"),
        ('{"CoordinatorAssignment":"node-1"}', "CoordinatorAssignment"),
        ('{"CoordinatorAssignment":{"coordinator":"node-1"}}', "CoordinatorAssignment.transaction_id"),
        ('{"CoordinatorAssignment":{"transaction_id":"t"}}', "CoordinatorAssignment.coordinator"),
        (
            '{"CoordinatorAssignment":{"transaction_id":"t","coordinator":{"key":"a"}}}',
            "CoordinatorAssignment.coordinator.namespace",
        ),
        ('"Lite"', "Lite"),
        (LITE.replace('"data",', '"other",'), "Lite.kind"),
        (LITE.replace('"kind":"data",', ""), "Lite.kind"),
        (LITE.replace('"client":"c"', '"client":1'), "Lite.client"),
        (LITE.replace('"seq":1', '"seq":1.0'), "Lite.seq"),
        (LITE.replace('"seq":1', '"seq":true'), "Lite.seq"),
        (LITE.replace('"seq":1', '"seq":"1"'), "Lite.seq"),
        (LITE.replace('"seq":1', '"seq":-1'), "Lite.seq"),
        (LITE.replace('"seq":1', '"seq":18446744073709551616'), "Lite.seq"),
        (LITE.replace('"data":""', '"data":"AP8"'), "Lite.data"),
        (LITE.replace('"data":""', '"data":"A P8="'), "Lite.data"),
        (LITE.replace('"data":""', '"data":"ä"'), "Lite.data"),
        (LITE.replace('"data":""', '"data":null'), "Lite.data"),
        (LITE.replace('"seq":1', '"seq":1,"epoch":2'), "Lite.epoch"),
    ],
)
def test_anything_else_is_an_error_and_not_a_heartbeat(text: str, field: str) -> None:
    with pytest.raises(ConversionError) as caught:
        RaftCommandConverter.from_proto(text)
    assert caught.value.field == field


@given(st.sampled_from([text for _, text in WRITTEN]), st.integers(0, 80), st.text(max_size=2))
def test_damaged_text_is_an_error_or_another_valid_command(text: str, place: int, instead: str) -> None:
    damaged = text[:place] + instead + text[place + 1 :]
    try:
        command = RaftCommandConverter.from_proto(damaged)
    except ConversionError:
        return
    assert RaftCommandConverter.from_proto(RaftCommandConverter.to_proto(command)) == command


def test_text_that_utf8_cannot_say_is_not_sent() -> None:
    with pytest.raises(ConversionError, match="lone surrogate"):
        RaftCommandConverter.to_proto(CoordinatorAssignment("\ud800", NODE))
