"""Secrets as they are given to commands: typed without an echo, or from a file or standard input. Never as an argument,
which every user of the machine can read and every shell remembers.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pydantic import SecretStr

Command = TypeVar("Command", bound=Callable[..., Any])

LONGEST_SECRET = 64 << 10
"""Bytes of a file that is read. What the vault takes is less."""

secret_file_option = click.option(
    "--secret-file",
    "secret_file",
    metavar="FILE",
    help="Read the secret from a file instead of asking for it; - is standard input.",
)


def read_secret(label: str, file: str | None) -> "SecretStr":
    """A secret text: from the file without the line break at its end, or typed twice into nothing."""
    return _secret(_from_file(file)) if file else _typed(label)


def read_headers(names: Sequence[str], file: str | None) -> "dict[str, SecretStr]":
    """Values of headers: from lines `Name: value` of a file, or typed one after the other."""
    if not file:
        if not names:
            raise click.UsageError("name the headers with --header NAME, or give lines `Name: value` by --secret-file")
        return {name: _typed(f"Value of {name}") for name in names}
    headers: dict[str, SecretStr] = {}
    for number, line in enumerate(_from_file(file).splitlines(), 1):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon or not name.strip():  # the line itself is not shown: it may be a secret
            raise click.BadParameter(f"line {number} is not of the form `Name: value`", param_hint="--secret-file")
        headers[name.strip()] = _secret(value.strip())
    missing = [name for name in names if name.lower() not in {given.lower() for given in headers}]
    if missing:
        raise click.BadParameter(f"has no value for {', '.join(missing)}", param_hint="--secret-file")
    return headers


def _typed(label: str) -> "SecretStr":
    if not sys.stdin.isatty():
        raise click.UsageError(
            "a secret is asked for on a terminal alone; give --secret-file FILE, or --secret-file - for standard input"
        )
    return _secret(click.prompt(label, hide_input=True, confirmation_prompt=True, err=True))


def _secret(text: str) -> "SecretStr":
    from pydantic import SecretStr  # here, since it is a quarter of what each command would import

    return SecretStr(text)


def _from_file(file: str) -> str:
    try:
        if file == "-":
            content = sys.stdin.buffer.read(LONGEST_SECRET + 1)
        else:
            with Path(file).open("rb") as opened:
                content = opened.read(LONGEST_SECRET + 1)
    except OSError as error:
        raise click.BadParameter(f"{file}: {error.strerror or error}", param_hint="--secret-file") from error
    if len(content) > LONGEST_SECRET:
        raise click.BadParameter(f"{file}: is longer than {LONGEST_SECRET:,} bytes", param_hint="--secret-file")
    try:
        secret = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise click.BadParameter(f"{file}: not UTF-8 text", param_hint="--secret-file") from None  # has the bytes in it
    if not secret:
        raise click.BadParameter(f"{file}: is empty", param_hint="--secret-file")
    return secret
