"""A real Chromium for the pages that people see. Skipped where there is none, unless it must be."""

import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from tests.admin.conftest import admin
from tests.flows.conftest import world
from tests.needed import missing

__all__ = ["admin", "world"]

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    program = program or missing("Chromium is not installed (Debian: chromium)")
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield made
        await made.close()


@pytest.fixture
async def person(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser's window of its own, with nothing remembered."""
    context = await browser.new_context(locale="en-GB")
    yield context
    await context.close()
