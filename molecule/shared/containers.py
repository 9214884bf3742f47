"""The scenarios' hosts: Debian containers on a network of their own, on podman or docker.

    containers.py image SUITE [PACKAGE...]   build the image of a host unless it is there, print its name
    containers.py up NETWORK SUBNET HOSTS    start a container for each host and wait until it is up
    containers.py connect NAME               an sshd on standard input and output: ssh's ProxyCommand
    containers.py cut network|ssh NAME       take a container off its network, or away from Ansible
    containers.py mend network|ssh NAME      and back, with the name and the address that it had
    containers.py down NETWORK NAME...       remove them all

HOSTS is JSON, a list of what class Host holds; the hosts find each other by their names.

MOLECULE_ENGINE (podman or docker) and MOLECULE_BASE_IMAGE override what is found out.
What is particular to one machine (limits, certificates, proxies) is detected by machine.py.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import machine

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".cache" / "molecule"

# What a host can be, and where its base comes from.
BASE_IMAGES = {
    "bookworm": "docker.io/library/debian:bookworm",
    "trixie": "docker.io/library/debian:trixie",
    "jammy": "docker.io/library/ubuntu:jammy",
    "noble": "docker.io/library/ubuntu:noble",
}
DEBIAN = ("bookworm", "trixie")
PULL_SECONDS = 180
BOOT_SECONDS = 60
LOOK_SECONDS = 0.2  # between two looks at what is waited for

# systemd needs these for the sandboxing and the resource limits that units ask for.
CAPABILITIES = ["SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN", "SYS_NICE"]
SYSTEMD_OPTIONS = {
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
LABEL = "celeryops.molecule"
FAULTS = "/usr/local/lib/molecule/faults.py"  # for workers that load it
BROUGHT = ("/opt/celery", "/etc/celery", "/usr/bin/redis-server", "/usr/bin/pip3")  # by a deploy


@dataclass(frozen=True)
class Host:
    """One host of a scenario. Its container carries this as a label, for who cuts it off and mends it."""

    host: str  # its name in the inventory and on the network
    name: str  # of the container
    address: str
    suite: str
    init: str = "systemd"  # or none: a container in which nothing starts or restarts anything
    packages: list[str] = field(default_factory=list)  # Debian's, installed in its image
    tools: list[str] = field(default_factory=list)  # programs of the controller that it has in /usr/local/bin
    volumes: dict[str, str] = field(default_factory=dict)  # folders that hosts share: {name: path}
    network: str = ""


def engine() -> str:
    """podman where it is installed, else docker where its daemon answers."""
    asked = os.environ.get("MOLECULE_ENGINE")
    if asked:
        if asked not in SYSTEMD_OPTIONS:
            sys.exit(f"MOLECULE_ENGINE is {asked!r}; it can be {' or '.join(SYSTEMD_OPTIONS)}.")
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


def base_image(suite: str) -> str:
    """A plain system: here already, or from its registry, or else Debian built from its own packages."""
    if suite not in BASE_IMAGES:
        sys.exit(f"No image is known for {suite!r}; molecule_suite can be {', '.join(BASE_IMAGES)}.")
    public = BASE_IMAGES[suite]
    asked = os.environ.get("MOLECULE_BASE_IMAGE", public).replace("{suite}", suite)
    if has_image(asked):
        return asked
    built = f"localhost/celeryops-debian:{suite}"
    if asked == public and has_image(built):
        return built
    log(f"Pulling {asked}")
    try:
        pulled = run("pull", "--quiet", asked, timeout=PULL_SECONDS)
        if pulled.returncode == 0:
            return asked
        reason = (pulled.stderr.strip() or "no reason given").splitlines()[-1]
    except subprocess.TimeoutExpired:
        reason = f"no answer within {PULL_SECONDS} s"
    if asked != public:
        sys.exit(f"{asked} cannot be pulled ({reason}). Unset MOLECULE_BASE_IMAGE to use {public}.")
    if suite not in DEBIAN:
        sys.exit(f"{asked} cannot be pulled ({reason}); only {' and '.join(DEBIAN)} can be built without it.")
    log(f"{asked} cannot be pulled ({reason}); building {built} from Debian's packages instead")
    bootstrap(suite, built)
    return built


def bootstrap(suite: str, name: str) -> None:
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
        suite,
        "-",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tree:
        load = [engine(), "import", "-", name]
        imported = subprocess.run(load, stdin=tree.stdout, capture_output=True, env=environment())
    if tree.returncode or imported.returncode:
        sys.exit(f"{name} could not be built with mmdebstrap: {imported.stderr.decode().strip()}")


def build_context(suite: str) -> Path:
    """The folder that an image is built from: node/ and what this machine asks for."""
    context = CACHE / "context" / suite
    shutil.rmtree(context, ignore_errors=True)
    shutil.copytree(HERE / "node", context)
    machine.write_settings(context / "machine")
    return context


def digest(base: str, packages: Iterable[str], context: Path) -> str:
    """Changes with everything that the image is made from, and with nothing else."""
    identity = [must("image", "inspect", "--format", "{{.Id}}", base), *packages]
    content = hashlib.sha256("\0".join(identity).encode())
    for path in sorted(path for path in context.rglob("*") if path.is_file()):
        executable = path.stat().st_mode & 0o111
        content.update(f"{path.relative_to(context)}\0{executable}\0".encode() + path.read_bytes())
    return content.hexdigest()[:12]


def image(suite: str, *packages: str) -> str:
    """The name of the image of a host, which is built when its content is new."""
    base = base_image(suite)
    context = build_context(suite)
    name = f"localhost/celeryops-host:{suite}-{digest(base, packages, context)}"
    if not has_image(name):
        log(f"Building {name} on {base}")
        options = ["--quiet", "--tag", name, "--build-arg", f"BASE={base}"]
        options += ["--build-arg", f"PACKAGES={' '.join(packages)}"]
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


def mac(address: str) -> str:
    """A locally administered hardware address for an IPv4 address."""
    return "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def start(host: Host, network: str, image_name: str, hosts: list[Host]) -> None:
    """Start one container and wait until it is up, as its systemd says."""
    downloads = CACHE / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    options = ["--name", host.name, "--hostname", host.host]
    options += ["--network", network, f"--ip={host.address}", f"--network-alias={host.host}"]
    # A host that boots keeps its card, as others hold its number in mind for a minute.
    options += [f"--mac-address={mac(host.address)}"]
    # The network's name server forgets a host that boots, for a moment, and all of them while a network goes.
    options += [f"--add-host={one.host}:{one.address}" for one in hosts]
    options += ["--label", f"{LABEL}={json.dumps(asdict(replace(host, network=network)))}"]
    options += ["--volume", f"{downloads}:{machine.DOWNLOADS}"]
    options += ["--volume", f"{HERE / 'faults.py'}:{FAULTS}:ro"]
    for volume, path in host.volumes.items():
        options += ["--volume", f"{network}-{volume}:{path}"]
    for tool in host.tools:
        options += ["--volume", f"{tool_path(tool)}:/usr/local/bin/{tool}:ro"]
    if host.init == "systemd":
        options += ["--cgroupns=private", *SYSTEMD_OPTIONS[engine()]]
        options += [f"--cap-add={capability}" for capability in CAPABILITIES]
    elif engine() == "podman":
        options += ["--systemd=false"]
    must("run", "--detach", *options, image_name, "/usr/local/sbin/start-init", host.init)
    if host.init == "systemd":
        booted(host.name, "running")
    put = (
        'install -d -m 700 /root/.ssh && printf %s "$1" > /root/.ssh/authorized_keys || exit; shift; '
        'for path; do [ ! -e "$path" ] || echo "$path"; done'
    )
    found = must("exec", host.name, "sh", "-c", put, "sh", public_key(), *BROUGHT)
    if found and not host.packages:
        sys.exit(f"{host.name} is not bare, so a deploy would not have to bring what is there:\n{found}")


def loop(command: str, seconds: int) -> list[str]:
    """Wait in a container until a shell command succeeds: each start of an engine's command there is dear."""
    return ["timeout", str(seconds), "sh", "-c", f"until {command}; do sleep {LOOK_SECONDS}; done"]


