"""Deep leakage from gradients (Zhu et al., NeurIPS 2019): how well an attacker redraws what a client has seen.

A dummy picture is changed until it would have shown the attacker what the attacker saw; labels are inferred as in iDLG
(Zhao, Mopuri and Bilen, 2020).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

CEILING = 60.0
"""PSNR in dB above which pictures count alike: rounding to 8 bits per pixel leaves 59 dB."""
TINY = 1e-30

Mismatch = Callable[[Tensor], Tensor]
"""Maps pictures `(1, ...)` to how far what they would show is from what was seen: a scalar, 0 where it is the same."""


# What is seen, and how pictures are judged


def mean_squared_error(original: Tensor, reconstruction: Tensor) -> float:
    """Return the mean squared difference of pixels in [0, 1].

    Raises:
        ValueError: unequal shapes.
    """
    if original.shape != reconstruction.shape:
        raise ValueError(
            f"pictures are {tuple(original.shape)} and {tuple(reconstruction.shape)}, must be of one shape"
        )
    return float((original.double() - reconstruction.double()).square().mean())


def psnr(original: Tensor, reconstruction: Tensor) -> float:
    """Return the peak signal-to-noise ratio -10 log10(MSE) in dB, for a peak of 1; infinite where they are equal."""
    error = mean_squared_error(original, reconstruction)
    return math.inf if error == 0.0 else -10.0 * math.log10(error)


def gradients_of(model: nn.Module, picture: Tensor, label: Tensor, *, graph: bool = False) -> list[Tensor]:
    """Return the gradients of the cross entropy of one sample, in the order of the model's parameters.

    Raises:
        ValueError: more or fewer samples than one.
    """
    if len(picture) != 1 or label.shape != (1,):
        raise ValueError(f"there are {len(picture)} samples with labels {tuple(label.shape)}, must be one sample")
    loss = cross_entropy(model(picture), label)
    return list(torch.autograd.grad(loss, list(model.parameters()), create_graph=graph))


def infer_label(gradient: Tensor) -> int:
    """Return the label of the one sample whose gradient of the last layer's bias or weight this is (iDLG).

    The gradient of the logits is a = softmax - one-hot, negative only at the label. The bias shows a itself; the weight
    shows a h^T, whose row at the label is the longest and points against all others.

    Args:
        gradient: bias `(C,)`, or weight `(C, features)` with C of at least 3.

    Raises:
        ValueError: another shape, or not the gradient of a single sample.
    """
    if gradient.ndim == 1:
        against = gradient < 0
    elif gradient.ndim == 2 and len(gradient) > 2:
        longest = gradient[gradient.square().sum(dim=1).argmax()]
        against = gradient @ longest > 0
    else:
        raise ValueError(
            f"gradient is {tuple(gradient.shape)}, must be (classes,), or (classes of 3 or more, features)"
        )
    if int(against.sum()) != 1:
        found = against.nonzero().flatten().tolist()
        raise ValueError(f"gradient points to the labels {found}, must be of a single sample: it points to one label")
    return int(against.int().argmax())


def input_of_linear(weight_gradient: Tensor, bias_gradient: Tensor) -> Tensor:
    """Return what went into a linear layer, from its gradients of one sample: dW = db x^T, so x = dW^T db / |db|^2."""
    return weight_gradient.T @ bias_gradient / bias_gradient.square().sum().clamp(min=TINY)


# The attack


def relative_distance(shown: Sequence[Tensor], seen: Sequence[Tensor]) -> Tensor:
    """Return sum_i |a_i - b_i|^2 / |b_i|^2: the small gradients of early layers count as much as the others."""
    pairs = zip(shown, seen, strict=True)
    return torch.stack([(a - b).square().sum() / b.square().sum().clamp(min=TINY) for a, b in pairs]).sum()


def gradient_mismatch(model: nn.Module, seen: Sequence[Tensor], label: Tensor) -> Mismatch:
    """Return the distance of a picture's gradients from those seen."""
    return lambda picture: relative_distance(gradients_of(model, picture, label, graph=True), seen)


def feature_mismatch(head: nn.Module, seen: Tensor) -> Mismatch:
    """Return the distance of a picture's features from those seen."""
    return lambda picture: relative_distance([head(picture)], [seen])


def roughness(pictures: Tensor) -> Tensor:
    """Return the mean squared difference of neighbouring pixels: total variation, made smooth."""
    return pictures.diff(dim=-1).square().mean() + pictures.diff(dim=-2).square().mean()


def overshoot(pictures: Tensor) -> Tensor:
    """Return the mean squared distance of pixels from [0, 1]."""
    return (pictures - pictures.clamp(0.0, 1.0)).square().mean()


def minimize(objective: Callable[[], Tensor], tensors: Sequence[Tensor], iterations: int) -> None:
    """Change `tensors` by L-BFGS with a line search that meets the strong Wolfe conditions."""
    optimizer = torch.optim.LBFGS(
        list(tensors),
        max_iter=iterations,
        history_size=20,
        tolerance_grad=1e-12,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def reconstruct(
    mismatch: Mismatch,
    shape: Sequence[int],
    rng: np.random.Generator,
    *,
    restarts: int = 4,
    iterations: int = 300,
    smoothness: float = 0.0,
    starts: Sequence[Tensor] = (),
) -> tuple[Tensor, float]:
    """Return the picture `(1, *shape)` in [0, 1] of the smallest mismatch found, and that mismatch.

    Args:
        mismatch: distance of a picture from what was seen, twice differentiable for gradients.
        shape: shape of one picture.
        rng: draws pictures to start from, pixels from U(0, 1).
        restarts: attempts; every second one pays for pixels outside [0, 1], the others are free until the end.
        iterations: steps of L-BFGS per attempt.
        smoothness: weight of `roughness`.
        starts: pictures to start from before any is drawn, each tried in both ways.

    Raises:
        ValueError: no restarts or no iterations.
    """
    if restarts < 1 or iterations < 1:
        raise ValueError(f"restarts are {restarts} and iterations {iterations}, must be at least 1")
    drawn = [torch.from_numpy(rng.random((1, *shape))) for _ in range(restarts)]
    attempts = [(start, bounded) for start in starts for bounded in (False, True)]
    attempts += [(start, index % 2 == 1) for index, start in enumerate(drawn)]
    best, least = attempts[0][0].clamp(0.0, 1.0), math.inf
    for start, bounded in attempts:
        picture = start.double().clone().requires_grad_()

        def objective(picture: Tensor = picture, bounded: bool = bounded) -> Tensor:
            loss = mismatch(picture) + smoothness * roughness(picture)
            return loss + overshoot(picture) if bounded else loss

        minimize(objective, [picture], iterations)
        found = picture.detach().clamp(0.0, 1.0)
        distance = float(mismatch(found.clone().requires_grad_()).detach())
        if distance < least:
            best, least = found, distance
    return best, least
