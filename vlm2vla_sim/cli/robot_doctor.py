"""`vlm2vla robot doctor`: examines a robot, prints what was found, and writes a page."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.cli.robot_flags import RobotFlags
from vlm2vla_sim.cli.signals import end_like_ctrl_c, exit_status
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.core.terminal import to_stderr
from vlm2vla_sim.errors import RunFolderError, SettingError


@dataclass(frozen=True, kw_only=True)
class DoctorCommand(RobotFlags):
    """Examine the robot before the first session: link, cameras, pose, a motion of 2 cm, the gripper.

    Nothing moves without your yes. The exit status is 0 if everything was checked and is right, 1 if not, 130 after
    Ctrl-C; the page is written in every case.
    """

    out: Path = Path("doctor.html")
    """The page with the outcome; an earlier one is replaced. The cameras' pictures are saved beside it."""
    task: str = "carrot_on_plate"
    """A task in front of whose scene the robot stands: it decides the start pose and the workspace."""
    no_motion: bool = False
    """Ask nothing and move nothing; check only what is known of an arm that stands still."""
    yes: bool = False
    """Answer every question with yes: for a mock server, never for an arm."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> CommandResult:
        """Run it."""
        from vlm2vla_sim.core.checks import format_checks, to_json
        from vlm2vla_sim.envs.base import find_task
        from vlm2vla_sim.evaluation.robot_doctor.examine import Examination, examine
        from vlm2vla_sim.evaluation.robot_doctor.page import save_pictures, write_page

        if self.yes and self.no_motion:
            raise SettingError("--yes and --no-motion were both given. Leave one out.")
        task, options = find_task(self.task, self.backend), self.env_options()
        check_path(self.out, RunFolderError, flag="--out FILE", room=0, beside="-primary.jpg.new")
        try:
            write_page(Examination(self.backend), self.out)  # a page that cannot be written is found before a motion
        except OSError as error:
            raise RunFolderError(
                f"The page {self.out} cannot be written: {error}. Choose another (--out FILE)."
            ) from error
        with end_like_ctrl_c():
            found = examine(
                task,
                self.backend,
                options,
                ask=(lambda question: True) if self.yes else ask_yes_or_no,
                say=lambda text: to_stderr(f"{text}\n"),
                motion=not self.no_motion,
            )
            written = "Not written"
            try:
                pictures = save_pictures(found, self.out)
                write_page(found, self.out)
                written = ", ".join(map(str, [self.out, *pictures]))
            except OSError as error:
                to_stderr(f"The page {self.out} cannot be written: {error}.\n")
        status = (
            exit_status(found.interrupted) if found.interrupted else int(not found.passed or written == "Not written")
        )
        text = f"{format_checks(found.checks)}\n\n{found.verdict}\nPage: {written}"
        values = {
            "passed": found.passed,
            "verdict": found.verdict,
            "backend": found.backend,
            "versions": dict(found.versions),
            "checks": to_json(found.checks),
            "page": str(self.out),
        }
        return CommandResult(text, values, self.json, code=status)


def ask_yes_or_no(question: str) -> bool:
    """The answer of the person at the terminal, yes or no; EOFError at the end of the input."""
    while True:
        to_stderr(f"{question} [y/n] ")
        line = sys.stdin.readline()
        if not line:
            to_stderr("\n")
            raise EOFError
        if line.strip().lower() in ("y", "yes"):
            return True
        if line.strip().lower() in ("n", "no"):
            return False
