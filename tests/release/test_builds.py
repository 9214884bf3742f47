"""Releases from their sources to the active one, with what goes wrong on the way."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import celery
import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.files import pack
from ansible_collections.celeryops.fleet.plugins.module_utils.release import archive
from ansible_collections.celeryops.fleet.plugins.module_utils.release.runtime import (
    runtime_files,
    runtime_hash,
)

from tests.support.pythons import interpreters
from tests.support.redis import RedisServer
from tests.support.wheel import lending_wheel


def tree(root: Path) -> dict[str, str]:
    """Every file and link below a folder, with its content and mode."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else ""
        if path.is_file() and not path.is_symlink():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path)] = f"{status.st_mode:o} {content}"
    return found


# What Ansible adds to an answer.
HISTORY = {"invocation", "warnings", "diff"}


def test_a_folder_becomes_the_active_release_once(host: Any) -> None:
    secret = {"secrets": {"TOKEN": "never-shown-anywhere"}}
    none, predicted, built, active, again, found = host.play(
        {"state": "found"},
        {"check": True, **secret},
        {"state": "built", **secret},
        secret,
        secret,
        {"state": "found"},
    )
    assert none["failed"]
    assert "no release is active" in none["msg"]
    # Who does not build it must describe it with the same words, or processes would be restarted.
    assert {key: found[key] for key in again.keys() & found.keys() - HISTORY} == {
        key: again[key] for key in again.keys() & found.keys() - HISTORY
    }
    assert again.keys() - found.keys() <= {"warnings", "check"}
    assert predicted["changed"]
    assert predicted["activated"]
    version = predicted["version"]
    assert [answer["version"] for answer in (built, active, again)] == [version] * 3
    for key in ("path", "bin_dir", "python", "chdir", "runtime_path"):
        assert predicted[key] == again[key]
    assert built["built"]
    assert built["pending"] == ["activate"]
    assert built["check"]["tasks"] == ["tiny.app.add"]
    assert active["activated"]
    assert not active["built"]
    assert not again["changed"]
    assert again["celery_version"] == "5.7.0"
    assert host.current == version
    assert "never-shown-anywhere" not in host.output

    record = json.loads((host.opt / "releases" / version / "release.json").read_text())
    assert record["complete"]
    assert record["installer"] == ("uv" if host.uv else "pip")
    # The celery of the release knows the runtime as a plugin, by its path alone.
    done = subprocess.run(
        [f"{again['bin_dir']}/celery", "-A", "tiny.app", "fleet", "--help"],
        cwd=again["chdir"],
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": again["runtime_path"]},
        capture_output=True,
        check=False,
    )
    assert "status" in done.stdout, done.stderr
    # Whoever runs it cannot keep bytecode, so it is there already, and everything can be read.
    assert list((Path(again["chdir"]) / "tiny/__pycache__").glob("app.*.pyc"))
    assert list(Path(again["runtime_path"]).rglob("*.pyc"))
    shut = [path.name for path in Path(again["path"]).rglob("*") if not path.lstat().st_mode & 0o004]
    assert shut == ["release.json"]


def test_pip_builds_it_where_there_is_no_uv(host: Any) -> None:
    if not host.uv:
        pytest.skip("all tests build with pip here")
    host.write("requirements.txt", f"{lending_wheel(host.folder)}\n")
    (active,) = host.play({"installer": "pip"})
    assert active["activated"], active
    assert active["celery_version"] == celery.__version__
    assert active["check"]["tasks"] == ["tiny.app.add"]
    assert json.loads((Path(active["path"]) / "release.json").read_text())["installer"] == "pip"


