"""What procedures share that keep the weights of one whole model between rounds."""

from collections.abc import Mapping

from torch import nn

from ..models.parameters import Parameters, parameters_of, point
from ..procedure import Procedure


class WholeModel(Procedure):
    """A procedure with the weights of one whole model between rounds."""

    def prepare(self) -> None:
        """Set up the weights."""
        self.parameters = parameters_of(self.model)

    def trained_model(self) -> nn.Module:
        """Return the model with the weights learned so far."""
        return point(self.model, self.parameters)

    def learned(self) -> Mapping[str, Parameters]:
        """Return the weights."""
        return {"": self.parameters}
