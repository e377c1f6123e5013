"""The system calls that a program in a sandbox may not make, as a filter for the kernel (classic BPF).

Namespaces and limits bound what a program can reach; this bounds how much of the kernel it can try. It is a list of
what is denied: interpreters need most of the rest. What the kernel knows and this list does not is denied as well.
"""

import errno
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from blockyard.sandbox.errors import SandboxUnavailable

# Instructions of classic BPF, as in linux/bpf_common.h.
_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_JUMP_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

# Offsets in struct seccomp_data; arguments are 64 bits wide, the low half first on the machines below.
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERROR = 0x00050000

# The last number that was looked at when this list was made; later calls do not exist for the program.
_LAST_NUMBER = 452
# On x86-64 the same calls have second numbers from here on, which no list of first numbers stops.
_X32 = 0x3FFFFFFF

_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, -CGROUP, -UTS, -IPC, -USER, -PID, -NET
_UNIX, _INTERNET, _INTERNET_6 = 1, 2, 10
# They push characters into a terminal.
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

# Name: numbers on x86-64 and on arm64; None where there is no such call.
_DENIED: Mapping[str, tuple[int | None, int | None]] = {
    # Other processes' insides.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    # Mounts and roots.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    # Namespaces; `clone` has a rule of its own.
    "unshare": (272, 97),
    "setns": (308, 268),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    # Keys are kept by user, not by namespace.
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # The machine.
    "reboot": (169, 142),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "adjtimex": (159, 171),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "vhangup": (153, 58),
    # Parts of the kernel in which errors are found most often, and old ones that nobody needs.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "fanotify_init": (300, 262),
    "personality": (135, 92),
    "vmsplice": (278, 75),
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
    "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # Memory that no limit of a process counts.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
}
# Calls whose first argument is a process, which can only be oneself (0): the kernel lets a user take limits and turns
# from all that are the user's, such as the one that watches.
_OF_ONESELF: Mapping[str, tuple[int, int]] = {
    "prlimit64": (302, 261),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
}
_SETPRIORITY = (141, 140)
_CLONE, _CLONE_3 = (56, 220), (435, 435)
_SOCKET, _SOCKETPAIR = (41, 198), (53, 199)
_IOCTL = (16, 29)


@dataclass(frozen=True, slots=True)
class _Machine:
    audit_number: int
    column: int


_MACHINES = {"x86_64": _Machine(0xC000003E, 0), "aarch64": _Machine(0xC00000B7, 1)}


def filter_program(machine: str | None = None, *, internet: bool = True) -> bytes:
    """The filter as an array of struct sock_filter, for this machine or the one named as `uname -m` does.

    A denied call fails with EPERM. A call of another machine's kind (32-bit, x32) ends the process. Without `internet`
    there are local sockets alone, whatever network there is.
    """
    name = machine or platform.machine()
    if name not in _MACHINES:
        raise SandboxUnavailable(
            f"code cannot run here: there is no list of system calls for {name!r} machines, only for "
            f"{' and '.join(sorted(_MACHINES))}. Run the blocks for code on one of these."
        )
    return b"".join(_instructions(_MACHINES[name], (_UNIX, _INTERNET, _INTERNET_6) if internet else (_UNIX,)))


def _instructions(machine: _Machine, families: tuple[int, ...]) -> list[bytes]:
    code = [
        _instruction(_LOAD, _MACHINE),
        _instruction(_JUMP_EQUAL, machine.audit_number, yes=1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        _instruction(_JUMP_GREATER, _X32, no=1),
        _instruction(_RETURN, _KILL),
        _instruction(_JUMP_GREATER, _LAST_NUMBER, no=1),
        _instruction(_RETURN, _ERROR | errno.ENOSYS),
    ]
    for numbers in _DENIED.values():
        if (number := numbers[machine.column]) is not None:
            code += _denied(number, errno.EPERM)
    # Its flags are behind a pointer, where no filter can look. Without it the C library takes `clone`.
    code += _denied(_CLONE_3[machine.column], errno.ENOSYS)
    code += _denied_with_bits(_CLONE[machine.column], _NEW_NAMESPACES)
    for pair in _OF_ONESELF.values():
        code += _allowed_only(pair[machine.column], (0,), errno.EPERM)
    # Of what (0: a process), and which.
    code += _allowed_only(_SETPRIORITY[machine.column], (0,), errno.EPERM)
    code += _allowed_only(_SETPRIORITY[machine.column], (0,), errno.EPERM, argument=1)
    # Others reach past the network namespace (vsock) or into rarely used parts of the kernel.
    code += _allowed_only(_SOCKET[machine.column], families, errno.EAFNOSUPPORT)
    code += _allowed_only(_SOCKETPAIR[machine.column], (_UNIX,), errno.EAFNOSUPPORT)
    code += _denied_values(_IOCTL[machine.column], 1, (_TIOCSTI, _TIOCLINUX))
    return [*code, _instruction(_RETURN, _ALLOW)]


def _instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """`yes` and `no` are how many instructions a jump passes over."""
    return struct.pack("=HBBI", code, yes, no, value)


def _denied(number: int, error: int) -> list[bytes]:
    return [_instruction(_JUMP_EQUAL, number, no=1), _instruction(_RETURN, _ERROR | error)]


def _rule(number: int, argument: int, checks: list[bytes]) -> list[bytes]:
    """The checks, on the low half of an argument of this call; the call's number is loaded again behind them."""
    body = [_instruction(_LOAD, _ARGUMENTS + 8 * argument), *checks, _instruction(_LOAD, _NUMBER)]
    return [_instruction(_JUMP_EQUAL, number, no=len(body)), *body]


def _denied_with_bits(number: int, bits: int) -> list[bytes]:
    return _rule(number, 0, [_instruction(_JUMP_ANY_BIT, bits, no=1), _instruction(_RETURN, _ERROR | errno.EPERM)])


def _allowed_only(number: int, values: tuple[int, ...], error: int, argument: int = 0) -> list[bytes]:
    checks = [
        # Over the comparisons that are left, and over the refusal.
        _instruction(_JUMP_EQUAL, value, yes=len(values) - position)
        for position, value in enumerate(values)
    ]
    return _rule(number, argument, [*checks, _instruction(_RETURN, _ERROR | error)])


def _denied_values(number: int, argument: int, values: tuple[int, ...]) -> list[bytes]:
    checks = [instruction for value in values for instruction in _denied(value, errno.EPERM)]
    return _rule(number, argument, checks)
