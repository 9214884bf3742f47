# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a release is: its sources, its version, its folder, and which old ones may go. No host is touched."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import typing as t
import urllib.parse

SOURCE_KEYS = {
    "path": {"path", "subfolder", "exclude", "requirements"},
    "git": {"repo", "version", "subfolder", "requirements"},
    "package": {"requirement", "wheel", "requirements_file", "path", "exclude", "chdir"},
    "existing": {"prefix", "chdir"},
}

# The runtime beside the application is written for it (runtime/celeryops).
MIN_PYTHON = (3, 10)
MIN_CELERY, FIRST_UNKNOWN_CELERY = (5, 5), (5, 8)
# Requires-Python of each Celery; an existing prefix was not installed by us, so nothing has enforced it.
CELERY_PYTHON = {(5, 5): (3, 8), (5, 6): (3, 9), (5, 7): (3, 10)}

VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}\Z")
SHORT = 12  # hex digits of a digest in a version: 48 bits, far from any collision between a host's releases


class ReleaseError(Exception):
    """A release that cannot be built or used; the message says what was found and what to change."""


# -- source ---------------------------------------------------------------------------------------


def check_source(source: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the source with its empty keys gone, or say what is wrong with it."""
    given = {key: value for key, value in source.items() if value not in (None, "", [], {})}
    kind = given.get("type")
    if kind not in SOURCE_KEYS:
        raise ReleaseError(f"source.type is {kind!r}: use one of {', '.join(SOURCE_KEYS)}")
    unknown = sorted(set(given) - SOURCE_KEYS[kind] - {"type"})
    if unknown:
        raise ReleaseError(
            f"source.{unknown[0]} has no meaning for a source of type {kind}, "
            f"which knows {', '.join(sorted(SOURCE_KEYS[kind]))}: remove it, or change source.type"
        )
    for key in {"path": ("path",), "git": ("repo",), "existing": ("prefix",)}.get(kind, ()):
        if key not in given:
            raise ReleaseError(f"source.{key} is missing: a source of type {kind} needs it")
    if kind == "package" and not {"requirement", "wheel", "requirements_file"} & set(given):
        raise ReleaseError(
            "a source of type package needs source.requirement (such as shop==1.4), source.wheel or "
            "source.requirements_file (files of the controller)"
        )
    if kind == "package" and {"path", "chdir"} <= set(given):
        raise ReleaseError(
            "source.path and source.chdir both say where the package runs: keep path for a folder of the "
            "controller that becomes part of the release, or chdir for a folder that is already on the host"
        )
    if kind == "existing" and not os.path.isabs(given["prefix"]):
        raise ReleaseError(
            f"source.prefix is {given['prefix']!r}: give the absolute path of the folder above bin/"
        )
    for key in ("subfolder", "requirements"):
        for name in as_list(given.get(key)):
            if os.path.isabs(name) or ".." in name.split("/"):
                raise ReleaseError(f"source.{key} names {name!r}: give a path inside the source, without ..")
    if "chdir" in given and not os.path.isabs(given["chdir"]):
        raise ReleaseError(f"source.chdir is {given['chdir']!r}: give an absolute path of the host")
    if kind == "git":
        given.setdefault("version", "HEAD")
        if given["version"].startswith("-"):
            raise ReleaseError(f"source.version is {given['version']!r}: give a branch, a tag or a commit")
    for key in ("requirement", "requirements", "exclude"):
        if key in given:
            given[key] = as_list(given[key])
    return given


def as_list(value: t.Any) -> list[str]:
    if value in (None, ""):
        return []
    return [value] if isinstance(value, str) else [str(item) for item in value]


def check_version(version: str) -> str:
    if VERSION.match(version):
        return version
    raise ReleaseError(
        f"version {version!r} cannot name a folder: use letters, digits and . _ + -, "
        "beginning with a letter or digit, 64 at most"
    )


def build_options(python: str, packages: t.Sequence[str], source: t.Mapping[str, t.Any]) -> str:
    """Return what besides the source decides what gets built, as canonical text; "" when all is default."""
    options = {
        "python": python,
        "packages": sorted(packages),
        "requirement": source.get("requirement"),
        "requirements": source.get("requirements"),
        "subfolder": source.get("subfolder"),
    }
    given = {key: value for key, value in options.items() if value}
    return json.dumps(given, sort_keys=True) if given else ""


def version_of(digest: str) -> str:
    return digest[:SHORT]


def builds_of(version: str, finished: t.Collection[str], current: str = "") -> list[str]:
    """Return the builds of a version among finished releases: the active one first, then the newest first."""
    number = {version: 1}
    for name in finished:
        match = re.fullmatch(re.escape(version) + r"-([2-9]|[1-9]\d+)", name)
        if match:
            number[name] = int(match.group(1))
    found = sorted((name for name in finished if name in number), key=number.__getitem__, reverse=True)
    return sorted(found, key=lambda name: name != current)


def next_build(version: str, finished: t.Collection[str]) -> str:
    """Return the name of the next build of a version: itself, or VERSION-2 and on when it is taken."""
    number, name = 1, version
    while name in finished:
        number += 1
        name = f"{version}-{number}"
    return name


def git_version(commit: str, options: str) -> str:
    """Return the short commit, told apart by what else decides the build."""
    suffix = "-" + hashlib.sha256(options.encode()).hexdigest()[:6] if options else ""
    return commit[:SHORT] + suffix


def digest_of(*inputs: t.Any) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode("utf-8")).hexdigest()


def hide_credentials(url: str) -> tuple[str, str]:
    """Split a URL into one without credentials and the original, "" when it carries none."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return url, ""
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), url


