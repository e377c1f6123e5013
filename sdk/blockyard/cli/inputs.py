"""Inputs and labels of an execution as they are typed: `--input name=value`, `--input name=@file`,
`--inputs file.json`, `--label key=value`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import click


def parse_inputs(pairs: tuple[str, ...], file: str | None) -> dict[str, Any]:
    """The inputs that these options give; a single one overrides the file."""
    inputs = _from_file(file) if file else {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not of the form name=value", param_hint="--input")
        inputs[name] = _value(name, text)
    return inputs


def parse_labels(pairs: tuple[str, ...]) -> dict[str, str]:
    """The labels that these options give."""
    labels = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not of the form key=value", param_hint="--label")
        labels[key] = value
    return labels


def _value(name: str, text: str) -> Any:
    """JSON where it parses, else the text itself; after @ the content of a file, and @@ stands for a plain @."""
    if text.startswith("@@"):
        return text[1:]
    if text.startswith("@"):
        return _file_text(text[1:], f"--input {name}")
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are no JSON: `--input name=NaN` is the text


def _from_file(file: str) -> dict[str, Any]:
    text = _file_text(file, "--inputs")
    try:
        content = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{file}: not JSON: {error}", param_hint="--inputs") from error
    except RecursionError as error:
        raise click.BadParameter(f"{file}: nested too deeply", param_hint="--inputs") from error
    if not isinstance(content, dict):
        raise click.BadParameter(f"{file}: expected a JSON object with a member for each input", param_hint="--inputs")
    return content


def _file_text(file: str, hint: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{file}: {error.strerror or error}", param_hint=hint) from error
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{file}: not UTF-8 text", param_hint=hint) from error
