# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A folder as a release ships it: which files, one digest for them all, a tar that is the same every time.

The controller lists, digests and packs; the host unpacks.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import os
import posixpath
import shutil
import stat
import subprocess
import tarfile
import typing as t

# Never part of a release, whatever the project says: version control, caches, another machine's virtualenv.
ALWAYS_EXCLUDED = (
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    "*.pyc",
    "*.pyo",
    ".venv",
    "venv",
    ".tox",
    ".nox",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "node_modules",
)


class ArchiveError(Exception):
    """A folder that cannot be shipped; the message says which and why."""


class Entry(t.NamedTuple):
    """One file or link of a release. The content comes from a file of the controller or stands here."""

    name: str  # path inside the release, with /
    path: str  # path on the controller, "" when the content is given
    content: bytes
    link: str  # target of a symbolic link, "" for a file
    executable: bool


def excluded(name: str, patterns: t.Sequence[str]) -> bool:
    """Tell whether a path inside the folder is left out.

    As in a .gitignore: a pattern without a slash (but at its end) matches any part of the path, one with a
    slash matches from the top of the folder. What lies below an excluded folder is excluded with it.
    """
    parts = name.split("/")
    for pattern in patterns:
        cleaned = pattern.strip("/")
        if "/" in pattern.rstrip("/"):
            heads = ("/".join(parts[: count + 1]) for count in range(len(parts)))
            if any(fnmatch.fnmatchcase(head, cleaned) for head in heads):
                return True
        elif any(fnmatch.fnmatchcase(part, cleaned) for part in parts):
            return True
    return False


def collect(root: str, exclude: t.Sequence[str] = ()) -> list[Entry]:
    """List what a folder ships, in the order of names.

    Inside a git checkout that is what git knows or would add; elsewhere every file. exclude holds patterns
    and absolute paths; folders with a pyvenv.cfg (a virtualenv of any name) are always left out.
    """
    root = os.path.abspath(root)
    if not os.path.isdir(root):
        raise ArchiveError(f"source folder {root} does not exist on the controller: correct source.path")
    patterns = list(ALWAYS_EXCLUDED)
    for pattern in exclude:
        inside = os.path.relpath(pattern, root) if os.path.isabs(pattern) else os.pardir
        patterns.append(pattern if inside.startswith(os.pardir) else "/" + inside)
    entries = [_entry(root, name) for name in sorted(_names(root, "", patterns))]
    if not entries:
        raise ArchiveError(
            f"source folder {root} holds no file to deploy: check source.path and source.exclude"
        )
    return entries


def text_entry(name: str, content: bytes) -> Entry:
    return Entry(name, "", content, "", False)


def file_entry(name: str, path: str) -> Entry:
    return Entry(name, path, b"", "", False)


def _entry(root: str, name: str) -> Entry:
    path = os.path.join(root, name)
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return Entry(name, path, b"", os.readlink(path), False)
    return Entry(name, path, b"", "", bool(status.st_mode & stat.S_IXUSR))


def _names(root: str, folder: str, patterns: t.Sequence[str]) -> t.Iterator[str]:
    listed = _git_names(os.path.join(root, folder))
    if listed is None:
        listed = sorted(os.listdir(os.path.join(root, folder)))
    for found in listed:
        name = posixpath.join(folder, found)
        path = os.path.join(root, name)
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            continue  # Git still lists what was deleted without a commit.
        if excluded(name, patterns):
            continue
        if stat.S_ISDIR(mode):  # A plain folder, or a submodule of a git checkout.
            if not os.path.exists(os.path.join(path, "pyvenv.cfg")):
                yield from _names(root, name, patterns)
        elif (stat.S_ISREG(mode) or stat.S_ISLNK(mode)) and not _in_virtualenv(root, name):
            yield name


def _in_virtualenv(root: str, name: str) -> bool:
    parts = name.split("/")[:-1]
    return any(
        os.path.exists(os.path.join(root, *parts[: count + 1], "pyvenv.cfg")) for count in range(len(parts))
    )


def _git_names(folder: str) -> list[str] | None:
    """Return what git would ship of a folder; None where git has no say in it."""
    if not shutil.which("git"):
        return None

    def git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, check=False)

    top = git("rev-parse", "--show-toplevel")
    if top.returncode != 0 or git("check-ignore", "-q", ".").returncode == 0:
        return None
    listed = git("ls-files", "--cached", "--others", "--exclude-standard", "-z")
    if listed.returncode != 0:
        return None
    return sorted({os.fsdecode(name).rstrip("/") for name in listed.stdout.split(b"\0") if name})


def read(entry: Entry) -> bytes:
    if not entry.path:
        return entry.content
    with open(entry.path, "rb") as stream:
        return stream.read()


def digest(entries: t.Iterable[Entry], *inputs: str) -> str:
    """Return one SHA-256 for names, contents, links and executable bits, whatever times and owners are."""
    total = hashlib.sha256()
    for text in inputs:
        total.update(b"input\0" + text.encode("utf-8") + b"\0")
    for entry in entries:
        kind = b"link" if entry.link else b"program" if entry.executable else b"file"
        body = os.fsencode(entry.link) if entry.link else hashlib.sha256(read(entry)).digest()
        total.update(kind + b"\0" + os.fsencode(entry.name) + b"\0" + body + b"\0")
    return total.hexdigest()


def write_tar(entries: t.Iterable[Entry], target: t.BinaryIO) -> None:
    """Write a compressed tar whose bytes depend on names and contents alone."""
    with gzip.GzipFile(
        filename="", mode="wb", fileobj=target, compresslevel=6, mtime=0
    ) as packed, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.mode = 0o755 if entry.executable else 0o644
            if entry.link:
                info.type, info.linkname = tarfile.SYMTYPE, entry.link
                tar.addfile(info)
            else:
                content = read(entry)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def extract(path: str, target: str) -> None:
    """Unpack what write_tar packed; refuse any name that would leave the target folder."""
    with tarfile.open(path, mode="r:gz") as tar:
        for info in tar:
            parts = info.name.split("/")
            if info.name.startswith("/") or ".." in parts or not info.name:
                raise ArchiveError(
                    f"the archive names {info.name!r}, outside of the release: it was not unpacked"
                )
            place = os.path.join(target, *parts)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if info.issym():
                os.symlink(info.linkname, place)
                continue
            source = tar.extractfile(info)
            if source is None:
                raise ArchiveError(
                    f"the archive holds {info.name!r}, neither file nor link: it was not unpacked"
                )
            # O_EXCL: a link unpacked before must not lead the next file out of the folder.
            handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, info.mode & 0o755)
            with os.fdopen(handle, "wb") as stream:
                shutil.copyfileobj(source, stream)
