"""Give each test of the client an event loop whose time the test can move on."""

from collections.abc import Callable, Mapping

from tests.wire import MovableLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], MovableLoop]]:
    """Return the only kind of loop, so that the ids of the tests stay as they are."""
    return {"movable": MovableLoop}
