"""`/v1/incidents`: levels, acknowledgement, reports; and what comes in from Alertmanager and PagerDuty."""

# No postponed annotations here: FastAPI could not resolve `Actor`, which is made inside the function.
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from siaga.errors import BadInput, Refused
from siaga.incidents import alertmanager
from siaga.incidents.account import Account
from siaga.incidents.model import Level
from siaga.incidents.notify import pagerduty_webhook
from siaga.incidents.notify.secrets import Secret, named
from siaga.incidents.report import Form
from siaga.incidents.service import IncidentsService
from siaga.site.notifications import NotificationRoute

LevelNumber = Annotated[int, Field(strict=True, ge=1, le=3)]


class Reason(BaseModel):
    """Why a person says so."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=500)


class Declare(Reason):
    """An incident that no measurement has shown."""

    level: LevelNumber


class Downgrade(Reason):
    """A lower level."""

    to: LevelNumber


def create_router(
    incidents: IncidentsService,
    account: Account,
    actor: Callable[[Request], str],
    *,
    routes: Sequence[NotificationRoute],
    secret: Secret,
) -> APIRouter:
    """The routes over the service; `actor` names who asks, or answers 401.

    PagerDuty has no login: its webhooks are let in by their signature, with the secrets that the `routes` name.
    """
    router = APIRouter(prefix="/v1")
    read_secret = named(secret)
    Actor = Annotated[str, Depends(actor)]  # noqa: N806 (a type, made here because it holds the door)

    @router.get("/incidents")
    async def listing(_: Actor, count: Annotated[int, Query(ge=1, le=200)] = 50) -> dict[str, Any]:
        """The open ones, the worst first, then the last closed."""
        return {"incidents": incidents.listing(count), **incidents.describe()}

    @router.post("/incidents")
    async def declare(wanted: Declare, actor: Actor) -> dict[str, Any]:
        """Open one."""
        return await incidents.declare(Level(wanted.level), actor, wanted.reason)

    @router.get("/incidents/{id_}")
    async def show(id_: str, _: Actor) -> dict[str, Any]:
        """One, with its timeline and who was told."""
        return await account.show(id_)

    @router.post("/incidents/{id_}/acknowledge")
    async def acknowledge(id_: str, actor: Actor) -> dict[str, Any]:
        """Somebody looks after it."""
        return await incidents.acknowledge(id_, actor)

    @router.post("/incidents/{id_}/downgrade")
    async def downgrade(id_: str, wanted: Downgrade, actor: Actor) -> dict[str, Any]:
        """Lower its level."""
        return await incidents.downgrade(id_, Level(wanted.to), actor, wanted.reason)

    @router.post("/incidents/{id_}/resolve")
    async def resolve(id_: str, word: Reason, actor: Actor) -> dict[str, Any]:
        """Close it."""
        return await incidents.resolve(id_, actor, word.reason)

    @router.get("/incidents/{id_}/report")
    async def report(id_: str, _: Actor, form: Form = Form.MARKDOWN) -> dict[str, Any]:
        """The post-incident report."""
        return {"incident": id_, "form": str(form), "text": await account.report(id_, form)}

    @router.get("/incidents/{id_}/regulator")
    async def regulator(id_: str, _: Actor) -> dict[str, Any]:
        """The regulator's form, drafted."""
        return {"incident": id_, "form": str(Form.MARKDOWN), "text": account.draft(id_)}

    @router.post("/alerts")
    async def alerts(request: Request, _: Actor) -> dict[str, Any]:
        """Alertmanager's webhook; its `http_config.authorization` holds the controller's token."""
        facts = alertmanager.facts(await _body(request, alertmanager.BODY_BYTES_MAX))
        await incidents.note(facts)
        return {"alerts": len(facts)}

    @router.post("/pagerduty")
    async def pagerduty(request: Request) -> dict[str, Any]:
        """PagerDuty's webhook, version 3."""
        body = await _body(request, pagerduty_webhook.BODY_BYTES_MAX)
        names = {route.webhook_secret for route in routes if route.webhook_secret is not None}
        if not names:
            raise Refused(
                "no route takes webhooks of PagerDuty", hint="Name its secret as `webhook_secret` in the site file."
            )
        signatures = request.headers.get(pagerduty_webhook.SIGNATURE_HEADER, "")
        answer = pagerduty_webhook.read(body, signatures, [await read_secret(name) for name in sorted(names)])
        return {"done": await incidents.answered(answer) if answer is not None else "nothing to do"}

    return router


async def _body(request: Request, bytes_max: int) -> bytes:
    """The whole body; refused as soon as it is longer than it may be."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > bytes_max:
            raise BadInput(f"the message has more than {bytes_max} bytes", hint="Send it in smaller groups.")
    return bytes(body)
