"""Errors say what happened in the domain; this module alone decides what HTTP makes of them.

SPEC: RFC 9457 (problem details). `code` is stable and documented, `detail` is for people.
"""

import logging
import re
from typing import Any, ClassVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from shared.db import STORAGE_ERRORS, is_passing
from shared.logs import current_trace_id, logged_path

log = logging.getLogger(__name__)

PROBLEM_TYPE = "application/problem+json"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class Place(BaseModel):
    """Where in the request something is wrong; what was sent is not repeated."""

    loc: list[str | int]
    msg: str
    type: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["about:blank"])
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable; decide on this, not on the words.")
    trace_id: str
    errors: list[Place] | None = None


class ServiceError(Exception):
    """An expected failure. Subclass one of the kinds below and give it a `code`."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Error"
    code: ClassVar[str] = "error"
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, detail: str = "", errors: list[Place] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors


class BadRequest(ServiceError):
    status = 400
    title = "Bad request"


class Unauthenticated(ServiceError):
    status = 401
    title = "Not authenticated"
    code = "unauthenticated"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}


class Forbidden(ServiceError):
    status = 403
    title = "Forbidden"
    code = "forbidden"


class NotFound(ServiceError):
    status = 404
    title = "Not found"


class Conflict(ServiceError):
    status = 409
    title = "Conflict"


class PreconditionFailed(ServiceError):
    status = 412
    title = "Precondition failed"
    code = "precondition_failed"


class Invalid(ServiceError):
    status = 422
    title = "Invalid content"


class PreconditionRequired(ServiceError):
    status = 428
    title = "Precondition required"
    code = "precondition_required"


class TooManyRequests(ServiceError):
    status = 429
    title = "Too many requests"
    code = "too_many_requests"


class Unavailable(ServiceError):
    status = 503
    title = "Unavailable"
    code = "unavailable"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}


class ErrorReply(Exception):
    """Carries a finished answer past the route, for instance a stored one that is replayed."""

    def __init__(self, status: int, body: bytes, media_type: str = "application/json") -> None:
        super().__init__(status)
        self.status, self.body, self.media_type = status, body, media_type


def responses(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: each status once, with the codes it may carry."""
    codes: dict[int, list[str]] = {}
    titles: dict[int, str] = {}
    for error in errors:
        codes.setdefault(error.status, []).append(error.code)
        titles[error.status] = error.title
    return {
        status: _documented(f"{titles[status]}: {', '.join(sorted(set(names)))}")
        for status, names in sorted(codes.items())
    }


def _documented(description: str) -> dict[str, Any]:
    # A reference, not `model=`: that would document the problem as application/json.
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {PROBLEM_TYPE: {"schema": schema}}}


# What any route may answer: the parser's, the callers' and the limits' own refusals.
COMMON_RESPONSES: dict[int | str, dict[str, Any]] = {
    **responses(Unauthenticated, Forbidden, TooManyRequests, Unavailable),
    400: _documented("Bad request"),
    413: _documented("Body too large"),
    422: _documented("Invalid content"),
}


def problem(
    status: int,
    title: str,
    code: str,
    detail: str,
    errors: list[Place] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    body = Problem(
        type="about:blank",
        title=title,
        status=status,
        detail=detail or title,
        code=code,
        trace_id=current_trace_id(),
        errors=errors,
    )
    return JSONResponse(
        body.model_dump(exclude_none=True), status, headers=headers, media_type=PROBLEM_TYPE
    )


def add_error_handlers(app: FastAPI) -> None:
    """The one mapping from what happened to what HTTP says."""

    async def service_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ServiceError)  # noqa: S101 - registered for this type only
        return problem(
            error.status, error.title, error.code, error.detail, error.errors, dict(error.headers)
        )

    async def reply(request: Request, error: Exception) -> Response:
        assert isinstance(error, ErrorReply)  # noqa: S101 - registered for this type only
        return Response(error.body, error.status, media_type=error.media_type)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
        # What was sent is never repeated: it may hold personal data.
        places = [
            Place(loc=_loc(e), msg=str(e["msg"]), type=str(e["type"])) for e in error.errors()[:50]
        ]
        return problem(
            422, "Invalid content", "invalid_content", "The request is not valid.", places
        )

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_allowed(app, request))
        code = _HTTP_CODES.get(error.status_code, "http_error")
        title = str(error.detail)
        return problem(error.status_code, title, code, title, headers=headers)

    async def bug(request: Request, error: Exception) -> JSONResponse:
        path = logged_path(request.url.path)
        log.error("unexpected error", exc_info=error, extra={"path": path})
        return problem(
            500, "Internal error", "internal_error", "Something went wrong; give us the trace_id."
        )

    async def storage(request: Request, error: Exception) -> JSONResponse:
        if not is_passing(error):
            return await bug(request, error)
        path = logged_path(request.url.path)
        log.warning("storage not reached", exc_info=error, extra={"path": path})
        detail = "The storage cannot be reached; ask again, with the same Idempotency-Key."
        return await service_error(request, Unavailable(detail))

    app.add_exception_handler(ServiceError, service_error)
    app.add_exception_handler(ErrorReply, reply)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http_error)
    for kind in STORAGE_ERRORS:
        app.add_exception_handler(kind, storage)
    app.add_exception_handler(Exception, bug)


def _loc(error: Any) -> list[str | int]:
    """Where it is; an unknown field is named only if its name can be one."""
    loc = list(error["loc"])
    if error["type"] == "extra_forbidden" and not _FIELD_NAME.fullmatch(str(loc[-1])):
        loc[-1] = "(unknown)"
    return loc


_FIELD_NAME = re.compile(r"[A-Za-z_-]{1,40}[0-9]{0,3}")
_HTTP_CODES = {
    400: "bad_request",
    404: "route_not_found",
    405: "method_not_allowed",
    413: "body_too_large",
}


def _allowed(app: FastAPI, request: Request) -> list[str]:
    # Starlette names the methods of the first route of that path only.
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method, "path_params": {}})[0] is Match.FULL
            for route in app.router.routes
        )
    ]
