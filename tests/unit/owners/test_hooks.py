"""Attaching the hooks of a kernel with kprobes, with a stand-in for bcc."""

from unittest import mock

import pytest

from tccap.errors import TccapError
from tccap.owners import hooks
from tccap.owners.hooks import HOOKS, KernelFunctions


def _attach(refused: str) -> None:
    """Attach where the kernel has all functions, and refuses a probe at one of them."""
    kernel = KernelFunctions(hooks.FUNCTIONS, {})
    with mock.patch.object(hooks, "bcc") as bcc, mock.patch.object(hooks, "progs"):
        bcc().lib.bpf_attach_kprobe.side_effect = (
            lambda _fd, _side, _name, function, *_: (
                -1 if function == refused.encode() else 0
            )
        )
        hooks.attach(mock.MagicMock(), kernel, follow_children=False)


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.functions[0])
def test_only_a_hook_that_is_needed_ends_the_start(
    hook: hooks.Hook, capfd: pytest.CaptureFixture[str]
) -> None:
    function = hook.functions[0]
    sentence = f"The kernel has no probe at its function {function}."
    if hook.needed:
        with pytest.raises(TccapError, match=sentence):
            _attach(function)
    else:
        _attach(function)
        assert sentence in capfd.readouterr().err


def test_functions_with_fentry_that_are_needed_are_some_of_all_of_them() -> None:
    every = hooks.with_fentry(hooks.FUNCTIONS, needed=False)
    needed = hooks.with_fentry(hooks.FUNCTIONS, needed=True)
    assert {"locks_remove_posix", "inet_sendmsg"} <= set(every) - set(needed)
    assert "inet_sock_destruct" in needed
