"""The policy "vlm": the closed loop around a model in this process or on a server, put together from its options.

What a run was made with has to be in its settings as plain values, so that it can be read and run again. This is where
those values become objects.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.policies import PolicyContext, PolicyFactory
from vlm2vla_sim.policies.base import Policy, TextModel, Verifier
from vlm2vla_sim.policies.language_action import PAPER, LanguageActionPolicy, LoopSettings, StageSampling
from vlm2vla_sim.policies.options import check_types
from vlm2vla_sim.policies.verifier import ModelVerifier, OperatorVerifier, TruthVerifier

SAMPLINGS = ("paper", "paper-ood", "greedy")
VERIFIERS = ("adapter", "base", "server", "truth", "operator")


@dataclass(frozen=True)
class VlmOptions:
    """Everything that can be said about the policy "vlm", as `--policy-options NAME=VALUE`."""

    model: str = ""
    """A folder or a hub name; with `server`, the base model's name there."""
    adapter: str = ""
    server: str = ""
    """Address of an OpenAI-style server such as http://127.0.0.1:8000/v1; empty to load the model in this process."""
    constraint: str = "regex"
    """How a server is sent the grammar: regex, grammar, off."""
    timeout: float = 120.0
    """[s] for one try with a server."""
    sampling: str = "paper"
    """paper, paper-ood (tasks unlike those trained on), greedy (the same words every time)."""
    verifier: str = "adapter"
    """adapter or base: this model with its adapter on or off; server; truth (the simulator's); operator (you)."""
    verifier_server: str = ""
    verifier_model: str = ""
    """The server and model that judge, with verifier=server."""
    reasoning: bool = True
    """false: from the instruction straight to the action (VLM2VLA-NR)."""
    state: bool = False
    """true: tell the model where the gripper is."""
    commanded: bool = False
    """true: with state, tell it where the last motion was to end; the gripper lags a centimetre or two behind."""
    located: bool = False
    """true: ask for plans that begin with where the gripper has to go."""
    max_attempts: int = LoopSettings.max_attempts
    max_rows: int = 0
    """Rows that are carried out before the model is asked again; 0 for all of them."""
    resample: int = LoopSettings.resample
    constrained: bool = True
    """false: without the grammar, to count what cannot be read."""
    free_tokens: int = LoopSettings.free_tokens
    """Tokens of an action at most without the grammar."""
    dtype: str = "auto"
    device_map: str = ""
    quantization: str = ""
    compile: bool = False
    threads: int = 0
    """Threads of torch's on the CPU; 0 for as many as it takes by itself."""

    def __post_init__(self) -> None:
        check_types(self)
        if not self.model:
            raise SettingError(
                "The policy 'vlm' needs a model: --model google/gemma-3-4b-it, or a folder. To see the loop without "
                "one, use --policy oracle."
            )
        if self.sampling not in SAMPLINGS:
            raise unknown_name("sampling", self.sampling, SAMPLINGS)
        if self.verifier not in VERIFIERS:
            raise unknown_name("verifier", self.verifier, VERIFIERS)
        if self.verifier == "server" and not (self.verifier_server and self.verifier_model):
            raise SettingError("verifier=server needs verifier_server=ADDRESS and verifier_model=NAME.")

    def loop(self) -> LoopSettings:
        """The loop's settings."""
        return LoopSettings(
            reasoning=self.reasoning,
            state=self.state,
            commanded=self.commanded,
            located=self.located,
            max_attempts=self.max_attempts,
            max_rows=self.max_rows or None,
            resample=self.resample,
            constrained=self.constrained,
            free_tokens=self.free_tokens,
            sampling=self._stages(),
        )

    def _stages(self) -> StageSampling:
        if self.sampling == "greedy":
            return PAPER.greedy()
        return PAPER if self.sampling == "paper" else PAPER.out_of_distribution()


def make(context: PolicyContext) -> Policy:
    """The factory behind "vlm" in `policies.POLICIES`."""
    return assemble(VlmOptions(**context.options), context)  # type: ignore[arg-type]  # checked by VlmOptions itself


def assemble(options: VlmOptions, context: PolicyContext) -> Policy:
    """The closed loop that `options` ask for."""
    model = _make_model(options)
    verifier = _make_verifier(options, model, context) if options.reasoning else None
    return LanguageActionPolicy(model, context.action_format, verifier, settings=options.loop())


def _make_model(options: VlmOptions) -> TextModel:
    if options.server:
        from vlm2vla_sim.policies.models.chat_api import ChatModel, ServerSettings

        return ChatModel(
            ServerSettings(
                options.server,
                options.model,
                options.adapter,
                constraint=options.constraint,
                timeout=options.timeout,
            )
        )
    from vlm2vla_sim.policies.models.hf_model import HfSettings, load_model

    return load_model(
        HfSettings(
            options.model,
            options.adapter,
            dtype=options.dtype,
            device_map=options.device_map,
            quantization=options.quantization,
            compile=options.compile,
            threads=options.threads,
        )
    )


def _make_verifier(options: VlmOptions, model: TextModel, context: PolicyContext) -> Verifier:
    if options.verifier == "operator":
        return OperatorVerifier()
    if options.verifier == "truth":
        if context.see is None:
            raise SettingError("verifier=truth needs a simulator; on a real arm use adapter, base, server or operator.")
        return TruthVerifier(context.see)
    if options.verifier == "server":
        from vlm2vla_sim.policies.models.chat_api import ChatModel, ServerSettings

        judge = ServerSettings(options.verifier_server, options.verifier_model, constraint="off")
        return ModelVerifier(ChatModel(judge), constrained=False)
    return ModelVerifier(model, adapter=options.verifier == "adapter")


FACTORY = PolicyFactory(make, options=VlmOptions)
"""The policy "vlm"."""
