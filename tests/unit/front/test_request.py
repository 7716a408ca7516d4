"""From options to the Plan."""

import pytest

from tccap.errors import TccapError
from tccap.front import request
from tccap.front.options import Options

INSIDE = Options()._replace(inside=True, container="web")


def test_inside_of_containers_is_for_all_devices() -> None:
    assert request.plan("tccap-any", "", INSIDE).inside
    with pytest.raises(TccapError, match=r"^--inside adds .* instead of eth0\.$"):
        request.plan("tccap-eth0", "", INSIDE)
