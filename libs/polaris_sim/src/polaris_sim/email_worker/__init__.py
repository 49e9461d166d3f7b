"""A stand-in for the e-mail Worker: takes signed mails and shows them in a mailbox page."""

from polaris_sim.email_worker.app import create_app
from polaris_sim.email_worker.worker import EmailWorkerConfig, EmailWorkerSimulator, Mail, sign

__all__ = ["EmailWorkerConfig", "EmailWorkerSimulator", "Mail", "create_app", "sign"]
