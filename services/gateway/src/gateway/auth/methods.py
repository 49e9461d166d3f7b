"""Which ways of signing in are open on a surface."""

from gateway.auth.repository import drivers_have_passwords
from gateway.auth.schemas import LoginMethods
from gateway.settings import GatewaySettings, ScanSignInMode
from polaris_common.db import UnitOfWork
from polaris_common.http.surfaces import Surface

NONE_FOR_DRIVERS = "Signing in is not set up here yet. Ask the operator of your charging station."


async def login_methods(uow: UnitOfWork, settings: GatewaySettings, surface: Surface) -> LoginMethods:
    """Only what works."""
    if surface is Surface.ADMIN:
        return _for_operators(settings)
    methods = ["magic_link"] if settings.mail_enabled else []
    if settings.pre_authorize_on and settings.scan_sign_in_mode is ScanSignInMode.OPEN:
        methods.append("scan")
    if await drivers_have_passwords(uow):
        methods.append("password")
    return LoginMethods(surface=surface, methods=methods, message=None if methods else NONE_FOR_DRIVERS)


def _for_operators(settings: GatewaySettings) -> LoginMethods:
    passwords = settings.admin_passwords_enabled
    methods = ["oidc"] if settings.oidc_enabled else []
    if passwords:
        methods.append("password")
    mode = "password" if not settings.oidc_enabled else "oidc-with-fallback" if passwords else "oidc-only"
    return LoginMethods(
        surface=Surface.ADMIN,
        methods=methods,
        message=None,
        mode=mode,
        forgot_password_enabled=passwords and settings.mail_enabled,
        customer_login_url=f"{settings.customer_base_url}/login",
    )
