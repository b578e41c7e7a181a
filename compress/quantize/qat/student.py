"""The student: a quantized graph that PyTorch trains, and the way back into the graph."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compress.model import Model
from compress.quantize.dialects import Dialect
from compress.quantize.qat.quantizers import ActivationQuantizer, BiasQuantizer, WeightQuantizer
from compress.quantize.qat.sites import QuantizedSites, find_sites
from compress.quantize.weights import quantize_bias
from compress.torchnet.graph_net import GraphNet
from compress.torchnet.roles import trainable_initializers


@dataclass(frozen=True, slots=True)
class LearnedParts:
    """Parameters by what they are.

    Attributes:
        weights: Quantized weights, in integer steps.
        others: Biases, and whatever else has the role of a weight, as they are.
        activation_scales: Of their scales and zero points.
        weight_scales: Of their scales.
    """

    weights: tuple[nn.Parameter, ...]
    others: tuple[nn.Parameter, ...]
    activation_scales: tuple[nn.Parameter, ...]
    weight_scales: tuple[nn.Parameter, ...]


class _Quantizers:
    """The quantizers of all sites, by the names of their scales."""

    def __init__(
        self, quantized: Model, sites: QuantizedSites, weights: type[WeightQuantizer], *, power_of_two: bool
    ) -> None:
        initializers = quantized.graph.graph.initializers

        def array(name: str) -> NDArray[np.generic]:
            constant = initializers[name].const_value
            assert constant is not None  # noqa: S101 - scales are stored
            return constant.numpy()

        self._sites = sites
        self.activations = {
            site.scale: ActivationQuantizer(
                site, float(array(site.scale)), int(array(site.zero_point)), power_of_two=power_of_two
            )
            for site in sites.activations
        }
        self.weights = {
            site.scale: weights(site, torch.from_numpy(array(site.scale).astype(np.float32)), power_of_two=power_of_two)
            for site in sites.weights
        }
        self.biases = {
            site.scale: BiasQuantizer(self.activations[site.input_scale], self.weights[site.weight_scale])
            for site in sites.biases
        }

    def kernels(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Return what the nodes that stand for Q/DQ call."""
        kernels: dict[str, Callable[[Tensor], Tensor]] = {}
        for activation in self._sites.activations:
            kernels.update(dict.fromkeys(activation.nodes, self.activations[activation.scale]))
        for weight in self._sites.weights:
            kernels[weight.node] = self.weights[weight.scale]
        for bias in self._sites.biases:
            kernels[bias.node] = self.biases[bias.scale]
        return kernels


