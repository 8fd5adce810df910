"""Every error this package raises on purpose, so that callers can catch by name and users read a sentence.

Without it a policy's unreadable answer, a missing package and our own bug would look alike, and results would count
all three the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Vlm2VlaError(Exception):
    """Base of all errors raised on purpose. Its text is for the user: what was given, expected, and what to do."""


class UnknownNameError(Vlm2VlaError, ValueError):
    """A name that is in none of our tables."""


class ExtensionError(Vlm2VlaError, ImportError):
    """A module of the user's was found and cannot be imported, or what is in it does not fit."""


class MissingExtraError(Vlm2VlaError, ImportError):
    """An optional package is needed and absent; the text holds the pip command."""


class ActionTextError(Vlm2VlaError, ValueError):
    """A policy's action text cannot be read: the policy's failure, and it counts as one."""

    def __init__(self, message: str, *, position: int = 0) -> None:
        super().__init__(message)
        self.position = position
        """Index of the character at which reading stopped."""


class AnswerError(Vlm2VlaError, ValueError):
    """A model's answer to a question other than "which motion?" cannot be read: the policy's failure."""


class ActionError(Vlm2VlaError, ValueError):
    """An action that no arm should be given: wrong shape, or a number that is not finite."""


class EpisodeError(Vlm2VlaError, ValueError):
    """A reset asked for an episode that does not exist."""


class EpisodeAbortedError(Vlm2VlaError):
    """A person stopped the episode: it says nothing about the policy."""


class BackendFaultError(Vlm2VlaError):
    """The simulator, the link or the robot failed: an infrastructure fault, never the policy's failure."""


class WireError(BackendFaultError):
    """A message of a wire that is not read: cut off, too large, or asking for something to be run."""


class LinkLostError(BackendFaultError):
    """An answer of the robot did not come, or cannot be believed: the episode ends truncated and is run again."""

    def __init__(self, message: str, *, reason: str = "link_lost") -> None:
        super().__init__(message)
        self.reason = reason
        """What `info["reason"]` says: "link_lost", "camera_stale", "robot_fault"."""


class SettingError(Vlm2VlaError, ValueError):
    """A setting that makes no sense, or that contradicts another one."""


class ServerError(Vlm2VlaError):
    """A server that was asked did not answer as agreed, however often it was asked: never the policy's failure."""


class DataError(Vlm2VlaError, ValueError):
    """A data set, or one trajectory in it, cannot be used: what it lacks, and where."""


class RendererError(Vlm2VlaError):
    """No picture can be drawn on this machine; the text names the packages to install."""


class AssetsError(Vlm2VlaError):
    """Files that are not part of this package are needed and missing; the text says how to get them."""


class RunFolderError(Vlm2VlaError, OSError):
    """A run folder or a video in it cannot be written."""


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
