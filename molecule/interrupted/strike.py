"""Runs a deploy and strikes in the middle of it, when a host is where it should be hit.

    strike.py '{"argv": [...], "do": [[WHAT, ...], ...]}'

What is in "do" happens one after the other:

    ["task", NAME]                the deploy begins this task
    ["look", CONTAINER, COMMAND]  a shell command succeeds on the host
    ["kill"]                      SIGKILL to ansible-playbook and all that it has started here
    ["pause", CONTAINER]          the host stands still, and answers nobody, until "unpause"
    ["restart", CONTAINER]        the host boots
    ["run", CONTAINER, COMMAND]   a shell command on the host

Prints {"rc": exit code of the deploy, "output": what it said, "said": the same in one line}.
Without "argv" it strikes without a deploy.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared"))

import containers

LOOK_SECONDS = 0.1
DEPLOY_SECONDS = 600


def watch(container: str, command: str) -> Callable[[], bool]:
    """Has a shell command repeated on the host; tells whether it has succeeded."""
    looking = subprocess.Popen(
        [containers.engine(), "exec", container, *containers.loop(command, DEPLOY_SECONDS)],
        env=containers.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return lambda: looking.poll() == 0


class Struck:
    """A deploy, or none, and what happens to it."""

    def __init__(self, argv: list[str], said: IO[bytes]) -> None:
        self.said = Path(said.name)
        # A session of its own, so that everything the run has started here dies with it.
        self.deploy = (
            subprocess.Popen(argv, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
            if argv
            else None
        )

    def output(self) -> str:
        # Not by the handle that the deploy writes to: they would share their place in the file.
        return self.said.read_text(errors="replace")

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait for the moment. A deploy that ends before it was not where it should be hit."""
        end = time.monotonic() + DEPLOY_SECONDS
        while not holds():
            if (self.deploy and self.deploy.poll() is not None) or time.monotonic() > end:
                raise TimeoutError(f"{what} did not come before the deploy ended")
            time.sleep(LOOK_SECONDS)

    def strike(self, what: str, *where: str) -> None:
        if what == "task":
            self.until(f"the task {where[0]}", lambda: f"{where[0]}]" in self.output())
        elif what == "look":
            self.until(f"the moment of {where[1]}", watch(*where))
        elif what == "kill" and self.deploy:
            os.killpg(self.deploy.pid, signal.SIGKILL)
        elif what == "run":
            containers.run("exec", where[0], "sh", "-c", where[1])
        else:
            patience = ["--time", "30"] if what == "restart" else []
            containers.must(what, *patience, where[0])
            if what == "restart":
                containers.booted(where[0], "running", "degraded")  # what has failed is up as well

    def end(self) -> int:
        if not self.deploy:
            return 0
        try:
            return self.deploy.wait(DEPLOY_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.deploy.pid, signal.SIGKILL)
            self.deploy.wait()
            raise TimeoutError(f"the deploy did not end within {DEPLOY_SECONDS} s") from None


def main(request: dict[str, Any]) -> None:
    with tempfile.NamedTemporaryFile() as said:
        struck = Struck(request.get("argv", []), said)
        failures, code = [], -1
        try:
            for blow in request["do"]:
                struck.strike(*blow)
        except TimeoutError as error:
            failures.append(str(error))
        try:
            code = struck.end()
        except TimeoutError as error:
            failures.append(str(error))
        text = struck.output()
        print(json.dumps({"rc": code, "output": text, "said": " ".join(text.split())}))
        if failures:
            sys.exit("; ".join(failures))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