def booted(name: str, *states: str) -> None:
    """Wait until the container's systemd has started all; early in a boot nobody answers."""
    state = f"systemctl is-system-running --wait 2>/dev/null | grep -qxE '{'|'.join(states)}'"
    if run("exec", name, *loop(state, BOOT_SECONDS)).returncode:
        failed = "systemctl is-system-running; systemctl --failed --no-legend"
        why = run("exec", name, "sh", "-c", failed).stdout
        sys.exit(f"{name} is not up {BOOT_SECONDS} s after its start:\n{why or run('logs', name).stdout}")


def tool_path(tool: str) -> str:
    """A program beside the Python that runs this: of the tests' virtualenv."""
    path = Path(sys.prefix, "bin", tool)
    if not path.exists():
        sys.exit(
            f"molecule_tools names {tool}, but {path} does not exist; run this with the tests' virtualenv."
        )
    return str(path)


def up(network: str, subnet: str, hosts: list[Host]) -> None:
    """Start all hosts at once."""
    kinds = sorted({(host.suite, *sorted(host.packages)) for host in hosts})
    CACHE.mkdir(parents=True, exist_ok=True)
    # Scenarios may run side by side; what they share is made once.
    with open(CACHE / "lock", "w") as shared:
        fcntl.flock(shared, fcntl.LOCK_EX)
        images = {kind: image(*kind) for kind in kinds}
        public_key()
    remove(network)
    if run("network", "inspect", network).returncode:
        must("network", "create", f"--subnet={subnet}", network)
    # Before the hosts that share them start, all at once: only one of them could create a volume.
    for volume in sorted({f"{network}-{volume}" for host in hosts for volume in host.volumes}):
        if run("volume", "inspect", volume).returncode:
            must("volume", "create", volume)
    with ThreadPoolExecutor(max_workers=8) as pool:
        chosen = [(host, images[(host.suite, *sorted(host.packages))]) for host in hosts]
        for started in [pool.submit(start, host, network, name, hosts) for host, name in chosen]:
            started.result()


