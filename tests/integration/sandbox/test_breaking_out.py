"""Programs that try to get out of the sandbox, case by case.

Those that do no harm also run without it, where they get what they are after: so each of them can fail.
"""

import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from blockyard.sandbox import End, Program, seccomp

from tests.integration.sandbox import attempts
from tests.integration.sandbox.attempts import with_prelude

SECRET = "correct-horse-battery-staple"


@dataclass(frozen=True, slots=True)
class Attempt:
    """`prepare` sets up what is to be reached, and gives the values that the code is filled in with."""

    name: str
    code: str
    prepare: Callable[[Path, ExitStack], dict[str, object]] = lambda folder, stack: {}


def _secret_file(folder: Path, stack: ExitStack) -> dict[str, object]:
    path = folder / "secret.txt"
    path.write_text(SECRET)
    path.chmod(0o644)
    return {"path": str(path), "folder": str(folder)}


def _secret_variable(folder: Path, stack: ExitStack) -> dict[str, object]:
    os.environ["SANDBOX_TEST_SECRET"] = SECRET
    stack.callback(os.environ.pop, "SANDBOX_TEST_SECRET")
    return {"secret": SECRET}


def _loopback_server(folder: Path, stack: ExitStack) -> dict[str, object]:
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=16))
    port = port_6 = server.getsockname()[1]
    # A machine may be without IPv6.
    with suppress(OSError):
        server_6 = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=16))
        port_6 = server_6.getsockname()[1]
    return {"port": port, "port_6": port_6}


def _unix_sockets(folder: Path, stack: ExitStack) -> dict[str, object]:
    named, abstract = f"/tmp/{uuid.uuid4().hex}.sock", f"\0{uuid.uuid4().hex}"
    for address in (named, abstract):
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(address)
        server.listen(16)
    stack.callback(os.unlink, named)
    return {"named": named, "abstract": abstract}


def _open_descriptors(folder: Path, stack: ExitStack) -> dict[str, object]:
    path = folder / "open.txt"
    path.write_text(SECRET)
    file = stack.enter_context(path.open("rb"))
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    for descriptor in (file.fileno(), server.fileno()):
        os.set_inheritable(descriptor, True)
    return {}


def _own_process(folder: Path, stack: ExitStack) -> dict[str, object]:
    return {"pid": os.getpid()}


ATTEMPTS = [
    Attempt(
        "reads a file of the runner",
        """
attempt("file", lambda: open({path!r}).read())
attempt("folder", lambda: os.listdir({folder!r}))
attempt("through the root of the first process", lambda: open("/proc/1/root" + {path!r}).read())
attempt("through the parent's folder", lambda: open("/proc/%d/cwd/../../..%s" % (os.getppid(), {path!r})).read())
""",
        _secret_file,
    ),
    Attempt(
        "reads the environment of the runner",
        """
attempt("own", lambda: [value for value in os.environ.values() if {secret!r} in value])
def others():
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found += [name] if {secret!r}.encode() in open(f"/proc/{{name}}/environ", "rb").read() else []
            except OSError:
                continue
    return found
attempt("of other processes", others)
""",
        _secret_variable,
    ),
    Attempt(
        "connects to a server on the machine's loopback",
        """
import socket
attempt("IPv4", lambda: socket.create_connection(("127.0.0.1", {port}), 5))
attempt("any address", lambda: socket.create_connection(("0.0.0.0", {port}), 5))
attempt("IPv6", lambda: socket.create_connection(("::1", {port_6}), 5))
""",
        _loopback_server,
    ),
    Attempt(
        "connects to the machine's local sockets",
        """
import socket
attempt("by path", lambda: socket.socket(socket.AF_UNIX).connect({named!r}) or "connected")
attempt("by abstract name", lambda: socket.socket(socket.AF_UNIX).connect({abstract!r}) or "connected")
""",
        _unix_sockets,
    ),
    Attempt(
        "uses what the runner has open",
        """
def opened():
    found = []
    for process in ("self", str(os.getppid()), "1"):
        try:
            names = os.listdir(f"/proc/{{process}}/fd")
        except OSError:
            continue
        for name in names:
            path = f"/proc/{{process}}/fd/{{name}}"
            try:
                target = os.readlink(path)
            except OSError:
                continue
            own = target.startswith(("pipe:", "/proc/", "anon_inode:[eventfd]")) or target == "/dev/null"
            found += [] if own else [(path, target)]
    return found
attempt("descriptors", opened)
""",
        _open_descriptors,
    ),
    Attempt(
        "sees and signals processes of the machine",
        """
attempt("signals the runner", lambda: os.kill({pid}, 0) or "there")
def others():
    named = [name for name in os.listdir("/proc") if name.isdigit()]
    return named if len(named) > 4 else []
attempt("lists processes", others)
""",
        _own_process,
    ),
]


