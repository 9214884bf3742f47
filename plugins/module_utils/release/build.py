# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Build a release on the host: its code, its Python, what it requires; then look at what came out."""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import typing as t

from ansible_collections.celeryops.fleet.plugins.module_utils.commands import become
from ansible_collections.celeryops.fleet.plugins.module_utils.release import archive
from ansible_collections.celeryops.fleet.plugins.module_utils.release import rules as release
from ansible_collections.celeryops.fleet.plugins.module_utils.release.output import scrub
from ansible_collections.celeryops.fleet.plugins.module_utils.release.rules import ReleaseError
from ansible_collections.celeryops.fleet.plugins.module_utils.release.runner import Runner

_TRIED = ("python3", "python3.13", "python3.12", "python3.11", "python3.10", "/usr/bin/python3")

# What an interpreter says of itself; run with -I, it sees no module of the working folder.
_DESCRIBE = """
import json, sys
from importlib.util import find_spec
pip = bool(find_spec("ensurepip") and find_spec("venv"))
print(json.dumps({"python": "%d.%d.%d" % sys.version_info[:3], "executable": sys.executable, "venv": pip}))
"""

_INSPECT = """
import json, sys
found = {"python": "%d.%d.%d" % sys.version_info[:3], "executable": sys.executable}
try:
    import celery
    found["celery"] = celery.__version__
    import redis, kombu.transport.redis
    found["redis"] = redis.__version__
except Exception as error:
    found["error"] = "%s: %s" % (type(error).__name__, error)
try:
    from importlib import metadata
    found["packages"] = sorted({"%s==%s" % (d.metadata["Name"], d.version) for d in metadata.distributions()})
except Exception:
    found["packages"] = []
print(json.dumps(found))
"""


def find_python(wanted: str, user: str = "") -> dict[str, t.Any]:
    """Return the interpreter to build with: the one named, else the first that is new enough.

    The application's user must be able to run it: one below root's home is of no use to others.
    """
    found = []
    for name in (wanted,) if wanted else _TRIED:
        path = shutil.which(name)
        about = describe(path, user) if path else {}
        if path and about:
            about["path"] = path
            found.append(about)
            with contextlib.suppress(ReleaseError):
                release.judge_python(about["python"], path)
                return about
    if found:
        release.judge_python(found[0]["python"], found[0]["path"])
    raise ReleaseError(
        f"no Python that {user or 'this user'} can run on this host (tried {wanted or ', '.join(_TRIED)}): "
        "install Python 3.10 or newer, or name one in celery_app_python"
    )


def describe(python: str, user: str = "") -> dict[str, t.Any]:
    """Ask an interpreter for its version and path; empty when it does not answer, as a shim may."""
    try:
        change = become(user)
    except LookupError:
        change = None  # The user is made by this play; in check mode it is not there yet.
    try:
        done = subprocess.run(
            [python, "-I", "-c", _DESCRIBE],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=30,
            preexec_fn=change,
            check=False,
        )
        return t.cast("dict[str, t.Any]", json.loads(done.stdout)) if done.returncode == 0 else {}
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}