def remove(network: str) -> None:
    """Remove all containers of a scenario, in one go."""
    at_once = ["--time", "0"] if engine() == "podman" else []
    there = must("ps", "--all", "--quiet", "--filter", f"name={network}-").split()
    if there:
        must("rm", "--force", *at_once, "--volumes", *there)


def down(network: str, names: list[str]) -> None:
    """Remove containers and network; what is not there is no fault."""
    for name in names:
        cut_mark(name).unlink(missing_ok=True)
    remove(network)
    if run("network", "inspect", network).returncode == 0:
        must("network", "rm", network)
    for volume in run("volume", "ls", "--quiet", "--filter", f"name={network}-").stdout.split():
        must("volume", "rm", volume)


def cut_mark(name: str) -> Path:
    """A file that exists while Ansible is kept from a container."""
    return CACHE / "cut" / name


def cut(what: str, name: str) -> None:
    """Take the container off its network; or end its ssh sessions, as a lost line does, and refuse new."""
    if what == "network":
        must("network", "disconnect", label(name).network, name)
        return
    cut_mark(name).parent.mkdir(parents=True, exist_ok=True)
    cut_mark(name).touch()
    run("exec", name, "pkill", "-KILL", "^sshd")


def mend(what: str, name: str) -> None:
    if what == "network":
        host = label(name)
        options = [f"--ip={host.address}", f"--alias={host.host}"]
        if engine() == "podman":
            options.append(f"--mac-address={mac(host.address)}")
        must("network", "connect", *options, host.network, name)
        return
    cut_mark(name).unlink(missing_ok=True)


def label(name: str) -> Host:
    """What the container was started as."""
    template = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    return Host(**json.loads(must("container", "inspect", "--format", template, name)))


def connect(name: str) -> None:
    """Become an sshd in the container, on this process's standard input and output."""
    if cut_mark(name).exists():
        sys.exit(f"{name} is cut off")
    options = ["UseDNS=no", "UsePAM=no", *machine.session_environment()]
    words = [engine(), "exec", "--interactive", name, "/usr/sbin/sshd", "-i"]
    for option in options:
        words += ["-o", option]
    os.execvpe(words[0], words, environment())


def main(verb: str = "", *words: str) -> None:
    if verb == "image" and words:
        print(image(*words))
    elif verb == "up" and len(words) == 3:
        up(words[0], words[1], [Host(**host) for host in json.loads(words[2])])
    elif verb == "connect" and len(words) == 1:
        connect(words[0])
    elif verb in ("cut", "mend") and len(words) == 2 and words[0] in ("network", "ssh"):
        {"cut": cut, "mend": mend}[verb](*words)
    elif verb == "down" and words:
        down(words[0], list(words[1:]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
