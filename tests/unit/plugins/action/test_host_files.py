# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]

PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: {python}
    items_of_play: [one, "two {{{{ 1 + 1 }}}}"]
  tasks:
    - celeryops.fleet.host_files:
        files:
          - dest: {out}/rendered
            template: page.j2
            vars: {{extra: "{{{{ items_of_play[0] }}}}!"}}
          - {{dest: {out}/literal, template: literal.j2}}
          - {{dest: {out}/secret, content: "key={{{{ items_of_play[1] }}}}\\n", secret: true}}
      register: done
    - ansible.builtin.copy:
        content: "{{{{ done | to_json }}}}"
        dest: {out}.json
        mode: "0600"
"""


def run(tmp_path: Path, *options: str) -> tuple[dict, str]:
    (tmp_path / "templates").mkdir(exist_ok=True)
    (tmp_path / "templates" / "page.j2").write_text(
        "# {{ ansible_managed }}\n{% for item in items_of_play %}\n- {{ item }}\n{% endfor %}\n"
        "{{ extra }} {{ '\\\\n' }}\n{% include 'part.j2' %}\n"
    )
    (tmp_path / "templates" / "part.j2").write_text("included {{ items_of_play | length }}\n")
    (tmp_path / "templates" / "literal.j2").write_text('["a", {"b": 1}]\n')
    play = tmp_path / "play.yml"
    play.write_text(PLAY.format(python=sys.executable, out=tmp_path / "out"))
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            "localhost,",
            str(play),
            "-vvv",
            *options,
        ],
        cwd=ROOT,
        env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".collections"), ANSIBLE_NOCOLOR="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = tmp_path / "out.json"
    return json.loads(report.read_text()) if report.exists() else {}, done.stdout


def test_templates_are_rendered_with_the_plays_variables_and_sent_at_once(tmp_path: Path) -> None:
    result, output = run(tmp_path, "--diff")
    out = tmp_path / "out"
    assert result["changed"] and result["changed_paths"] == [
        str(out / name) for name in ("rendered", "literal", "secret")
    ]
    text = (out / "rendered").read_text()
    assert text.startswith("# Ansible managed")
    assert text.endswith("- one\n- two 2\none! \\n\nincluded 2\n")
    assert (out / "literal").read_text() == '["a", {"b": 1}]\n'
    assert (out / "secret").read_text() == "key=two 2\n"
    assert "key=two 2" not in output

    again, _unused = run(tmp_path)
    assert not again["changed"] and again["changed_paths"] == []
