"""Inputs, labels and credentials of an execution as they are typed: `--input name=value`, `--input name=@text-file`,
`--input name@any-file`, `--inputs file.json`, `--label key=value`, `--credentials field=id`.
"""

import base64
import json
import mimetypes
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from blockyard.errors import CredentialsMissing, FieldViolation, InvalidArgument

credentials_option = click.option(
    "--credentials",
    "credential_pairs",
    multiple=True,
    metavar="FIELD=ID",
    help="Which of your credentials to use; what is not named is found where exactly one fits.",
)


def parse_inputs(pairs: tuple[str, ...], file: str | None) -> dict[str, Any]:
    """The inputs that these options give; a single one overrides the file."""
    inputs = _from_file(file) if file else {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        file_name, at, path = name.partition("@")
        # With a = it is a value: names of pins may have an @ in them.
        if file_name and at and not equals:
            inputs[file_name] = _data_uri(path, f"--input {file_name}")
            continue
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not of the form name=value or name@file", param_hint="--input")
        inputs[name] = _value(name, text)
    return inputs


def with_hints(error: InvalidArgument, pairs: tuple[str, ...]) -> InvalidArgument:
    """The same error, which says of an input that was taken for JSON where text is wanted how it is given as text."""
    typed = {f"inputs.{name}": (name, text) for name, _, text in (pair.partition("=") for pair in pairs)}
    violations = [_with_hint(violation, *typed.get(violation.field, ("", ""))) for violation in error.violations]
    return InvalidArgument(error.message, reason=error.reason, violations=violations, retry_after=error.retry_after)


def _with_hint(violation: FieldViolation, name: str, text: str) -> FieldViolation:
    wants_text = "is not of type" in violation.description and "'string'" in violation.description
    if not name or not wants_text or isinstance(_value(name, text), str):
        return violation
    option = shlex.quote(f"{name}={json.dumps(text)}")
    return FieldViolation(violation.field, f"{violation.description}; as text: --input {option}")


def parse_labels(pairs: tuple[str, ...]) -> dict[str, str]:
    """The labels that these options give."""
    labels = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not of the form key=value", param_hint="--label")
        labels[key] = value
    return labels


def parse_credentials(pairs: tuple[str, ...]) -> dict[str, str]:
    """Ids of credentials by field, that these options give."""
    chosen: dict[str, str] = {}
    for pair in pairs:
        field, equals, credential_id = pair.partition("=")
        if not equals or not field or not credential_id:
            raise click.BadParameter(f"{pair!r} is not of the form FIELD=ID", param_hint="--credentials")
        if field in chosen:
            raise click.BadParameter(f"{field} is given twice", param_hint="--credentials")
        chosen[field] = credential_id
    return chosen


def with_way_out(error: CredentialsMissing) -> CredentialsMissing:
    """The same error, which says how credentials are given."""
    message = f"{error.message} Name yours with --credentials FIELD=ID; `blockyard credentials list` has their ids."
    return CredentialsMissing(message, reason=error.reason, violations=error.violations)


def parse_json(option: str, text: str) -> Any:
    """The JSON value that an option gives."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint=option) from error


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


def _data_uri(file: str, hint: str) -> str:
    """The file as blocks take files: with its type, as far as its name tells."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{file}: {error.strerror or error}", param_hint=hint) from error
    kind, encoding = mimetypes.guess_type(file)
    kind = "application/octet-stream" if kind is None or encoding else kind
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _file_text(file: str, hint: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{file}: {error.strerror or error}", param_hint=hint) from error
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{file}: not UTF-8 text", param_hint=hint) from error
