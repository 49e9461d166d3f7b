"""The database: engine, units of work, repositories and locks."""

from polaris_common.db.engine import Database
from polaris_common.db.locks import AdvisoryLock, LockName
from polaris_common.db.repository import Repository
from polaris_common.db.unit_of_work import UnitOfWork

__all__ = ["AdvisoryLock", "Database", "LockName", "Repository", "UnitOfWork"]
