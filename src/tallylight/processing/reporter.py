"""Tells the server every two seconds how the processor is, and people every ten."""

import secrets
import threading
from urllib.parse import quote

import httpx
import structlog

from tallylight.processing.ledger import Ledger
from tallylight.processing.server import Server

log = structlog.get_logger()

REPORT_EVERY_S = 2.0
# However often something changes: a listener on this host has more to do.
MIN_GAP_S = 0.5
# A line for people, every so many reports.
LINE_EVERY = 5
REQUEST_TIMEOUT_S = 2.0


class Reporter:
    """Posts the ledger until it is told to stop, then says goodbye. Whatever the server answers, processing goes on."""

    def __init__(self, server: Server, ledger: Ledger) -> None:
        self._server = server
        self._ledger = ledger
        self._address = f"{server.internal_url}/internal/processors/{ledger.pid}-{secrets.token_hex(4)}"
        self._query = f"?stream={quote(ledger.source, safe='')}"
        self._http = httpx.Client(timeout=REQUEST_TIMEOUT_S, trust_env=False)
        self._wake = threading.Event()

    def wake(self) -> None:
        """Something changed that should be known now."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Reports until `stop` is set; `wake()` after setting it."""
        reports = 0
        while not stop.is_set():
            self._wake.clear()
            report = self._ledger.report()
            self._request("POST", f"{self._address}/ledger{self._query}", report)
            reports += 1
            if report["state"] == "running" and reports % LINE_EVERY == 0:
                rates = {name: report[name] for name in ("fps_in", "fps_out")}
                log.info("processor_running", **rates, **{f"queue_{k}": v for k, v in report["queue"].items()})
            stop.wait(MIN_GAP_S)
            self._wake.wait(REPORT_EVERY_S - MIN_GAP_S)
        self._request("DELETE", f"{self._address}{self._query}")
        self._http.close()

    def _request(self, method: str, address: str, body: object = None) -> None:
        headers = {"Authorization": f"Bearer {self._server.token()}"}
        try:
            answer = self._http.request(method, address, headers=headers, json=body)
        except httpx.HTTPError:
            # The source is asked on the same listener, and says so.
            return
        if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
            log.error("report_not_as_agreed", answer=answer.text[:500])
