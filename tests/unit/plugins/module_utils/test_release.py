# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.release import rules as release
from ansible_collections.celeryops.fleet.plugins.module_utils.release.rules import Kept, ReleaseError

ROOT = Path(__file__).resolve().parents[4]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "source",
    [
        {"type": "path", "path": "/shop", "subfolder": "", "exclude": None},
        {"type": "git", "repo": "https://git.example.com/shop.git"},
        {"type": "package", "requirement": "shop==1"},
        {"type": "package", "requirement": "shop==1", "path": "shop", "exclude": ["*.bak"]},
        {"type": "existing", "prefix": "/opt/conda"},
    ],
)
def test_sources_lose_their_empty_keys(source: dict[str, Any]) -> None:
    checked = release.check_source(source)
    assert checked["type"] == source["type"]
    assert "" not in checked.values()
    assert None not in checked.values()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({}, "source.type is None: use one of path, git, package, existing"),
        ({"type": "zip"}, "source.type is 'zip'"),
        ({"type": "path"}, "source.path is missing"),
        ({"type": "path", "path": "/x", "repo": "y"}, "source.repo has no meaning for a source of type path"),
        ({"type": "git", "repo": "y", "version": "--upload-pack=x"}, "give a branch, a tag or a commit"),
        ({"type": "package"}, "needs source.requirement"),
        (
            {"type": "package", "requirement": "shop", "path": "a", "chdir": "/b"},
            "both say where the package",
        ),
        ({"type": "existing", "prefix": "env"}, "give the absolute path"),
        ({"type": "path", "path": "/x", "subfolder": "../y"}, "without .."),
        (
            {"type": "path", "path": "/x", "requirements": ["/etc/r.txt"]},
            "source.requirements names '/etc/r.txt'",
        ),
        ({"type": "existing", "prefix": "/x", "chdir": "y"}, "source.chdir"),
    ],
)
def test_sources_that_cannot_work_are_refused_by_name(source: dict[str, Any], words: str) -> None:
    with pytest.raises(ReleaseError) as error:
        release.check_source(source)
    assert words in str(error.value)


@pytest.mark.parametrize("bad", ["", ".hidden", "a/b", "../x", "a b", "x" * 65])
def test_versions_that_name_no_folder_are_refused(bad: str) -> None:
    with pytest.raises(ReleaseError):
        release.check_version(bad)


def test_what_decides_a_build_is_part_of_the_version() -> None:
    assert release.build_options("", [], {"type": "git"}) == ""
    assert release.git_version(COMMIT, "") == "0123456789ab"
    options = release.build_options("/usr/bin/python3.12", [], {"type": "git"})
    other = release.build_options("", ["gevent"], {"type": "git"})
    assert len({release.git_version(COMMIT, text) for text in ("", options, other)}) == 3


def test_credentials_of_a_repository_stay_off_the_command_line() -> None:
    url, environment = release.git_environment("https://me:t0ken@git.example.com/shop.git")
    assert url == "https://git.example.com/shop.git"
    assert environment["GIT_CONFIG_KEY_0"] == "url.https://me:t0ken@git.example.com/shop.git.insteadOf"
    assert environment["GIT_CONFIG_VALUE_0"] == url
    assert release.git_environment("git@git.example.com:shop.git")[0] == "git@git.example.com:shop.git"


@pytest.mark.parametrize(
    ("wanted", "commit"),
    [("v1", "tagged"), ("main", "branch"), ("HEAD", "head"), ("light", "light"), ("no", "")],
)
def test_a_name_stands_for_the_commit_behind_it(wanted: str, commit: str) -> None:
    listing = (
        "head\tHEAD\nbranch\trefs/heads/main\nlight\trefs/tags/light\n"
        "object\trefs/tags/v1\ntagged\trefs/tags/v1^{}\n"
    )
    assert release.pick_commit(listing, wanted) == commit


@pytest.mark.parametrize(
    ("text", "hashed"),
    [
        ("celery==5.7.0 --hash=sha256:00\n", True),
        ("celery==5.7.0 \\\n    --hash=sha256:00\n", True),
        ("# --hash=sha256:00\ncelery\n", False),
        ("celery # no --hash= here\n", False),
        ("", False),
    ],
)
def test_hashes_are_found_where_pip_reads_them(text: str, hashed: bool) -> None:
    assert release.wants_hashes(text) is hashed


def test_included_files_are_found() -> None:
    text = "-r base.txt\n--requirement=more.txt\n  -c limits.txt\n-r https://example.com/x.txt\ncelery\n"
    assert release.included_files(text) == ["base.txt", "more.txt", "limits.txt"]


