"""The control plane's API for the owner of the data directory: over its Unix socket, with the admin token in it."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from tallylight.errors import TallylightError
from tallylight.paths import DataDirectory

# A change may wait for the database (2 s a statement), a publisher's cut (1 s) and the engine's disk (5 s).
TIMEOUT_S = 15.0


class LocalApiError(TallylightError):
    """The server refused, or there is none."""


class LocalApi:
    """A small client; use it as a context manager."""

    def __init__(self, data: DataDirectory) -> None:
        self._data = data
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(data.control_socket)),
            base_url="http://control",
            timeout=TIMEOUT_S,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int) -> Any:
        return self._request("GET", path, query=query)

    def post(self, path: str, body: Any = None, **query: str | int) -> Any:
        return self._request("POST", path, body, query)

    def patch(self, path: str, body: Any) -> Any:
        return self._request("PATCH", path, body)

    def delete(self, path: str) -> None:
        self._request("DELETE", path)

    def _request(self, method: str, path: str, body: Any = None, query: Mapping[str, str | int] | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self._admin_token()}"}
        try:
            response = self._http.request(method, quote(path), params=query or None, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise self._no_server() from error
        if not response.is_success:
            raise _refusal(response)
        return response.json() if response.content else None

    def _admin_token(self) -> str:
        try:
            return self._data.admin_token.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise self._no_server() from error

    def _no_server(self) -> LocalApiError:
        return LocalApiError(
            "server_away",
            f"No server answers for the data directory {self._data.root}.",
            "Start one with `tallylight serve`, or name its directory with --data-dir.",
        )


def _refusal(response: httpx.Response) -> LocalApiError:
    try:
        problem = response.json()
        return LocalApiError(str(problem["code"]), str(problem["detail"]))
    except (ValueError, KeyError, TypeError):
        return LocalApiError("answer_unexpected", f"The server answered with status {response.status_code}.")
