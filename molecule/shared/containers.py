"""The scenarios' hosts: Debian containers that boot systemd, on podman or docker.

    containers.py image                      build the hosts' image unless it is there, print its name
    containers.py up NETWORK HOST=NAME...    start a container NAME for each HOST and wait for its systemd
    containers.py connect NAME               an sshd on standard input and output: ssh's ProxyCommand
    containers.py down NETWORK NAME...       remove them all

MOLECULE_ENGINE (podman or docker) and MOLECULE_BASE_IMAGE override what is found out.
What is particular to one machine (limits, certificates, proxies) is detected by machine.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import machine

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".cache" / "molecule"

SUITE = "bookworm"
BASE_IMAGE = f"docker.io/library/debian:{SUITE}"
PULL_SECONDS = 180
BOOT_SECONDS = 60

# systemd needs these for the sandboxing and the resource limits that units ask for.
CAPABILITIES = ["SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN", "SYS_NICE"]
ENGINE_OPTIONS = {
    "podman": ["--systemd=always"],
    # What podman's --systemd=always arranges, said in docker's words.
    "docker": [
        "--tmpfs=/run",
        "--tmpfs=/run/lock",
        "--tmpfs=/tmp",
        "--security-opt=seccomp=unconfined",
        "--security-opt=apparmor=unconfined",
    ],
}


def engine() -> str:
    """podman where it is installed, else docker where its daemon answers."""
    asked = os.environ.get("MOLECULE_ENGINE")
    if asked:
        if asked not in ENGINE_OPTIONS:
            sys.exit(f"MOLECULE_ENGINE is {asked!r}; it can be {' or '.join(ENGINE_OPTIONS)}.")
        return asked
    if shutil.which("podman"):
        return "podman"
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0:
        return "docker"
    sys.exit("Molecule's hosts are containers: install podman, or start docker's daemon.")


def environment() -> dict[str, str]:
    """What the engine's command is run with."""
    return machine.engine_environment(CACHE)


def run(*words: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """The engine's command, its output captured."""
    command = [engine(), *words]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=timeout)


def must(*words: str) -> str:
    """The engine's command, which has to succeed; its output."""
    done = run(*words)
    if done.returncode != 0:
        sys.exit(f"{engine()} {' '.join(words)} failed:\n{done.stderr or done.stdout}")
    return done.stdout.strip()


def stream(*words: str) -> None:
    """The engine's command with its output shown; it has to succeed."""
    if subprocess.run([engine(), *words], env=environment(), stdout=sys.stderr).returncode:
        sys.exit(f"{engine()} {' '.join(words)} failed; its output stands above.")


def log(text: str) -> None:
    """Progress goes to standard error: standard output carries the answer."""
    print(text, file=sys.stderr, flush=True)


def has_image(name: str) -> bool:
    return run("image", "inspect", name).returncode == 0


def base_image() -> str:
    """A plain Debian: here already, or from its registry, or else built from Debian's own packages."""
    asked = os.environ.get("MOLECULE_BASE_IMAGE", BASE_IMAGE)
    if has_image(asked):
        return asked
    built = f"localhost/celeryops-debian:{SUITE}"
    if asked == BASE_IMAGE and has_image(built):
        return built
    log(f"Pulling {asked}")
    try:
        pulled = run("pull", "--quiet", asked, timeout=PULL_SECONDS)
        if pulled.returncode == 0:
            return asked
        reason = (pulled.stderr.strip() or "no reason given").splitlines()[-1]
    except subprocess.TimeoutExpired:
        reason = f"no answer within {PULL_SECONDS} s"
    if asked != BASE_IMAGE:
        sys.exit(f"{asked} cannot be pulled ({reason}). Unset MOLECULE_BASE_IMAGE to use {BASE_IMAGE}.")
    log(f"{asked} cannot be pulled ({reason}); building {built} from Debian's packages instead")
    bootstrap(built)
    return built


def bootstrap(name: str) -> None:
    """Make a minimal Debian from its packages with mmdebstrap, which only root can install and run."""
    if not shutil.which("mmdebstrap"):
        subprocess.run([ROOT / "tools" / "packages", "mmdebstrap"], check=True, stdout=sys.stderr)
    options = [f"--aptopt={line}" for line in machine.apt_settings()]
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--include=ca-certificates",
        *options,
        SUITE,
        "-",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tree:
        load = [engine(), "import", "-", name]
        imported = subprocess.run(load, stdin=tree.stdout, capture_output=True, env=environment())
    if tree.returncode or imported.returncode:
        sys.exit(f"{name} could not be built with mmdebstrap: {imported.stderr.decode().strip()}")


