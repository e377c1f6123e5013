"""What the documentation names is there: settings with their defaults, commands, tasks, files, blocks."""

import difflib
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import grpc
import pytest
import yaml
from blockyard.account.v1 import account_pb2
from blockyard.block.loader import load_blocks
from blockyard.cli.application import application
from blockyard.client import ExecutionStatus, NodeStatus
from blockyard.common.v1 import errors_pb2
from blockyard.credentials.v1 import credential_pb2, credentials_service_pb2
from blockyard.event.v1 import event_pb2, notice_pb2
from blockyard.execution.v1 import execution_pb2, execution_service_pb2
from blockyard.graph.v1 import block_pb2, graph_pb2, graph_service_pb2
from blockyard.notification.v1 import preference_service_pb2
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from services.account.config import AccountSettings
from services.common import migrate
from services.common.config import DatabaseSettings, ServiceSettings
from services.common.doctor.program import ALIKE
from services.credentials.config import CredentialsSettings
from services.execution.config import ExecutionSettings
from services.gateway.config import EdgeSettings
from services.graph.config import GraphSettings
from services.notification.config import NotificationSettings
from services.runner.config import RunnerSettings

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "sdk/README.md", "examples/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
OPERATING = (ROOT / "docs" / "operating.md").read_text()
CONCEPTS = (ROOT / "docs" / "concepts.md").read_text()
SHARED: list[type[BaseSettings]] = [ServiceSettings, DatabaseSettings, migrate.Settings]
ENUMS = [
    *account_pb2.DESCRIPTOR.enum_types_by_name.values(),
    *credential_pb2.DESCRIPTOR.enum_types_by_name.values(),
    *credentials_service_pb2.DESCRIPTOR.enum_types_by_name.values(),
    *errors_pb2.DESCRIPTOR.enum_types_by_name.values(),
    *event_pb2.DESCRIPTOR.enum_types_by_name.values(),
    *notice_pb2.DESCRIPTOR.enum_types_by_name.values(),
    *execution_pb2.DESCRIPTOR.enum_types_by_name.values(),
    *execution_service_pb2.DESCRIPTOR.enum_types_by_name.values(),
    *block_pb2.DESCRIPTOR.enum_types_by_name.values(),
    *graph_pb2.DESCRIPTOR.enum_types_by_name.values(),
    *graph_service_pb2.DESCRIPTOR.enum_types_by_name.values(),
    *preference_service_pb2.DESCRIPTOR.enum_types_by_name.values(),
]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def rows(text: str) -> Iterator[list[str]]:
    """The rows of the tables in a text."""
    for line in text.splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def section(title: str) -> str:
    """What stands in docs/operating.md below a heading, up to the next one."""
    _, _, rest = OPERATING.partition(f"# {title}\n")
    assert rest, title
    return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def documented_defaults(title: str) -> dict[str, str]:
    """The default of each variable in the table of a section, as it is written."""
    found: dict[str, str] = {}
    for name, default, *_ in rows(section(title)):
        names = re.findall(r"`(BLOCKYARD_\w+)`", name)
        if not names:
            continue
        defaults = re.findall(r"`([^`]*)`", default) if len(names) > 1 else [default.strip("`")]
        found |= dict(zip(names, defaults, strict=True))
    return found


def written(field: FieldInfo) -> str:
    """A default as the tables write it; * where it depends on the machine."""
    if field.is_required():
        return "required"
    if field.default_factory is list:
        return "[]"
    if field.default_factory is not None:
        return "*"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    if isinstance(field.default, float):
        return f"{field.default:g}" if field.default < 1e5 else str(int(field.default))
    return "" if field.default is None else str(field.default)


def real_defaults(classes: list[type[BaseSettings]], besides: list[type[BaseSettings]]) -> dict[str, str]:
    """The default of each variable of these settings, without those that others have too."""
    fields = {(prefix(one), name): field for one in classes for name, field in one.model_fields.items()}
    known = {(prefix(one), name) for one in besides for name in one.model_fields}
    return {f"{own}{name.upper()}": written(field) for (own, name), field in fields.items() if (own, name) not in known}


def prefix(settings: type[BaseSettings]) -> str:
    """What the names of these settings' variables begin with."""
    return str(settings.model_config.get("env_prefix"))


@pytest.mark.parametrize(
    ("title", "classes", "besides"),
    [
        ("Settings", SHARED, []),
        ("The graph service", [GraphSettings], SHARED),
        ("The execution service", [ExecutionSettings], SHARED),
        ("The notification service", [NotificationSettings], SHARED),
        ("A runner", [RunnerSettings], SHARED),
        ("The edge", [EdgeSettings], []),
    ],
)
def test_every_setting_is_documented_with_its_default(
    title: str, classes: list[type[BaseSettings]], besides: list[type[BaseSettings]]
) -> None:
    documented = documented_defaults(title)
    real = real_defaults(classes, besides)
    assert documented.keys() == real.keys()
    for name, default in real.items():
        if default == "*":
            assert documented[name]
        else:
            assert documented[name].startswith("required") if default == "required" else documented[name] == default


def test_the_runner_s_own_grace_is_documented() -> None:
    (meaning,) = [row[2] for row in rows(section("Settings")) if "GRACE_SECONDS" in row[0]]
    assert f"at a runner (`{RunnerSettings.model_fields['grace_seconds'].default:g}`)" in meaning


