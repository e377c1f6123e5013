"""Where Blockyard is and who calls: from arguments, from the environment, or from the stack that `blockyard dev` runs.

BLOCKYARD_ADDRESS (all services behind one edge) or BLOCKYARD_GRAPH_ADDRESS and BLOCKYARD_EXECUTION_ADDRESS (and
BLOCKYARD_CREDENTIALS_ADDRESS, BLOCKYARD_ACCOUNT_ADDRESS and BLOCKYARD_NOTIFICATION_ADDRESS for what they have), and
BLOCKYARD_TOKEN, a token or an API key. An address is host:port; grpcs://host:port asks for TLS, with the files
BLOCKYARD_CA_FILE, and BLOCKYARD_CERTIFICATE_FILE and BLOCKYARD_KEY_FILE where services demand certificates of callers.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc

from blockyard.certificates import Certificates
from blockyard.errors import NotConfigured

MAX_MESSAGE_BYTES = 64 << 20

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.lb_policy_name", "round_robin"),
    # A replica that hangs with its connections open is noticed; Blockyard's servers allow pings this often.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


@dataclass(frozen=True, slots=True)
class Connection:
    """Addresses of the services and the token or API key that is sent along, which is left out of the repr.

    The vault, the account service and the notification service may be left out: only calls to them need their address.
    """

    graph_address: str
    execution_address: str
    token: str = field(repr=False)
    credentials_address: str = ""
    account_address: str = ""
    certificates: Certificates = field(default_factory=Certificates)
    notification_address: str = ""


def default_home() -> Path:
    """Folder of the dev stack and its state: BLOCKYARD_HOME, else ~/.blockyard."""
    home = os.environ.get("BLOCKYARD_HOME")
    return Path(home) if home else Path.home() / ".blockyard"


def find_connection(address: str | None = None, token: str | None = None, home: Path | str | None = None) -> Connection:
    """The connection that these arguments name, completed from the environment and then from the dev stack."""
    environment = os.environ
    address = address or environment.get("BLOCKYARD_ADDRESS") or ""
    graph = address or environment.get("BLOCKYARD_GRAPH_ADDRESS", "")
    execution = address or environment.get("BLOCKYARD_EXECUTION_ADDRESS", "")
    token = token or environment.get("BLOCKYARD_TOKEN") or ""
    credentials = address or environment.get("BLOCKYARD_CREDENTIALS_ADDRESS", "")
    account = address or environment.get("BLOCKYARD_ACCOUNT_ADDRESS", "")
    notification = address or environment.get("BLOCKYARD_NOTIFICATION_ADDRESS", "")
    certificates = Certificates.of(environment)
    if graph and execution and token:
        return Connection(graph, execution, token, credentials, account, certificates, notification)
    stack = _dev_stack(default_home() if home is None else Path(home))
    if graph and execution:
        if stack is None or stack.graph_address != graph or _leads_elsewhere(stack, credentials, account, notification):
            raise NotConfigured(f"no token for {graph}: set BLOCKYARD_TOKEN, or pass token=")
        return Connection(
            graph,
            execution,
            stack.token,
            credentials or stack.credentials_address,
            account or stack.account_address,
            stack.certificates,
            notification or stack.notification_address,
        )
    if stack is None:
        raise NotConfigured(
            "no Blockyard to talk to: start one with `blockyard dev`, or set BLOCKYARD_ADDRESS and BLOCKYARD_TOKEN"
        )
    return replace(stack, token=token or stack.token)


def find_nats_url(home: Path | str | None = None) -> str:
    """Where programs subscribe on NATS, user and password included: BLOCKYARD_NATS_URL, else the dev stack's."""
    if url := os.environ.get("BLOCKYARD_NATS_URL"):
        return url
    path = (default_home() if home is None else Path(home)) / "dev" / "state.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["subscriber_url"])
    except (OSError, ValueError, KeyError) as error:
        raise NotConfigured("no NATS to subscribe on: start `blockyard dev`, or set BLOCKYARD_NATS_URL") from error


def _leads_elsewhere(stack: Connection, credentials: str, account: str, notification: str) -> bool:
    """True if one of these addresses is none of the stack's, whose token is nobody else's business."""
    return any(
        given and given != known
        for given, known in (
            (credentials, stack.credentials_address),
            (account, stack.account_address),
            (notification, stack.notification_address),
        )
    )


def open_channel(address: str, certificates: Certificates = Certificates()) -> grpc.aio.Channel:  # noqa: B008 - frozen
    """A channel to an address. Opening does not connect yet; the first call does."""
    if address.startswith("grpcs://"):
        credentials = certificates.credentials()
        return grpc.aio.secure_channel(address.removeprefix("grpcs://"), credentials, options=_CHANNEL_OPTIONS)
    return grpc.aio.insecure_channel(address.removeprefix("grpc://"), options=_CHANNEL_OPTIONS)


def _dev_stack(home: Path) -> Connection | None:
    """The connection to the stack that runs under this home; None if none does."""
    path = home / "dev" / "state.json"
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return _connection_of(state) if _runs(int(state["pid"])) else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotConfigured(f"{path} cannot be used ({error}): start `blockyard dev` anew") from error


def _connection_of(state: Mapping[str, Any]) -> Connection:
    addresses = state["addresses"]
    if not isinstance(addresses, Mapping):
        raise TypeError("addresses is no object")
    token = Path(str(state["token_path"])).read_text(encoding="utf-8").strip()
    return Connection(
        str(addresses["graph"]),
        str(addresses["execution"]),
        token,
        credentials_address=str(addresses.get("credentials", "")),
        account_address=str(addresses.get("account", "")),
        certificates=Certificates(**state.get("certificates") or {}),
        notification_address=str(addresses.get("notification", "")),
    )


def _runs(pid: int) -> bool:
    """True if the process that wrote the state still runs: a stack that was killed leaves its state behind."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
