"""What does every detector do that watches series from pane to pane? `detectors.sequential.registry` names them all."""

from typing import Protocol

from detectors.sequential.cuts import Cut, FloatArray, IntArray


class Bank(Protocol):
    """What every sequential detector does, see `detectors.sequential.adwin.AdwinBank`."""

    def disperse(self, dispersions: FloatArray) -> None:
        """Let each series' events weigh as much as so many times fewer independent ones, from now on."""
        ...

    def update(self, counts: IntArray, sums: IntArray, squares: IntArray, start_ms: int = 0) -> Cut:
        """Add one pane to every series and return what changed."""
        ...

    def update_many(self, counts: IntArray, sums: IntArray, squares: IntArray, starts_ms: IntArray) -> list[Cut]:
        """Add panes, one after the other; return what `update` does of those that changed anything, in order."""
        cuts = (self.update(*of) for of in zip(counts, sums, squares, starts_ms.tolist(), strict=True))
        return [cut for cut in cuts if cut.detected.any()]

    def clearest(self) -> Cut:
        """Return how each series stands, changed or not."""
        ...

    def snapshot(self) -> bytes:
        """Return the state."""
        ...
