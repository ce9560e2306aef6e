"""Write gen/features.py and features.binpb from features.proto: python tests/codec/generate.py.

Needs the tools of `scripts/generate --requirements`. Run it after a change of features.proto and commit the result.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # protoc looks for the betterproto plugin in PATH.
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", "features.proto"]
        options = [f"--python_betterproto_out={folder}", f"--descriptor_set_out={HERE / 'features.binpb'}"]
        subprocess.run([*protoc, *options, "--include_imports"], check=True, env=os.environ | {"PATH": path})
        module = (Path(folder) / "orbit/test/features/__init__.py").read_text()
    (HERE / "gen").mkdir(exist_ok=True)
    (HERE / "gen/features.py").write_text(f"# mypy: ignore-errors\n{module}")


if __name__ == "__main__":
    main()
