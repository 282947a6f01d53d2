"""Every process of this server, as far as it can be known without waiting for any of them."""

import asyncio

from tallylight.api.models import Process
from tallylight.engine.client import EngineAwayError, EngineClient
from tallylight.engine.models import EngineHealth
from tallylight.telemetry.processes import our_processes

# A health check answers within 50 ms; the engine answers from memory, in about one.
ENGINE_TIMEOUT_S = 0.03


async def ask_engine(engine: EngineClient) -> EngineHealth | EngineAwayError | TimeoutError:
    """The engine's health, or why there is none. A timeout means only that it is slow now."""
    try:
        async with asyncio.timeout(ENGINE_TIMEOUT_S):
            return await engine.health()
    except (EngineAwayError, TimeoutError) as error:
        return error


async def all_of_ours(engine: EngineHealth | EngineAwayError | TimeoutError) -> list[Process]:
    """Supervisor, control plane and its spare, engine, and the others."""
    # Files of /proc answer from memory, but they are files.
    pid = engine.pid if isinstance(engine, EngineHealth) else None
    return [Process.of(process) for process in await asyncio.to_thread(our_processes, pid)]
