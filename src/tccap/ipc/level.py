"""How severe an entry of the log is, for both processes."""

from typing import Literal

Level = Literal["error", "warning", "info", "debug"]