@contextmanager
def _prepared(attempt: Attempt, folder: Path) -> Iterator[str]:
    with ExitStack() as stack:
        values = attempt.prepare(folder, stack)
        yield with_prelude(attempt.code.format(**values))


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
async def test_attempt_gets_nothing(attempt: Attempt, tmp_path: Path) -> None:
    with _prepared(attempt, tmp_path) as code:
        outcome = await attempts.run_python(code)
    if outcome is None:
        return
    assert outcome.succeeded, outcome
    assert "held:" in outcome.stdout
    assert "ESCAPED" not in outcome.stdout
    assert SECRET not in outcome.stdout


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
def test_attempt_gets_through_without_a_sandbox(attempt: Attempt, tmp_path: Path) -> None:
    with _prepared(attempt, tmp_path) as code:
        assert "ESCAPED" in attempts.without_sandbox(code)


NETWORK = """
import errno, socket
def connect(host, port):
    return lambda: socket.create_connection((host, port), 5)
def send(host):
    return lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (host, 53))
attempt("metadata address", connect("169.254.169.254", 80))
attempt("metadata address, IPv6", connect("fd00:ec2::254", 80))
attempt("a public address", connect("1.1.1.1", 443))
attempt("a private address", connect("10.0.0.1", 443))
attempt("name server", send("8.8.8.8"))
attempt("multicast", send("224.0.0.251"))
attempt("name", lambda: socket.getaddrinfo("example.com", 80))
attempt("interfaces", lambda: [name for _, name in socket.if_nameindex() if name != "lo"])
attempt("raw packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("raw IP", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("routing tables", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
attempt("the host of a virtual machine", lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
attempt("the kernel's ciphers", lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET))
"""


async def test_nothing_leaves_the_sandbox() -> None:
    outcome = await attempts.run_python(with_prelude(NETWORK))

    if outcome is None:
        return
    assert outcome.succeeded, outcome
    assert outcome.stdout.count("held:") == NETWORK.count("\nattempt(")
    assert "ESCAPED" not in outcome.stdout
    # At once, and not since nobody answered.
    assert "TimeoutError" not in outcome.stdout


SYSTEM = """
def write(path):
    return lambda: open(path, "wb", buffering=0).write(b"x")
for path in ("/x", "/usr/x", "/usr/bin/env", "/etc/passwd", "/dev/x", "/blockyard/start.py", "/blockyard/x"):
    attempt("writes " + path, write(path))
for path in ("kernel/core_pattern", "kernel/hostname", "vm/drop_caches", "kernel/sysrq"):
    attempt("writes " + path, write("/proc/sys/" + path))
attempt("presses a system key", write("/proc/sysrq-trigger"))
attempt("becomes root", lambda: os.setuid(0) or "root")
attempt("other groups", lambda: os.setgroups([0]) or "groups")
attempt("makes a device", lambda: os.mknod("/work/disk", 0o60666, os.makedev(254, 0)) or "disk")
attempt("finds a disk", lambda: [name for name in os.listdir("/dev") if name.startswith(("sd", "vd", "nvme", "mem"))])
attempt("opens a terminal", lambda: os.open("/dev/tty", os.O_RDWR))
attempt("has capabilities", lambda: [line for line in open("/proc/self/status")
    if line.startswith("Cap") and int(line.split()[1], 16)])
import resource
attempt("raises a limit", lambda: resource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999)) or "raised")
attempt("leaves the root", lambda: os.chroot("/work") or "left")
attempt("wins new rights", lambda: "NoNewPrivs:\\t0" in open("/proc/self/status").read())
attempt("changes its map of users", write("/proc/self/uid_map"))
"""


async def test_the_system_stays_as_it_is() -> None:
    outcome = await attempts.run_python(with_prelude(SYSTEM))

    if outcome is None:
        return
    assert outcome.succeeded, outcome
    lines = outcome.stdout.splitlines()
    assert [line for line in lines if "held:" not in line] == []
    assert len(lines) == 22


# Where something can be written: its own folders, devices that keep nothing, and what the kernel guards by itself.
WRITABLE = {"/work", "/result", "/dev/shm", "/dev/pts", "/proc"}
WRITABLE |= {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}


