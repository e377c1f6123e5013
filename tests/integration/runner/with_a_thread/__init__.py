"""A package of blocks that starts a thread as soon as it is imported."""

import threading

from blockyard.block import SyncBlockOutput

from tests.integration.runner.blocks import _Input, _TestBlockBase

_at_work = threading.Event()
threading.Thread(target=_at_work.set, daemon=True).start()
_never = threading.Event()
threading.Thread(target=_never.wait, daemon=True).start()


class ThreadOfModuleBlock(_TestBlockBase):
    """Tells how many threads its process has."""

    cpu_bound = True

    def run(self, input_data: _Input) -> SyncBlockOutput:
        _at_work.wait()
        yield "value", threading.active_count()
