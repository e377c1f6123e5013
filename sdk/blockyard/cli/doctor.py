"""`blockyard doctor`: says what is wrong with an installation, where, and what to do.

The checks are the services' own, made by a program of theirs in the environment of each process: of the stack that runs
on this machine, or of the pod that this command is run in.
"""

import asyncio
import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from blockyard.cli.dev import stack_errors
from blockyard.cli.output import Output, as_json
from blockyard.errors import NotConfigured

SERVICE = "BLOCKYARD_SERVICE"
"""The variable by which a pod says which service it is."""
LONGEST_SECONDS = 180.0
"""After that the checks of a process, each of which has an end of its own, are given up."""
EDGE = "edge"
EDGE_SECONDS = 5.0
AT_ONCE = 4
"""Processes that are looked at at the same time."""
NOT_CHECKED = "not checked"
STYLES = {"ok": "green", "warning": "yellow", "wrong": "red", NOT_CHECKED: "dim"}
WIDTH = max(map(len, STYLES))


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says, in the words of the services."""

    check: str
    verdict: str
    said: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Examined:
    """A process, and what was found there."""

    process: str
    findings: list[Finding] = field(default_factory=list)


@click.command()
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the stack's data; by default BLOCKYARD_HOME, else ~/.blockyard.",
)
@as_json
@click.pass_obj
def doctor(output: Output, home: Path | None, json_wanted: bool) -> None:
    """Looks for what is wrong: settings, connections, schemas, streams, keys, certificates, clocks, runners.

    It looks at each process of the stack that `blockyard dev` runs here; in a pod of the chart, at what that pod needs.
    It ends with 1 if something is wrong.
    """
    if service := os.environ.get(SERVICE):
        examined = output.run(_examine({service: (service, os.environ)}))
    else:
        with stack_errors():
            examined = output.run(_examine_stack(home))
    findings = [finding for each in examined for finding in each.findings]
    healthy = not any(finding.verdict == "wrong" for finding in findings)
    if json_wanted:
        output.json({"healthy": healthy, "processes": examined})
    else:
        _show(output, examined)
    if not healthy:
        click.get_current_context().exit(1)


async def _examine_stack(home: Path | None) -> list[Examined]:
    # Inside, since in a pod there is no stack, nor what it takes to have one.
    from blockyard.dev.environments import ended_servers, service_processes
    from blockyard.dev.home import default_home, read_starting, read_state

    state = read_state(home) or read_starting(home)
    if state is None:
        raise NotConfigured(
            f"no stack runs on {home or default_home()}: start one with `blockyard dev`, or say where another one has "
            "its data (--home). On Kubernetes: kubectl exec deploy/<release>-execution -- blockyard doctor"
        )
    processes = service_processes(state)
    running = {one.name: (one.service, one.environment) for one in processes if one.environment}
    ended = {one.name: f"it has ended; its log ends with: {one.last_line}" for one in processes if not one.environment}
    ended |= dict.fromkeys(ended_servers(state), "it has ended")
    advice = f"`blockyard dev` starts it again; if it ends again and again, its log in {state.folder}/logs says why."
    found = {one.process: one for one in await _examine(running)}
    if EDGE not in ended and (address := state.addresses.get(EDGE)):
        found[EDGE] = Examined(EDGE, [await asyncio.to_thread(_edge, address, state.certificates.get("ca"))])
    for name, said in ended.items():
        found[name] = Examined(name, [Finding("process", "wrong", said, advice)])
    return [found[name] for name in state.processes if name in found]


def _edge(address: str, ca: str | None) -> Finding:
    """Whether REST and gRPC-Web come through; it has no settings of the services, and so no doctor of theirs."""
    scheme, place = ("https", address.removeprefix("grpcs://")) if ca else ("http", address)
    trusted = ssl.create_default_context(cafile=ca) if ca else None
    url = f"{scheme}://{place}/health"
    try:
        with urllib.request.urlopen(url, timeout=EDGE_SECONDS, context=trusted) as answer:
            return Finding("edge", "ok", f"answers at {url} ({answer.status})")
    except urllib.error.HTTPError as error:
        said = f"{url} answers {error.code}: a service behind it is not ready"
        return Finding("edge", "wrong", said, "Look at the services above; the answer names the one.")
    except OSError as error:
        said = f"{url} cannot be reached: {error}"
        return Finding("edge", "wrong", said, "Look at its log, `edge.log` below the folder of the stack.")


async def _examine(processes: Mapping[str, tuple[str, Mapping[str, str]]]) -> list[Examined]:
    """What is found in the environment of each process, by its name."""
    room = asyncio.Semaphore(AT_ONCE)

    async def look(name: str, service: str, environment: Mapping[str, str]) -> Examined:
        async with room:
            return Examined(name, await _findings(service, environment))

    return await asyncio.gather(*(look(name, *what) for name, what in processes.items()))


async def _findings(service: str, environment: Mapping[str, str]) -> list[Finding]:
    """What the service's own program says."""
    program = f"services.{service}.doctor"
    process = await asyncio.create_subprocess_exec(
        # -P, since `python -m` would look into the working folder first, which may hold a `services` of its own.
        *(sys.executable, "-P", "-m", program),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        told, errors = await asyncio.wait_for(process.communicate(), LONGEST_SECONDS)
    except TimeoutError:
        process.kill()
        told, errors = await process.communicate()
    found = [Finding(**one) for one in map(_finding, told.decode().splitlines()) if one]
    if process.returncode not in (0, 1) or not found:
        last = (errors.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        said = f"python -m {program} ended with {process.returncode}: {last}"
        found.append(Finding("doctor", "wrong", said, "This is nothing that was foreseen: report it."))
    return found


def _finding(line: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return content


def _show(output: Output, examined: list[Examined]) -> None:
    width = max((len(finding.check) for each in examined for finding in each.findings), default=0)
    told: set[str] = set()
    for each in examined:
        output.line(each.process, "bold")
        for finding in _shortened(each.findings):
            style = STYLES.get(finding.verdict, "")
            start = Text.assemble((f"  {finding.verdict:<{WIDTH}}", style), f"  {finding.check:<{width}}  ")
            output.console.print(start.append(finding.said), soft_wrap=True)
            # What is wrong for all processes is explained once.
            if finding.advice and finding.advice not in told:
                output.paragraph(finding.advice, indent=WIDTH + width + 6)
            told.add(finding.advice)
        output.line()
    counts = dict.fromkeys(STYLES, 0)
    for each in examined:
        for finding in each.findings:
            counts[finding.verdict] += 1
    if counts["wrong"]:
        output.line(_counted(counts), "red")
    else:
        output.line(f"Nothing is wrong: {_counted(counts)}", "green")


def _shortened(findings: list[Finding]) -> list[Finding]:
    """With what was not checked for the same reason as one, in the place of the first."""
    names: dict[str, list[str]] = {}
    for finding in findings:
        if finding.verdict == NOT_CHECKED:
            names.setdefault(finding.said, []).append(finding.check)
    shown: list[Finding] = []
    for finding in findings:
        if finding.verdict != NOT_CHECKED:
            shown.append(finding)
        elif checks := names.pop(finding.said, None):
            shown.append(Finding("", NOT_CHECKED, f"{finding.said}: {', '.join(checks)}"))
    return shown


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number) + "."