async def test_nothing_but_its_own_folders_is_mounted_for_writing() -> None:
    outcome = await attempts.run_bash("cat /proc/self/mounts")

    if outcome is None:
        return
    mounts = {fields[1]: fields[3].split(",") for fields in map(str.split, outcome.stdout.splitlines())}
    assert {path for path, options in mounts.items() if "ro" not in options} == WRITABLE
    assert "ro" in mounts["/usr"]
    assert "size=65536k" in mounts["/work"]
    assert [path for path, options in mounts.items() if "nosuid" not in options] == []


CALLS = """
import ctypes, errno, json
libc = ctypes.CDLL(None, use_errno=True)
answers = {}
for name, number, argument in cases:
    ctypes.set_errno(0)
    result = libc.syscall(number, argument, 0, 0, 0, 0, 0)
    answers[name] = "allowed" if result >= 0 else errno.errorcode[ctypes.get_errno()]
print(json.dumps(answers))
"""


def _denied_calls() -> list[tuple[str, int, int]]:
    column = 1 if os.uname().machine == "aarch64" else 0
    numbers = [(name, pair[column], 0) for name, pair in seccomp._DENIED.items()]
    # New namespaces one by one: mount, cgroup, uts, ipc, user, pid, net.
    flags = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
    clones = [(f"clone {flag:x}", seccomp._CLONE[column], flag) for flag in flags]
    return [(name, number, argument) for name, number, argument in [*numbers, *clones] if number is not None]


async def test_calls_into_the_kernels_depths_are_denied() -> None:
    cases = _denied_calls()

    outcome = await attempts.run(Program(CALLS, variables={"cases": cases}))

    if outcome is None:
        return
    assert outcome.succeeded, outcome
    answers = json.loads(outcome.stdout)
    assert len(answers) == len(cases) > 60
    assert {"ptrace", "mount", "unshare", "keyctl", "bpf", "setns", "clone 10000000"} <= set(answers)
    assert {name: answer for name, answer in answers.items() if answer != "EPERM"} == {}


async def test_links_do_not_lead_out_when_files_are_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    code = f"""
import os, socket
os.symlink({str(secret)!r}, "file")
os.symlink("/etc/hostname", "hostname")
os.symlink({str(tmp_path)!r}, "folder")
os.symlink("/", "root")
os.symlink("/proc/self/root" + {str(secret)!r}, "through-proc")
os.symlink("loop", "loop")
os.symlink({str(secret)!r}, "/result/result.json")
os.mkfifo("pipe")
socket.socket(socket.AF_UNIX).bind("socket")
os.makedirs("a/b")
os.symlink("../../../../../../../..{secret}", "a/b/up")
open("a/b/plain.txt", "w").write("mine")
open("closed.txt", "w").write("closed")
os.chmod("closed.txt", 0)
os.link("a/b/plain.txt", "second-name.txt")
os.rename("a", "moved")
open(b"not-text-\\xff", "w").write("x")
os.chmod(".", 0)
"""

    outcome = await attempts.run_python(code)

    if outcome is None:
        return
    assert outcome.succeeded, outcome
    contents = {file.path: file.content for file in outcome.files}
    assert contents["moved/b/plain.txt"] == b"mine"
    assert contents["second-name.txt"] == b"mine"
    # A runner that is root can open what the program has closed to itself; it is the program's own all the same.
    assert set(contents) - {"closed.txt"} == {"moved/b/plain.txt", "second-name.txt", "not-text-\ufffd"}
    assert SECRET.encode() not in b"".join(contents.values())
    assert outcome.result == {}


async def test_a_forged_result_is_no_result() -> None:
    forged = "[1]", '{"text": 7, "png": {"a": 1}, "data": "x", "other": "y"}', "[" * 100_000, '"\\ud800"', "\0"
    for text in forged:
        outcome = await attempts.run_python(f"open('/result/result.json', 'w').write({text!r})\nNone")
        if outcome is None:
            return
        assert outcome.succeeded, outcome
        assert outcome.result == {}


async def test_a_forged_report_does_not_pass_for_success() -> None:
    """The program can find the pipe on which the first program reports; it can spoil its own report, no more."""
    code = """
import os
pid = os.getppid()
for name in os.listdir(f"/proc/{pid}/fd"):
    try:
        with open(f"/proc/{pid}/fd/{name}", "wb") as pipe:
            pipe.write(b'{"step": "no such step", "exit_code": 0}\\nnonsense\\n[1]\\n' + b"[" * 50_000 + b"\\n")
    except OSError:
        continue
os._exit(3)
"""

    outcome = await attempts.run_python(code)

    if outcome is None:
        return
    assert (outcome.end, outcome.step, outcome.exit_code) == (End.EXITED, "code", 3)
    assert not outcome.succeeded
