"""Tells a policy's own crash from a fault of the robot, the simulator or the link.

Whoever runs a session mends something else after each: a policy that runs out of memory is not helped by a look at the
robot, and running it again drives the arm again for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from vlm2vla_sim.errors import ActionError, Vlm2VlaError
from vlm2vla_sim.evaluation.setup import make_policy
from vlm2vla_sim.policies.base import close_policy
from vlm2vla_sim.policies.spec import PolicySpec

if TYPE_CHECKING:
    from vlm2vla_sim.policies.base import Policy


class PolicyCrash(Exception):  # noqa: N818 - a cause that is unpacked, not an error of this package
    """The policy's code, or what it returned, raised `cause`."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.cause = cause


@contextmanager
def as_policy_crash() -> Iterator[None]:
    """Around code of the policy and what reads its decisions: everything but this package's own errors is its crash.

    `SystemExit` is one: a script that was made into a policy may end itself. Ctrl-C is not.
    """
    try:
        yield
    except ActionError as error:
        raise PolicyCrash(error) from error
    except Vlm2VlaError:
        raise
    except (Exception, SystemExit) as error:
        raise PolicyCrash(error) from error


def make_or_crash(env: gym.Env[Any, Any], spec: PolicySpec) -> Policy:
    """As `make_policy`; PolicyCrash where the policy's own code raises, as a model that runs out of memory does."""
    with as_policy_crash():
        return make_policy(env, spec)


def close_or_tell(policy: Policy) -> str:
    """Close `policy`; what its `close()` raised, or nothing."""
    try:
        with as_policy_crash():
            close_policy(policy)
    except PolicyCrash as crash:
        return str(crash)
    return ""