def build_context() -> Path:
    """The folder that the image is built from: node/ and what this machine asks for."""
    context = CACHE / "context"
    shutil.rmtree(context, ignore_errors=True)
    shutil.copytree(HERE / "node", context)
    machine.write_settings(context / "machine")
    return context


def digest(base: str, context: Path) -> str:
    """Changes with everything that the image is made from, and with nothing else."""
    content = hashlib.sha256(must("image", "inspect", "--format", "{{.Id}}", base).encode())
    for path in sorted(path for path in context.rglob("*") if path.is_file()):
        executable = path.stat().st_mode & 0o111
        content.update(f"{path.relative_to(context)}\0{executable}\0".encode() + path.read_bytes())
    return content.hexdigest()[:12]


def image() -> str:
    """The name of the hosts' image, which is built when its content is new."""
    base = base_image()
    context = build_context()
    name = f"localhost/celeryops-host:{digest(base, context)}"
    if not has_image(name):
        log(f"Building {name} on {base}")
        options = ["--quiet", "--tag", name, "--build-arg", f"BASE={base}"]
        stream("build", *options, "--file", str(context / "Containerfile"), str(context))
    return name


def public_key() -> str:
    """The key that ssh uses towards the hosts; made on first use."""
    key = CACHE / "id_ed25519"
    if not key.exists():
        key.parent.mkdir(parents=True, exist_ok=True)
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "molecule", "-f", str(key)]
        subprocess.run(make, check=True)
    return key.with_suffix(".pub").read_text()


def boot(host: str, name: str, network: str, image_name: str) -> None:
    """Start one container and wait until its systemd says that the host is up."""
    downloads = CACHE / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    run("rm", "--force", name)
    options = [*ENGINE_OPTIONS[engine()], *(f"--cap-add={capability}" for capability in CAPABILITIES)]
    options += ["--cgroupns=private", "--hostname", host, "--network", network, "--network-alias", host]
    options += ["--volume", f"{downloads}:{machine.DOWNLOADS}"]
    must("run", "--detach", "--name", name, *options, image_name)
    until = time.monotonic() + BOOT_SECONDS
    state = ""
    while state != "running":
        if time.monotonic() > until:
            why = run("exec", name, "systemctl", "--failed", "--no-legend").stdout or run("logs", name).stdout
            sys.exit(f"{name} is {state or 'without systemd'} {BOOT_SECONDS} s after its start:\n{why}")
        time.sleep(0.2)
        state = run("exec", name, "systemctl", "is-system-running").stdout.strip()
    put = 'install -d -m 700 /root/.ssh && printf %s "$1" > /root/.ssh/authorized_keys'
    must("exec", name, "sh", "-c", put, "sh", public_key())


def up(network: str, hosts: dict[str, str]) -> None:
    """Start all hosts at once."""
    image_name = image()
    public_key()
    if run("network", "inspect", network).returncode:
        must("network", "create", network)
    with ThreadPoolExecutor(max_workers=8) as pool:
        for booted in [pool.submit(boot, host, name, network, image_name) for host, name in hosts.items()]:
            booted.result()


def down(network: str, names: list[str]) -> None:
    """Remove containers and network; what is not there is no fault."""
    at_once = ["--time", "0"] if engine() == "podman" else []
    for name in names:
        if run("container", "inspect", name).returncode == 0:
            must("rm", "--force", *at_once, "--volumes", name)
    if run("network", "inspect", network).returncode == 0:
        must("network", "rm", network)


def connect(name: str) -> None:
    """Become an sshd in the container, on this process's standard input and output."""
    options = ["UseDNS=no", "UsePAM=no", *machine.session_environment()]
    words = [engine(), "exec", "--interactive", name, "/usr/sbin/sshd", "-i"]
    for option in options:
        words += ["-o", option]
    os.execvpe(words[0], words, environment())


def main(verb: str = "", *words: str) -> None:
    if verb == "image" and not words:
        print(image())
    elif verb == "up" and len(words) > 1:
        up(words[0], dict(word.split("=", 1) for word in words[1:]))
    elif verb == "connect" and len(words) == 1:
        connect(words[0])
    elif verb == "down" and words:
        down(words[0], list(words[1:]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
