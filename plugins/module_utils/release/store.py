# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The releases and runtimes that stand on a host: what is there, what is used, what may go."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import os
import re
import shutil
import stat
import tempfile
import time
import typing as t

from ansible_collections.celeryops.fleet.plugins.module_utils.files import find_gid, replace_link
from ansible_collections.celeryops.fleet.plugins.module_utils.release.archive import extract
from ansible_collections.celeryops.fleet.plugins.module_utils.release.rules import Kept, ReleaseError
from ansible_collections.celeryops.fleet.plugins.module_utils.release.runtime import runtime_hash

# What another build on this host is waited for: a large build with a slow index takes minutes.
LOCK_SECONDS = 1800


class Layout(t.NamedTuple):
    """Where everything of one fleet's releases stands."""

    opt: str

    @property
    def releases(self) -> str:
        return os.path.join(self.opt, "releases")

    @property
    def runtimes(self) -> str:
        return os.path.join(self.opt, "runtime")

    @property
    def current(self) -> str:
        return os.path.join(self.opt, "current")

    @property
    def logs(self) -> str:
        return os.path.join(self.opt, "logs")

    def release(self, version: str) -> str:
        return os.path.join(self.releases, version)

    def runtime(self, name: str) -> str:
        return os.path.join(self.runtimes, name)

    def log(self, version: str) -> str:
        return os.path.join(self.logs, f"build-{version}.log")


@contextlib.contextmanager
def locked(layout: Layout) -> t.Iterator[int]:
    """Hold the releases of this fleet for one builder. Children keep it too: an orphaned pip still writes."""
    path = os.path.join(layout.opt, ".release.lock")
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                if time.monotonic() > deadline:
                    raise ReleaseError(
                        f"another build holds {path} for {LOCK_SECONDS} s: wait for it, or end its process"
                    ) from None
                time.sleep(0.2)
        yield handle
    finally:
        os.close(handle)


def read_record(path: str) -> dict[str, t.Any]:
    """Return the release.json of a folder; empty when the release is not finished."""
    try:
        with open(os.path.join(path, "release.json"), encoding="utf-8") as stream:
            record = json.load(stream)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and record.get("complete") else {}


def write_record(path: str, record: t.Mapping[str, t.Any], gid: int = -1) -> None:
    """Write release.json last and in one step: it marks the release as finished."""
    handle, temporary = tempfile.mkstemp(prefix=".release.", dir=path)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(record, stream, indent=2, sort_keys=True)
        stream.write("\n")
        stream.flush()
        if gid != -1:
            os.fchown(stream.fileno(), -1, gid)
        os.fchmod(stream.fileno(), 0o640)
        os.fsync(stream.fileno())
    os.replace(temporary, os.path.join(path, "release.json"))


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def current_version(layout: Layout) -> str:
    """Return the version that C(current) points at, "" when it points at none."""
    try:
        target = os.readlink(layout.current)
    except OSError:
        return ""
    path = os.path.normpath(os.path.join(layout.opt, target))
    return os.path.basename(path) if os.path.dirname(path) == layout.releases and os.path.isdir(path) else ""


def activate(layout: Layout, version: str) -> None:
    if os.path.lexists(layout.current) and not os.path.islink(layout.current):
        raise ReleaseError(f"{layout.current} is not a link: move it away, it names the active release")
    replace_link(layout.current, os.path.join("releases", version))


