"""`python -m vlm2vla_sim`: the same as the command `vlm2vla`."""

import sys

from vlm2vla_sim.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
