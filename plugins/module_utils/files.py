# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Converge files, directories and links of a host: compare, then write atomically, or only predict.

No symbolic link is ever followed when a mode, an owner or contents are set: some of the folders belong to
the service user, who could otherwise point root at another file.
"""

from __future__ import annotations

import base64
import grp
import json
import os
import pwd
import re
import shutil
import stat
import tempfile
import typing as t
import zlib

# What a diff shows at most of one file's text; longer ones are named only.
_DIFF_BYTES = 256 * 1024


class FilesError(Exception):
    """A wanted state that cannot be reached; the message names the path and the remedy."""


def pack(contents: t.Sequence[str]) -> str:
    """Pack texts into one opaque word, so that no log and no invocation shows them."""
    return base64.b64encode(zlib.compress(json.dumps(list(contents)).encode("utf-8"))).decode("ascii")


def unpack(packed: str) -> list[str]:
    contents: list[str] = json.loads(zlib.decompress(base64.b64decode(packed)).decode("utf-8"))
    return contents


def parse_mode(value: t.Any, path: str) -> int:
    """Return the bits of a mode written as an octal string such as C('0640')."""
    if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}|[0-7]{4}", value):
        return int(value, 8)
    raise FilesError(
        f"mode {value!r} of {path} is not an octal mode in quotes: write it like '0640' "
        "(without quotes YAML reads another number)"
    )


def check_path(path: str) -> str:
    """Return a path in its normal form; refuse relative ones and the root itself."""
    if not path.startswith("/"):
        raise FilesError(f"{path!r} is not an absolute path: give it from / on")
    normal = os.path.normpath(path)
    if normal in ("/", "//"):
        raise FilesError(f"{path!r} names the root of the file system: name a folder or file below it")
    return normal


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def find_uid(owner: str | None) -> int | None:
    """Return the uid of a name or number; None when nothing is wanted; KeyError when it does not exist."""
    if not owner:
        return None
    return int(owner) if owner.isdigit() else pwd.getpwnam(owner).pw_uid


def find_gid(group: str | None) -> int | None:
    if not group:
        return None
    return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid


def _kind(mode: int) -> str:
    for test, name in (
        (stat.S_ISREG, "file"),
        (stat.S_ISDIR, "directory"),
        (stat.S_ISLNK, "link"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISFIFO, "fifo"),
        (stat.S_ISCHR, "device"),
        (stat.S_ISBLK, "device"),
    ):
        if test(mode):
            return name
    return "unknown"


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


class Converger:
    """Bring paths to their wanted state, one call each, and keep the account of what changed.

    check: predict only, write nothing.
    label: called with each path written, to set what the system wants beyond modes (SELinux).
    """

    def __init__(self, check: bool = False, label: t.Callable[[str], t.Any] | None = None) -> None:
        self.check = check
        self.changed_paths: list[str] = []
        self.diffs: list[dict[str, t.Any]] = []
        self._label = label or (lambda path: None)

    # -- what a caller asks for -------------------------------------------------------------------

    def directory(self, path: str, mode: int, owner: str | None = None, group: str | None = None) -> None:
        path = check_path(path)
        found = _lstat(path)
        if found is not None and stat.S_ISLNK(found.st_mode) and os.path.isdir(path):
            return  # An operator's link to another disk: the folder behind it is the operator's to own.
        if found is not None and not stat.S_ISDIR(found.st_mode):
            raise FilesError(f"{path} is a {_kind(found.st_mode)} where a directory is wanted: move it away")
        wanted = self._attributes(path, mode, owner, group)
        if found is None:
            self._note(path, {"state": "absent"}, dict(wanted.shown, state="directory"))
            if not self.check:
                self._make_parents(path)
                os.mkdir(path, 0o700)
                self._set_attributes(path, wanted, os.O_DIRECTORY)
                self._label(path)
            return
        self._converge_attributes(path, found, wanted, os.O_DIRECTORY)

    def file(
        self,
        dest: str,
        content: str,
        mode: int,
        owner: str | None = None,
        group: str | None = None,
        secret: bool = False,
    ) -> None:
        dest = check_path(dest)
        data = content.encode("utf-8", "surrogateescape")
        found = _lstat(dest)
        if found is not None and not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            raise FilesError(f"{dest} is a {_kind(found.st_mode)} where a file is wanted: move it away")
        wanted = self._attributes(dest, mode, owner, group)
        is_file = found is not None and stat.S_ISREG(found.st_mode)
        current = self._read(dest) if is_file else None
        if found is not None and is_file and current == data:
            self._converge_attributes(dest, found, wanted, 0)
            return
        before: dict[str, t.Any] = {"state": "absent"}
        if found is not None:
            before = self._shown(found)
            if not is_file:
                before = {"state": "link", "target": os.readlink(dest)}
        after = dict(wanted.shown, state="file")
        if not is_file or any(before.get(key) != value for key, value in after.items()):
            self._note(dest, before, after)
        else:
            self.changed_paths.append(dest)
        self._note_content(dest, current, data, secret)
        if not self.check:
            self._make_parents(dest)
            self._write(dest, data, wanted, found if is_file else None)
            self._label(dest)

    def link(self, dest: str, target: str) -> None:
        dest = check_path(dest)
        found = _lstat(dest)
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise FilesError(f"{dest} is a directory where a link to {target} is wanted: move it away")
        current = os.readlink(dest) if found is not None and stat.S_ISLNK(found.st_mode) else None
        if current == target:
            return
        before: dict[str, t.Any] = {"state": "absent"} if found is None else {"state": _kind(found.st_mode)}
        if current is not None:
            before["target"] = current
        self._note(dest, before, {"state": "link", "target": target})
        if not self.check:
            self._make_parents(dest)
            replace_link(dest, target)

    def absent(self, path: str) -> None:
        path = check_path(path)
        found = _lstat(path)
        if found is None:
            return
        directory = stat.S_ISDIR(found.st_mode)
        if directory and path.count("/") < 2:
            raise FilesError(f"{path} is a top-level directory: it is not removed")
        self._note(path, {"state": _kind(found.st_mode)}, {"state": "absent"})
        if self.check:
            return
        if directory:
            shutil.rmtree(path)
        else:
            os.unlink(path)

    # -- how it is done ---------------------------------------------------------------------------

    def _note(self, path: str, before: dict[str, t.Any], after: dict[str, t.Any]) -> None:
        self.changed_paths.append(path)
        self.diffs.append(
            {
                "before_header": path,
                "after_header": path,
                "before": _as_lines(before),
                "after": _as_lines(after),
            }
        )

    def _note_content(self, path: str, before: bytes | None, after: bytes, secret: bool) -> None:
        entry: dict[str, t.Any] = {"before_header": path + " (content)", "after_header": path + " (content)"}
        if secret:
            entry["before"] = "" if before is None else f"(secret, {len(before.splitlines())} lines)\n"
            entry["after"] = f"(secret, other content, {len(after.splitlines())} lines)\n"
        elif len(after) > _DIFF_BYTES or len(before or b"") > _DIFF_BYTES:
            entry["before"], entry["after"] = f"({len(before or b'')} bytes)\n", f"({len(after)} bytes)\n"
        else:
            entry["before"] = (before or b"").decode("utf-8", "replace")
            entry["after"] = after.decode("utf-8", "replace")
        self.diffs.append(entry)

    def _attributes(self, path: str, mode: int, owner: str | None, group: str | None) -> _Attributes:
        uid: int | None = None
        gid: int | None = None
        shown: dict[str, t.Any] = {"mode": f"{mode:04o}"}
        if owner:
            try:
                uid = find_uid(owner)
                shown["owner"] = owner if uid is None else user_name(uid)
            except KeyError:
                self._unknown("user", owner, path)
                shown["owner"] = owner
        if group:
            try:
                gid = find_gid(group)
                shown["group"] = group if gid is None else group_name(gid)
            except KeyError:
                self._unknown("group", group, path)
                shown["group"] = group
        return _Attributes(mode, uid, gid, shown)

    def _unknown(self, what: str, name: str, path: str) -> None:
        # On a bare host the user is made by an earlier task, which check mode did not carry out.
        if not self.check:
            raise FilesError(
                f"{what} {name!r}, wanted as owner of {path}, does not exist on this host: create it first"
            )

    @staticmethod
    def _shown(found: os.stat_result) -> dict[str, t.Any]:
        return {
            "state": _kind(found.st_mode),
            "mode": f"{stat.S_IMODE(found.st_mode):04o}",
            "owner": user_name(found.st_uid),
            "group": group_name(found.st_gid),
        }

    def _converge_attributes(self, path: str, found: os.stat_result, wanted: _Attributes, flags: int) -> None:
        current = self._shown(found)
        before = {key: current[key] for key, value in wanted.shown.items() if current[key] != value}
        if not before:
            return
        self._note(path, before, {key: wanted.shown[key] for key in before})
        if not self.check:
            self._set_attributes(path, wanted, flags)

    @staticmethod
    def _set_attributes(path: str, wanted: _Attributes, flags: int) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | flags)
        try:
            _apply(handle, wanted, path)
        finally:
            os.close(handle)

    @staticmethod
    def _read(path: str) -> bytes:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as stream:
            return stream.read()

    @staticmethod
    def _make_parents(path: str) -> None:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)

    @staticmethod
    def _write(dest: str, data: bytes, wanted: _Attributes, found: os.stat_result | None) -> None:
        """Write beside, with the final mode and owner, and rename over: a reader meets the old or the new.

        module.atomic_move would first lend the new contents the old file's mode, or that of what an old link
        points at: too open for a secret.
        """
        if found is not None:  # What is not asked for stays as it was.
            wanted = _Attributes(
                wanted.mode,
                found.st_uid if wanted.uid is None else wanted.uid,
                found.st_gid if wanted.gid is None else wanted.gid,
                wanted.shown,
            )
        directory, name = os.path.split(dest)
        handle, temporary = tempfile.mkstemp(prefix="." + name + ".", suffix=".tmp", dir=directory)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                _apply(stream.fileno(), wanted, dest)
                os.fsync(stream.fileno())
            os.replace(temporary, dest)
        except BaseException:
            os.unlink(temporary)
            raise


class _Attributes(t.NamedTuple):
    mode: int
    uid: int | None
    gid: int | None
    shown: dict[str, t.Any]


def _apply(handle: int, wanted: _Attributes, path: str) -> None:
    found = os.fstat(handle)
    uid = found.st_uid if wanted.uid is None else wanted.uid
    gid = found.st_gid if wanted.gid is None else wanted.gid
    if (uid, gid) != (found.st_uid, found.st_gid):
        try:
            os.fchown(handle, uid, gid)
        except PermissionError:
            raise FilesError(
                f"{path} cannot be given to {user_name(uid)}:{group_name(gid)} by user "
                f"{user_name(os.geteuid())}: run the play with become, or name the connecting user"
            ) from None
    os.fchmod(handle, wanted.mode)  # After the owner: chown clears set-id bits.


def _as_lines(attributes: dict[str, t.Any]) -> str:
    return "".join(f"{key}: {attributes[key]}\n" for key in sorted(attributes))


def replace_link(dest: str, target: str) -> None:
    """Point the link I(dest) at I(target) in one step: whoever looks sees the old target or the new one."""
    directory, name = os.path.split(dest)
    scratch = tempfile.mkdtemp(prefix="." + name + ".", dir=directory)
    try:
        temporary = os.path.join(scratch, name)
        os.symlink(target, temporary)
        os.replace(temporary, dest)
    finally:
        shutil.rmtree(scratch)
