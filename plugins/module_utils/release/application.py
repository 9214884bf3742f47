# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run the application of a release as its workers will: their user, their folder, their environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import typing as t

from ansible_collections.celeryops.fleet.plugins.module_utils.commands import become, clean_environment
from ansible_collections.celeryops.fleet.plugins.module_utils.release.output import own_traceback, scrub, tail
from ansible_collections.celeryops.fleet.plugins.module_utils.release.rules import (
    ReleaseError,
    digest_of,
    step_argv,
)

# A large Django project takes tens of seconds to import on a busy host.
IMPORT_SECONDS = 300
# Above a step's own limit, so that the runtime can still say who holds it up.
_ANSWER_SECONDS = 60


class Application:
    """One application in one release.

    path: folder of the release. chdir: folder it runs in. runtime: folder of the runtime.
    programs: folder of the programs that its packages brought along, such as C(flask).
    environment, secrets: its environment; values of secrets are masked in whatever is shown.
    settings: what the fleet's settings file will hold.
    """

    def __init__(
        self,
        name: str,
        path: str,
        chdir: str,
        runtime: str,
        programs: str,
        user: str,
        environment: t.Mapping[str, t.Any],
        secrets: t.Mapping[str, t.Any],
        settings: t.Mapping[str, t.Any],
    ) -> None:
        self.name = name
        self.path = path
        self.chdir = chdir
        self._programs = programs
        self.user = user
        self.settings = dict(settings)
        self._secrets = [str(value) for value in secrets.values()]
        self.environment = {key: str(value) for key, value in {**environment, **secrets}.items()}
        given = self.environment.get("PYTHONPATH", "")
        self.environment.update(
            PYTHONPATH=runtime if not given or runtime in given.split(":") else runtime + ":" + given,
            CELERYOPS_RELEASE=os.path.basename(path),
        )
        self.environment.setdefault("CELERY_LOADER", "celeryops.loader:FleetLoader")

    @property
    def fingerprint(self) -> str:
        """What the answer of the import check depends on."""
        return digest_of(self.name, self.chdir, self.user, self.environment, self.settings)[:16]

    def check(self) -> dict[str, t.Any]:
        """Import the application; return what it says of itself, or raise with its own traceback."""
        done = self._run([self._python, "-m", "celeryops", "check", self.name, "--json"], IMPORT_SECONDS)
        try:
            report = json.loads(done.stdout)
        except ValueError:
            report = {}
        version = os.path.basename(self.path)
        if done.returncode == 0 and report.get("ok"):
            self._check_broker()
            return t.cast("dict[str, t.Any]", report)
        if report.get("errors"):
            raise ReleaseError(
                f"the application {self.name} of release {version} cannot run in this fleet:\n"
                + "\n".join(f"- {self._scrub(text)}" for text in report["errors"])
            )
        raise ReleaseError(
            f"the application {self.name} of release {version} does not import. Its own words:\n"
            f"{tail(self._scrub(own_traceback(done.stderr or done.stdout))) or 'nothing'}\n"
            f"It ran in {self.chdir} as user {self.user or 'of this play'} with {self._python}. Correct "
            "the code or its requirements, celery_app (the import path), source.subfolder (where it is "
            "imported from), or celery_environment (its variables). The active release was left as it is."
        )

    def _check_broker(self) -> None:
        """Refuse a Redis that cannot be the broker, or would lose tasks: our roles may not look after it."""
        if not self.environment.get("CELERY_BROKER_URL"):
            return
        done = self._run([self._python, "-m", "celeryops", "broker", "--json"], IMPORT_SECONDS)
        if done.returncode == 0:
            return
        try:
            found = [
                item["message"] for item in json.loads(done.stdout)["problems"] if item["severity"] == "error"
            ]
        except (ValueError, KeyError):
            found = [tail(own_traceback(done.stderr or done.stdout))]
        raise ReleaseError(
            "the broker cannot be used:\n"
            + "\n".join(f"- {self._scrub(text)}" for text in found)
            + "\ncelery_broker_url names it. The active release was left as it is."
        )

    def once(self, step: t.Mapping[str, t.Any], timeout: float) -> dict[str, t.Any]:
        """Run a one-time step unless the fleet has run it for this release; return the fleet's answer."""
        version = os.path.basename(self.path)
        argv = step_argv(step["argv"], os.path.join(self.path, "bin"), os.path.exists)
        done = self._run(
            [
                self._python,
                "-m",
                "celeryops",
                "once",
                "--name",
                step["name"],
                "--release",
                version,
                "--timeout",
                f"{timeout:g}",
                *(["-A", self.name] if self.name else []),
                "--",
                *argv,
            ],
            timeout + _ANSWER_SECONDS,
        )
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            answer = {}
        if answer and done.returncode == 0:
            return dict(answer, output=tail(self._scrub(done.stderr), 20))
        if answer and not answer.get("ran"):
            raise ReleaseError(
                f"the step {step['name']!r} of release {version} failed with code {answer.get('rc')} on host "
                f"{answer.get('host')}, which ran it for the fleet: see the error of that host"
            )
        words = tail(self._scrub(done.stderr if answer else done.stderr + done.stdout))
        raise ReleaseError(
            f"the step {step['name']!r} ({' '.join(step['argv'])}) of release {version} failed with code "
            f"{done.returncode}. Its output:\n{words or 'none'}\n"
            "Correct what it says and run the play again: the step is tried anew, and the active release was "
            "left as it is."
        )

    @property
    def _python(self) -> str:
        return os.path.join(self.path, "bin", "python")

    def _scrub(self, text: str) -> str:
        return scrub(text, self._secrets)

    def _run(self, argv: t.Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
        if not os.path.isdir(self.chdir):
            raise ReleaseError(
                f"the folder {self.chdir}, where the application is to run, does not exist: "
                "correct source.subfolder or source.chdir"
            )
        try:
            change = become(self.user)
            environment = clean_environment(self.user)
        except LookupError as error:
            raise ReleaseError(str(error)) from None
        environment.update(self.environment)
        environment["PATH"] = ":".join([os.path.join(self.path, "bin"), self._programs, environment["PATH"]])
        # What is not ours to write (an existing prefix) must not gain bytecode.
        environment.setdefault("PYTHONDONTWRITEBYTECODE", "1")
        scratch = tempfile.mkdtemp(prefix="celeryops.")
        try:
            environment["CELERYOPS_SETTINGS"] = self._write_settings(scratch)
            return subprocess.run(
                list(argv),
                cwd=self.chdir,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                preexec_fn=change,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ReleaseError(
                f"{' '.join(argv[1:5])} took longer than {timeout:g} s and was ended. Its output so far:\n"
                + tail(self._scrub(_text(error.stderr) + _text(error.stdout)))
            ) from None
        except OSError as error:
            raise ReleaseError(f"{argv[0]} cannot be run as user {self.user}: {error.strerror}") from None
        finally:
            shutil.rmtree(scratch)

    def _write_settings(self, folder: str) -> str:
        path = os.path.join(folder, "settings.json")
        with open(path, "w", encoding="utf-8") as stream:
            json.dump(self.settings, stream)
        os.chmod(path, 0o600)
        if self.user and os.geteuid() == 0:
            for place in (path, folder):
                shutil.chown(place, self.user)
        return path


def _text(data: t.Any) -> str:
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else (data or "")
