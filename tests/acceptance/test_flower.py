"""Flower in a real browser, in front of real workers."""

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By

from geoetl.chains.noop import Noop
from geoetl.chains.process_raster import ProcessRaster
from geoetl.local.component import ToolMissing
from geoetl.worker.client import Job, submit
from geoetl.worker.monitor import flower_command
from tests.acceptance.conftest import ROOT, eventually
from tests.acceptance.rasters import write_raster
from tests.stack import require

#: A folder for pictures of the pages, as the documentation has them in docs/images.
PICTURES = os.environ.get("GEOETL_TEST_PICTURES")

VISIT_ME = re.compile(r"Visit me at (http://\S+:\d+)")


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ToolMissing(f"{name} is not installed.", hint="`apt-get install chromium chromium-driver` installs it.")
    return found


class Browser:
    """Chromium at Flower's pages."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, path: str) -> None:
        self.driver.get(self.url + path)

    def text(self, selector: str) -> str:
        return " ".join(element.text for element in self.driver.find_elements(By.CSS_SELECTOR, selector))

    def shows(self, *words: str, within: str = "body") -> bool:
        text = self.text(within)
        return all(word in text for word in words)

    def click(self, selector: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, selector).click()

    def picture(self, name: str, height: int, *, width: int = 1280) -> None:
        if PICTURES:
            self.driver.set_window_size(width, height + 143)  # the window's own frame
            self.driver.execute_script("document.documentElement.style.overflow = 'hidden'")
            self.driver.save_screenshot(f"{PICTURES}/{name}.png")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Generator[Chrome]:
    options = ChromeOptions()
    options.binary_location = require(lambda: program("chromium"))
    options.add_argument("--headless=new")
    options.add_argument("--no-sandbox")  # it refuses root, which containers run as
    options.add_argument("--disable-dev-shm-usage")
    options.add_argument("--window-size=1280,800")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    driver = Chrome(options, ChromeService(require(lambda: program("chromedriver"))))
    yield driver
    driver.quit()


@pytest.fixture
def browser(installation, driver: Chrome, tmp_path: Path) -> Generator[Browser]:
    log = tmp_path / "flower.log"
    environ = {**installation.environ, "FLOWER_UNAUTHENTICATED_API": "true"}
    with log.open("wb") as out:
        flower = subprocess.Popen(
            flower_command("--address=127.0.0.1", "--port=0", "--purge_offline_workers=1"),
            cwd=ROOT,
            env=environ,
            stdout=out,
            stderr=out,
        )
    try:
        found = eventually(lambda: VISIT_ME.search(log.read_text()), what=f"Flower's start (see {log})")
        yield Browser(driver, found[1])
    finally:
        flower.terminate()
        flower.wait(60)


@pytest.fixture
def submitted(installation) -> Generator[Callable[..., Job]]:
    jobs: list[Job] = []

    def start(spec):
        jobs.append(submit(spec, services=installation.services))
        return jobs[-1]

    yield start
    for job in jobs:
        job.cancel()


def test_workers_and_queues_and_a_job_s_tasks_are_seen(installation, workers, browser, submitted, tmp_path):
    workers("light", "standard")
    heavy = workers("heavy", "gdal")
    eventually(lambda: browser.open("/workers") or browser.shows("light@", "heavy@", within="table"), what="workers")
    paths = [write_raster(tmp_path / f"{name}.tif", seed=n) for n, name in enumerate(["bergen", "oslo", "tromso"])]
    refs = [installation.put(f"norway/{path.name}", path) for path in paths]
    name = f"norway-{uuid.uuid4().hex[:4]}"
    job = submitted(ProcessRaster(sources=refs, collection=name, create_collection=True))
    job.wait(timeout_s=90)

    browser.open("/tasks")

    eventually(
        lambda: browser.shows(
            "convert oslo.tif", "'stage': 'convert'", f"'job': '{job.id[:12]}'", within="#tasks-table"
        ),
        what="tasks",
    )
    browser.picture("flower-tasks", 830, width=1560)
    browser.open(f"/api/tasks?search=kwargs:job={job.id[:12]}")
    assert browser.shows("convert oslo.tif")
    browser.open("/workers?refresh=1")
    eventually(lambda: browser.shows("light@", "heavy@", "Online", within="table"), what="both workers online")
    browser.picture("flower-workers", 520)
    browser.open("/broker")
    assert browser.shows("standard", "gdal", within="#queue-table")
    browser.picture("flower-queues", 330)

    heavy.stop()

    eventually(lambda: browser.open("/workers") or not browser.shows("heavy@", within="table"), what="one worker less")
    assert browser.shows("light@", within="table")


def test_terminating_a_running_task_cancels_its_job(workers, browser, submitted):
    workers("busy")
    job = submitted(Noop(name=uuid.uuid4().hex, tasks=4, seconds=60))

    def running():
        return [task for task in job.tasks() if task.state == "running"]

    eventually(lambda: len(running()) == 2, what="two tasks running")
    task = running()[0]
    eventually(lambda: browser.open(f"/task/{task.id}") or browser.shows("noop.work", "'stage': 'work'", "STARTED"))
    browser.picture("flower-task", 660)

    browser.click("#task-terminate")

    eventually(lambda: job.status().summary.state == "cancelled", within_s=10, what="the job cancelled")
    assert [each.data["by"] for each in job.events() if each.what == "job cancelled"] == ["revoke in Celery"]
    eventually(lambda: not running(), within_s=10, what="every task stopped")
    eventually(lambda: browser.open(f"/task/{task.id}") or browser.shows("REVOKED"), what="the page says so")
