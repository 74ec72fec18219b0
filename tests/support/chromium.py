"""The explorer as a user meets it: `clipjax explore` in a process of its own, and Debian's chromium in front of it."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
DRIVER = shutil.which("chromedriver")
BROWSER = shutil.which("chromium")


@contextlib.contextmanager
def serving(run, *options, cwd=None, cache=None):
    """Starts `clipjax explore RUN`; gives the address and the process, and ends it as Ctrl-C does."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    env |= {"CLIPJAX_CACHE": str(cache)} if cache else {}
    command = [sys.executable, "-m", "clipjax.cli.main", "explore", str(run), *options]
    process = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, text=True)
    timer = threading.Timer(600, process.kill)
    timer.start()
    line = process.stdout.readline()
    timer.cancel()
    found = re.search(r"http://\S+", line)
    assert found, f"no address but {line!r}"
    try:
        yield found[0], process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            process.stdout.close()


@contextlib.contextmanager
def chromium(width=1366, height=900, dark=False, downloads=None, scale=1):
    """A window of chromium without a screen, that tells every request and console line."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                 "--disable-component-update", "--no-first-run", f"--force-device-scale-factor={scale}"):  # fmt: skip
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    if downloads:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        driver.set_window_size(width, height)
        # The window's inside is smaller than the window: asked for again, so that the page has just this width.
        inner = driver.execute_script("return [innerWidth, innerHeight]")
        driver.set_window_size(2 * width - inner[0], 2 * height - inner[1])
        if width < 500:  # headless windows are not narrower
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
                "width": width, "height": height, "deviceScaleFactor": scale, "mobile": False})  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        yield driver
    finally:
        driver.quit()


def answered(driver, action=lambda: None, seconds=300):
    """Does something and waits for the answer that it leads to."""
    from selenium.webdriver.support.ui import WebDriverWait

    count = "return Number(document.getElementById('results').dataset.answer ?? 0)"
    before = driver.execute_script(count)
    action()
    WebDriverWait(driver, seconds, 0.05).until(lambda d: d.execute_script(count) > before)


def opened(driver, address, seconds=300):
    """Opens the page and waits for its first answer."""
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get(address)
    ready = "return document.getElementById('results')?.dataset.answer !== undefined"
    WebDriverWait(driver, seconds, 0.05).until(lambda d: d.execute_script(ready))
