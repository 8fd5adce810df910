"""The policy "vlm": the closed loop around a model in this process or on a server, configured by its options.

The options are plain values, so that the settings of a run show how it was made and it can be repeated.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.core.finder import find, is_place, making
from vlm2vla_sim.errors import ExtensionError, SettingError, unknown_name
from vlm2vla_sim.policies import PolicyContext, PolicyFactory
from vlm2vla_sim.policies.base import Policy, TextModel, Verifier
from vlm2vla_sim.policies.commanded_pose import CommandedPose
from vlm2vla_sim.policies.language_action import PAPER, LanguageActionPolicy, LoopSettings, StageSampling
from vlm2vla_sim.policies.models.prices import PricedModel, read_prices
from vlm2vla_sim.policies.options import check_types
from vlm2vla_sim.policies.verifier import VerifierContext, find_verifier, make_verifier
from vlm2vla_sim.policies.zero_shot.loop import ZeroShotSettings
from vlm2vla_sim.policies.zero_shot.options import ZeroShotOptions, make_zero_shot

SAMPLINGS = ("paper", "paper-ood", "greedy")
IN_PROCESS = ("dtype", "device_map", "quantization", "compile", "threads")
"""Options of a model in this process."""
MIN_THINKING = 16
"""Fewer tokens hold the marks of a reasoning and no reasoning."""


@dataclass(frozen=True)
class VlmOptions(ZeroShotOptions):
    """Options of the policy "vlm", given as `--policy-options NAME=VALUE`."""

    model: str = ""
    """A folder or a hub name; with `server`, the base model's name there; or your own `TextModel` as
    package.module:NAME, a factory that is called with these options."""
    adapter: str = ""
    server: str = ""
    """Address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1; empty for a model in this process."""
    constraint: str = "regex"
    """How the grammar is sent to a server: regex, grammar; off is the same as constrained=false."""
    timeout: float = 120.0
    """[s] for one request to a server, the verifier's included."""
    minimal_request: bool = False
    """true: a server is sent no temperature, top_p, seed and max_tokens, but max_completion_tokens: hosted models that
    reason refuse the others. They sample as they like, and a run cannot be repeated."""
    sampling: str = "paper"
    """paper, paper-ood (tasks outside the training distribution), greedy (deterministic)."""
    verifier: str = "adapter"
    """adapter or base: this model with its adapter enabled or disabled; server: another model; truth: the simulator's;
    operator: a person; or your own as package.module:NAME (see `verifier.VERIFIERS`)."""
    verifier_server: str = ""
    verifier_model: str = ""
    """The server and the model of verifier=server."""
    reasoning: bool = True
    """false: from the instruction directly to the action (VLM2VLA-NR)."""
    state: bool = False
    """true: put the gripper's pose into the prompts."""
    commanded_state: bool = False
    """true: with state, the commanded position of the last motion instead of the measured one, which lags behind."""
    grounded_plan: bool = False
    """true: ask for plans that begin with the object's position and distance."""
    max_attempts: int = LoopSettings.max_attempts
    max_rows: int = 0
    """Rows that are executed before the model is asked again; 0 for all."""
    ensemble: int = 1
    """The mean of the last n predictions, as VLA-0 acts; with max_rows and a format of control steps (vla0, clap)."""
    resample: int = LoopSettings.resample
    constrained: bool = True
    """false: without a grammar, to count parse errors; the verifier's two words are not enforced either."""
    free_tokens: int = LoopSettings.free_tokens
    """The most tokens of an action without the grammar."""
    thinking: bool = False
    """true: the model thinks before each answer, and its reasoning is kept beside the answer. For models that think,
    in this process or on a server. false: a model that can be told not to think is told so; with zero_shot it does as
    it likes."""
    thinking_tokens: int = 1024
    """With thinking, the most tokens of the reasoning of an answer. A model in this process has to end it then; a
    server adds them to the limit of the answer."""
    dtype: str = "auto"
    device_map: str = ""
    quantization: str = ""
    compile: bool = False
    threads: int = 0
    """torch's CPU threads; 0 leaves torch's setting."""

    def __post_init__(self) -> None:
        check_types(self)
        if not self.model:
            raise SettingError(
                "The policy 'vlm' needs a model: --model google/gemma-3-4b-it, or a folder. To see the loop without "
                "one, use --policy oracle."
            )
        if self.sampling not in SAMPLINGS:
            raise unknown_name("sampling", self.sampling, SAMPLINGS)
        self.check_zero_shot()
        if self.thinking_tokens < MIN_THINKING:
            raise SettingError(f"thinking_tokens is {self.thinking_tokens}; expected {MIN_THINKING} or more.")
        find_verifier(self.verifier)
        if self.verifier == "server" and not (self.verifier_server and self.verifier_model):
            raise SettingError("verifier=server needs verifier_server=ADDRESS and verifier_model=NAME.")
        self._check_unused()

    @property
    def uses_grammar(self) -> bool:
        """Whether anything is decoded under a grammar."""
        return self.constrained and not self.zero_shot and not (self.server and self.constraint == "off")

    def _check_unused(self) -> None:
        """SettingError for an option that nothing would read. An own model may read any."""
        unused: list[tuple[str, str]] = []
        if self.server:
            unused += [(name, "the weights are on a server, which loaded them in its own way") for name in IN_PROCESS]
            unused += [("sampling", "minimal_request sends no temperature")] if self.minimal_request else []
        elif not is_place(self.model):
            unused += [(name, "there is no server") for name in ("constraint", "minimal_request")]
            unused += [("timeout", "there is no server")] if self.verifier != "server" else []
        if self.verifier != "server" and not is_place(self.verifier):
            unused += [(name, f"the verifier is {self.verifier}") for name in ("verifier_server", "verifier_model")]
        if not self.thinking:
            unused.append(("thinking_tokens", "thinking is false"))
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name, why in unused:
            if (value := getattr(self, name)) != defaults[name]:
                raise SettingError(f"The policy option {name} is {value!r}, but {why}. Leave the option out.")

    def loop(self) -> LoopSettings:
        """The loop's settings."""
        return LoopSettings(
            reasoning=self.reasoning,
            state=self.state,
            commanded_state=self.commanded_state,
            grounded_plan=self.grounded_plan,
            max_attempts=self.max_attempts,
            max_rows=self.max_rows or None,
            ensemble=self.ensemble,
            resample=self.resample,
            constrained=self.uses_grammar,
            free_tokens=self.free_tokens,
            thinking_tokens=self.thinking_tokens if self.thinking else 0,
            sampling=self._stages(),
        )

    def zero_shot_settings(self) -> ZeroShotSettings:
        """The settings of the loop of a zero-shot model; its answers are sampled as actions are."""
        sampling = self._stages().action
        loop = self.zero_shot_loop(sampling, reasoning=self.reasoning, max_rows=self.max_rows, resample=self.resample)
        return dataclasses.replace(loop, thinking_tokens=self.thinking_tokens if self.thinking else 0)

    def _stages(self) -> StageSampling:
        if self.sampling == "greedy":
            return PAPER.greedy()
        return PAPER if self.sampling == "paper" else PAPER.out_of_distribution()