def inspect(python: str) -> dict[str, t.Any]:
    """Return the versions of Python, Celery and redis behind an interpreter, without writing a file there."""
    try:
        done = subprocess.run(
            [python, "-B", "-I", "-c", _INSPECT],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return t.cast("dict[str, t.Any]", json.loads(done.stdout))
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ReleaseError(f"the Python at {python} does not run: {error}") from None


def find_uv() -> str:
    places = os.environ.get("PATH", "") + ":/usr/local/bin:" + os.path.expanduser("~/.local/bin")
    return shutil.which("uv", path=places) or ""


def missing_prerequisites(kind: str, installer: str, python: t.Mapping[str, t.Any]) -> list[str]:
    """Return the Debian packages a build lacks on this host."""
    missing = []
    if kind == "git" and not shutil.which("git"):
        missing.append("git")
    if kind != "existing" and installer == "pip" and not python["venv"]:
        plain = os.path.basename(python["path"]) == "python3"
        version = "" if plain else ".".join(python["python"].split(".")[1:2])
        missing.append("python3-venv" if plain else f"python3.{version}-venv")
    return missing


# -- settings of the host's pip -------------------------------------------------------------------


def pip_settings() -> dict[str, str]:
    """Return what the host's pip configuration files say, the most specific last."""
    files = [
        "/etc/xdg/pip/pip.conf",
        "/etc/pip.conf",
        os.path.expanduser("~/.pip/pip.conf"),
        os.path.expanduser("~/.config/pip/pip.conf"),
        os.environ.get("PIP_CONFIG_FILE", ""),
    ]
    settings: dict[str, str] = {}
    for path in files:
        parser = configparser.RawConfigParser()
        with contextlib.suppress(configparser.Error, OSError, UnicodeError):
            parser.read(path, encoding="utf-8")
            for section in ("global", "install"):
                if parser.has_section(section):
                    settings.update(parser.items(section))
    return {key.replace("_", "-"): value for key, value in settings.items()}


def installer_environment(installer: str, index_url: str, cache_dir: str) -> dict[str, str]:
    """Return what pip or uv is told by environment, which no other user of the host can read."""
    environment = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    if installer == "uv":
        environment = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
        if not any(
            os.path.exists(os.path.expanduser(path)) for path in ("/etc/uv/uv.toml", "~/.config/uv/uv.toml")
        ):
            environment.update(release.uv_environment(os.environ, pip_settings()))
    if index_url:
        environment["UV_DEFAULT_INDEX" if installer == "uv" else "PIP_INDEX_URL"] = index_url
    if cache_dir:
        name = "UV_CACHE_DIR" if installer == "uv" else "PIP_CACHE_DIR"
        if name not in os.environ:
            environment[name] = os.path.join(cache_dir, installer)
    return environment


# -- code -----------------------------------------------------------------------------------------


def resolve_commit(repo: str, wanted: str) -> str:
    """Return the commit a branch, tag or commit of a repository stands for now."""
    if re.fullmatch(r"[0-9a-f]{40}", wanted):
        return wanted
    plain, environment = release.git_environment(repo)
    environment.setdefault("GIT_SSH_COMMAND", os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"))
    try:
        done = subprocess.run(
            ["git", "ls-remote", "--", plain, wanted, f"refs/tags/{wanted}^{{}}"],
            capture_output=True,
            text=True,
            env=dict(os.environ, **environment),
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ReleaseError(
            f"git got no answer from {plain} within 120 s: check the network and the URL"
        ) from None
    if done.returncode:
        raise ReleaseError(
            f"git cannot read {plain}: {scrub(done.stderr, [repo]).strip()}\n"
            "Check celery_app_source.repo, and that this host may read it"
        )
    commit = release.pick_commit(done.stdout, wanted)
    if not commit:
        raise ReleaseError(
            f"{plain} has no branch or tag {wanted!r}: name one it has, or a commit with all its 40 digits"
        )
    return commit


def clone(runner: Runner, repo: str, commit: str, target: str) -> None:
    """Fetch one commit, without its history if the server can; leave no .git: it may hold credentials."""
    plain, environment = release.git_environment(repo)
    environment.setdefault("GIT_SSH_COMMAND", os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"))

    def git(*arguments: str, tolerate: bool = False) -> str:
        return runner.run(
            ["git", "-c", "advice.detachedHead=false", *arguments],
            f"fetching {plain}",
            cwd=target,
            extra=environment,
            tolerate=tolerate,
        )

    git("init", "--quiet", ".")
    git("fetch", "--quiet", "--depth", "1", "--", plain, commit, tolerate=True)
    if (
        git("cat-file", "-t", commit, tolerate=True).strip() != "commit"
    ):  # A server that hands out branches only.
        git("fetch", "--quiet", "--tags", "--", plain, "+refs/*:refs/origin/*")
    git("checkout", "--quiet", commit)
    if os.path.exists(os.path.join(target, ".gitmodules")):
        git("submodule", "--quiet", "update", "--init", "--recursive", "--depth", "1")
    for folder, folders, names in os.walk(target):
        if ".git" in folders:
            shutil.rmtree(os.path.join(folder, ".git"))
            folders.remove(".git")
        if ".git" in names:
            os.unlink(os.path.join(folder, ".git"))


# -- the whole build ------------------------------------------------------------------------------


class Plan(t.NamedTuple):
    """All that decides a build."""

    source: t.Mapping[str, t.Any]
    path: str  # folder of the release
    archive: str  # what the controller sent, "" when nothing
    commit: str
    python: t.Mapping[str, t.Any]  # from find_python; empty for an existing prefix
    uv: str  # path of uv; "" builds with pip
    packages: t.Sequence[str]


def build(plan: Plan, runner: Runner) -> dict[str, t.Any]:
    """Fill an empty release folder; return what is installed in it."""
    code = os.path.join(plan.path, "src")
    os.mkdir(code, 0o755)
    if plan.archive:
        archive.extract(plan.archive, code)
    elif plan.source["type"] == "git":
        clone(runner, plan.source["repo"], plan.commit, code)
    home = programs_dir(plan.source, plan.path)
    if plan.source["type"] != "existing":
        _make_virtualenv(plan, runner)
        _install(plan, runner, code)
    python = prefix_python(home)
    found = inspect(python)
    _link_programs(plan.path, home, python)
    if "path" in plan.source or plan.source["type"] == "git":
        # The service user may not write here, so Python could not keep its bytecode later.
        runner.run([python, "-m", "compileall", "-q", code], "compiling the code", tolerate=True)
    return found


def programs_dir(source: t.Mapping[str, t.Any], path: str) -> str:
    """Return where the programs of the release's packages are, for a release at this path."""
    prefix = source["prefix"] if source["type"] == "existing" else os.path.join(path, "venv")
    return os.path.join(prefix, "bin")


def prefix_python(home: str) -> str:
    for name in ("python", "python3"):
        if os.access(os.path.join(home, name), os.X_OK):
            return os.path.join(home, name)
    raise ReleaseError(f"{home} holds no python: name a prefix whose bin folder has python and celery")


def _make_virtualenv(plan: Plan, runner: Runner) -> None:
    target, python = os.path.join(plan.path, "venv"), plan.python["executable"]
    command = [plan.uv, "venv", "--python", python, target] if plan.uv else [python, "-m", "venv", target]
    runner.run(command, "making the virtualenv", cwd=plan.path)


def _install(plan: Plan, runner: Runner, code: str) -> None:
    python = os.path.join(plan.path, "venv", "bin", "python")
    if plan.uv:
        command = [plan.uv, "pip", "install", "--python", python, "--compile-bytecode"]
    else:
        command = [python, "-m", "pip", "install"]

    def install(arguments: t.Sequence[str], what: str) -> None:
        runner.run([*command, *arguments], f"installing {what}", cwd=code)

    files, projects = _requirements(plan.source, code)
    hashed = any(_has_hashes(code, name) for name in files)
    if files:
        arguments = ["--require-hashes"] if hashed else []
        for name in files:
            arguments += ["-r", name]
        install(arguments, ", ".join(files))
    for name in projects:
        # A folder has no hash; all it needs came from the hashed files.
        install(
            [*(["--no-deps"] if hashed else []), "./" + name if name != "." else "."],
            "the project" if name == "." else name,
        )
    if plan.packages:
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as stream:
            stream.write("\n".join(plan.packages) + "\n")
            stream.flush()
            install(["-r", stream.name], "celery_app_packages")


def _has_hashes(code: str, name: str) -> bool:
    """Tell whether a requirements file, or one that it includes, pins hashes."""
    try:
        with open(os.path.join(code, name), encoding="utf-8") as stream:
            text = stream.read()
    except OSError:
        return False
    folder = os.path.dirname(name)
    return release.wants_hashes(text) or any(
        _has_hashes(code, os.path.join(folder, other))
        for other in release.included_files(text)
        if os.path.normpath(os.path.join(folder, other)) != os.path.normpath(name)
    )


def _requirements(source: t.Mapping[str, t.Any], code: str) -> tuple[list[str], list[str]]:
    """Return the requirement files and the projects to install, as paths inside the code."""
    if source["type"] == "package":
        files = [release.INSTALL_FILE] if os.path.exists(os.path.join(code, release.INSTALL_FILE)) else []
        return files, sorted(name for name in os.listdir(code) if name.endswith(".whl"))
    wanted = release.find_requirements(
        lambda name: os.path.isfile(os.path.join(code, name)),
        source.get("requirements") or (),
        source.get("subfolder", ""),
    )
    projects = [name for name in wanted if os.path.isdir(os.path.join(code, name))]
    return [name for name in wanted if name not in projects], projects


def _link_programs(path: str, home: str, python: str) -> None:
    folder = os.path.join(path, "bin")
    os.mkdir(folder, 0o755)
    os.symlink(os.path.join(home, "celery"), os.path.join(folder, "celery"))
    wrapper = os.path.join(folder, "python")
    with open(wrapper, "w", encoding="utf-8") as stream:
        stream.write(release.python_wrapper(python))
    os.chmod(wrapper, 0o755)


def is_healthy(path: str, python_version: str) -> bool:
    """Tell whether a finished release still runs: an upgrade of the system can take its Python away."""
    python = os.path.join(path, "bin", "python")
    if not os.path.exists(os.path.join(path, "bin", "celery")):
        return False
    found = describe(python)
    return bool(found) and release.numbers(found["python"]) == release.numbers(python_version)
