"""The model of owners: the last user, while it has the socket; else the only holder."""

from truth.model import Model

A, B, C = 1, 2, 3
SOCK = 7


def shared() -> Model:
    """Return a model in which A has made a socket, and B and C inherit it."""
    model = Model()
    model.start(A)
    model.make(A, SOCK)
    model.fork(A, B)
    model.fork(A, C)
    return model


def test_a_socket_belongs_to_its_maker_until_another_process_uses_it() -> None:
    model = shared()
    assert model.owner(SOCK) == A
    model.use(B, SOCK, "sends")
    assert model.owner(SOCK) == B


def test_it_is_nobodys_if_its_last_user_has_closed_it_and_several_have_it() -> None:
    model = shared()
    model.close(A, SOCK)
    assert model.owner(SOCK) is None
    model.exit(C)
    assert model.owner(SOCK) == B


def test_a_process_that_was_given_a_socket_has_it() -> None:
    model = Model()
    model.start(A)
    model.start(B)
    model.make(A, SOCK)
    model.give(A, B, SOCK)
    assert model.owner(SOCK) == A
    model.close(A, SOCK)
    assert model.owner(SOCK) == B
    assert model.holders(SOCK) == {B}
