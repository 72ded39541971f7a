"""The command line of bubblewrap: a child sees the system, its own directory, and nothing else."""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

# What programs need to run. The rest of /etc holds settings and keys of other programs.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store")
ETC = (
    *("alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "fonts"),
    *("gai.conf", "group", "host.conf", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d"),
    *("localtime", "mime.types", "nsswitch.conf", "os-release", "passwd", "pki", "protocols"),
    *("resolv.conf", "services", "ssl/certs", "ssl/openssl.cnf", "timezone"),
)
_OPTIONS = (
    *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
    *("--die-with-parent", "--new-session", "--cap-drop", "ALL"),
    *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),  # noqa: S108 (one of its own)
)


def find_bubblewrap() -> str | None:
    """Return the path of bubblewrap, if it is installed."""
    return shutil.which("bwrap")


def is_visible(path: Path, readable: Iterable[str]) -> bool:
    """Whether a child in the sandbox can follow `path` to its file."""
    places = [*SYSTEM, *readable]
    return all(
        any(one.is_relative_to(place) for place in places)
        for one in (Path(os.path.abspath(path)), path.resolve())  # noqa: PTH100 (links are kept)
    )


def wrapped(
    bubblewrap: str,
    argv: Sequence[str],
    folder: str,
    readable: Sequence[str] = (),
    hidden: Sequence[Path] = (),
) -> list[str]:
    """Return the command line of a sandbox around `argv`. `folder`: writable; `readable`: further
    places that can be read; `hidden`: places that look empty, wherever they are."""
    command = [bubblewrap, *_OPTIONS]
    for place in SYSTEM:
        link = Path(place)
        if link.is_symlink():
            command += ["--symlink", str(link.readlink()), place]
        else:
            command += ["--ro-bind-try", place, place]
    for name in ETC:
        command += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for place in readable:
        command += ["--ro-bind", place, place]
    for one in hidden:
        for covered in with_rotated(one.resolve()):
            command += _covered(covered, readable)
    return [*command, "--bind", folder, folder, "--chdir", folder, "--", *argv]


def with_rotated(path: Path) -> tuple[Path, ...]:
    """Return `path` and its rotated files, which are hidden too."""
    return path, *sorted(path.parent.glob(f"{path.name}.*"))


def _covered(path: Path, readable: Iterable[str]) -> list[str]:
    """Return the options that make `path` look empty; none if it is not visible anyway."""
    if not path.exists() or not is_visible(path, readable):
        return []
    if path.is_dir():
        return ["--tmpfs", str(path)]
    return ["--ro-bind", os.devnull, str(path)]