def git_environment(repo: str) -> tuple[str, dict[str, str]]:
    """Return the URL for git's command line, and the environment that carries its credentials.

    A command line can be read by every user of the host. Needs git 2.31, where credentials stand in the URL.
    """
    plain, full = hide_credentials(repo)
    environment = {"GIT_TERMINAL_PROMPT": "0"}
    if full:
        root, real = plain, full
        environment.update(
            GIT_CONFIG_COUNT="1",
            GIT_CONFIG_KEY_0=f"url.{real}.insteadOf",
            GIT_CONFIG_VALUE_0=root,
        )
    return plain, environment


def pick_commit(listing: str, wanted: str) -> str:
    """Return the commit that C(git ls-remote) shows for a branch, tag or HEAD; "" when it shows none."""
    lines = (line.partition("\t") for line in listing.splitlines())
    found = {name: commit for commit, _tab, name in lines}
    for name in (f"refs/tags/{wanted}^{{}}", f"refs/tags/{wanted}", f"refs/heads/{wanted}", wanted):
        if name in found:
            return found[name]
    return ""


# -- requirements ---------------------------------------------------------------------------------


def wants_hashes(requirements: str) -> bool:
    """Tell whether a requirements file pins hashes: then everything it installs must carry one."""
    lines = (
        line.split(" #", 1)[0] for line in requirements.splitlines() if not line.lstrip().startswith("#")
    )
    return any(re.search(r"(^|\s)--hash[=\s]", line) for line in lines)


def included_files(requirements: str) -> list[str]:
    """Return the further requirement and constraint files that one names."""
    found = []
    for line in requirements.splitlines():
        match = re.match(r"\s*(?:-r|--requirement|-c|--constraint)[=\s]\s*(\S+)", line)
        if match and "://" not in match.group(1):
            found.append(match.group(1))
    return found


def find_requirements(
    present: t.Callable[[str], bool], wanted: t.Sequence[str], subfolder: str = ""
) -> list[str]:
    """Return what to install from the source: names of files, or folders that are projects themselves.

    present tells whether the source holds a file of that name. wanted is the user's list; without one the
    application's folder is searched, then the top of the source.
    """
    if wanted:
        for name in wanted:
            project = any(present(os.path.normpath(os.path.join(name, kind))) for kind in _PROJECT)
            if not project and not present(os.path.normpath(name)):
                raise ReleaseError(
                    f"source.requirements names {name!r}, which the source does not hold: "
                    "name a requirements file inside it, or a folder with a pyproject.toml"
                )
        return list(wanted)
    for folder in dict.fromkeys((subfolder, "")):
        if present(os.path.join(folder, "requirements.txt")):
            return [os.path.join(folder, "requirements.txt")]
        if any(present(os.path.join(folder, kind)) for kind in _PROJECT):
            return [folder or "."]
    raise ReleaseError(
        "the source holds neither requirements.txt nor pyproject.toml, so nobody knows what it needs: "
        "add one with celery[redis] in it, or name other files in source.requirements"
    )


_PROJECT = ("pyproject.toml", "setup.py")

# What a source of type package is installed from: the controller writes it, beside the files that it names.
INSTALL_FILE = "celeryops-install.txt"
# Where the folder that comes along with a package stands, apart from what it is installed from.
PACKAGE_FOLDER = "folder"

PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "no-index": "UV_NO_INDEX",
    "proxy": "ALL_PROXY",
}


