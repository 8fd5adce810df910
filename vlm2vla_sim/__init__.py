"""vlm2vla_sim: a vision-language model that speaks its actions moves a WidowX, in simulation and for real.

Importing it registers the environments with Gymnasium and does nothing else: no simulator, no renderer, no torch.
"""

from __future__ import annotations

__version__ = "0.1.0"