def test_what_cannot_become_the_release_leaves_the_active_one(host: Any) -> None:
    app = host.app / "tiny/app.py"
    host.write("requirements.txt", f"{lending_wheel(host.folder)}\n")
    good, unimportable, unbuildable, missing, renamed = host.play(
        {"version": "one"},
        {"run": f"echo 'import no_such_module' >> {app}"},
        {"run": f"sed -i '$d' {app}; echo 'celery[redis]==99.0' > {host.app}/requirements.txt"},
        {"source": {"type": "path", "path": str(host.app / "nowhere")}},
        {"version": "one"},
    )
    assert good["activated"]
    assert unimportable["failed"]
    assert "ModuleNotFoundError: No module named 'no_such_module'" in unimportable["msg"]
    assert "tiny/app.py" in unimportable["msg"]
    assert "click" not in unimportable["msg"]
    assert unbuildable["failed"]
    assert "99.0" in unbuildable["msg"]
    assert str(host.opt / "logs") in unbuildable["msg"]
    assert any("99.0" in log.read_text() for log in host.opt.glob("logs/*"))
    assert "does not exist on the controller" in missing["msg"]
    assert "was built from other contents" in renamed["msg"]
    assert host.releases == ["one"]
    assert host.current == "one"


def test_a_release_whose_python_has_gone_is_built_aside_and_takes_no_step_again(host: Any) -> None:
    # First on PATH, so that it can be taken away; the next one is that of the tests.
    python = host.folder / "bin/python3"
    python.parent.mkdir()
    python.symlink_to(interpreters()[0])
    host.environment["PATH"] = f"{python.parent}:{host.environment['PATH']}"
    host.write("requirements.txt", f"{lending_wheel(host.folder)}\n")
    told = host.folder / "told"
    step = {"name": "tell", "argv": ["sh", "-c", f"echo done >> {told}"]}
    with RedisServer(host.folder / "redis") as server:  # where it is noted that a step is done
        given = {"steps": [step], "version": "one", "environment": {"CELERY_BROKER_URL": server.url}}
        built, again, moved, settled = host.play(given, given, {"run": f"rm {python}", **given}, given)
    assert built.get("activated"), built
    assert not again["changed"]
    assert moved.get("built") and moved["activated"], moved
    assert "no longer runs on this host" in host.output
    assert not settled["changed"]
    assert (host.current, host.releases) == ("one-2", ["one", "one-2"])
    assert told.read_text() == "done\n"


def test_old_releases_go_but_not_what_runs(host: Any) -> None:
    # A prefix that is there already needs no build: this Python has a Celery of its own.
    source = {"type": "existing", "prefix": sys.prefix, "chdir": str(host.app)}

    def named(version: str) -> dict[str, Any]:
        return {"source": source, "version": version, "keep": 2}

    # What a process shows whose title has replaced its command line.
    sleeper = subprocess.Popen(
        ["sleep", "600"], env={"PYTHONPATH": f"{host.opt}/runtime/0", "CELERYOPS_RELEASE": "a"}
    )
    stale = host.opt / "runtime/0123456789ab"
    absent = {"state": "absent"}
    try:
        _, _, third, fourth, again, refused, freed, back, swept, gone = host.play(
            named("a"),
            named("b"),
            named("c"),
            named("d"),
            named("d"),
            absent,
            {"run": f"kill {sleeper.pid}", **named("d")},
            named("c"),
            {"run": f"mkdir {stale}", **named("d")},
            {"run": f"test ! -e {stale}", **absent},
        )
    finally:
        sleeper.kill()
        sleeper.wait()
    assert third["pruned"] == []
    assert fourth["pruned"] == ["b"]
    assert not again["changed"]
    assert f"running processes {sleeper.pid}" in refused["msg"]
    assert freed["pruned"] == ["a"]
    assert back["activated"]
    assert not back["built"]
    assert swept["activated"]
    assert gone["changed"]
    assert list(host.opt.iterdir()) == []


