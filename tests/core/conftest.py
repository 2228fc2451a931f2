"""Property tests without a time limit each: two cores are shared, and a slow example is no wrong one."""

from hypothesis import settings

settings.register_profile("core", deadline=None)
settings.load_profile("core")
