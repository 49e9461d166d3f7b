"""How often anybody may call what.

Every route counts once for its family, by whoever calls: the dependency that admits the caller counts. Routes that
guard credentials count further, by their own buckets. Health and the signed hooks count nowhere.
"""

from collections.abc import Awaitable, Callable

from fastapi import Request

from polaris_common.http.client_address import site_of
from polaris_common.http.limits import Bucket, RateLimits, note_turns

CUSTOMER_READS = Bucket("customer-reads", 120)
CUSTOMER_WRITES = Bucket("customer-writes", 30)
ADMIN_READS = Bucket("admin-reads", 300)
ADMIN_WRITES = Bucket("admin-writes", 60)
DEVICE = Bucket("device", 120)
PUBLIC = Bucket("public", 300)
"""By address; many people may share one."""
REFUSED = Bucket("refused", 60)
"""By address: calls without a valid session or token (401)."""
ORIGIN_MISMATCH_AUDIT = Bucket("origin-mismatch-audit", 10)
"""By address: how many foreign pages' tries are written down."""

SIGN_IN = Bucket("sign-in", 10, guards_credentials=True)
"""By address: each way to sign in with a secret."""
MAIL_BY_ADDRESS = Bucket("mail-by-address", 20, guards_credentials=True)
MAIL_TO_SUBJECT = Bucket("mail-to-subject", 5, guards_credentials=True)
"""By e-mail address: magic links."""
MAIL_TO_SUBJECT_BY_ADDRESS = Bucket("mail-to-subject-by-address", 3, guards_credentials=True)
RESET_BY_ADDRESS = Bucket("reset-by-address", 10, guards_credentials=True)
RESET_BY_SUBJECT = Bucket("reset-by-subject", 3, guards_credentials=True)
MAGIC_LINK_USE = Bucket("magic-link-use", 5, guards_credentials=True)
"""By token and address."""
QR_SIGN_IN = Bucket("qr-sign-in", 5, guards_credentials=True)
"""By public id and address."""
DEVICE_REGISTRATION = Bucket("device-registration", 5, guards_credentials=True)
SCAN_LOGIN = Bucket("scan-login", 10, guards_credentials=True)
SCAN_PAIR = Bucket("scan-pair", 30)
SCAN_TARGETS = Bucket("scan-targets", 30)


def caller_site(request: Request) -> str:
    """What counts as one anonymous caller: an address, or a network of IPv6."""
    return site_of(request.client.host if request.client else None)


def limit(bucket: Bucket) -> Callable[[Request], Awaitable[None]]:
    """A dependency that counts the caller's address in ``bucket``: ``dependencies=[Depends(limit(SIGN_IN))]``.

    Raises (when called):
        RateLimited: the address has used up its turns.
        ServiceUnavailable: the bucket guards credentials and cannot be counted now.
    """

    async def spend(request: Request) -> None:
        limits: RateLimits = request.app.state.resources.limits
        note_turns(request.scope, await limits.spend(bucket, caller_site(request)))

    return spend
