"""DBOS, which keeps the journal: one generic workflow carries out every run. Nobody else imports it.

A run is a list of turns. Each turn is a DBOS step of one name whose output is a list of events, so that whatever code
replays the journal finds the same events; what to do next is decided from them, not from the order of calls.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog
from dbos import DBOS, DBOSClient, Serializer, SetWorkflowID
from dbos._serialization import DefaultSerializer
from dbos._sys_db import WorkflowStatus

from siaga.errors import Refused
from siaga.runbooks.journal import Journal, answering
from siaga.runbooks.model import Document
from siaga.runbooks.run import Event

JOURNAL_VERSION = "1"
"""Of the events' meaning. Raised only when code of the version before could not fold what we write."""
NAME = "siaga"
EXECUTOR = "controller"
_WORKFLOW = "siaga.run"
_TURN = "turn"
OPEN = ("PENDING", "ENQUEUED", "DELAYED")
FAILED = ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
ABANDONED = ("CANCELLED",)
_log = structlog.get_logger()


class Unreadable(Exception):
    """A row of the journal that we did not write."""


class JournaledError(Exception):
    """An error as the journal keeps it: its words."""


class JsonSerializer(Serializer):
    """Plain JSON. Pickle would let whoever can write the journal run code in the controller."""

    def name(self) -> str:
        """As it stands in every row."""
        return "siaga_json"

    def serialize(self, data: Any) -> str:
        """Errors become words."""
        if isinstance(data, BaseException):
            data = {"error": f"{type(data).__name__}: {data}"}
        return json.dumps(data, allow_nan=False, separators=(",", ":"))

    def deserialize(self, serialized_data: str) -> Any:
        """Unreadable for anything but JSON."""
        try:
            found = json.loads(serialized_data)
        except ValueError:
            raise Unreadable("not the JSON that we write") from None
        if isinstance(found, dict) and set(found) == {"error"}:
            return JournaledError(found["error"])
        return found


def _refuse_pickle(_: object, __: str) -> Any:
    raise Unreadable("a pickled row, which is never loaded")


# DBOS unpickles every row that says it is pickled, whatever serializer it was given.
DefaultSerializer.deserialize = _refuse_pickle  # type: ignore[method-assign,assignment]


@dataclass(frozen=True, slots=True)
class Row:
    """A run as DBOS lists it."""

    run: str
    status: str
    version: str
    order: Document
    output: Document
    error: str

    @property
    def is_open(self) -> bool:
        """Whether it still has turns to take."""
        return self.status in OPEN


class Reader:
    """Reads the journal, also while there is no controller."""

    def __init__(self, journal: Journal) -> None:
        _to_structlog()
        self._journal = journal
        self._client = DBOSClient(
            system_database_engine=journal.engine,
            dbos_system_schema=journal.schema,
            serializer=JsonSerializer(),
            application_name=NAME,
            lazy=True,
            retry_connection_errors=False,
        )

    @property
    def is_new(self) -> bool:
        """Whether no engine ever worked with this journal."""
        with answering():
            return not sa.inspect(self._journal.engine).has_table("workflow_status", schema=self._journal.schema)

    def rows(self, *, count_max: int | None = None, statuses: Sequence[str] = (), run: str = "") -> list[Row]:
        """Runs, the newest first."""
        if self.is_new:
            return []
        with answering():
            found = self._client.list_workflows(
                name=_WORKFLOW,
                status=list(statuses) or None,
                workflow_ids=[run] if run else None,
                limit=count_max,
                sort_desc=True,
            )
        return [_row(each) for each in found]

    def events(self, run: str) -> list[Event]:
        """What its turns brought, in order."""
        with answering():
            steps = self._client.list_workflow_steps(run)
        return [event for step in steps if step["function_name"] == _TURN for event in _readable(step["output"])]

    def abandon(self, run: str) -> None:
        """End a run that no engine of this version can go on with."""
        with answering():
            self._client.cancel_workflow(run)


def _readable(output: object) -> list[Event]:
    return output if isinstance(output, list) else []


def _row(found: WorkflowStatus) -> Row:
    order: Any = found.input["args"][0] if isinstance(found.input, dict) and found.input["args"] else {}
    return Row(
        run=found.workflow_id,
        status=found.status,
        version=found.app_version or "",
        order=order if isinstance(order, dict) else {},
        output=found.output if isinstance(found.output, dict) else {},
        error=str(found.error) if found.error is not None else "",
    )


class Workflows:
    """The one DBOS of this process."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._engine: sa.Engine | None = None

    def launch(self, carry_out: Callable[[Document], Document]) -> None:
        """Begin to work, first with what was open when the last engine ended; blocks for up to a second."""
        _to_structlog()
        self._engine = self._journal.patient_engine()
        DBOS(
            config={
                "name": NAME,
                "system_database_engine": self._engine,
                "dbos_system_schema": self._journal.schema,
                "application_version": JOURNAL_VERSION,
                "executor_id": EXECUTOR,
                "serializer": JsonSerializer(),
                # We send no notifications; without LISTEN there is one connection less to lose.
                "use_listen_notify": False,
                "enable_otlp": False,
                "log_level": "WARNING",
            }
        )

        # No limit on recoveries: a run that waits for weeks outlives any number of restarts.
        @DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=None)
        def run(order: Document) -> Document:
            return carry_out(order)

        self._workflow = run
        DBOS.launch()

    def start(self, run: str, order: Document) -> None:
        """Write the run down and begin it; a run of that id is left as it is."""
        with SetWorkflowID(run):
            DBOS.start_workflow(self._workflow, dict(order))

    def turn(self, act: Callable[[], list[Event]]) -> list[Event]:
        """One turn of the run in whose thread we are: its events, from the journal if it was taken before."""
        return DBOS.run_step({"name": _TURN}, act)

    def close(self) -> None:
        """Stop; open runs stay open."""
        with contextlib.suppress(Exception):
            DBOS.destroy(destroy_registry=True)
        if self._engine is not None:
            self._engine.dispose()


def judge_versions(rows: Sequence[Row]) -> None:
    """Of open runs: Refused when they were written by code whose events we may not understand."""
    strange = [row for row in rows if row.version != JOURNAL_VERSION]
    if strange:
        named = ", ".join(f"{row.run} (journal version {row.version or 'none'})" for row in strange)
        raise Refused(
            f"open runs of another journal version than {JOURNAL_VERSION}: {named}",
            hint="Start the siaga that began them, or end each with `siaga runs decide ID give-up --reason ...`.",
        )


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """DBOS' warnings, in our log's form; what it was working on stays out."""
        error = record.exc_info[1] if record.exc_info else None
        _log.log(record.levelno, "dbos: " + record.getMessage(), **({"error": str(error)} if error else {}))


def _to_structlog() -> None:
    logger = logging.getLogger("dbos")
    if not any(isinstance(handler, _ToStructlog) for handler in logger.handlers):
        logger.handlers = [_ToStructlog()]
        logger.propagate = False
    logger.setLevel(logging.WARNING)
