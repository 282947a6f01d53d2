"""A server seen by its administrator, and people who sign in to it in Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from playwright.async_api import Browser, ConsoleMessage, Dialog, Page, Request, Response

from support.browser import DESKTOP, PHONE
from support.server import Server

# For what a page shows after it was opened or a button was pressed, on a busy machine.
PATIENCE_MS = 10_000
ADMIN_PASSWORD = "a long password of the administrator"
ADMIN_ENVIRONMENT = {"TALLYLIGHT_ADMIN_PASSWORD": ADMIN_PASSWORD}


class Administrator:
    """Changes a server with the admin token of its data directory."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.passwords = {"admin": ADMIN_PASSWORD}
        self._cookies: dict[str, dict[str, Any]] = {}

    async def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        token = (self._server.data_dir / "admin-token").read_text().strip()
        return await self._server.http.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})

    async def do(self, method: str, path: str, body: object = None) -> Any:
        """Asks, and fails unless it was done; the answer's JSON."""
        answer = await self.ask(method, path, body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def make_account(self, name: str, role: str) -> None:
        self.passwords[name] = (await self.do("POST", "/api/users", {"name": name, "role": role}))["password"]

    async def cookie(self, name: str) -> dict[str, Any]:
        """The session of an account, signed in once for all pages: signing in is slow by design."""
        if name not in self._cookies:
            body = {"name": name, "password": self.passwords[name]}
            headers = {"X-Tallylight-Request": "1"}
            async with httpx.AsyncClient(base_url=self._server.url, timeout=10) as client:
                answer = await client.post("/api/session", json=body, headers=headers)
            assert answer.is_success, answer.text
            key, _, value = answer.headers["set-cookie"].partition(";")[0].partition("=")
            self._cookies[name] = {
                "name": key,
                "value": value,
                "url": self._server.url.replace("http://", "https://"),
                "secure": True,
                "httpOnly": True,
                "sameSite": "Lax",
            }
        return self._cookies[name]


@dataclass
class Visit:
    """One page in a profile of its own, and everything it complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    async def in_first_screenful(self, selector: str) -> bool:
        """Whether the whole of it is seen without scrolling."""
        box = await self.page.locator(selector).first.bounding_box()
        size = self.page.viewport_size
        assert size is not None
        return (
            box is not None
            and box["x"] >= 0
            and box["y"] >= 0
            and box["x"] + box["width"] <= size["width"]
            and box["y"] + box["height"] <= size["height"]
        )


@asynccontextmanager
async def visit(
    browser: Browser,
    administrator: Administrator,
    url: str,
    who: str | None = None,
    *,
    phone: bool = False,
    refusals: tuple[str, ...] = (),
) -> AsyncIterator[Visit]:
    """Opens a page as somebody (None: not signed in); leaving fails on errors in the console and on failed requests.

    Args:
        refusals: "STATUS /path" of answers that this visitor must get; each also is an error in the console.
    """
    context = await browser.new_context(
        color_scheme="dark",
        viewport=PHONE if phone else DESKTOP,  # type: ignore[arg-type]
        device_scale_factor=2 if phone else 1,
        is_mobile=phone,
        has_touch=phone,
        permissions=["camera", "microphone", "clipboard-read", "clipboard-write"],
    )
    if who is not None:
        await context.add_cookies([await administrator.cookie(who)])  # type: ignore[list-item]
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    seen = Visit(page)
    _listen(seen, refusals)
    try:
        await page.goto(url)
        yield seen
    finally:
        await context.close()
    assert not seen.complaints, f"{url} as {who}: {seen.complaints}"


def _listen(seen: Visit, refusals: tuple[str, ...]) -> None:
    def on_response(response: Response) -> None:
        answer = f"{response.status} {httpx.URL(response.url).path}"
        if response.status >= httpx.codes.BAD_REQUEST and answer not in refusals:
            seen.complaints.append(f"{answer} ({response.request.method})")

    def on_console(message: ConsoleMessage) -> None:
        # The answers above, once more and without their status.
        expected = message.text.startswith("Failed to load resource") and refusals != ()
        if message.type == "error" and not expected:
            seen.complaints.append(f"console: {message.text}")

    def on_failure(request: Request) -> None:
        # A page that closes what it no longer needs aborts it; everything else is a failure.
        if request.failure != "net::ERR_ABORTED":
            seen.complaints.append(f"{request.failure} {request.url}")

    async def on_dialog(dialog: Dialog) -> None:
        seen.dialogs.append(dialog.message)
        await dialog.dismiss()

    page = seen.page
    page.on("response", on_response)
    page.on("console", on_console)
    page.on("requestfailed", on_failure)
    page.on("dialog", on_dialog)
    page.on("pageerror", lambda error: seen.complaints.append(f"uncaught: {error}"))
