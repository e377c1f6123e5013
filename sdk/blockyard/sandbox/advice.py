"""What to do where a sandbox cannot be set up: most machines that refuse one do so by one of a few settings."""

from pathlib import Path

_SETTINGS = (
    ("user/max_user_namespaces", "0", "allow user namespaces: sysctl -w user.max_user_namespaces=10000"),
    (
        "kernel/unprivileged_userns_clone",
        "0",
        "allow user namespaces for ordinary users: sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor keeps user namespaces from programs without a profile: write one for this bwrap, or allow them with "
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)
_OTHERWISE = (
    "in a container, let it make user namespaces and mount /proc (with Docker: --security-opt seccomp=unconfined "
    "--security-opt apparmor=unconfined --security-opt systempaths=unconfined), or run the runner outside of one"
)


def refusal(reason: str, settings: Path = Path("/proc/sys")) -> str:
    """The sentence for a machine on which bubblewrap failed with this reason."""
    return (
        f"code cannot run here without protection, and no sandbox could be set up ({reason}). "
        f"To do: {_advice(settings)}."
    )


def _advice(settings: Path) -> str:
    for name, refusing, advice in _SETTINGS:
        try:
            if (settings / name).read_text().strip() == refusing:
                return advice
        except OSError:
            # This kernel has no such setting.
            continue
    return _OTHERWISE
