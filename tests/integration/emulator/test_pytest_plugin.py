"""The pytest plugin in another project: as its documentation shows it."""

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

DOCUMENT = Path(__file__).parents[3] / "docs" / "emulator.md"


@pytest.fixture
def example() -> list[str]:
    section = DOCUMENT.read_text().partition("## In the tests of a Celery project")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_the_example_of_the_documentation_passes(pytester, example):
    conftest, test = example
    pytester.makeconftest(conftest)
    pytester.makepyfile(test)
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error").assert_outcomes(passed=1)


def test_no_message_is_left_for_the_next_test(pytester, example):
    pytester.makeconftest(example[0])
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize("turn", [1, 2])
        def test_a_queue_of_nobody(celery_app, servicebus_emulator, servicebus_empty, turn):
            celery_app.send_task("work", queue="nobody")
            celery_app.send_task("work", queue="nobody", countdown=100)
            counts = servicebus_emulator.call(lambda it: it.namespace.queue("nobody").counts)
            assert (counts.active, counts.scheduled) == (1, 1)
    """)
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error").assert_outcomes(passed=2)


def test_the_plugin_is_nobody_s_who_does_not_name_it(pytester):
    pytester.makepyfile("""
        import sys

        def test_nothing_of_it_is_loaded():
            assert not [name for name in sys.modules if name.startswith("geoetl")]
    """)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
