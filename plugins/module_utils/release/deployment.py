# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One request for a release on a host: from what stands there to what is wanted, or only predicted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import typing as t

from ansible_collections.celeryops.fleet.plugins.module_utils import room
from ansible_collections.celeryops.fleet.plugins.module_utils.files import unpack
from ansible_collections.celeryops.fleet.plugins.module_utils.release import build as release_build
from ansible_collections.celeryops.fleet.plugins.module_utils.release import rules as release
from ansible_collections.celeryops.fleet.plugins.module_utils.release import store as release_store
from ansible_collections.celeryops.fleet.plugins.module_utils.release.application import Application
from ansible_collections.celeryops.fleet.plugins.module_utils.release.removal import remove_release
from ansible_collections.celeryops.fleet.plugins.module_utils.release.rules import ReleaseError
from ansible_collections.celeryops.fleet.plugins.module_utils.release.runner import Log, Runner
from ansible_collections.celeryops.fleet.plugins.module_utils.units import UnitError, parse_seconds


class NeedsError(Exception):
    """The host lacks what only the controller can bring."""

    def __init__(self, things: t.Sequence[str], packages: t.Sequence[str]) -> None:
        super().__init__()
        self.things = list(things)
        self.packages = list(packages)


class Deployment:
    """One request, from what is there to what is wanted."""

    def __init__(self, params: t.Mapping[str, t.Any], shipment: dict[str, t.Any], check: bool) -> None:
        self.params = params
        self.ship = shipment
        self.check = check
        self.layout = release_store.Layout(params["opt_dir"])
        self.source = release.check_source(params["source"] or {})
        self.options = release.build_options(params["python"], params["packages"], self.source)
        self.timeout = _seconds(params["build_timeout"], "build_timeout")
        self.warnings: list[str] = []
        self.python: dict[str, t.Any] = {}
        self.commit = ""
        self.uv = ""
        self.built = False
        self.activated = False
        self.steps_run: list[str] = []
        self.steps_output: dict[str, str] = {}
        self.pruned: list[str] = []
        self.runtime_fresh = False
        self.report: dict[str, t.Any] = {}
        self.runtime_hash = shipment["runtime_hash"]
        if params["keep"] < 1:
            raise ReleaseError(
                f"keep is {params['keep']}: at least the active release stays, so give 1 or more"
            )
        if self.source["type"] == "existing" and params["packages"]:
            raise ReleaseError(
                "packages cannot be added to an existing prefix, which is left as it is: install them "
                "there, or let the role build a release from another source"
            )

    # -- what is there ----------------------------------------------------------------------------

    def look(self) -> None:
        """Find out the version and what stands under it. Writes nothing."""
        self.version, self.digest = self._identify()
        self.current = release_store.current_version(self.layout)
        self._find_build()
        self.path = self.layout.release(self.version)
        built_with = self.record.get("runtime_hash", "")
        if self.params["keep_runtime"] and built_with and release_store.has_runtime(self.layout, built_with):
            self.runtime_hash = built_with
        self.runtime_there = release_store.has_runtime(self.layout, self.runtime_hash)
        self.before = {
            "current": self.current,
            "runtime": self.runtime_hash if self.runtime_there else "",
            "releases": " ".join(
                sorted(item.version for item in release_store.releases(self.layout) if item.stamp)
            ),
        }

    def _find_build(self) -> None:
        """Find the build of the version that runs on this host, or the name of the one to make.

        An upgrade of the system can take the Python of a release away. What runs still uses its files, and
        its successor may not build: so the release is not built over, but beside, as VERSION-2.
        """
        self.wanted = wanted = self.version
        first = release_store.read_record(self.layout.release(wanted))
        if first and self.digest and first.get("digest") != self.digest:
            raise ReleaseError(
                f"release {wanted} was built from other contents (digest "
                f"{first.get('digest', '')[:12]}, now {self.digest[:12]}): give the new contents "
                "another version (celery_app_version), or remove that setting and let the contents name it"
            )
        finished = {item.version for item in release_store.releases(self.layout) if item.stamp}
        self.former: dict[str, t.Any] = {}
        for version in release.builds_of(wanted, finished, self.current):
            record = release_store.read_record(self.layout.release(version))
            is_build = record.get("build_of", record["version"]) == wanted
            if not is_build or (self.digest and record["digest"] != self.digest):
                continue  # Another version, by somebody who counts too.
            if release_build.is_healthy(self.layout.release(version), record["python_version"]):
                self.version, self.record = version, record
                return
            self.former = self.former or record
        self.version, self.record = release.next_build(wanted, finished), {}
        if self.former:
            self.warnings.append(
                f"release {self.former['version']} no longer runs on this host: its Python "
                f"{self.former['python_version']} ({self.former['python']}) is gone or another. It is built "
                f"aside as {self.version}, and what runs is replaced once that imports"
            )

    def _identify(self) -> tuple[str, str]:
        """Return the version and the digest of what it stands for ("" when it cannot be known yet)."""
        kind, wanted = self.source["type"], self.params["version"]
        if wanted:
            release.check_version(wanted)
        if kind in ("path", "package"):
            digest = self.ship["digest"]
            return wanted or release.version_of(digest), digest
        if kind == "git":
            if self.check and release_build.missing_prerequisites("git", "uv", {}):
                return wanted or release.version_of(release.digest_of(self.source)), ""
            self.commit = release_build.resolve_commit(self.source["repo"], self.source["version"])
            version = release.git_version(self.commit, self.options)
            return wanted or version, release.digest_of("git", self.commit, self.options)
        prefix = self.source["prefix"]
        if not os.access(os.path.join(prefix, "bin", "celery"), os.X_OK):
            raise ReleaseError(
                f"{prefix}/bin/celery does not exist or cannot be run: source.prefix names the folder above "
                "the bin folder of a virtualenv or conda environment in which celery[redis] is installed"
            )
        found = release_build.inspect(release_build.prefix_python(os.path.join(prefix, "bin")))
        self.warnings += release.judge_installed(found, prefix)
        digest = release.digest_of("existing", prefix, found["python"], found["packages"])
        return wanted or release.version_of(digest), digest

    def require(self) -> None:
        """Choose the tools of a build; ask the controller for what is missing here."""
        kind, things, packages = self.source["type"], [], []
        if not self.record:
            if kind != "existing":
                self.python = release_build.find_python(self.params["python"], self.params["user"])
                self._choose_installer()
                packages = release_build.missing_prerequisites(kind, "uv" if self.uv else "pip", self.python)
            if self.ship.get("ships") and not self.ship.get("archive"):
                things.append("source")
        if not self.runtime_there and not self.ship.get("runtime_archive"):
            things.append("runtime")
        if packages and self.ship.get("second"):
            raise ReleaseError(
                f"the build lacks {', '.join(packages)} on this host: install it (apt-get install "
                f"{' '.join(packages)}), put uv there, or let the role do it as root "
                "(celery_app_prerequisites)"
            )
        if (things or packages) and not self.check:
            raise NeedsError(things, packages)

    def _choose_installer(self) -> None:
        wanted = self.params["installer"]
        self.uv = release_build.find_uv() if wanted != "pip" else ""
        if wanted == "uv" and not self.uv:
            raise ReleaseError(
                "installer is uv, which this host does not have on its PATH: install it, or use auto"
            )

    # -- what is wanted ---------------------------------------------------------------------------

    def reach(self, state: str) -> None:
        if not self.record:
            self.built = True
            if not self.check:
                self._build()
        if not self.runtime_there:
            self.runtime_fresh = True
            if not self.check:
                release_store.install_runtime(self.layout, self.runtime_hash, self.ship["runtime_archive"])
        if (
            self.params["app"]
            and not self.check
            and self.record.get("checked") != self.application.fingerprint
        ):
            self._prepare_runtime()
            try:
                self.report = self.application.check()
            except ReleaseError:
                if self.built:
                    shutil.rmtree(self.path)
                raise
            # What the overlay sets and why fills screens; `celery fleet check` shows it.
            self.report.pop("settings", None)
            self.warnings += self.report.get("warnings", [])
            self._note(checked=self.application.fingerprint, runtime_hash=self.runtime_hash)
        if state == "built":
            return
        for step in self._open_steps():
            self.steps_run.append(step["name"])
            if not self.check:
                answer = self.application.once(
                    step, _seconds(step["timeout"], f"timeout of step {step['name']}")
                )
                self._note(
                    steps={
                        **self.record.get("steps", {}),
                        step["name"]: {
                            "host": answer.get("host"),
                            "finished": answer.get("finished"),
                        },
                    }
                )
                self.steps_output[step["name"]] = answer["output"]
        if state == "prepared":
            return
        if self.current != self.version:
            self.activated = True
            if not self.check:
                self._note(activated_at=release_store.now(), previous=self.current)
                release_store.activate(self.layout, self.version)
        self.pruned = self._prunable(self.version)
        if not self.check:
            self._prune()

    def _build(self) -> None:
        gid = release_store.group_id(self.params["group"])
        if os.path.lexists(self.path):
            # Without its mark it was left by a run that was ended: the lock says that nobody builds.
            shutil.rmtree(self.path)
        release_store.make_folder(self.layout.releases, 0o755)
        release_store.make_folder(self.path, 0o750, gid)
        log = Log(self.layout.log(self.version))
        log.say(f"# release {self.version}, {release_store.now()}, source {self.source['type']}")
        runner = Runner(
            log,
            self.timeout,
            self.ship["lock"],
            release_build.installer_environment(
                "uv" if self.uv else "pip",
                self.params["index_url"] or "",
                self.params["cache_dir"] or "",
            ),
            [text for text in (self.params["index_url"], self.source.get("repo")) if text],
        )
        try:
            found = release_build.build(
                release_build.Plan(
                    self.source,
                    self.path,
                    self.ship.get("archive", ""),
                    self.commit,
                    self.python,
                    self.uv,
                    self.params["packages"],
                ),
                runner,
            )
            where = self.source.get("prefix") or f"release {self.version}"
            self.warnings += release.judge_installed(found, where)
            release_store.make_readable(self.path)
        except BaseException as error:
            written = [self.path, tempfile.gettempdir(), self.params["cache_dir"] or ""]
            shortage = room.shortage(error, written)
            shutil.rmtree(self.path, ignore_errors=True)
            if shortage:
                raise ReleaseError(
                    f"{error}\n{shortage}. Make room there and deploy again: what was built so far has been "
                    f"removed, and {self.current or 'no release'} is active as before"
                ) from error
            raise
        shown = dict(self.source)
        installer = "" if shown["type"] == "existing" else "uv" if self.uv else "pip"
        if "repo" in shown:
            shown["repo"] = release.hide_credentials(shown["repo"])[0]
        self.record = {
            "complete": True,
            "fleet": self.params["fleet"],
            "version": self.version,
            "build_of": self.wanted,
            "digest": self.digest,
            "source": shown,
            "commit": self.commit,
            "built_at": release_store.now(),
            "installer": installer,
            "python": found["executable"],
            "python_version": found["python"],
            "celery_version": found["celery"],
            "redis_client": found["redis"],
            "packages": found["packages"],
            "runtime_hash": self.runtime_hash,
            # The same contents: what was done once for them is done.
            "steps": self.former.get("steps", {}),
        }
        self._note()

    def _note(self, **facts: t.Any) -> None:
        self.record.update(facts)
        release_store.write_record(self.path, self.record, release_store.group_id(self.params["group"]))

    def _prepare_runtime(self) -> None:
        """Compile the runtime for this Python; the service user may not write there."""
        subprocess.run(
            [os.path.join(self.path, "bin", "python"), "-m", "compileall", "-q", self.runtime_path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )

    @property
    def runtime_path(self) -> str:
        return self.layout.runtime(self.runtime_hash)

    @property
    def chdir(self) -> str:
        return release.chdir(self.source, self.path)

    @property
    def programs_dir(self) -> str:
        return release_build.programs_dir(self.source, self.path)

    @property
    def application(self) -> Application:
        return Application(
            self.params["app"],
            self.path,
            self.chdir,
            self.runtime_path,
            self.programs_dir,
            self.params["user"],
            self.ship.get("environment", {}),
            self.ship.get("secrets", {}),
            self.ship.get("settings", {}),
        )

    def _open_steps(self) -> list[dict[str, t.Any]]:
        done = self.record.get("steps", {}) or self.former.get("steps", {})
        return [step for step in self.params["steps"] if step["name"] not in done]

    def _prunable(self, current: str) -> list[str]:
        found = [
            item for item in release_store.releases(self.layout) if item.version != self.version or item.stamp
        ]
        used = release_store.users(self.layout)
        protected = {item.version for item in found if self.layout.release(item.version) in used}
        # The release that was replaced runs until the workers are restarted, and is the one to go back to.
        protected |= {current, self.current, self.version, self.record.get("previous", "")}
        return release.plan_prune(found, protected, self.params["keep"])

    def _prune(self) -> None:
        for version in self.pruned:
            remove_release(self.layout, version)
        used = release_store.users(self.layout)
        kept = [item.runtime for item in release_store.releases(self.layout)]
        for name in release_store.stale_runtimes(
            self.layout, self.runtime_hash, kept, used, self.params["environment_file"] or ""
        ):
            shutil.rmtree(self.layout.runtime(name))

    # -- the answer -------------------------------------------------------------------------------

    def result(self) -> dict[str, t.Any]:
        bin_dir = os.path.join(self.path, "bin")
        current = self.version if self.activated else self.current
        after = {
            "current": current,
            "runtime": self.runtime_hash,
            "releases": " ".join(sorted({*self.before["releases"].split(), self.version} - set(self.pruned))),
        }
        pending = [
            f"step {step['name']}" for step in self._open_steps() if step["name"] not in self.steps_run
        ]
        pending += ["activate"] if current != self.version else []
        pending += [f"remove {version}" for version in self._prunable(current) if version not in self.pruned]
        if self.steps_run:
            self.before["steps"], after["steps"] = "", " ".join(self.steps_run)
        answer = {
            "changed": bool(
                self.built or self.activated or self.runtime_fresh or self.steps_run or self.pruned
            ),
            "version": self.version,
            "path": self.path,
            "bin_dir": bin_dir,
            "python": os.path.join(bin_dir, "python"),
            "programs_dir": self.programs_dir,
            "chdir": self.chdir,
            "celery_version": self.record.get("celery_version", ""),
            "python_version": self.record.get("python_version", ""),
            "runtime_path": self.runtime_path,
            "runtime_hash": self.runtime_hash,
            "current": self.current,
            "built": self.built,
            "activated": self.activated,
            "steps_run": self.steps_run,
            "pruned": self.pruned,
            "pending": pending,
            "log": self.layout.log(self.version),
        }
        if self.report:
            answer["check"] = self.report
        if self.steps_output:
            answer["steps_output"] = self.steps_output
        if self.before != after:
            answer["diff"] = {"before": _as_lines(self.before), "after": _as_lines(after)}
        return answer


def _as_lines(facts: t.Mapping[str, str]) -> str:
    return "".join(f"{key}: {value}".rstrip() + "\n" for key, value in sorted(facts.items()))


def _seconds(text: str, where: str) -> float:
    try:
        return parse_seconds(text)
    except UnitError as error:
        raise ReleaseError(f"{where} {text!r} {error}") from None


def deploy(params: t.Mapping[str, t.Any], check: bool, warn: t.Callable[[str], t.Any]) -> dict[str, t.Any]:
    if not params["shipment"]:
        raise ReleaseError(
            "the controller's part of the request is missing: run this module through its action"
        )
    shipment: dict[str, t.Any] = json.loads(unpack(params["shipment"])[0])
    os.umask(0o022)
    work = Deployment(params, shipment, check)
    try:
        if check:
            work.look()
            work.require()
            work.reach(params["state"])
            return work.result()
        release_store.make_folder(work.layout.opt, 0o755)
        with release_store.locked(work.layout) as lock:
            work.ship["lock"] = lock
            work.look()
            try:
                work.require()
            except NeedsError as needs:
                return {"changed": False, "needs": needs.things, "needs_packages": needs.packages}
            work.reach(params["state"])
            return work.result()
    finally:
        for text in work.warnings:
            warn(text)
