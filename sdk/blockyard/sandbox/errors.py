"""What can go wrong before a program runs. How a program itself ended is no error: see `Outcome`."""


class SandboxError(Exception):
    """The program could not be run."""


class SandboxUnavailable(SandboxError):
    """No protection can be had here, so nothing was run; the message says what to do."""


class LanguageUnavailable(SandboxError):
    """What runs programs of this language is not installed here."""


class ProgramInvalid(SandboxError):
    """The program cannot be what was meant: too large, or with a name that no variable can have."""


class SandboxLost(SandboxError):
    """What the sandbox ran on went away, or had no place: not the program's fault, which may be run again."""
