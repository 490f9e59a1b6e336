"""Rounds per second of Flower's simulation of federated averaging; runs in an environment of its own.

Ray has one core, so that clients run one after the other in one worker, as with the others. A sample is a number of
rounds inside a simulation that runs already. Arguments: the workload's file, where to write the weights of the smooth
model, and after how many rounds.
"""

import logging
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from serve import serve
from workload import Workload, descend, save_weights

TURNS = 3
ONE_CORE = {
    "init_args": {"num_cpus": 1, "object_store_memory": 256 * 2**20, "logging_level": "error", "log_to_driver": False},
    "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
}

client_app, server_app = ClientApp(), ServerApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Train a client's model."""
    torch.set_num_threads(1)
    config, client = message.content["config"], int(context.node_config["partition-id"])
    workload = Workload.load(config["file"])
    model = workload.perceptron(smooth=config["smooth"])
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    turn = config["server-round"] - 1
    descend(model, workload.batches(turn, client))
    metrics = MetricRecord({"num-examples": len(workload.orders[0][client])})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)


class Clocked(FedAvg):
    """Federated averaging that notes when rounds end."""

    ends: list[float]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate, and note the time."""
        result = super().aggregate_train(server_round, replies)
        self.ends.append(time.perf_counter())
        return result


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Write the weights after some rounds, then answer with samples until the input ends."""
    torch.set_num_threads(1)
    file, results, turns = sys.argv[1:]
    workload = Workload.load(file)
    strategy = Clocked(fraction_evaluate=0.0, min_available_nodes=workload.clients, min_train_nodes=workload.clients)

    def run(turns: int, *, smooth: bool = False) -> dict[str, torch.Tensor]:
        strategy.ends = []
        first = ArrayRecord(workload.perceptron().state_dict())
        config = ConfigRecord({"file": file, "smooth": smooth})
        result = strategy.start(grid, first, num_rounds=turns, train_config=config)
        return result.arrays.to_torch_state_dict()

    save_weights(run(int(turns), smooth=True).values(), Path(results))

    def sample() -> float:
        run(TURNS + 1)
        return TURNS / (strategy.ends[-1] - strategy.ends[0])

    serve(sample)


if __name__ == "__main__":
    workload = Workload.load(sys.argv[1])
    logging.getLogger("flwr").setLevel(logging.ERROR)
    run_simulation(server_app, client_app, num_supernodes=workload.clients, backend_config=ONE_CORE)
