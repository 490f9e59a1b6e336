"""Rounds per second of pfl-research's simulated federated averaging; runs in an environment of its own.

Every client takes part in every round, in order, weighted by its samples. Metrics are computed before the first round
of a sample alone, which is not timed. Arguments: the workload's file, where to write the weights of the smooth model,
and after how many rounds.
"""

import itertools
import sys
import time
from pathlib import Path

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from serve import serve
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from workload import BATCH, LEARNING_RATE, Workload, save_weights

TURNS = 10


class Perceptron(nn.Module):
    """The workload's model with the methods that pfl-research asks for."""

    def __init__(self, model: nn.Sequential) -> None:
        """Take the model."""
        super().__init__()
        self.model = model

    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss, which is minimised."""
        return cross_entropy(self.model(inputs), labels)

    def metrics(self, inputs: Tensor, labels: Tensor) -> dict[str, Weighted]:
        """Return what is evaluated."""
        return {"loss": Weighted(float(self.loss(inputs, labels)) * len(labels), len(labels))}


class Clock(TrainingProcessCallback):
    """Notes when rounds end."""

    def __init__(self) -> None:
        """Start without a round."""
        self.ends: list[float] = []

    def after_central_iteration(self, *_: object, **__: object) -> tuple[bool, Metrics]:
        """Note the end of a round, and go on."""
        self.ends.append(time.perf_counter())
        return False, Metrics()


def train(workload: Workload, turns: int, *, smooth: bool = False) -> tuple[Perceptron, list[float]]:
    """Train some rounds from the first weights; return the model and when the rounds ended."""
    visits = itertools.product(range(turns), range(workload.clients))

    def make_dataset(visit: tuple[int, int]) -> PyTorchTensorDataset:
        return PyTorchTensorDataset(workload.samples(*visit), user_id=str(visit[1]))

    module, clock = Perceptron(workload.perceptron(smooth=smooth)), Clock()
    data = FederatedDataset(make_dataset, lambda: next(visits))
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=turns,
            evaluation_frequency=turns,
            train_cohort_size=workload.clients,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(data, data, postprocessors=[WeightByDatapoints()]),
        model=PyTorchModel(module, torch.optim.SGD, torch.optim.SGD(module.parameters(), lr=1.0)),
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=LEARNING_RATE, local_batch_size=BATCH
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=None),
        callbacks=[clock],
        send_metrics_to_platform=False,
    )
    return module, clock.ends


def main() -> None:
    torch.set_num_threads(1)
    file, results, turns = sys.argv[1:]
    workload = Workload.load(file)
    save_weights(train(workload, int(turns), smooth=True)[0].parameters(), Path(results))

    def sample() -> float:
        ends = train(workload, TURNS + 1)[1]
        return TURNS / (ends[-1] - ends[0])

    serve(sample)


if __name__ == "__main__":
    main()
