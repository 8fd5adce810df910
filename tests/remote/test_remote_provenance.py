"""Results say what a server told about itself, and a run does not go on with other weights behind the same address."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from remote_lane import need_remote, scripted, serving

need_remote()

from vlm2vla_sim.errors import RunFolderError  # noqa: E402
from vlm2vla_sim.evaluation.settings import RunSettings  # noqa: E402
from vlm2vla_sim.evaluation.suite import run_suite  # noqa: E402
from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.policies import PolicyContext, load_policy  # noqa: E402
from vlm2vla_sim.policies.remote.arrays import pack_openpi  # noqa: E402

CONTEXT = PolicyContext("", 0, get_format("vlm2vla"))


def holding(digest: str):
    """Makes a policy that holds still and says that its weights have this digest."""

    def make():
        policy = load_policy("hold", CONTEXT)
        policy.provenance = lambda: {"model": {"model": "/secret/folder/gemma", "model_digest": digest}}
        return policy

    return make


def run(path, policy: str, server: str, *, episodes: int = 1, **how):
    options = {"server": server, "convention": "vlm2vla"}
    settings = RunSettings(
        policy, ("carrot_on_plate",), 2, backend="point", image_size=(48, 64), policy_options=options
    )
    return run_suite(settings, out=path, video=False, **how)


@pytest.mark.parametrize("wire", ["openpi", "vla-eval"])
def test_a_server_of_ours_tells_its_weights_but_not_its_folders(tmp_path, wire):
    with serving(holding("aa"), wire) as server:
        made = run(tmp_path / "run", wire, server.url)
    for told in (
        made.results[0].provenance,
        json.loads((tmp_path / "run" / "settings.json").read_text())["provenance"],
    ):
        assert told["server"] == server.url
        assert told["weights"] == {"model": {"model": "gemma", "model_digest": "aa"}}
        assert "vlm2vla_sim" in (told["greeting"].get("server"), told["greeting"].get("model_server"))
        assert "secret" not in json.dumps(told)


@pytest.mark.parametrize("wire", ["openpi", "vla-eval"])
def test_other_weights_behind_the_same_address_end_the_run(tmp_path, wire):
    def stop(result) -> None:
        raise KeyboardInterrupt

    with serving(holding("aa"), wire) as server:
        port = int(server.url.rpartition(":")[2])
        with contextlib.suppress(KeyboardInterrupt):
            run(tmp_path / "run", wire, server.url, on_result=stop)
    assert len((tmp_path / "run" / "results.jsonl").read_text().splitlines()) == 1
    with (
        serving(holding("bb"), wire, port=port) as server,
        pytest.raises(RunFolderError, match=r"weights\.model\.model_digest was aa and is bb"),
    ):
        run(tmp_path / "run", wire, server.url, resume=True)
    assert len((tmp_path / "run" / "results.jsonl").read_text().splitlines()) == 1


def test_the_greeting_of_another_server_is_kept_and_may_change(tmp_path):
    def greet(number: int, **more):
        def connection(socket) -> None:
            socket.send(pack_openpi({"checkpoint": "pi0_bridge", "connection": number, **more}))
            while True:
                socket.recv()
                socket.send(pack_openpi({"actions": np.zeros((50, 7), np.float32)}))

        return connection

    long = greet(3, norm_stats={"mean": np.zeros(7), "names": ["x" * 99] * 99})
    with scripted(greet(1), greet(2), long) as url:
        made = run(tmp_path / "run", "openpi", url)
        assert [r.provenance["greeting"]["connection"] for r in made.results] == [1, 2]
        assert made.results[0].provenance["weights"] is None
        later = run(tmp_path / "later", "openpi", url).results[0]
    assert len(later.provenance["greeting"]["sha256"]) == 64, "a long greeting is kept as its digest"


def test_a_protocol_without_a_greeting_tells_nothing(tmp_path):
    with serving(holding("aa"), "act", "openvla") as server:
        options = {"server": server.url, "convention": "openvla"}
        settings = RunSettings("openvla", ("carrot_on_plate",), 1, backend="point", policy_options=options)
        told = run_suite(settings, out=tmp_path / "run", video=False).results[0].provenance
    assert told == {"server": server.url, "weights": None, "greeting": None}
