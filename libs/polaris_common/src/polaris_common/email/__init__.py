"""Mail: a durable queue, what mails say, and how they leave."""

from polaris_common.email.settings import EmailSettings
from polaris_common.email.smtp import SmtpMail
from polaris_common.email.transport import ConsoleMail, MailTransport
from polaris_common.email.worker import EmailWorker


def mail_transport(settings: EmailSettings) -> MailTransport | None:
    """The transport that ``settings`` ask for; None where no mail can be sent."""
    if settings.cf_email_worker_url is not None and settings.cf_email_worker_secret is not None:
        return EmailWorker(settings.cf_email_worker_url, settings.cf_email_worker_secret.get_secret_value())
    if (server := settings.smtp) is not None:
        return SmtpMail(server)
    return ConsoleMail() if settings.mail_enabled else None
