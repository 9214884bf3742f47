"""Wheels that are made here."""

from __future__ import annotations

import sysconfig
import zipfile
from pathlib import Path


def wheel_of(folder: Path, package: str, contents: dict[str, bytes]) -> str:
    """A wheel with these files, the least that installers accept."""
    path = folder / f"{package}-1.0-py3-none-any.whl"
    info = f"{package}-1.0.dist-info"
    files = {f"{package}/__init__.py": b"", **contents}
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n".encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = f"{info}/RECORD"
    files[record] = "".join(f"{name},,\n" for name in [*files, record]).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o100755 if "/bin/" in name else 0o100644) << 16
            archive.writestr(entry, data)
    return str(path)


def lending_wheel(folder: Path) -> str:
    """A wheel that lends the packages of this virtualenv, for builds that are not themselves the question."""
    lent = {
        "lent.pth": f"{sysconfig.get_path('purelib')}\n".encode(),
        "lent-1.0.dist-info/entry_points.txt": b"[console_scripts]\ncelery = celery.__main__:main\n",
    }
    return wheel_of(folder, "lent", lent)
