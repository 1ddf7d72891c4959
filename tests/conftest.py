"""Settings of the whole suite."""

from hypothesis import HealthCheck, settings

# The same examples in every run, and none remembered. No deadline: the first
# call of a kernel may compile it.
settings.register_profile(
    "suite",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")
