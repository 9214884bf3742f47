"""Runs a deploy and strikes in the middle of it, when a host is where it should be hit.

    strike.py '{"argv": [...], "task": NAME, "look": [CONTAINER, COMMAND], "do": [[WHAT, CONTAINER], ...]}'

It waits for the task to begin, if one is given, and for the shell command in the container to succeed, if one
is given, then strikes:

    ["kill"]                      SIGKILL to ansible-playbook and all that it has started here
    ["pause", CONTAINER]          the host stands still, and answers nobody, until "unpause"
    ["restart", CONTAINER]        the host boots
    ["run", CONTAINER, COMMAND]   a shell command on the host

With "do" alone it strikes without a deploy. Else it prints {"rc": exit code of the deploy, "struck": seconds
after its start, "output": what it said, "said": the same in one line}.
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
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared"))

import containers

LOOK_SECONDS = 0.1
DEPLOY_SECONDS = 300


def on_host(container: str, command: str) -> bool:
    return containers.run("exec", container, "sh", "-c", command).returncode == 0


def until(what: str, deploy: subprocess.Popen[bytes], holds: Callable[[], bool]) -> None:
    """Wait for the moment. A deploy that ends before it was not where it should be hit."""
    end = time.monotonic() + DEPLOY_SECONDS
    while not holds():
        if deploy.poll() is not None or time.monotonic() > end:
            raise TimeoutError(f"{what} did not come before the deploy ended ({deploy.poll()})")
        time.sleep(LOOK_SECONDS)


def wait_for_boot(container: str) -> None:
    """Until its systemd has started all; early in a boot nobody answers. What has failed is up as well."""
    end = time.monotonic() + containers.BOOT_SECONDS
    while True:
        state = containers.run("exec", container, "systemctl", "is-system-running").stdout.strip()
        if state in ("running", "degraded"):
            return
        if time.monotonic() > end:
            sys.exit(f"{container} is {state or 'not up'} {containers.BOOT_SECONDS} s after its boot began")
        time.sleep(LOOK_SECONDS)


def strike(deploy: subprocess.Popen[bytes] | None, what: str, *where: str) -> None:
    if what == "kill" and deploy:
        os.killpg(deploy.pid, signal.SIGKILL)
    elif what == "run":
        on_host(*where)
    else:
        patience = ["--time", "30"] if what == "restart" else []
        containers.must(what, *patience, where[0])
        if what == "restart":
            wait_for_boot(where[0])


def main(request: dict[str, Any]) -> None:
    if "argv" not in request:
        for blow in request["do"]:
            strike(None, *blow)
        return
    with tempfile.NamedTemporaryFile() as said:

        def output() -> str:
            # Not by the handle that the deploy writes to: they would share their place in the file.
            return Path(said.name).read_text(errors="replace")

        began = time.monotonic()
        # A session of its own, so that everything the run has started here dies with it.
        deploy = subprocess.Popen(
            request["argv"], stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        failure, struck = "", 0.0
        try:
            if request.get("task"):
                until("the task", deploy, lambda: f"{request['task']}]" in output())
            if request.get("look"):
                until("the moment", deploy, lambda: on_host(*request["look"]))
            struck = round(time.monotonic() - began, 1)
            for blow in request["do"]:
                strike(deploy, *blow)
        except TimeoutError as error:
            failure = str(error)
        try:
            code = deploy.wait(DEPLOY_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(deploy.pid, signal.SIGKILL)
            code, failure = deploy.wait(), f"the deploy did not end within {DEPLOY_SECONDS} s"
        text = output()
        print(json.dumps({"rc": code, "struck": struck, "output": text, "said": " ".join(text.split())}))
        if failure:
            sys.exit(failure)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