@each_page
def test_every_variable_is_read_somewhere(page: Path) -> None:
    sources = [ROOT / "task", *(ROOT / "sdk").rglob("*.py"), *(ROOT / "blocks").rglob("*.py")]
    read = {name for source in sources for name in re.findall(r"BLOCKYARD_[A-Z_]+", source.read_text())}
    services: list[type[BaseSettings]] = [
        AccountSettings,
        CredentialsSettings,
        EdgeSettings,
        GraphSettings,
        ExecutionSettings,
        NotificationSettings,
        RunnerSettings,
    ]
    settings = real_defaults([*SHARED, *services], []).keys()
    named = set(re.findall(r"BLOCKYARD_[A-Z_]+\b", page.read_text().replace("BLOCKYARD_<SERVICE>_DB_PASSWORD", "")))
    families = tuple(name for name in read if name.endswith("_") and name != "BLOCKYARD_")
    assert {name for name in named - read - settings if not name.startswith(families)} == set()


def command_lines(text: str) -> Iterator[list[str]]:
    """What follows `blockyard` wherever a page shows a command, in the words of a shell."""
    unfolded = text.replace("\\\n", " ")
    shown = re.findall(r"`blockyard ([^`]+)`", unfolded) + re.findall(r"^ {4}blockyard (.+)$", unfolded, re.MULTILINE)
    for line in shown:
        first, *others = line.split(", ")
        words = shlex.split(first)
        yield words
        # `blockyard graphs list, show, create` stands for three commands.
        yield from ([*words[:-1], other] for other in others)


@each_page
def test_every_command_is_there_with_its_options(page: Path) -> None:
    for words in command_lines(page.read_text()):
        command: click.Command = application
        options = {name for parameter in command.params for name in parameter.opts}
        for word in words:
            if word == "--":
                break  # no options from here on
            if isinstance(command, click.Group) and not word.startswith("-"):
                assert word in command.commands, " ".join(words)
                command = command.commands[word]
                options |= {name for parameter in command.params for name in parameter.opts}
            elif word.startswith("-") and word != "-":
                assert word in options, " ".join(words)


@each_page
def test_every_task_is_there(page: Path) -> None:
    tasks = yaml.safe_load((ROOT / "Taskfile.yml").read_text())["tasks"]
    named = set(re.findall(r"\./task ([a-z][a-z-]*)", page.read_text()))
    assert named - tasks.keys() == set()


@each_page
def test_every_file_is_there(page: Path) -> None:
    text = page.read_text()
    folders = "|".join(["blocks", "docs", "examples", "proto", "sdk", "services", "tests", "tools", r"\.ci"])
    words = itertools.chain.from_iterable(re.split(r"[\s=@:]+", code) for code in re.findall(r"`([^`\n]+)`", text))
    files = [ROOT / word for word in words if re.fullmatch(rf"(?:{folders})/[\w./-]*", word)]
    assert [str(file) for file in files if not file.exists()] == []


@each_page
def test_every_block_is_in_the_catalogue(page: Path) -> None:
    text = page.read_text()
    known = set(load_blocks().by_name) | set(re.findall(r"^class (\w+Block)\(", text, re.MULTILINE))
    assert set(re.findall(r"\b[A-Z]\w+Block\b", text)) - known == set()


@each_page
def test_every_word_of_the_contract_is_in_it(page: Path) -> None:
    values = [(enum, value.name) for enum in ENUMS for value in enum.values]
    short = {name.removeprefix(re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_") for enum, name in values}
    known = short | {name for _, name in values} | {code.name for code in grpc.StatusCode} | {"NOT_SERVING"}
    words = set(re.findall(r"(?<![\w$])[A-Z]+(?:_[A-Z]+)+\b", page.read_text()))
    assert {word for word in words if not word.startswith("BLOCKYARD_")} - known == set()


def test_every_notice_is_explained() -> None:
    _, _, notices = (ROOT / "docs" / "events.md").read_text().partition("**Notices**")
    named = {name for row in rows(notices.partition("\n#")[0]) for name in re.findall(r"`([A-Z_]+)`", row[0])}
    kinds = {name.removeprefix("NOTICE_KIND_") for name in notice_pb2.NoticeKind.keys()}  # noqa: SIM118 - no dict
    assert named == kinds - {"UNSPECIFIED"}


def test_every_status_is_explained() -> None:
    table = {name for row in rows(CONCEPTS) for name in re.split(r", ", row[0]) if name.isupper()}
    assert table == {status.name for status in ExecutionStatus if status is not ExecutionStatus.UNSPECIFIED}
    (sentence,) = re.findall(r"A node execution is (.+?)\. One that", CONCEPTS, re.DOTALL)
    assert set(re.findall(r"[A-Z]{4,}", sentence)) <= {status.name for status in NodeStatus}


def test_no_setting_looks_like_a_slip_in_the_name_of_another() -> None:
    """The doctor takes a variable for a slip that is nearly one of a service's; those of others stand there as well."""
    services: list[type[BaseSettings]] = [
        AccountSettings,
        CredentialsSettings,
        EdgeSettings,
        GraphSettings,
        ExecutionSettings,
        NotificationSettings,
        RunnerSettings,
    ]
    names = sorted(real_defaults([*SHARED, *services], []).keys())
    assert [difflib.get_close_matches(name, set(names) - {name}, 1, ALIKE) for name in names] == [[] for _ in names]
