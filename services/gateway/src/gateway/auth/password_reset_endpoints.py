"""Setting a new password as an operator (contract-admin §16); public, on the admin host."""

from fastapi import APIRouter, Depends, Request

from gateway.auth.failures import Failures
from gateway.auth.mail_requests import (
    EmailRequired,
    InvalidEmail,
    InvalidJson,
    MailRequest,
    MailRequested,
    MailRequestRoute,
)
from gateway.auth.password_reset import InvalidToken, PasswordReset, UnusablePassword, request_reset
from gateway.auth.schemas import PasswordChanged, ResetPassword
from gateway.dependencies import Process, RequestOrigin, UnitOfWork, anyone, once
from gateway.exact_bodies import ExactRoute
from gateway.limits import RESET_BY_ADDRESS, RESET_BY_SUBJECT, SIGN_IN, caller_site
from gateway.settings import GatewaySettings
from polaris_common.http.errors import ApiError, ServiceUnavailable, errors
from polaris_common.http.limits import RateLimited


class FeatureDisabled(ServiceUnavailable):
    """No password can be reset by mail."""

    code = "feature_disabled"
    message = "Password reset is unavailable because outbound email isn't configured."

    def __init__(self, reason: str = message) -> None:
        super().__init__(reason, fields={"reason": reason})


class TokenRequired(ApiError):
    """There is no token."""

    status, code, message = 400, "token_required", "The link is not complete."


class ResetRoute(ExactRoute):
    """Refuses bodies as the contract says."""

    refusals = {"token": TokenRequired, "newPassword": UnusablePassword}  # noqa: RUF012 - never changed
    not_json = InvalidJson


class ForgottenRoute(MailRequestRoute):
    """Where a reset is asked for."""

    def require_mail(self, settings: GatewaySettings) -> None:
        """Pass where operators have passwords and mail is configured.

        Raises:
            FeatureDisabled: one of the two is not so.
        """
        if not settings.admin_passwords_enabled:
            raise FeatureDisabled("Operators sign in with their organization's account.")
        if not settings.mail_enabled:
            raise FeatureDisabled


asking = APIRouter(
    prefix="/api/admin", tags=["sign-in"], dependencies=[Depends(anyone), Depends(once)], route_class=ForgottenRoute
)
setting = APIRouter(prefix="/api/admin", tags=["sign-in"], dependencies=[Depends(anyone)], route_class=ResetRoute)


@asking.post(
    "/forgot-password",
    responses=errors(FeatureDisabled, InvalidJson, EmailRequired, InvalidEmail, RateLimited),
)
async def forgot_password(
    body: MailRequest, request: Request, process: Process, uow: UnitOfWork, origin: RequestOrigin
) -> MailRequested:
    """Mail a link to set a password. The answer is the same for every address, and takes as long."""
    email = body.address()
    await process.limits.spend(RESET_BY_ADDRESS, caller_site(request))
    await process.limits.spend(RESET_BY_SUBJECT, email)
    await request_reset(uow, process.settings, process.audit, email, origin=origin)
    return MailRequested()


@setting.post(
    "/reset-password", responses=errors(InvalidJson, TokenRequired, UnusablePassword, InvalidToken, RateLimited)
)
async def reset_password(
    body: ResetPassword, request: Request, process: Process, origin: RequestOrigin
) -> PasswordChanged:
    """Set a new password with a mailed link; it works once. All sessions of the operator end."""
    await process.limits.spend(SIGN_IN, "reset", caller_site(request))
    failures = Failures(process.settings.auth_secret.get_secret_value())
    reset = PasswordReset(process.database, process.audit, failures)
    await reset.reset(body.token, body.new_password, origin=origin)
    return PasswordChanged()
