"""What children leave on the board, as their main process reads it."""

import multiprocessing
from uuid import uuid4

import pytest

from geoetl.engine.progress import ProgressBoard, Report

TASK = str(uuid4())


@pytest.fixture
def board() -> ProgressBoard:
    return ProgressBoard()


def test_the_main_process_reads_what_a_child_wrote(board):
    def work():
        board.write(TASK, 3, done=12, total=64)

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()

    assert board.news({TASK}) == [Report(TASK, 3, done=12, total=64)]


def test_only_what_is_new_is_told(board):
    board.write(TASK, 1, done=1, total=4)
    assert len(board.news({TASK})) == 1
    assert board.news({TASK}) == []

    board.write(TASK, 1, done=2, total=4)

    assert board.news({TASK}) == [Report(TASK, 1, done=2, total=4)]


def test_what_a_task_that_has_ended_left_is_not_told(board):
    board.write(TASK, 1, done=1, total=4)

    assert board.news({str(uuid4())}) == []


def test_a_task_takes_the_slot_of_the_one_before(board):
    later = str(uuid4())
    board.write(TASK, 1, done=4, total=4)
    board.write(later, 2, done=0, total=9)

    assert board.news({TASK, later}) == [Report(later, 2, done=0, total=9)]
