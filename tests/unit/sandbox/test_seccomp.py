"""The filter for system calls, run step by step as the kernel would, for each machine that it is made for."""

import errno
import struct

import pytest
from blockyard.sandbox import SandboxUnavailable, seccomp

ALLOWED = 0x7FFF0000
KILLED = 0x80000000
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
THIRTY_TWO_BITS = {"x86_64": 0x40000003, "aarch64": 0x40000028}
READ = {"x86_64": 0, "aarch64": 63}
CLONE, SOCKET, SOCKETPAIR, IOCTL = (
    {"x86_64": 56, "aarch64": 220},
    {"x86_64": 41, "aarch64": 198},
    {"x86_64": 53, "aarch64": 199},
    {"x86_64": 16, "aarch64": 29},
)


def answer(machine: str, number: int, *arguments: int, audit_number: int | None = None) -> int:
    """What the filter says to a call."""
    values = (*arguments, *[0] * (6 - len(arguments)))
    call = struct.pack("=IIQ6Q", number, audit_number or MACHINES[machine], 0, *values)
    program = [
        struct.unpack_from("=HBBI", seccomp.filter_program(machine), offset)
        for offset in range(0, len(seccomp.filter_program(machine)), 8)
    ]
    register, position = 0, 0
    while True:
        code, yes, no, value = program[position]
        position += 1
        match code:
            case 0x20:
                (register,) = struct.unpack_from("=I", call, value)
            case 0x15:
                position += yes if register == value else no
            case 0x25:
                position += yes if register > value else no
            case 0x45:
                position += yes if register & value else no
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"an instruction that is not used here: {code:#x}")


def refused(error: int) -> int:
    return 0x00050000 | error


@pytest.mark.parametrize("machine", MACHINES)
def test_denied_calls_fail_and_usual_ones_do_not(machine: str) -> None:
    column = list(MACHINES).index(machine)
    numbers = {name: pair[column] for name, pair in seccomp._DENIED.items()}

    answers = {name: answer(machine, number) for name, number in numbers.items() if number is not None}

    assert set(answers.values()) == {refused(errno.EPERM)}
    assert answer(machine, READ[machine]) == ALLOWED


@pytest.mark.parametrize("machine", MACHINES)
def test_threads_and_forks_are_allowed_and_new_namespaces_are_not(machine: str) -> None:
    thread, fork, new_user = 0x3D0F00, 0x1200011, 0x10000011

    assert answer(machine, CLONE[machine], thread) == ALLOWED
    assert answer(machine, CLONE[machine], fork) == ALLOWED
    assert answer(machine, CLONE[machine], new_user) == refused(errno.EPERM)
    # Its flags cannot be seen.
    assert answer(machine, 435) == refused(errno.ENOSYS)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("family", range(46))
def test_sockets_are_local_or_of_the_internet(machine: str, family: int) -> None:
    unix_or_internet = family in (1, 2, 10)

    assert answer(machine, SOCKET[machine], family) == (ALLOWED if unix_or_internet else refused(errno.EAFNOSUPPORT))
    assert answer(machine, SOCKETPAIR[machine], family) == (ALLOWED if family == 1 else refused(errno.EAFNOSUPPORT))


@pytest.mark.parametrize("machine", MACHINES)
def test_limits_and_turns_of_other_processes_cannot_be_set(machine: str) -> None:
    column = list(MACHINES).index(machine)
    setpriority = seccomp._SETPRIORITY[column]

    for pair in seccomp._OF_ONESELF.values():
        assert answer(machine, pair[column], 0) == ALLOWED
        assert answer(machine, pair[column], 1) == refused(errno.EPERM)
    assert answer(machine, setpriority, 0, 0) == ALLOWED
    assert answer(machine, setpriority, 0, 1) == answer(machine, setpriority, 2, 0) == refused(errno.EPERM)


@pytest.mark.parametrize("machine", MACHINES)
def test_terminals_take_no_input_from_programs(machine: str) -> None:
    assert answer(machine, IOCTL[machine], 0, 0x5412) == refused(errno.EPERM)
    # The kernel looks at the low half of the command alone.
    assert answer(machine, IOCTL[machine], 0, 0x1_0000_5412) == refused(errno.EPERM)
    assert answer(machine, IOCTL[machine], 0, 0x541C) == refused(errno.EPERM)
    assert answer(machine, IOCTL[machine], 0, 0x5401) == ALLOWED


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_kind_end_the_process(machine: str) -> None:
    assert answer(machine, READ[machine], audit_number=THIRTY_TWO_BITS[machine]) == KILLED
    assert answer(machine, 0x40000000 + READ[machine]) == KILLED


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_that_came_after_the_list_do_not_exist(machine: str) -> None:
    assert answer(machine, 452) == ALLOWED
    assert answer(machine, 453) == refused(errno.ENOSYS)


def test_machine_without_a_list_is_refused() -> None:
    with pytest.raises(
        SandboxUnavailable, match="no list of system calls for 'riscv64' machines, only for aarch64 and"
    ):
        seccomp.filter_program("riscv64")