def test_other_sources(host: Any) -> None:
    repo = host.folder / "repo"
    host.write("requirements.txt", f"{lending_wheel(host.folder)}\n")
    host.app.rename(repo)
    commit = [
        "git",
        "-C",
        str(repo),
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.com",
        "commit",
        "-qm",
        "x",
    ]
    for command in (
        ["git", "init", "-q", str(repo)],
        ["git", "-C", str(repo), "add", "."],
        commit,
        ["git", "-C", str(repo), "tag", "v1"],
        [*commit, "--allow-empty"],
    ):
        subprocess.run(command, check=True)
    head = subprocess.check_output(["git", "-C", str(repo), "rev-parse", "v1"], text=True).strip()

    source = {"type": "git", "repo": f"file://{repo}", "version": "v1"}
    tagged, unknown = host.play({"source": source}, {"source": {**source, "version": "v2"}})
    assert tagged["version"] == head[:12]
    assert not (Path(tagged["chdir"]) / ".git").exists()
    assert "no branch or tag 'v2'" in unknown["msg"]

    prefix = Path(tagged["path"]) / "venv"
    host.write("requirements/base.txt", f"{lending_wheel(host.folder)}\n")
    host.write("prod.txt", "-r requirements/base.txt\n")
    existing = {"source": {"type": "existing", "prefix": str(prefix), "chdir": str(repo)}}
    package = {"type": "package", "requirements_file": str(host.app / "prod.txt"), "chdir": str(repo)}
    before = tree(prefix)
    taken, same, installed, again, unhashed = host.play(
        existing,
        existing,
        {"source": package},
        {"source": package},
        {"run": f"echo 'redis==6.4.0 --hash=sha256:{'0' * 64}' > {host.app}/prod.txt", "source": package},
    )
    assert tree(prefix) == before
    assert taken["activated"]
    assert not same["changed"]
    assert taken["chdir"] == str(repo)
    shown = subprocess.check_output([taken["python"], "-c", "import sys; print(sys.prefix)"], text=True)
    assert shown.strip() == str(prefix)
    assert installed.get("celery_version") == celery.__version__, installed
    assert not again["changed"]
    assert "hash" in unhashed["msg"].lower()
    assert host.current == installed["version"]


BUILD = """
import json, sys
from ansible_collections.celeryops.fleet.plugins.module_utils.release.deployment import deploy
deploy(json.load(open(sys.argv[1])), False, print)
"""


def request(host: Any) -> dict[str, Any]:
    """What the action would send on its second turn."""
    entries = archive.collect(str(host.app))
    runtime = runtime_files(str(host.root / "runtime"))
    files = [archive.text_entry(name, content) for name, content in sorted(runtime.items())]
    for name, content in (("app", entries), ("runtime", files)):
        with open(host.folder / f"{name}.tar.gz", "wb") as stream:
            archive.write_tar(content, stream)
    shipment = {
        "runtime_hash": runtime_hash(runtime),
        "ships": True,
        "digest": archive.digest(entries, "path", ""),
        "archive": f"{host.folder}/app.tar.gz",
        "runtime_archive": f"{host.folder}/runtime.tar.gz",
    }
    defaults = {
        "state": "active",
        "version": "",
        "fleet": "tiny",
        "user": "",
        "group": "",
        "python": "",
        "packages": [],
        "index_url": None,
        "build_timeout": "10m",
        "steps": [],
        "keep": 3,
        "keep_runtime": False,
        "environment_file": None,
    }
    return {**defaults, **host.arguments(), "shipment": pack([json.dumps(shipment)])}


def test_an_interrupted_build_is_built_anew(host: Any) -> None:
    # A package that is built for as long as the file `slow` is there.
    host.write("slow", "")
    host.write(
        "pyproject.toml",
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "tiny"\nversion = "1"\n',
    )
    host.write("backend.py", "import time\n\ndef build_wheel(*_args):\n    time.sleep(600)\n")
    host.write("requirements.txt", "./\n")
    (host.folder / "request.json").write_text(json.dumps(request(host)))
    child = subprocess.Popen(
        [sys.executable, "-c", BUILD, str(host.folder / "request.json")],
        env=dict(host.environment, PYTHONPATH=str(host.root / ".collections")),
    )
    deadline = time.monotonic() + 60
    while not (list(host.opt.glob("logs/*")) and "install" in next(host.opt.glob("logs/*")).read_text()):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    (left,) = host.releases
    assert not (host.opt / "releases" / left / "release.json").exists()
    assert (host.opt / "releases" / left / "venv").exists()
    assert host.current == ""

    # The same version once more: as if the interruption had not been the source's own doing.
    host.write("requirements.txt", f"{lending_wheel(host.folder)}\n")
    (healed,) = host.play({"version": left})
    assert healed["activated"], healed
    assert host.releases == [left]
    assert (host.opt / "releases" / left / "release.json").exists()
