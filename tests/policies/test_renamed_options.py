"""Old names of policy options go on working, with one notice, in flags, files, settings of old runs and calls."""

from __future__ import annotations

import pytest

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies import PolicyContext, check_policy, load_policy
from vlm2vla_sim.policies import options as module
from vlm2vla_sim.policies.options import with_present_names
from vlm2vla_sim.policies.spec import PolicySpec, read_policy_spec

OLD = {"model": "own_model:make", "located": True, "commanded": False}
NEW = {"model": "own_model:make", "grounded_plan": True, "commanded_state": False}


@pytest.fixture(autouse=True)
def _unreported():
    module._report.cache_clear()


def test_the_settings_of_an_old_run_are_read_with_the_present_names_and_one_notice_a_name(capsys):
    for _ in range(3):
        assert PolicySpec.from_json({"policy": "vlm", "options": OLD}).options == NEW
    notices = capsys.readouterr().err.splitlines()
    assert notices == [
        "The policy option commanded is now called commanded_state; the old name still works.",
        "The policy option located is now called grounded_plan; the old name still works.",
    ]
    assert PolicySpec("vlm", options=OLD) == PolicySpec("vlm", options=NEW), "so that a run can be resumed"


def test_a_file_and_a_direct_call_take_the_old_names_too(tmp_path, monkeypatch):
    (tmp_path / "own_model.py").write_text(
        "def make(options):\n    assert options.grounded_plan and not options.commanded_state\n"
        "    return type('Model', (), {'answer': lambda self, questions: []})()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "mine.toml"
    path.write_text('policy = "vlm"\n[options]\nmodel = "own_model:make"\nlocated = true\n')
    assert read_policy_spec(path).options == {"model": "own_model:make", "grounded_plan": True}
    check_policy("vlm", OLD)
    policy = load_policy("vlm", PolicyContext("", 0, get_format("vlm2vla"), options=OLD))
    assert policy.settings.grounded_plan


def test_both_names_at_once_are_refused():
    with pytest.raises(SettingError, match="grounded_plan is given twice: located is its old name"):
        PolicySpec("mini", options={"located": True, "grounded_plan": False})


def test_the_options_of_other_policies_keep_their_names(capsys):
    assert with_present_names("my_package:make", {"located": 1}) == {"located": 1}
    assert capsys.readouterr().err == ""
