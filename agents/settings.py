"""Hyperparameters of the learners; a command line reads them without torch."""

import dataclasses
from typing import Literal

from ..core.settings import Settings, parameter


@dataclasses.dataclass(frozen=True)
class D3QNSettings(Settings):
    """Hyperparameters of D3QN; the defaults are those of sequential decisions."""

    network: Literal["pairs", "independent", "shared"] = parameter(
        "pairs",
        doc="pairs: one network for every (server, channel) pair and agent; independent: one per agent; shared: one "
        "for all agents, which decide at once",
    )
    hidden: tuple[int, ...] = parameter((32, 32, 32), at_least=1, doc="neurons of the hidden layers")
    optimizer: Literal["adam", "rmsprop"] = parameter("adam", doc="optimizer")
    learning_rate: float = parameter(1e-3, above=0, doc="learning rate at the start")
    learning_rate_end: float = parameter(0.0, at_least=0, doc="learning rate at the end, reached linearly")
    exploration_start: float = parameter(1.0, symbol="epsilon", at_least=0, at_most=1, doc="exploration at the start")
    exploration_end: float = parameter(0.02, symbol="epsilon", at_least=0, at_most=1, doc="exploration at the end")
    exploration_share: float = parameter(0.1, above=0, at_most=1, doc="share of training in which it falls")
    discount: float = parameter(
        0.0, symbol="gamma", at_least=0, at_most=1, doc="discount from round to round; none inside a round"
    )
    replay: int = parameter(2**16, at_least=2, doc="transitions of every agent that are remembered")
    batch: int = parameter(256, at_least=1, doc="transitions of every agent learned from in an update")
    learn_every: int = parameter(1, symbol="r^o", at_least=1, doc="environment steps between updates")
    learn_after: int = parameter(8192, at_least=1, doc="transitions collected before the first update")
    target_every: int = parameter(20, symbol="r^t", at_least=1, doc="updates between copies to the target network")
    last_round: Literal["truncates", "terminates"] = parameter(
        "truncates", doc="whether values reach beyond an episode's last round, or the task is over with it"
    )
    n_step: int = parameter(1, at_least=1, doc="steps whose rewards a target adds before it bootstraps")
    priority: float = parameter(0.6, at_least=0, at_most=1, doc="exponent of prioritised replay; 0: uniform")
    priority_correction: float = parameter(0.4, at_least=0, at_most=1, doc="exponent of the importance weights")
    hysteresis: float = parameter(1.0, above=0, at_most=1, doc="weight of errors whose target is below the value")
    weight_average: float = parameter(
        0.0,
        at_least=0,
        at_most=0.99999,
        doc="decay of the average of weights that decides what is saved; 0: the last ones",
    )
    reward_scale: float = parameter(0.05, above=0, doc="factor that brings rewards to about 1")
    learn_from: Literal["asked", "decided"] = parameter(
        "asked", doc="actions as they were asked for, or as the environment says that it decided them"
    )


@dataclasses.dataclass(frozen=True)
class DDPGSettings(Settings):
    """Hyperparameters of DDPG; the defaults suit rounds that wait for the slowest agent."""

    network: Literal["shared", "independent"] = parameter(
        "shared", doc="shared: one actor and one critic for all agents; independent: of each agent's own"
    )
    hidden: tuple[int, ...] = parameter((128, 128), at_least=1, doc="neurons of the hidden layers, two or more")
    learning_rate: float = parameter(1e-3, above=0, doc="learning rate of actor and critic at the start")
    learning_rate_end: float = parameter(0.0, at_least=0, doc="learning rate at the end, reached linearly")
    noise_start: float = parameter(0.5, symbol="sigma", at_least=0, doc="deviation of exploration noise at the start")
    noise_end: float = parameter(0.05, symbol="sigma", at_least=0, doc="deviation of exploration noise at the end")
    exploration_start: float = parameter(
        1.0, symbol="epsilon", at_least=0, at_most=1, doc="random choices at the start"
    )
    exploration_end: float = parameter(0.1, symbol="epsilon", at_least=0, at_most=1, doc="random choices at the end")
    exploration_share: float = parameter(0.3, above=0, at_most=1, doc="share of training in which both fall")
    discount: float = parameter(0.0, symbol="gamma", at_least=0, at_most=1, doc="discount from round to round")
    mixing: Literal["worst", "mean"] = parameter(
        "worst", doc="the team's value: that of the worst agent, softly, or the mean"
    )
    worst_sharpness: float = parameter(10.0, above=0, doc="how sharply the worst agent counts")
    entropy_start: float = parameter(
        0.3, at_least=0, doc="weight of the choices' entropy at the start: no choice is given up early"
    )
    entropy_end: float = parameter(
        0.0, at_least=0, doc="weight of the choices' entropy at the end; above 0 scores follow values"
    )
    saturation: float = parameter(
        1e-4, at_least=0, doc="weight of the squared numbers before the final tanh, which keeps them off its flat ends"
    )
    score_scale: float = parameter(5.0, above=0, doc="logits of relaxed choices are scores times this")
    learn_from: Literal["asked", "decided"] = parameter(
        "asked", doc="choices as they were asked for, or as the system decided them; numbers always as asked"
    )
    replay: int = parameter(2**16, at_least=2, doc="transitions of all agents that are remembered")
    batch: int = parameter(256, at_least=1, doc="transitions of all agents learned from in an update")
    learn_every: int = parameter(1, at_least=1, doc="environment steps between updates")
    learn_after: int = parameter(8192, at_least=1, doc="transitions collected before the first update")
    target_rate: float = parameter(0.01, symbol="tau", above=0, at_most=1, doc="rate at which targets follow")
    weight_average: float = parameter(
        0.99, at_least=0, at_most=0.99999, doc="decay of the average of the actor's weights that acts and is saved"
    )
    reward_scale: float = parameter(1.0, above=0, doc="factor that brings rewards to about 1")
