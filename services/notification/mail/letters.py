"""What a mail says: subject, text and HTML, from the templates beside this module.

Names and messages are anybody's: in HTML they are escaped, in subjects they are one short line.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from services.notification.mail.kinds import MailKind, Round
from services.notification.mail.local_times import zone_of
from services.notification.mail.records import Mail

TEMPLATES = Path(__file__).parent / "templates"
LONGEST_NAME = 100
LONGEST_SUBJECT = 150
PLACE_OF_ID = "{execution_id}"
"""In the operator's address of executions."""

TITLES = {Round.HOURLY: "Summary of an hour", Round.DAILY: "Daily digest", Round.WEEKLY: "Weekly digest"}
WORDS = {
    MailKind.EXECUTION_FINISHED: "finished",
    MailKind.EXECUTION_FAILED: "failed",
    MailKind.WAITING_FOR_YOU: "waiting for you",
    MailKind.LOW_BALANCE: "low balance",
    MailKind.CREDENTIAL_REVOKED: "credential to be connected again",
    MailKind.WEBHOOK_DISABLED: "webhook switched off",
    MailKind.SCHEDULE_PAUSED: "schedule paused",
    MailKind.SUBMISSION_REVIEWED: "submission reviewed",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mail says."""

    subject: str
    text: str
    html: str


class Letters:
    """Writes them. `execution_url` is an address with {execution_id} in it; empty where there is none to link to."""

    def __init__(self, execution_url: str) -> None:
        self._execution_url = execution_url
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=select_autoescape(enabled_extensions=("html",), default=False),
            undefined=StrictUndefined,
            trim_blocks=True,
        )

    def write(self, mail: Mail, names: Mapping[str, str], time_zone: str, unsubscribe_url: str) -> Letter:
        """The letter of a mail, with names of graphs by id, and times as they are where its user lives."""
        name = "round" if mail.kind is None else mail.kind.name.lower()
        words = {"unsubscribe_url": unsubscribe_url, **self._words(mail, names, time_zone)}
        template = self._templates.get_template(f"{name}.txt")
        (subject, *_) = ["".join(template.blocks["subject"](template.new_context(words)))]
        words["subject"] = subject = one_line(subject, LONGEST_SUBJECT)
        text = template.render(words).strip() + "\n"
        return Letter(subject, text, self._templates.get_template(f"{name}.html").render(words))

    def _words(self, mail: Mail, names: Mapping[str, str], time_zone: str) -> dict[str, Any]:
        details = mail.details
        if mail.kind is not None:
            rows = [
                (one_line(name.replace("_", " "), LONGEST_NAME).capitalize(), text) for name, text in _rest(details)
            ]
            return {"graph": _graph(details, names), "one": self._one(details, time_zone), "rows": rows}
        entries = [self._entry(entry, names, time_zone) for entry in details["entries"]]
        assert mail.round is not None, "a mail is about one thing or of a round"
        return {
            "title": TITLES[mail.round],
            "hourly": mail.round is Round.HOURLY,
            "first": when(details["first_time"], time_zone),
            "last": when(details["last_time"], time_zone),
            "total": sum(entry["count"] for entry in entries),
            "failed": sum(entry["count"] for entry in entries if entry["kind"] is MailKind.EXECUTION_FAILED),
            "entries": entries,
            "left_out": details["left_out"],
        }

    def _entry(self, entry: Mapping[str, Any], names: Mapping[str, str], time_zone: str) -> dict[str, Any]:
        kind = MailKind(entry["kind"])
        return {
            "kind": kind,
            "what": WORDS[kind],
            "graph": _graph(entry, names) if entry["graph_id"] else "",
            "count": entry["count"],
            # Of what went well, how often it did is enough.
            "listed": kind is not MailKind.EXECUTION_FINISHED,
            "samples": [self._one(one, time_zone) for one in entry["samples"]],
        }

    def _one(self, details: Mapping[str, str], time_zone: str) -> "Details":
        texts = {name: _printable(text) for name, text in details.items()}
        execution_id = texts.get("execution_id", "")
        link = self._execution_url.replace(PLACE_OF_ID, execution_id) if execution_id else ""
        about = one_line(", ".join(f"{name.replace('_', ' ')} {text}" for name, text in _rest(texts)), LONGEST_SUBJECT)
        return Details({**texts, "link": link, "when": when(details["time"], time_zone), "subject": about})


class Details(dict[str, str]):
    """Details of one thing; what it does not have is empty."""

    def __missing__(self, key: str) -> str:
        return ""


def one_line(text: str, longest: int) -> str:
    """A text as one line of so many characters, without what cannot be seen."""
    line = " ".join("".join(" " if _is_hidden(letter) else letter for letter in text[: 4 * longest]).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def when(time: str, time_zone: str) -> str:
    """A moment, where somebody lives: "2026-11-22 08:00 CET"."""
    return f"{datetime.fromisoformat(time).astimezone(zone_of(time_zone)):%Y-%m-%d %H:%M %Z}"


def _graph(details: Mapping[str, Any], names: Mapping[str, str]) -> str:
    graph_id = details.get("graph_id", "")
    return one_line(names.get(graph_id, ""), LONGEST_NAME) or f"Graph {graph_id}"


def _rest(details: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((name, text) for name, text in details.items() if name not in ("time", "graph_id", "execution_id") and text)


def _printable(text: str) -> str:
    return "".join(" " if _is_hidden(letter) and letter != "\n" else letter for letter in text)


def _is_hidden(letter: str) -> bool:
    """Control characters, those that turn the direction of writing, and halves of letters."""
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