def uv_environment(environment: t.Mapping[str, str], pip: t.Mapping[str, str]) -> dict[str, str]:
    """Return what uv needs to be told of the host's pip settings, which it does not read.

    environment: the host's own; pip: settings from pip's configuration files, by pip's option names.
    What is set for uv itself is left to it.
    """
    settings = dict(pip)
    for key in PIP_TO_UV:
        value = environment.get("PIP_" + key.upper().replace("-", "_"))
        if value:
            settings[key] = value
    result = {}
    for key, name in PIP_TO_UV.items():
        if settings.get(key) and name not in environment:
            separator = "," if key == "find-links" else " "
            result[name] = separator.join(settings[key].split())
    if "UV_INDEX" in result:
        # pip takes the best version of all its indexes, uv by default of the first that knows the name.
        result.setdefault("UV_INDEX_STRATEGY", environment.get("UV_INDEX_STRATEGY", "unsafe-best-match"))
    return result


# -- judging what was found -----------------------------------------------------------------------


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def judge_python(version: str, executable: str) -> None:
    """Refuse an interpreter that cannot run the fleet."""
    if numbers(version) < MIN_PYTHON:
        raise ReleaseError(
            f"Python {version} at {executable} is too old: Celery 5.7 and the fleet's runtime need "
            f"{MIN_PYTHON[0]}.{MIN_PYTHON[1]} or newer. Install one and name it in celery_app_python, "
            "such as /usr/bin/python3.11"
        )


def judge_installed(found: t.Mapping[str, t.Any], where: str) -> list[str]:
    """Refuse what was installed when it cannot run the fleet; return what deserves a warning."""
    if not found.get("celery"):
        raise ReleaseError(
            f"Celery is not installed in {where}: add celery[redis] to what the application requires"
        )
    celery = numbers(found["celery"])
    if not found.get("redis"):
        raise ReleaseError(
            f"{where} has Celery {found['celery']} but not the redis client "
            f"({found.get('error') or 'not found'}): "
            "require celery[redis] instead of celery"
        )
    if celery < MIN_CELERY:
        raise ReleaseError(
            f"{where} has Celery {found['celery']}: the fleet needs {MIN_CELERY[0]}.{MIN_CELERY[1]} "
            "or newer. Raise the version in what the application requires"
        )
    judge_python(found["python"], where)
    needed = max((need for known, need in CELERY_PYTHON.items() if celery >= known), default=MIN_PYTHON)
    if numbers(found["python"]) < needed:
        raise ReleaseError(
            f"Celery {found['celery']} in {where} needs Python {needed[0]}.{needed[1]}, found "
            f"{found['python']}: build with a newer Python (celery_app_python) or require an older Celery"
        )
    if celery >= FIRST_UNKNOWN_CELERY:
        return [f"Celery {found['celery']} in {where} is newer than this collection knows (5.5 to 5.7)"]
    return []


# -- releases on the host -------------------------------------------------------------------------


class Kept(t.NamedTuple):
    """A release folder as found. stamp: when it was built or activated (ISO 8601); "" when unfinished."""

    version: str
    stamp: str
    runtime: str


def plan_prune(found: t.Sequence[Kept], protected: t.Collection[str], keep: int) -> list[str]:
    """Return the releases to remove, oldest first: the newest I(keep) stay, and all that are protected."""
    finished = sorted((item for item in found if item.stamp), key=lambda item: (item.stamp, item.version))
    newest = [item.version for item in reversed(finished)]
    # What is protected counts: of three to keep, the current one is one.
    staying = [version for version in newest if version in protected]
    staying += [version for version in newest if version not in protected][: max(0, keep - len(staying))]
    unfinished = [item.version for item in found if not item.stamp]
    return sorted(version for version in unfinished if version not in protected) + [
        item.version for item in finished if item.version not in staying
    ]


def step_argv(argv: t.Sequence[str], bin_dir: str, present: t.Callable[[str], bool]) -> list[str]:
    """Return a step's command with its program found: the release's Python, or what its bin holds."""
    first = argv[0]
    if first.endswith(".py"):
        return [os.path.join(bin_dir, "python"), *argv]
    if "/" not in first and present(os.path.join(bin_dir, first)):
        return [os.path.join(bin_dir, first), *argv[1:]]
    return list(argv)


def python_wrapper(python: str) -> str:
    """Return a script that runs an interpreter under its own path, by which it finds its virtualenv.

    Through a link it would look for pyvenv.cfg beside the link.
    """
    return f'#!/bin/sh\nexec {shlex.quote(python)} "$@"\n'


def chdir(source: t.Mapping[str, t.Any], path: str) -> str:
    """The folder to run in, of a release from this source below this path."""
    if source.get("chdir"):
        return t.cast(str, source["chdir"])
    inside = source.get("subfolder", "")
    if source["type"] == "package" and "path" in source:
        inside = PACKAGE_FOLDER
    return os.path.normpath(os.path.join(path, "src", inside))
