"""Learning progress in an environment that is measured by rounds of real training."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..core import randomness
from ..core.arrays import Array, like
from ..core.checks import to_numpy, unknown_name
from ..core.trees import take, tree_map
from .progress import Progress
from .system import System

if TYPE_CHECKING:
    import torch

    from ..federated.task import Task

LearningMode = Literal["analytic", "live"]


class LiveLearning:
    """Real training in every copy of a simulator: a round of learning follows every round's decision.

    Copies train one after the other, the clients of a copy together. What a copy learns depends on its seed and its
    episode alone, as its draws do.
    """

    def __init__(self, system: System, task: "Task", num_envs: int) -> None:
        """Prepare the task for every copy; nothing is trained before an episode begins.

        Raises:
            ValueError: a system whose learning procedure is not built in.
        """
        self.system, self.task = system, task
        self.procedures: list[Any] = [None] * num_envs
        self.loss = np.zeros(num_envs)
        pause = self._build(0).settings.score_every
        if pause != 1:
            raise ValueError(f"score_every is {pause}, must be 1: progress is what each round takes from the loss")

    def begin(self, system: System, copy: int, seed: int, episode: int) -> None:
        """Begin anew in one copy, with the system of this episode."""
        self.system = system
        self.procedures[copy] = self._build(self.seed_of(seed, episode))
        self.loss[copy] = self.procedures[copy].score()[0]

    def _build(self, seed: int) -> Any:
        if not self.system.procedure:
            raise ValueError(f"{self.system.name} has no live learning: leave learning='analytic'")
        options = self.system.procedure_options()
        return self.task.build(self.system.procedure, len(self.system.agents), seed, **options)

    @staticmethod
    def seed_of(seed: int, episode: int) -> int:
        """Return the seed of an episode's first weights and order of samples."""
        return int(randomness.generator(seed, episode, 0, stream=4).integers(2**31))

    def reports(self, state: Any) -> dict[str, Array]:
        """Return what clients report before the next decision, by name `(B, N)`; nothing for copies not begun."""
        told = [{} if each is None else each.reports() for each in self.procedures]
        nothing = np.zeros(len(self.system.agents))
        reference = self.system.agent_state(state)
        names = {name for report in told for name in report}
        return {name: like(np.stack([report.get(name, nothing) for report in told]), reference) for name in names}

    def round(self, state: Any, decision: Any, moved: Array | None, predicted: Progress) -> Progress:
        """Train a round in the copies `moved` `(B,)` (None: all).

        Returns:
            What it took from the held-out loss, `(B,)`, in place of what was predicted, and facts: held-out loss and
            accuracy `(B,)`, each client's training loss and bytes sent and received `(B, N)`, and what clients report
            before the next decision; 0 for other copies and absent clients.

        Raises:
            TrainingDiverged: a loss is not finite; names client and round.
        """
        states, chosen = tree_map(to_numpy, state), tree_map(to_numpy, decision)
        active = np.ones(len(self.procedures), np.bool_) if moved is None else to_numpy(moved)
        agents = len(self.system.agents)
        fallen = np.zeros(len(self.procedures))
        facts = {name: np.zeros(len(self.procedures)) for name in ("loss", "accuracy")}
        facts.update({name: np.zeros((len(self.procedures), agents)) for name in PER_CLIENT})
        for copy in np.flatnonzero(active).tolist():
            found = self.procedures[copy].round(self.system.plan(take(states, copy), take(chosen, copy)))
            facts["loss"][copy], facts["accuracy"][copy] = found.loss, found.accuracy
            for name in PER_CLIENT:
                facts[name][copy] = np.nan_to_num(getattr(found, name))
            fallen[copy] = self.loss[copy] - found.loss
            self.loss[copy] = found.loss
        reference = self.system.agent_state(state)
        information = {name: like(value, reference) for name, value in facts.items()}
        return Progress(predicted.amount, like(fallen, reference), {**information, **self.reports(state)})

    def state_dict(self) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
        """Return tensors and JSON-compatible values from which `load_state_dict` goes on exactly."""
        tensors, values = {}, []
        for copy, procedure in enumerate(self.procedures):
            own, state = procedure.state_dict()
            tensors.update({f"{copy}.{name}": tensor.clone() for name, tensor in own.items()})
            values.append(state)
        return tensors, {"procedures": values, "loss": self.loss.tolist()}

    def load_state_dict(self, tensors: "dict[str, torch.Tensor]", values: dict[str, Any]) -> None:
        """Go on where `state_dict` was called; the episodes were begun alike."""
        for copy, (procedure, state) in enumerate(zip(self.procedures, values["procedures"], strict=True)):
            own = {n.removeprefix(f"{copy}."): t for n, t in tensors.items() if n.startswith(f"{copy}.")}
            procedure.load_state_dict(own, state)
        self.loss = np.array(values["loss"])


PER_CLIENT = ("client_loss", "uplink_bytes", "downlink_bytes")


def make_learning(system: System, mode: str, task: Any, num_envs: int) -> LiveLearning | None:
    """Return live learning, or None where progress is predicted.

    Args:
        system: whose decisions are plans of learning.
        mode: "analytic" or "live".
        task: name, path or `fedtwin.federated.task.Task`; live only.
        num_envs: copies.

    Raises:
        ValueError: an unknown mode or task, or a task without live learning.
    """
    if mode not in ("analytic", "live"):
        raise unknown_name("learning", str(mode), ("analytic", "live"))
    if mode == "analytic":
        if task is not None:
            raise ValueError(f"task is {task!r}, but learning is analytic: add learning='live'")
        return None
    from ..federated.task import Task, make_task

    return LiveLearning(
        system, task if isinstance(task, Task) else make_task("digits" if task is None else task), num_envs
    )
