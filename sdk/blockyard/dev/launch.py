"""Becomes another program that dies with its parent, and that may run as another user.

Run as a script by its path, with the standard library alone: `python -I -S launch.py SIGNAL PARENT USER PROGRAM ...`.
A script of its own and not a `preexec_fn`, because Python between fork and exec can deadlock
when the parent has threads.
"""

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def main(arguments: list[str]) -> None:
    """Set up this process as asked and replace it with the program."""
    death_signal, parent, user, *command = arguments
    if user:
        become(user)
    # After the change of user, which clears it.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit("the parent is gone already")
    os.execvp(command[0], command)


def become(user: str) -> None:
    """Change from root to the user, keeping root's way through folders that are closed to others.

    PostgreSQL refuses to run as root. Its program and its data may lie in root's home, and opening that to
    everybody would be worse than one process with this capability.
    """
    account = pwd.getpwnam(user)
    keeps = sys.platform == "linux" and ctypes.CDLL(None).prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ.update(HOME="/", USER=user, LOGNAME=user)
    if keeps:
        keep_only_path_override()


def keep_only_path_override() -> None:
    """Drop all capabilities but CAP_DAC_OVERRIDE, and hand that one to the program.

    Where the system has taken it away already this changes nothing, and the program meets the plain permissions.
    """
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    mask = 1 << CAP_DAC_OVERRIDE
    data = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)  # effective, permitted, inheritable; low words, then high
    if libc.capset(header, data) == 0:
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