def releases(layout: Layout) -> list[Kept]:
    found = []
    for name in _folders(layout.releases):
        record = read_record(layout.release(name))
        stamp = max(str(record.get("built_at", "")), str(record.get("activated_at", "")))
        found.append(Kept(name, stamp, str(record.get("runtime_hash", ""))))
    return found


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def users(layout: Layout) -> dict[str, list[int]]:
    """Return which processes use which release or runtime folder, by path.

    A process shows it in its command line, its environment, or the folder it works in. One that lives in
    another root, a container's, means another file by the same path. Without /proc nothing is found.
    """
    found: dict[str, list[int]] = {}
    parents = "|".join(re.escape(path) for path in (layout.releases, layout.runtimes))
    folder = re.compile(os.fsencode(f"(?:{parents})/[^/\\0:]+"))
    here = os.stat("/")
    for process in glob.glob("/proc/[0-9]*"):
        with contextlib.suppress(OSError):
            if not os.path.samestat(os.stat(os.path.join(process, "root")), here):
                continue
            signs = [os.fsencode(os.readlink(os.path.join(process, "cwd"))), *map(_content, _signs(process))]
            paths = {os.fsdecode(match) for sign in signs for match in folder.findall(sign)}
            # A title may have replaced the command line; then the environment names the release.
            if any(os.path.dirname(path) == layout.runtimes for path in paths):
                paths.update(
                    layout.release(os.fsdecode(name)) for name in _RELEASE.findall(b"\0" + signs[-1])
                )
            for path in paths:
                found.setdefault(path, []).append(int(os.path.basename(process)))
    return found


_RELEASE = re.compile(rb"\0CELERYOPS_RELEASE=([^\0/]+)")


def _signs(process: str) -> list[str]:
    return [os.path.join(process, name) for name in ("cmdline", "environ")]


def _content(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def make_folder(path: str, mode: int, gid: int = -1) -> None:
    """Make a folder that must have this mode whatever the umask is; leave one that exists as it is."""
    with contextlib.suppress(FileExistsError):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        os.mkdir(path, 0o700)
        if gid != -1:
            os.chown(path, -1, gid)
        os.chmod(path, mode)


def group_id(group: str) -> int:
    """Return the gid that may read what root builds; -1 when this is not root's build."""
    if not group or os.geteuid() != 0:
        return -1
    try:
        return t.cast(int, find_gid(group))
    except KeyError:
        raise ReleaseError(
            f"there is no group {group!r} on this host, which is to read the release: create it first"
        ) from None


def make_readable(path: str) -> None:
    """Let everybody who may enter the release's folder read what is in it.

    uv hands out files with the modes of its cache, which may come from a time with a stricter umask.
    """
    for folder, folders, names in os.walk(path):
        for name in folders + names:
            place = os.path.join(folder, name)
            mode = os.lstat(place).st_mode
            if stat.S_ISLNK(mode):
                continue
            bits = stat.S_IMODE(mode)
            wanted = (bits | (0o755 if bits & 0o100 else 0o644)) & ~0o022
            if wanted != bits:
                os.chmod(place, wanted)


# -- the runtime ----------------------------------------------------------------------------------


def has_runtime(layout: Layout, name: str) -> bool:
    """Tell whether the runtime of this hash stands there, whole and unchanged."""
    root = layout.runtime(name)
    files = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [item for item in folders if item != "__pycache__"]
        for item in names:
            path = os.path.join(folder, item)
            with open(path, "rb") as stream:
                files[os.path.relpath(path, root)] = stream.read()
    return bool(files) and runtime_hash(files) == name


def install_runtime(layout: Layout, name: str, archive: str) -> None:
    """Put the runtime in place in one step; what stands there under its name is not what it claims to be."""
    make_folder(layout.runtimes, 0o755)
    scratch = tempfile.mkdtemp(prefix=".new.", dir=layout.runtimes)
    try:
        fresh = os.path.join(scratch, name)
        os.mkdir(fresh)
        extract(archive, fresh)
        make_readable(scratch)
        os.chmod(fresh, 0o755)
        if os.path.lexists(layout.runtime(name)):
            os.rename(layout.runtime(name), os.path.join(scratch, "old"))
        os.rename(fresh, layout.runtime(name))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def stale_runtimes(
    layout: Layout, wanted: str, kept: t.Iterable[str], used: t.Collection[str], environment_file: str = ""
) -> list[str]:
    """Return the runtimes that no kept release, no process and no environment file needs."""
    needed = {wanted, *kept}
    with contextlib.suppress(OSError), open(environment_file, encoding="utf-8", errors="replace") as stream:
        needed.update(re.findall(re.escape(layout.runtimes) + r"/([0-9a-f]+)", stream.read()))
    return [
        name for name in _folders(layout.runtimes) if name not in needed and layout.runtime(name) not in used
    ]
