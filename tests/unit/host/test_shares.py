"""Room that nobody uses up."""

from tccap.host.shares import Shares, Whose


def taken(shares: Shares, whose: Whose) -> int:
    """Take as much as somebody may; return how much that was."""
    count = 0
    while shares.has_room(whose):
        shares.take(whose)
        count += 1
    return count


def test_there_is_always_some_left_for_others() -> None:
    shares = Shares(64)
    assert [taken(shares, user) for user in (1, 2, "ab", 3)] == [32, 16, 8, 4]
    assert taken(shares, 1) == 0
    assert taken(shares, None) == 4
    assert not shares.has_room(5)


def test_many_at_once_are_as_many_one_by_one() -> None:
    shares = Shares(64)
    assert not shares.has_room("ab", 33)
    assert shares.has_room("ab", 32)
    assert shares.has_room(None, 64)
    shares.take("ab", 32)
    assert not shares.has_room("ab")
    assert not shares.has_room(1, 17)
    assert shares.has_room(1, 16)


def test_what_is_given_back_can_be_taken_again() -> None:
    shares = Shares(1)
    for whose in (1, None):
        shares.take(whose)
        assert not shares.has_room(1)
        shares.give_back(whose)
        assert shares.has_room(1)
