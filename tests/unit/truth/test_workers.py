"""Workers of the ground truth: none may stay."""

from truth.workers import Script, Worker, kill_all


def _waits() -> Script:
    while True:
        yield


def test_all_that_are_left_are_killed() -> None:
    workers = [Worker(_waits()) for _ in range(3)]
    for worker in workers:
        worker.step()
    kill_all()
    assert [worker.ended for worker in workers] == [True] * 3
