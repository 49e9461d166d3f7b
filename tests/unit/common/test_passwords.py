"""What a password's hash costs in production; the other tests use a cheaper one."""

import importlib.util

import argon2
from argon2.profiles import RFC_9106_LOW_MEMORY

MODULE = "polaris_common.identity.passwords"


def test_a_password_costs_what_rfc_9106_asks_for_and_no_password_just_as_much() -> None:
    spec = importlib.util.find_spec(MODULE)
    assert spec is not None
    assert spec.loader is not None
    untouched = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(untouched)

    real = argon2.extract_parameters(untouched._hasher.hash("correct horse battery"))

    assert real == argon2.extract_parameters(untouched._NOBODY) == RFC_9106_LOW_MEMORY
    assert not untouched._verify("the password of nobody", None)
