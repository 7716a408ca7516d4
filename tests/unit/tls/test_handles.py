"""Where handles are in descriptions of keys."""

from tccap.tls.handles import LISTED, Handles

PID = 7


def test_the_libraries_of_the_process_say_it() -> None:
    handles = Handles()
    assert handles.offset(PID) is None
    handles.record(PID, bytes([8]))
    assert handles.offset(PID) == 8
    handles.record(PID, bytes([8, 16]))
    assert handles.offset(PID) is None


def test_the_listed_libraries_count_until_the_process_is_known() -> None:
    handles = Handles()
    handles.record(LISTED, bytes([16]))
    assert handles.offset(PID) == 16
    handles.record(PID, bytes([8]))
    assert handles.offset(PID) == 8
    handles.record(PID, b"")
    assert handles.offset(PID) == 16
