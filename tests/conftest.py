"""Fixtures that many tests share."""

pytest_plugins = ["tests.support.databases", "tests.support.kafka", "tests.support.s3", "tests.support.valkey"]