@pytest.mark.parametrize(
    ("files", "wanted", "subfolder", "found"),
    [
        ({"requirements.txt", "pyproject.toml"}, [], "", ["requirements.txt"]),
        ({"pyproject.toml"}, [], "", ["."]),
        ({"requirements.txt", "web/pyproject.toml"}, [], "web", ["web"]),
        ({"requirements.txt"}, [], "web", ["requirements.txt"]),
        ({"deep/prod.txt", "pyproject.toml"}, ["deep/prod.txt", "."], "", ["deep/prod.txt", "."]),
    ],
)
def test_requirements_are_found(files: set[str], wanted: list[str], subfolder: str, found: list[str]) -> None:
    assert release.find_requirements(files.__contains__, wanted, subfolder) == found


@pytest.mark.parametrize(
    ("wanted", "words"), [([], "neither requirements.txt nor"), (["x.txt"], "does not hold")]
)
def test_missing_requirements_are_refused(wanted: list[str], words: str) -> None:
    with pytest.raises(ReleaseError, match=words):
        release.find_requirements({"README"}.__contains__, wanted)


def test_uv_is_told_what_pip_knows() -> None:
    told = release.uv_environment(
        {"PIP_CERT": "/ca.pem", "UV_FIND_LINKS": "/mine"},
        {
            "index-url": "https://index.example.com",
            "extra-index-url": "a\n  b",
            "find-links": "/wheels",
            "timeout": "9",
        },
    )
    assert told == {
        "UV_DEFAULT_INDEX": "https://index.example.com",
        "UV_INDEX": "a b",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": "/ca.pem",
    }
    assert release.uv_environment({}, {}) == {}


def test_an_old_python_is_refused_with_the_remedy() -> None:
    release.judge_python("3.10.0", "/usr/bin/python3")
    with pytest.raises(
        ReleaseError, match=r"Python 3\.9\.18 at /usr/bin/python3 is too old.*celery_app_python"
    ):
        release.judge_python("3.9.18", "/usr/bin/python3")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"python": "3.11.2"}, r"Celery is not installed in /x: add celery\[redis\]"),
        ({"python": "3.11.2", "celery": "5.7.0", "error": "no redis"}, r"not the redis client \(no redis\)"),
        ({"python": "3.11.2", "celery": "5.4.0", "redis": "5"}, "has Celery 5.4.0: the fleet needs 5.5"),
        ({"python": "3.9.2", "celery": "5.5.0", "redis": "5"}, "Python 3.9.2"),
    ],
)
def test_what_was_installed_is_judged(found: dict[str, str], words: str) -> None:
    with pytest.raises(ReleaseError, match=words):
        release.judge_installed(found, "/x")


def test_a_celery_from_the_future_is_a_warning() -> None:
    found = {"python": "3.12.1", "redis": "6"}
    assert release.judge_installed({**found, "celery": "5.7.1"}, "/x") == []
    assert (
        "newer than this collection knows" in release.judge_installed({**found, "celery": "5.8.0"}, "/x")[0]
    )


def kept(*items: str) -> list[Kept]:
    """Each item is a version and its stamp, such as a1; without a stamp it is unfinished."""
    return [Kept(item[0], item[1:], "") for item in items]


@pytest.mark.parametrize(
    ("found", "protected", "keep", "gone"),
    [
        (kept("a1", "b2", "c3"), "c", 3, []),
        (kept("a1", "b2", "c3", "d4"), "d", 3, ["a"]),
        (kept("a1", "b2", "c3", "d4"), "a", 2, ["b", "c"]),  # the active one counts, however old
        (kept("a1", "b2", "c3", "d4"), "abd", 2, ["c"]),  # what a process uses stays
        (kept("a1", "b2", "x"), "b", 3, ["x"]),  # an interrupted build is no release
        (kept("a1", "b2", "x"), "bx", 1, ["a"]),
        ([], "", 1, []),
    ],
)
def test_pruning_spares_what_is_new_or_used(
    found: list[Kept], protected: str, keep: int, gone: list[str]
) -> None:
    assert release.plan_prune(found, set(protected), keep) == gone


@pytest.mark.parametrize(
    ("argv", "ran"),
    [
        (["manage.py", "migrate"], ["/r/bin/python", "manage.py", "migrate"]),
        (["python", "-V"], ["/r/bin/python", "-V"]),
        (["/bin/true"], ["/bin/true"]),
        (["true"], ["true"]),
    ],
)
def test_steps_find_their_program(argv: list[str], ran: list[str]) -> None:
    assert release.step_argv(argv, "/r/bin", {"/r/bin/python"}.__contains__) == ran


def test_a_release_is_built_again_beside_the_one_that_does_not_run() -> None:
    assert release.next_build("abc", []) == "abc"
    assert release.next_build("abc", ["abc", "abcd", "abc-2"]) == "abc-3"
    assert release.builds_of("abc", []) == []
    finished = ["abc", "abc-10", "abc-2", "abc-1", "abc-x", "abcd", "xabc-2"]
    assert release.builds_of("abc", finished) == ["abc-10", "abc-2", "abc"]
    assert release.builds_of("abc", finished, "abc-2") == ["abc-2", "abc-10", "abc"]
    assert release.builds_of("abc", finished, "other") == ["abc-10", "abc-2", "abc"]
