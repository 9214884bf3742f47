"""What is particular to the machine that Molecule runs on, found out and answered only where it is needed."""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import subprocess
from pathlib import Path

CA_FOLDER = Path("/usr/local/share/ca-certificates")
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
DOWNLOADS = "/var/cache/molecule"

# Settings of this machine's apt, pip and uv that a host in the same network needs as well.
APT_KEYS = (
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
)
ENVIRONMENT_KEYS = (
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "UV_DEFAULT_INDEX", "UV_INDEX",
)  # fmt: skip


def cgroups_are_hybrid(root: Path = Path("/sys/fs/cgroup")) -> bool:
    """Version 1 controllers beside an empty version 2 tree: crun refuses such a machine, runc does not."""
    return not (root / "cgroup.controllers").exists() and (root / "unified" / "cgroup.controllers").exists()


def limits_are_capped() -> bool:
    """Whether root may not raise its own limits, which podman does for every container that root starts."""
    if os.geteuid() != 0:
        return False
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard + 1))
    except (ValueError, PermissionError):
        return True
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return False


def containers_conf() -> str:
    """The containers.conf that podman needs here; empty where it needs none."""
    lines = []
    if limits_are_capped():
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        # Where podman cannot raise its own limit of processes, it lowers it to the kernel's number of pids.
        pids = int(Path("/proc/sys/kernel/pid_max").read_text())
        processes = min(resource.getrlimit(resource.RLIMIT_NPROC)[1], pids)
        limits = [f"nofile=1024:{files}", f"nproc={processes}:{processes}"]
        lines += ["[containers]", f"default_ulimits = {json.dumps(limits)}"]
    if cgroups_are_hybrid() and shutil.which("runc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        lines += ["[engine]", 'runtime = "runc"']
    return "".join(f"{line}\n" for line in lines)


def engine_environment(cache: Path) -> dict[str, str]:
    """The environment for podman or docker."""
    environment = dict(os.environ)
    conf = containers_conf()
    if conf and "CONTAINERS_CONF" not in environment:
        path = cache / "containers.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != conf:
            path.write_text(conf)
        environment["CONTAINERS_CONF"] = str(path)
    return environment


def apt_settings() -> list[str]:
    """Lines of apt.conf: a dated mirror, a proxy."""
    if not shutil.which("apt-config"):
        return []
    dump = subprocess.run(["apt-config", "dump", *APT_KEYS], capture_output=True, text=True).stdout
    return [line for line in dump.splitlines() if line.startswith(APT_KEYS) and not line.endswith('"";')]


def write_settings(folder: Path) -> None:
    """What the image takes over from this machine: apt's settings and the network's own certificates."""
    (folder / "certificates").mkdir(parents=True)
    (folder / "apt.conf").write_text("".join(f"{line}\n" for line in apt_settings()))
    for certificate in sorted(CA_FOLDER.glob("*.crt")):
        shutil.copyfile(certificate, folder / "certificates" / certificate.name)


def session_environment() -> list[str]:
    """sshd's SetEnv option: where downloads are kept between runs, and how to reach the package indexes."""
    environment = {name: os.environ[name] for name in ENVIRONMENT_KEYS if os.environ.get(name)}
    environment |= {"PIP_CACHE_DIR": f"{DOWNLOADS}/pip", "UV_CACHE_DIR": f"{DOWNLOADS}/uv"}
    environment["UV_LINK_MODE"] = "copy"
    if any(CA_FOLDER.glob("*.crt")):
        # pip and uv bring certificates of their own, which know nothing of the network's.
        environment |= {"PIP_CERT": CA_BUNDLE, "SSL_CERT_FILE": CA_BUNDLE}
    words = [shlex.quote(f"{name}={value}") for name, value in sorted(environment.items())]
    return [f"SetEnv={' '.join(words)}"]
