"""The whole stack of a laptop: PostgreSQL, NATS, the services and runners, started, watched and stopped in order.

`blockyard dev` runs it; tests, benches and chaos use it as `async with Stack(home) as stack`.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from blockyard.certificates import Certificates
from blockyard.dev import nats_users, tokens
from blockyard.dev.cluster import SUPERUSER, has_cluster
from blockyard.dev.edge import Edge, start_on_first
from blockyard.dev.errors import DevelopmentStackError
from blockyard.dev.home import StackFolder, StackState
from blockyard.dev.migrated import migrated_cluster
from blockyard.dev.nats import NatsServer, start_nats
from blockyard.dev.only_stack import only_stack_in
from blockyard.dev.ports import free_port
from blockyard.dev.postgres import PostgresServer, start_postgres
from blockyard.dev.postgres_access import PostgresAccess
from blockyard.dev.process import ChildProcess
from blockyard.dev.services import (
    MIGRATE,
    MIGRATED,
    ServiceProcess,
    Surroundings,
    migrate,
    pool_of,
    require_services,
    service,
)
from blockyard.dev.supervisor import Member, Supervisor


def _silent(_: str) -> None:
    pass


class Stack:
    """A running stack. Its processes are `postgres`, `nats`, `graph`, `execution-1`..., `runner-1`..., and `edge`.

    Enter it in a thread that lives as long as the stack shall: its processes end with that thread.
    """

    def __init__(
        self,
        home: Path | str | None = None,
        *,
        runners: int = 2,
        replicas: int = 1,
        vaults: int = 1,
        notifications: int = 0,
        edge: bool = False,
        edge_ports: Sequence[int] = (0,),
        supervise: bool = False,
        environment: Mapping[str, str] | None = None,
        postgres_settings: Mapping[str, str] | None = None,
        certificates: Certificates | None = None,
        report: Callable[[str], None] = _silent,
    ) -> None:
        """Plan a stack of so many runners and replicas of the execution service, of vault and notifications.

        Nothing is started yet. With `edge`, Envoy stands in front of all, on the first of `edge_ports` that
        nobody has (0 is a free one).
        `supervise` starts again what dies; `environment` are settings of the services; `report` is told what happens.
        With `certificates`, for 127.0.0.1, services and NATS speak TLS alone, with those who have one of the authority;
        PostgreSQL does not, since the one of the laptop stack is built without it.
        """
        self.folder = StackFolder.of(home)
        self.runners = runners
        self.replicas = replicas
        self.vaults = vaults
        self.notifications = notifications
        self._edge_ports = tuple(edge_ports) if edge else ()
        self._supervise = supervise
        self._environment = dict(environment or {})
        self._postgres_settings = dict(postgres_settings or {})
        self._certificates = certificates
        self._report = report
        self._members: dict[str, Member] = {}
        self._excused: set[str] = set()
        self._held = ExitStack()
        self._started = False
        self._watch: asyncio.Task[None] | None = None
        self.secret = ""
        self.token = ""
        self.surroundings: Surroundings
        """Set once NATS and PostgreSQL run: what a further service of this stack must be told."""

    async def start(self) -> None:
        """Start all; when one part fails, stop what stands and raise what was wrong."""
        require_services()
        self._held.enter_context(only_stack_in(self.folder))
        self._started = True
        try:
            await self._start_all()
        except BaseException:
            await self.stop()
            raise

    async def _start_all(self) -> None:
        secrets = tokens.ensure_secrets(self.folder)
        self.secret = secrets.users
        self.token = tokens.write_developer_token(self.folder, self.secret)
        self._report("starting PostgreSQL and NATS")
        await _all(self._start_postgres(), self._start_nats())
        execution_ports = [free_port() for _ in range(self.replicas)]
        vault_ports = [free_port() for _ in range(self.vaults)]
        self.surroundings = surroundings = Surroundings(
            self.folder,
            secrets,
            self.nats,
            f"127.0.0.1:{free_port()}",
            self._environment,
            execution_address=_target(execution_ports),
            credentials_address=_target(vault_ports),
            account_address=f"127.0.0.1:{free_port()}",
            certificates=self._certificates,
            passwords={name: password for name, password in self.postgres.access.passwords.items() if name in MIGRATED},
        )
        environment = surroundings.environment(MIGRATE, MIGRATION_DATABASE_URL=self.postgres.url)
        await migrate(environment, self.folder.log(MIGRATE))
        self._plan_services(surroundings, execution_ports, vault_ports)
        self._report(f"starting {', '.join(self.services())}")
        # The last one, which comes to its turn when all others have begun.
        await _all(*(one.start() for one in self.services().values()), self._start_edge(), self._note_start())
        self._write_state()
        self.folder.starting.unlink(missing_ok=True)
        if self._supervise:
            supervisor = Supervisor(self._members, self._excused, self._report, self._write_state)
            self._watch = asyncio.create_task(supervisor.run(), name="supervisor")

    async def _start_postgres(self) -> None:
        passwords = tokens.ensure_passwords(self.folder, "postgres", [SUPERUSER, *MIGRATED])
        self._members["postgres"] = await start_postgres(
            self.folder.postgres,
            log_file=self.folder.log("postgres"),
            settings=self._postgres_settings,
            access=PostgresAccess(passwords),
            template=None if has_cluster(self.folder.postgres) else await migrated_cluster(),
        )

    async def _start_nats(self) -> None:
        pools = [pool_of(self._environment)]
        passwords = tokens.ensure_passwords(self.folder, "nats", nats_users.names(pools, [tokens.DEVELOPER]))
        users = nats_users.users(pools, passwords, [tokens.DEVELOPER])
        log_file = self.folder.log("nats")
        self._members["nats"] = await start_nats(
            self.folder.nats, log_file=log_file, users=users, certificates=self._certificates
        )

    def _plan_services(
        self, surroundings: Surroundings, execution_ports: Sequence[int], vault_ports: Sequence[int]
    ) -> None:
        for name, address in (("account", surroundings.account_address), ("graph", surroundings.graph_address)):
            _, _, of_service = address.rpartition(":")
            self._members[name] = service(surroundings, name, name, self.postgres.url_of(name), int(of_service))
        vault_url = self.postgres.url_of("credentials")
        for number, vault_port in enumerate(vault_ports, 1):
            name = f"credentials-{number}"
            self._members[name] = service(surroundings, name, "credentials", vault_url, vault_port)
        execution_url = self.postgres.url_of("execution")
        for number, port in enumerate(execution_ports, 1):
            name = f"execution-{number}"
            self._members[name] = service(surroundings, name, "execution", execution_url, port)
        for number in range(1, self.notifications + 1):
            name = f"notification-{number}"
            url = self.postgres.url_of("notification")
            self._members[name] = service(surroundings, name, "notification", url, web_port=free_port())
        for number in range(1, self.runners + 1):
            name = f"runner-{number}"
            self._members[name] = service(surroundings, name, "runner")

    async def _start_edge(self) -> None:
        """Start the edge, if there shall be one: beside the services, for which it waits by itself."""
        if self._edge_ports:
            await start_on_first(self._edge_ports, self._edge_on, self._report)

    def _edge_on(self, port: int) -> Edge:
        endpoints = {
            "graph": self.graph_address,
            "execution": ",".join(self.execution_addresses),
            "credentials": ",".join(self.credentials_addresses),
            "account": self.account_address,
            "notification": ",".join(self.notification_addresses),
            "notification_web": ",".join(self.web_addresses),
        }
        folder, log_file = self.folder.edge, self.folder.log("edge")
        edge = Edge(folder, port, log_file, endpoints, self._environment, self._certificates)
        self._members["edge"] = edge
        return edge

    async def stop(self) -> None:
        """Stop all in reverse order; what hangs is killed. Nothing to do when it was not started."""
        if not self._started:
            return
        self._started = False
        groups = ("edge", "runner", "notification", "execution", "credentials", "graph", "account", "nats", "postgres")
        try:
            await self._stop_watching()
            self.folder.state.unlink(missing_ok=True)
            self.folder.starting.unlink(missing_ok=True)
            for group in groups:
                await asyncio.gather(*(m.stop() for name, m in self._members.items() if name.split("-")[0] == group))
        except BaseException:
            # Interrupted while it waits: nothing may stay behind, however often it is interrupted again.
            await _finish(asyncio.gather(*(_end_at_once(member) for member in self._members.values())))
            raise
        finally:
            self._members.clear()
            self._held.close()

    async def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait({self._watch})
            self._watch = None

    @property
    def postgres(self) -> PostgresServer:
        """The PostgreSQL server."""
        server = self.member("postgres")
        assert isinstance(server, PostgresServer)
        return server

    @property
    def nats(self) -> NatsServer:
        """The NATS server."""
        server = self.member("nats")
        assert isinstance(server, NatsServer)
        return server

    @property
    def edge(self) -> Edge:
        """The edge, of a stack that was planned with one."""
        edge = self.member("edge")
        assert isinstance(edge, Edge)
        return edge

    @property
    def graph_address(self) -> str:
        """host:port of the graph service."""
        return self.services()["graph"].address

    @property
    def account_address(self) -> str:
        """host:port of the account service."""
        return self.services()["account"].address

    @property
    def credentials_addresses(self) -> list[str]:
        """host:port of each replica of the credentials service."""
        return [member.address for name, member in self.services().items() if name.startswith("credentials-")]

    @property
    def credentials_address(self) -> str:
        """host:port of the first replica of the credentials service."""
        return self.credentials_addresses[0]

    @property
    def execution_addresses(self) -> list[str]:
        """host:port of each replica of the execution service."""
        return [member.address for name, member in self.services().items() if name.startswith("execution-")]

    @property
    def execution_address(self) -> str:
        """host:port of the first replica of the execution service."""
        return self.execution_addresses[0]

    @property
    def notification_addresses(self) -> list[str]:
        """host:port of each replica of the notification service."""
        return [member.address for name, member in self.services().items() if name.startswith("notification-")]

    @property
    def web_addresses(self) -> list[str]:
        """host:port of HTTP at each replica of the notification service."""
        return [member.web_address for name, member in self.services().items() if name.startswith("notification-")]

    def services(self) -> dict[str, ServiceProcess]:
        """The services' processes by name, in the order of their start."""
        return {name: member for name, member in self._members.items() if isinstance(member, ServiceProcess)}

    def names(self) -> list[str]:
        """The names of all processes, in the order of their start."""
        return list(self._members)

    def member(self, name: str) -> Member:
        """The part of the stack with this name."""
        try:
            return self._members[name]
        except KeyError:
            known = ", ".join(self._members) or "none runs"
            raise DevelopmentStackError(f"the stack has no process named {name} (there are: {known})") from None

    def process(self, name: str) -> ChildProcess:
        """The process with this name."""
        return self.member(name).process

    def user_token(self, user_id: str, role: str = "user", life_seconds: float = tokens.LIFE_SECONDS) -> str:
        """A token of this stack for any user."""
        return tokens.user_token(self.secret, user_id, role, life_seconds)

    async def kill(self, name: str) -> None:
        """SIGKILL to a process and its children; it stays down until it is started."""
        self._excused.add(name)
        await self.member(name).kill()

    async def halt(self, name: str) -> None:
        """Stop a process in order; it stays down until it is started."""
        self._excused.add(name)
        await self.member(name).stop()

    async def revive(self, name: str) -> None:
        """Start a process that is down, at its old address, and wait until it is of use."""
        await self.member(name).start()
        self._excused.discard(name)
        self._write_state()

    async def restart(self, name: str) -> None:
        """Stop a process when it runs, and start it again at its old address."""
        await self.halt(name)
        await self.revive(name)

    def freeze(self, name: str) -> None:
        """SIGSTOP to a process and its children."""
        self.member(name).freeze()

    def thaw(self, name: str) -> None:
        """Let a frozen process go on."""
        self.member(name).thaw()

    async def wipe_nats(self) -> None:
        """Kill NATS and delete JetStream's whole directory; it stays down until it is started."""
        self._excused.add("nats")
        await self.nats.wipe()

    async def _note_start(self) -> None:
        """Say where all is going to be, for whoever looks why it does not get ready."""
        self._state().write(self.folder.starting)

    def _write_state(self) -> None:
        self._state().write(self.folder.state)

    def _state(self) -> StackState:
        scheme = "grpcs://" if self._certificates else ""
        addresses = {name: f"{scheme}{member.address}" for name, member in self.services().items()}
        if "edge" in self._members:
            addresses["edge"] = f"{scheme}{self.edge.address}"
        return StackState(
            pid=os.getpid(),
            folder=str(self.folder.path),
            addresses={
                **addresses,
                "execution": addresses["execution-1"],
                "credentials": addresses["credentials-1"],
                **({"notification": addresses["notification-1"]} if self.notifications else {}),
                **({"web": f"http{'s' if scheme else ''}://{self.web_addresses[0]}"} if self.notifications else {}),
            },
            postgres_url=self.postgres.url,
            nats_url=self.nats.url,
            subscriber_url=self.nats.url_of(nats_users.subscriber_of(tokens.DEVELOPER)),
            token_path=str(self.folder.token),
            processes={name: member.process.pid or 0 for name, member in self._members.items()},
            certificates=asdict(self._certificates) if self._certificates else {},
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _target(ports: Sequence[int]) -> str:
    """These ports of this machine as one target of gRPC."""
    return "ipv4:///" + ",".join(f"127.0.0.1:{port}" for port in ports)


async def _all(*steps: Coroutine[None, None, None]) -> None:
    """Take steps side by side; when one fails the others are cancelled, and its error is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _end_at_once(member: Member) -> None:
    if isinstance(member, PostgresServer):
        await member.abandon()  # SIGKILL would leave its shared memory behind
    else:
        await member.kill()


async def _finish(work: asyncio.Future[list[None]]) -> None:
    """Wait until the work is done; who cancels the waiting does not shorten it."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({work})
