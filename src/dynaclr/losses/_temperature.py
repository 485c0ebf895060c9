"""The temperature that losses of the NT-Xent family divide similarities by."""

import math

from torch import nn


class TemperedLoss(nn.Module):
    """A loss with a temperature, checked whenever it is set."""

    @property
    def temperature(self) -> float:
        """Divisor of the cosine similarities; may be set at any time, for a schedule."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"temperature must be positive and finite, got {value}")
        self._temperature = float(value)
