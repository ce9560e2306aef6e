"""version and completion: what this program says of itself."""

from __future__ import annotations

import platform

import click

from orbit_lite.cli.options import json_option
from orbit_lite.cli.output import print_json

__all__ = ["completion", "version"]

_PROGRAM = "orbit-lite"


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Print the versions of orbit-lite and Python."""
    from orbit_lite import __version__

    python = f"{platform.python_implementation()} {platform.python_version()}"
    if as_json:
        print_json({"version": __version__, "python": python, "platform": platform.platform()})
    else:
        print(f"{_PROGRAM} {__version__} ({python}, {platform.system()} {platform.machine()})")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  eval "$(orbit-lite completion bash)"      in ~/.bashrc
    zsh:   eval "$(orbit-lite completion zsh)"       in ~/.zshrc
    fish:  orbit-lite completion fish > ~/.config/fish/completions/orbit-lite.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"click has no completion for {shell}")
    program = click.get_current_context().find_root().command
    print(kind(program, {}, _PROGRAM, "_ORBIT_LITE_COMPLETE").source())
