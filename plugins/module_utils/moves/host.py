# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that tell of a move, the runtime that does it, and the files of a fleet with a new name."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from typing import Any, Mapping, NamedTuple, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.commands import become, clean_environment
from ansible_collections.celeryops.fleet.plugins.module_utils.moves import places
from ansible_collections.celeryops.fleet.plugins.module_utils.release.archive import extract


class MoveError(Exception):
    """It cannot be done; the text says why and what to change."""


class Dirs(NamedTuple):
    """The folders of one fleet on this host."""

    opt_dir: str
    etc_dir: str
    state_dir: str
    log_dir: str
    run_dir: str

    def named(self, name: str) -> Dirs:
        """The same for a fleet of another name: it is the last part of each path."""
        return Dirs(*(os.path.join(os.path.dirname(path), name) for path in self))

    @property
    def environment(self) -> str:
        return os.path.join(self.etc_dir, "environment")

    @property
    def is_used(self) -> bool:
        """Whether a fleet lives here; a host of Flower alone has no environment of the application."""
        return any(os.path.exists(os.path.join(self.etc_dir, name)) for name in ("environment", "flower.env"))

    @property
    def secrets(self) -> str:
        return os.path.join(self.etc_dir, "secrets")

    @property
    def note(self) -> str:
        return os.path.join(self.etc_dir, "move.json")

    @property
    def python(self) -> str:
        return os.path.join(self.opt_dir, "current", "bin", "python")


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def read_note(dirs: Dirs) -> dict[str, Any] | None:
    try:
        return dict(json.loads(read(dirs.note)))
    except ValueError:
        return None


def write_note(dirs: Dirs, note: Mapping[str, Any]) -> None:
    """For its owner alone: it holds passwords."""
    like = os.stat(dirs.etc_dir)
    handle, temporary = tempfile.mkstemp(prefix=".move.", dir=dirs.etc_dir)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(note, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.chmod(temporary, 0o600)
    if os.geteuid() == 0:
        os.chown(temporary, like.st_uid, like.st_gid)
    os.replace(temporary, dirs.note)


def remove_note(dirs: Dirs) -> None:
    if os.path.lexists(dirs.note):
        os.unlink(dirs.note)


def ask_runtime(
    python: str, user: str | None, runtime: str, questions: Sequence[Mapping[str, Any]], timeout: float
) -> list[dict[str, Any]]:
    """Have the runtime that came with this request do the work, in the virtualenv of the installed release.

    The installed runtime may be of an earlier collection, which could not do it.
    """
    if not os.access(python, os.X_OK):
        raise MoveError(
            f"{python} cannot be run, and the move needs a virtualenv with Celery. Deploy once with the old "
            "celery_broker_url and celery_app_name, which builds the release anew, and then move"
        )
    folder = tempfile.mkdtemp(prefix="celeryops-move.")
    try:
        packed = os.path.join(folder, "runtime.tar.gz")
        with open(packed, "wb") as stream:
            stream.write(base64.b64decode(runtime))
        root = os.path.join(folder, "runtime")
        os.mkdir(root)
        extract(packed, root)
        os.chmod(folder, 0o755)
        for place, _folders, names in os.walk(root):
            os.chmod(place, 0o755)
            for name in names:
                os.chmod(os.path.join(place, name), 0o644)
        environment = dict(clean_environment(user), PYTHONPATH=root, PYTHONDONTWRITEBYTECODE="1")
        return [_ask(python, user, environment, question, timeout) for question in questions]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ask(
    python: str, user: str | None, environment: Mapping[str, str], question: Mapping[str, Any], timeout: float
) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [python, "-m", "celeryops", "move"],
            input=json.dumps(question),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            env=dict(environment),
            preexec_fn=become(user),
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MoveError(
            f"the move has not ended within {timeout:g} s. What has gone over is there; deploy again to go on"
        ) from None
    except OSError as error:
        raise MoveError(f"{python}: {error.strerror or error}") from error
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = None
    if done.returncode != 0 or not isinstance(answer, dict):
        told = done.stderr.strip().splitlines()[-15:]
        text = "\n".join(told).replace("Error: ", "", 1) or f"exit status {done.returncode} without a word"
        raise MoveError(_without_secrets(text, question))
    return answer


def _without_secrets(text: str, question: Mapping[str, Any]) -> str:
    for one in (question["from"], question["to"], *question.get("others", ())):
        for url in (one["url"], one["results"]):
            for part in url.split(";"):
                text = text.replace(part, places.address(part)) if part else text
    return text


# -- a fleet with a new name ------------------------------------------------------------------------


def conflicts(old: Dirs, new: Dirs) -> list[str]:
    """What keeps the files of one name from becoming those of another."""
    found = []
    name = os.path.basename(new.etc_dir)
    odd = sorted({path for path in new if os.path.basename(path) != name})
    if odd:
        found.append(
            f"celery_app_former_name finds the old folders by their last part, which is the name, and "
            f"{', '.join(odd)} ends in something else. Let celery_opt_dir and its like end in celery_app_name"
        )
    elif old.is_used and new.is_used:
        found.append(
            f"fleets of both names are installed here: {old.etc_dir} and {new.etc_dir}. Tear one of them "
            "down, or remove celery_app_former_name"
        )
    else:
        # A run that was interrupted has moved some of them: only what is in both places is in the way.
        for source, target in ((old.state_dir, new.state_dir), (old.secrets, new.secrets)):
            both = sorted({*_entries(source)} & {*_entries(target)})
            if both:
                found.append(f"{source} and {target} both hold {', '.join(both)}. Move those of one away")
    return found


def renames(old: Dirs, new: Dirs) -> list[tuple[str, str]]:
    """What goes where: data, logs and generated secrets. A log that is in the way keeps its place."""
    planned = []
    for source, target in (
        (old.state_dir, new.state_dir),
        (old.log_dir, new.log_dir),
        (old.secrets, new.secrets),
    ):
        taken = set(_entries(target))
        former = os.path.basename(old.etc_dir)
        for name in _entries(source):
            planned.append(
                (
                    os.path.join(source, name),
                    os.path.join(target, f"{name}.{former}" if name in taken else name),
                )
            )
    if os.path.exists(old.note):
        planned.append((old.note, new.note))
    return planned


def rename(old: Dirs, new: Dirs) -> list[str]:
    """Carry it out; what an earlier run has moved is not there any more."""
    done = []
    for source, target in renames(old, new):
        _make_like(os.path.dirname(source), os.path.dirname(target), (old.etc_dir, new.etc_dir))
        os.rename(source, target)
        done.append(target)
    return done


def _make_like(source: str, target: str, etc: tuple[str, str]) -> None:
    """Make the folder, as open and owned by the same as the one it stands in for."""
    if os.path.isdir(target):
        return
    above = os.path.dirname(target)
    if above == etc[1] and not os.path.isdir(above):
        _make_like(etc[0], above, etc)
    os.makedirs(above, exist_ok=True)
    like = os.stat(source)
    os.mkdir(target, 0o700)
    if os.geteuid() == 0:
        os.chown(target, like.st_uid, like.st_gid)
    os.chmod(target, like.st_mode & 0o7777)


def _entries(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []
