"""generate: a user's own .proto files become modules that this library serves and calls."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import betterproto
import pytest

import orbit_lite.codec
from orbit_lite.cli import protoc
from orbit_lite.codec import decode, encode
from orbit_lite.codec.descriptors import DescriptorPool
from orbit_lite.rpc import Channel, Server

SHOP = """\
syntax = "proto3";
package shop.v1;

import "google/protobuf/timestamp.proto";
import "money.proto";

message Order {
  message Line {
    string article = 1;
    sint32 amount = 2;
  }
  uint64 number = 1;
  repeated Line lines = 2;
  map<string, Line> by_name = 3;
  oneof payment {
    Money cash = 4;
    string card = 5;
  }
  google.protobuf.Timestamp at = 6;
}
"""
MONEY = 'syntax = "proto3";\npackage shop.v1;\nmessage Money { int64 cents = 1; }\n'
SERVICE = """\
syntax = "proto3";
package shop.api;

import "shop.proto";

service Shop {
  rpc Buy(shop.v1.Order) returns (shop.v1.Order);
  rpc Repeat(shop.v1.Order) returns (stream shop.v1.Order);
}
"""

Orbit = Callable[..., Any]


@pytest.fixture
def protos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with .proto files, in a folder that is the current one."""
    for module in ("grpc_tools", "black", "isort", "jinja2"):
        pytest.importorskip(module, reason="the extra `generate` is not installed")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "protos"
    folder.mkdir()
    for name, text in (("shop", SHOP), ("money", MONEY), ("service", SERVICE)):
        (folder / f"{name}.proto").write_text(text)
    return folder


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a package that the test may make in its folder and import."""
    name = f"shop_{tmp_path.name.replace('-', '_')}"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield name
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


async def test_what_is_generated_travels_through_server_and_channel(orbit: Orbit, protos: Path, package: str) -> None:
    told = orbit("generate", "-I", protos, "-o", package, "service.proto")
    assert (told.status, told.err) == (0, "")
    modules = [f"{folder}__init__.py" for folder in ("shop/", "shop/api/", "shop/v1/")]
    assert told.out.split() == [f"{package}/{path}" for path in ("__init__.py", "descriptors.binpb", *modules)]
    v1, api = (importlib.import_module(f"{package}.shop.{name}") for name in ("v1", "api"))
    assert issubclass(v1.Order, orbit_lite.codec.Message)
    assert issubclass(api.ShopStub, orbit_lite.codec.ServiceStub)

    tea = v1.OrderLine("tea", -2)
    order = v1.Order(number=2**64 - 1, lines=[tea], by_name={"tea": tea}, cash=v1.Money(250))
    assert decode(v1.Order, encode(order)) == order

    class Shop(api.ShopBase):  # type: ignore[name-defined,misc]  # made a moment ago
        async def buy(self, order: Any) -> Any:
            order.card = f"{order.cash.cents} on the card"
            return order

        async def repeat(self, order: Any) -> Any:
            for line in order.lines * 2:
                yield v1.Order(lines=[line])

    server = Server([Shop()])
    await server.start("127.0.0.1", 0)
    async with server, Channel("127.0.0.1", server.port) as channel:
        stub = api.ShopStub(channel)
        assert betterproto.which_one_of(await stub.buy(order), "payment") == ("card", "250 on the card")
        assert [reply.lines async for reply in stub.repeat(order)] == [[tea], [tea]]
        replies = stub.repeat(order)
        await anext(replies)
        await replies.aclose()
        assert channel.open_streams == 0


def test_the_descriptors_of_the_files_and_their_imports_lie_beside_them(orbit: Orbit, protos: Path) -> None:
    orbit("generate", "-I", protos, "-o", "out", "protos/service.proto")
    pool = DescriptorPool()
    pool.add_set(Path("out/descriptors.binpb").read_bytes())
    assert [method.path for method in pool.service("shop.api.Shop").methods] == [
        "/shop.api.Shop/Buy",
        "/shop.api.Shop/Repeat",
    ]


def test_check_says_what_would_change_and_writes_nothing(orbit: Orbit, protos: Path) -> None:
    arguments = ("generate", "-I", protos, "-o", "out", "protos/money.proto")
    told = orbit(*arguments, "--check")
    assert told.status == 1
    assert "out/shop/v1/__init__.py: missing\n" in told.out
    assert "without --check" in told.err
    assert not Path("out").exists()

    assert orbit(*arguments).status == 0
    told = orbit(*arguments, "--check")
    assert (told.status, told.out, told.err) == (0, "", "")
    assert orbit(*arguments).out == ""

    (protos / "money.proto").write_text(MONEY.replace("cents", "pence"))
    before = Path("out/shop/v1/__init__.py").read_bytes()
    told = orbit(*arguments, "--check", "--json")
    assert (told.status, told.err) == (1, "")
    assert {"file": "out/shop/v1/__init__.py", "state": "differs"} in told.document
    assert Path("out/shop/v1/__init__.py").read_bytes() == before


def test_files_that_were_not_generated_are_left_alone(orbit: Orbit, protos: Path) -> None:
    own = Path("out/shop/__init__.py")
    own.parent.mkdir(parents=True)
    own.write_text("ANSWER = 42\n")
    assert orbit("generate", "-I", protos, "-o", "out", "money.proto").status == 0
    assert own.read_text() == "ANSWER = 42\n"

    (protos / "own.proto").write_text('syntax = "proto3"; package shop; message Answer {}')
    told = orbit("generate", "-I", protos, "-o", "out", "own.proto")
    assert told.status == 1
    assert "'out/shop/__init__.py' was not generated, and is not overwritten" in told.err
    assert own.read_text() == "ANSWER = 42\n"


def test_every_mistake_in_a_file_is_shown_with_its_line(orbit: Orbit, protos: Path) -> None:
    (protos / "bad.proto").write_text(SHOP.replace("sint32", "sint33").replace("uint64", "uint65"))
    told = orbit("generate", "-I", protos, "-o", "out", "bad.proto")
    assert (told.status, told.out) == (1, "")
    assert 'bad.proto:10:5: "sint33" is not defined.' in told.err
    assert 'bad.proto:12:3: "uint65" is not defined.' in told.err
    assert "Traceback" not in told.err
    assert not Path("out").exists()

    as_json = orbit("generate", "-I", protos, "-o", "out", "bad.proto", "--json")
    assert json.loads(as_json.err)["error"]["orb_code"] == "ORB-1502"


def test_warnings_are_passed_on(orbit: Orbit, protos: Path) -> None:
    (protos / "lax.proto").write_text('syntax = "proto3";\nimport "money.proto";\nmessage Lax {}\n')
    told = orbit("generate", "-I", protos, "-o", "out", "lax.proto")
    assert told.status == 0
    assert "lax.proto:2:1: warning: Import money.proto is unused." in told.err


def test_a_file_that_is_not_there_is_named(orbit: Orbit, protos: Path) -> None:
    told = orbit("generate", "-I", protos, "-o", "out", "shopp.proto")
    assert told.status == 1
    assert told.err.startswith("error: no file 'shopp.proto' here or in ")


def test_without_the_extra_the_error_says_how_to_install_it(orbit: Orbit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protoc, "find_spec", lambda name: None)
    told = orbit("generate", "-o", "out", "shop.proto")
    assert told.status == 1
    assert "grpc_tools, " in told.err
    assert "python -m pip install 'orbit-lite[generate]'" in told.err


def test_a_module_that_only_has_stubs_gets_their_base_too() -> None:
    source = "import betterproto\nimport grpclib\n\n\nclass ShopStub(betterproto.ServiceStub):\n    pass\n"
    assert protoc.with_own_bases(source) == (
        "import betterproto\nimport grpclib\nimport orbit_lite.codec\n\n\n"
        "class ShopStub(orbit_lite.codec.ServiceStub):\n    pass\n"
    )


def test_a_module_without_messages_stays_as_it_is() -> None:
    source = "import betterproto\n\n\nclass Colour(betterproto.Enum):\n    RED = 0\n"
    assert protoc.with_own_bases(source) == source
