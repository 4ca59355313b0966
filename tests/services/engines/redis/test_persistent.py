"""A worktree's Redis under the keeper."""

import pytest

from services.conftest import free_port
from testgrove.core.model import DatabaseAccess
from testgrove.core.secret import Secret
from testgrove.errors import UnavailableError
from testgrove.services.engines.redis.persistent import empty_instance


def test_one_that_is_gone_is_said():
    access = DatabaseAccess("redis", "0", "127.0.0.1", free_port(), "default", Secret("pw"))
    with pytest.raises(UnavailableError, match="does not answer"):
        empty_instance(access)
