"""First program in a sandbox: limits itself, waits for the word, runs the steps one after the other, and reports.

It has the rights of the code that it starts, no more, so what it reports is as good as that code's word.
"""

import base64
import ctypes
import json
import os
import resource
import signal
from typing import Any

JOB = "/blockyard/job.json"
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2


def main() -> None:
    """Reads the job, says that it is ready, and runs it once it is told to."""
    with open(JOB, encoding="utf-8") as file:
        job = json.load(file)
    go, report, setup_output = job["go"], job["report"], job["setup_output"]
    _close_others({0, 1, 2, go, report, setup_output})
    if job["must_limit_processes"] and not _processes_can_be_limited():
        _say(report, {"refused": "the kernel sets no limit to the processes of this user"})
        return
    _limit(job["limits"])
    if job.get("filter") and not _filter_calls(base64.b64decode(job["filter"])):
        _say(report, {"refused": "the kernel takes no filter for system calls from this process"})
        return
    _say(report, {"ready": True})
    # Nothing comes if whoever started this is gone.
    if os.read(go, 1) != b"g":
        return
    for step in job["steps"]:
        if not _run(step, report, setup_output):
            return


def _close_others(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor in kept:
            os.set_inheritable(descriptor, descriptor < 3)
            continue
        try:
            os.close(descriptor)
        except OSError:
            # The one that listed the folder is closed already.
            continue


def _processes_can_be_limited() -> bool:
    """The kernel lets the machine's root start any number of processes, under whatever name it runs here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, hard))
    try:
        process = os.fork()
    except BlockingIOError:
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
        return True
    if process == 0:
        os._exit(0)
    os.waitpid(process, 0)
    return False


def _limit(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except ValueError:
            # gVisor has no such limits; message queues the filter bars, and signals that wait cost little.
            if name not in ("RLIMIT_MSGQUEUE", "RLIMIT_SIGPENDING"):
                raise
    # The machine's own programs go first, and stay when memory runs out.
    os.nice(10)
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


class _Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _filter_calls(instructions: bytes) -> bool:
    """Whether the kernel holds this process, and all that it starts, to the filter."""
    library = ctypes.CDLL(None)
    rules = _Filter(len(instructions) // 8, instructions)
    if library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(library.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(rules), 0, 0) == 0)


def _run(step: dict[str, Any], report: int, setup_output: int) -> bool:
    """Whether the step ended well."""
    name, command = step["name"], step["command"]
    actions = []
    if name != "code":
        actions = [(os.POSIX_SPAWN_DUP2, setup_output, 1), (os.POSIX_SPAWN_DUP2, setup_output, 2)]
    try:
        process = os.posix_spawn(
            command[0],
            command,
            {**os.environ, **step["environment"]},
            file_actions=actions,
            # Python ignores these two, and what it starts would inherit that.
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    except OSError as error:
        _say(report, {"step": name, "start_error": os.strerror(error.errno or 0)})
        return False
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    _say(report, {"step": name, "exit_code": code})
    return code == 0


def _say(report: int, message: dict[str, Any]) -> None:
    os.write(report, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
