"""Fixtures for all tests."""

from tests.fixtures.databases import own_redis, postgres, postgres_server, redis_url, storage_settings

__all__ = ["own_redis", "postgres", "postgres_server", "redis_url", "storage_settings"]