class QuantizedNet(GraphNet):
    """Computes what the quantized graph computes; weights and scales are float parameters."""

    def __init__(
        self,
        quantized: Model,
        original: Model,
        dialect: Dialect,
        *,
        power_of_two: bool = False,
        sparse: Collection[str] = (),
        weights: type[WeightQuantizer] = WeightQuantizer,
    ) -> None:
        """Make the student.

        Args:
            quantized: As the step `quantize` leaves it.
            original: The float model that it was made from, equalized if it was; its weights are the student's start.
            dialect: The one that the graph was quantized in.
            power_of_two: Whether all scales become powers of two.
            sparse: Names of stored weights, integers, of which those that are zero stay zero.
            weights: How weights learn.

        Raises:
            OperatorError: The graph has operators that cannot be trained.
        """
        sites = find_sites(quantized, original, dialect)
        latents = [*(site.latent for site in sites.weights), *(site.latent for site in sites.biases)]
        trained = dict.fromkeys((*trainable_initializers(sites.model.graph.graph), *latents))
        quantizers = _Quantizers(quantized, sites, weights, power_of_two=power_of_two)
        super().__init__(sites.model, trainable=trained, kernels=quantizers.kernels())
        self.sites: QuantizedSites = sites
        self._parts = quantizers
        self.quantizers = nn.ModuleList([*quantizers.activations.values(), *quantizers.weights.values()])
        keys = {name: key for key, name in self.initializer_names.items()}
        self._latents = {name: keys[name] for name in latents}
        for key in self._latents.values():
            del self.initializer_names[key]
        self._zeros: dict[str, str] = {}
        for number, site in enumerate(site for site in sites.weights if site.stored in sparse):
            # A buffer, so that it moves with the module; not persistent, since nothing may average it.
            self._zeros[site.latent] = f"zeros {number}"
            self.register_buffer(self._zeros[site.latent], _zeros_of(quantized, site.stored), persistent=False)
        with torch.no_grad():
            for site in sites.weights:
                latent = self._latent(site.latent)
                latent.copy_(quantizers.weights[site.scale].learned_from(latent))
        self.project()

    def parts(self) -> LearnedParts:
        """Return the parameters by what they are."""
        activations = tuple(p for module in self._parts.activations.values() for p in module.parameters())
        scales = tuple(p for module in self._parts.weights.values() for p in module.parameters())
        weights = tuple(self._latent(site.latent) for site in self.sites.weights)
        named = {id(parameter) for parameter in (*activations, *scales, *weights)}
        return LearnedParts(weights, tuple(p for p in self.parameters() if id(p) not in named), activations, scales)

    def range_of(self, scale: str) -> tuple[nn.Parameter, ...]:
        """Return what is learned of the range of the activations with a scale of that name."""
        return tuple(self._parts.activations[scale].parameters())

    def project(self) -> None:
        """Bring scales, zero points and sparse weights back to what is allowed; call it after each optimizer step."""
        with torch.no_grad():
            for latent, zeros in self._zeros.items():
                self._latent(latent).masked_fill_(self.get_buffer(zeros), 0.0)
        for quantizer in self._parts.activations.values():
            quantizer.project()
        for site in self.sites.biases:
            self._parts.biases[site.scale].project(self._latent(site.latent))

    def write_back(self, model: Model) -> Model:
        """Return a copy of the quantized model whose Q/DQ carry what was learned; nodes stay as they are.

        Args:
            model: The quantized model that this student was made from.
        """
        self.project()
        written = super().write_back(model)
        initializers = written.graph.graph.initializers
        for name, array in self._learned_constants().items():
            value = initializers[name]
            assert value.const_value is not None  # noqa: S101 - it was read when the student was made
            stored = array.astype(value.const_value.dtype.numpy()).reshape(value.const_value.shape.numpy())
            value.const_value = ir.tensor(stored, name=name)
        return written

    def _learned_constants(self) -> dict[str, NDArray[np.generic]]:
        """Return integers, scales and zero points by the names of their initializers."""
        found: dict[str, NDArray[np.generic]] = {}
        for activation in self.sites.activations:
            quantizer = self._parts.activations[activation.scale]
            found[activation.scale] = _as_array(quantizer.scale())
            found[activation.zero_point] = np.array(quantizer.zero_point())
        for weight in self.sites.weights:
            found[weight.scale] = _as_array(self._parts.weights[weight.scale].scale())
            found[weight.stored] = self._parts.weights[weight.scale].codes(self._latent(weight.latent))
        for bias in self.sites.biases:
            found[bias.scale] = _as_array(self._parts.biases[bias.scale].scale())
            found[bias.stored] = quantize_bias(
                _as_array(self._latent(bias.latent)), found[bias.scale].astype(np.float32)
            )
        return found

    def _latent(self, name: str) -> nn.Parameter:
        parameter = self._parameters[self._latents[name]]
        assert parameter is not None  # noqa: S101 - registered with a value
        return parameter


def _zeros_of(quantized: Model, stored: str) -> Tensor:
    constant = quantized.graph.graph.initializers[stored].const_value
    assert constant is not None  # noqa: S101 - weights are stored
    return torch.from_numpy(constant.numpy() == 0)


def _as_array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().to("cpu", torch.float32).numpy().copy()
