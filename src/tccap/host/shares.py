"""Room that all share, and nobody may use up."""

from collections import Counter

# A user, by id, or a container of root's. None is root: nobody else makes such things.
Whose = int | str | None


class Shares:
    """Room for some things: nobody takes more than is left for others then.

    So the first one gets half of it at most, the next one half of the rest, and there
    is always some left. Root may take all.
    """

    def __init__(self, room: int) -> None:
        self._left = room
        self._taken: Counter[Whose] = Counter()

    def has_room(self, whose: Whose, count: int = 1) -> bool:
        """Return whether somebody may take so many more."""
        if whose is None:
            return count <= self._left
        # As if they were taken one by one.
        return self._taken.get(whose, 0) + 2 * count - 1 <= self._left

    def take(self, whose: Whose, count: int = 1) -> None:
        """Take so many."""
        self._left -= count
        self._taken[whose] += count

    def give_back(self, whose: Whose) -> None:
        """Give one back."""
        self._left += 1
        self._taken[whose] -= 1
        if not self._taken[whose]:
            del self._taken[whose]