def make(context: PolicyContext) -> Policy:
    """The factory behind "vlm" in `policies.POLICIES`."""
    return assemble(VlmOptions(**context.options), context)  # type: ignore[arg-type]  # checked by VlmOptions itself


def assemble(options: VlmOptions, context: PolicyContext) -> Policy:
    """The closed loop with these options."""
    model = (context.models or make_text_model)(options)
    if options.prices:
        model = PricedModel(model, read_prices(options.prices), options.currency)
    if options.zero_shot:
        return make_zero_shot(options, options.zero_shot_settings(), model, context, on_server=bool(options.server))
    verifier: Verifier | None = None
    if options.reasoning:
        verifier = make_verifier(
            options.verifier,
            VerifierContext(
                model,
                context.see,
                options.verifier_server,
                options.verifier_model,
                constrained=options.uses_grammar,
                timeout=options.timeout,
                goals=context.goals,
                thinking_tokens=options.thinking_tokens if options.thinking else 0,
            ),
        )
    pose = CommandedPose(context.robot, context.arm)
    return LanguageActionPolicy(model, context.action_format, verifier, settings=options.loop(), pose=pose)


MODEL_OPTIONS = (
    "model", "adapter", "server", "constraint", "constrained", "timeout", "dtype", "device_map", "quantization",
    "compile", "threads", "zero_shot", "minimal_request",
)  # fmt: skip
"""The options that decide which text model is loaded, and how."""


def model_options(options: VlmOptions) -> VlmOptions:
    """Options with which `make_text_model` makes the same model: equal where the models are.

    A text model of your own may read any option.
    """
    if is_place(options.model):
        return options
    return VlmOptions(**{name: getattr(options, name) for name in MODEL_OPTIONS})


def make_text_model(options: VlmOptions) -> TextModel:
    """The text model that the options name: on a server, in this process, or your own."""
    if options.server:
        from vlm2vla_sim.policies.models.chat_api import ChatModel, ServerSettings

        return ChatModel(
            ServerSettings(
                options.server,
                options.model,
                options.adapter,
                constraint=options.constraint if options.uses_grammar else "off",
                timeout=options.timeout,
                minimal=options.minimal_request,
            )
        )
    if is_place(options.model):
        return _own_model(options)

    from vlm2vla_sim.policies.models.hub import locate

    locate(options.model)  # before torch is imported, so that an unreachable hub is reported within seconds
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


def _own_model(options: VlmOptions) -> Any:
    factory = find("text model", options.model, {})
    if not callable(factory):
        raise ExtensionError(f"The text model {options.model!r} is {factory!r}; expected a function or class.")
    with making("text model", options.model):
        model = factory(options)
    if not callable(getattr(model, "answer", None)):
        raise ExtensionError(f"The text model {options.model!r} made a {type(model).__name__}, without method answer.")
    return model


FACTORY = PolicyFactory(make, options=VlmOptions)
"""The policy "vlm"."""
