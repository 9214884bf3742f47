# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from ansible_collections.celeryops.fleet.plugins.module_utils.release import output


def test_secrets_are_masked_in_what_is_shown() -> None:
    text = "cannot reach redis://u:p4ss@host/0 with s3cret-key and 1"
    assert (
        output.scrub(text, ["s3cret-key", "1"])
        == "cannot reach redis://u:********@host/0 with ******** and 1"
    )


def test_a_traceback_shows_the_frames_of_the_application() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "/r/venv/lib/python3.11/site-packages/click/core.py", line 1, in main\n    self.invoke()\n'
        "         ^^^^^^\n"
        '  File "<frozen importlib._bootstrap>", line 1204, in _gcd_import\n'
        '  File "/r/src/shop/tasks.py", line 1, in <module>\n    import nothing\n'
        "ModuleNotFoundError: No module named 'nothing'\n"
    )
    assert output.own_traceback(text).splitlines() == [
        "Traceback (most recent call last):",
        '  File "/r/src/shop/tasks.py", line 1, in <module>',
        "    import nothing",
        "ModuleNotFoundError: No module named 'nothing'",
    ]
