"""Which test file goes to which of pytest-xdist's processes (`make test`)."""

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

#: What every other process takes first. They begin at different ends, so that the whole stack of the acceptance tests
#: runs beside tests that mostly wait, and two stacks run together only for what is left over. The unit tests come last:
#: they are small, so all processes end at the same time.
ORDERS = (("acceptance", "integration", "unit"), ("integration", "acceptance", "unit"))


class FromBothEnds(LoadFileScheduling):
    """All tests of a file go to one process, which finds its services as the last file left them."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        # xdist puts all files of a process that has died back, and waits for ever for tests of those that were done.
        for path in [path for path, tests in self.workqueue.items() if all(tests.values())]:
            del self.workqueue[path]
        if not self.workqueue:
            node.shutdown()
            return
        order = ORDERS[self.nodes.index(node) % len(ORDERS)]
        # Of one kind the file with most tests comes first, as the queue has them.
        chosen = min(self.workqueue, key=lambda path: order.index(path.split("/")[1]))
        self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)
