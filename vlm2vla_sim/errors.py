"""Every error this package raises on purpose, so that callers can catch by class and users read a sentence.

A policy's unreadable answer, a missing package and a bug have different classes, because results count them apart.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Vlm2VlaError(Exception):
    """Base of all errors raised on purpose. Its text is for the user: what was given, expected, and what to do."""


class UnknownNameError(Vlm2VlaError, ValueError):
    """A name that is in none of our tables."""


class ExtensionError(Vlm2VlaError, ImportError):
    """An extension of the user's cannot be imported, or does not have the interface it needs."""


class MissingExtraError(Vlm2VlaError, ImportError):
    """An optional package is needed and absent; the text holds the pip command."""


class ActionTextError(Vlm2VlaError, ValueError):
    """A policy's action text cannot be read; counted as a parse error of the policy."""

    def __init__(self, message: str, *, position: int = 0) -> None:
        super().__init__(message)
        self.position = position
        """Index of the character at which reading stopped."""


class AnswerError(Vlm2VlaError, ValueError):
    """A model's answer to another question than the action cannot be read; a failure of the policy."""


class ActionError(Vlm2VlaError, ValueError):
    """An action has the wrong shape, or a number that is not finite."""


class EpisodeError(Vlm2VlaError, ValueError):
    """A reset asked for an episode that does not exist."""


class EpisodeAbortedError(Vlm2VlaError):
    """The operator stopped the episode; it counts neither for nor against the policy."""


class BackendFaultError(Vlm2VlaError):
    """The simulator, the link or the robot failed; never counted as a failure of the policy."""


class WireError(BackendFaultError):
    """A message is refused: cut off, too large, or asking for code to be run."""


class LinkLostError(BackendFaultError):
    """An answer of the robot is missing or implausible; the episode ends truncated and is run again."""

    def __init__(self, message: str, *, reason: str = "link_lost") -> None:
        super().__init__(message)
        self.reason = reason
        """The value of `info["reason"]`: "link_lost", "link_slow", "camera_stale" or "robot_fault"."""


class RobotInUseError(Vlm2VlaError):
    """Another client drives the robot. Nothing was sent; every further episode would meet the same."""


class DecodingError(BackendFaultError):
    """Constrained decoding failed in a model of this process; never counted as a failure of the policy."""


class SettingError(Vlm2VlaError, ValueError):
    """A setting is invalid, or contradicts another one."""


class GrammarError(SettingError):
    """A grammar cannot be followed: the decoder refuses it, or the model's tokenizer cannot write its texts."""


class ServerError(Vlm2VlaError):
    """A server did not answer as its protocol demands, after all retries; never counted as a failure of the policy."""


class DataError(Vlm2VlaError, ValueError):
    """A data set, or one trajectory in it, cannot be used; the text says what is missing, and where."""


class RendererError(Vlm2VlaError):
    """No image can be rendered on this machine; the text names the packages to install."""


class AssetsError(Vlm2VlaError):
    """Files that are not part of this package are needed and missing; the text says how to get them."""


class RunFolderError(Vlm2VlaError, OSError):
    """A run folder or a video in it cannot be written."""


class NotComparableError(RunFolderError):
    """Runs whose results cannot be compared or merged: other conditions, another rule, another simulator."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> UnknownNameError:
    """The error for `name`, listing what is known and the nearest guess.

    >>> str(unknown_name("task", "carot", ["carrot", "spoon"]))
    "No task named 'carot'. Did you mean 'carrot'? Available: carrot, spoon."
    """
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    return UnknownNameError(f"No {kind} named {name!r}.{guess} Available: {', '.join(names)}.")


def missing_extra(what: str, package: str, extra: str) -> MissingExtraError:
    """The error for an absent optional package, with the command that installs it."""
    install = f"pip install 'vlm2vla_sim[{extra}]'" if extra else f"pip install {package}"
    return MissingExtraError(f"{what} needs the package {package!r}, which is not installed. Install it: {install}")
