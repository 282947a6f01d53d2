"""`/internal/processors/*`: processors on this host say how they are."""

from typing import Annotated

from fastapi import APIRouter, Path, status

from tallylight.api.control import ControlPlane
from tallylight.api.internal_access import ProcessorsOnly
from tallylight.api.problems import answers
from tallylight.diagnosis.processors import PROCESSOR_ID_PATTERN, ProcessorLedger

router = APIRouter(
    prefix="/internal/processors", dependencies=[ProcessorsOnly], responses=answers("token_missing", "token_wrong")
)

ProcessorId = Annotated[str, Path(pattern=PROCESSOR_ID_PATTERN)]


@router.post("/{processor_id}/ledger", status_code=status.HTTP_204_NO_CONTENT)
async def post_ledger(processor_id: ProcessorId, ledger: ProcessorLedger, control: ControlPlane) -> None:
    """Takes a processor's counters, and holds it for alive for the next ten seconds."""
    before = control.diagnosis.processors.report(processor_id, ledger)
    if before is None:
        control.events.emit("processor_started", stream=ledger.input, processor=ledger.name, output=ledger.output)
    error = ledger.error if ledger.state == "failed" else None
    if error is not None and (before is None or _failure(before) != error.code):
        facts = {"code": error.code, "sentence": error.sentence}
        control.events.emit("processor_failed", stream=ledger.input, processor=ledger.name, **facts)


@router.delete("/{processor_id}", status_code=status.HTTP_204_NO_CONTENT)
async def end_processor(processor_id: ProcessorId, control: ControlPlane) -> None:
    """A processor says goodbye: it ended on purpose. Unknown ones are gone already."""
    ledger = control.diagnosis.processors.end(processor_id)
    if ledger is not None:
        control.events.emit("processor_ended", stream=ledger.input, processor=ledger.name)


def _failure(ledger: ProcessorLedger) -> str | None:
    """What it had failed of. Its sentence may change with every picture; the event is one for all of them."""
    return ledger.error.code if ledger.state == "failed" and ledger.error is not None else None
