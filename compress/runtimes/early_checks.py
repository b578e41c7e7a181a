"""What a runtime would refuse whatever the steps make of the model: found before any of them has run."""

from compress.errors import TargetError
from compress.model import Model
from compress.runtimes.build_settings import BuildSettings
from compress.runtimes.dla import require_dla
from compress.runtimes.shape_profile import profile_shapes
from compress.targets import Target


def require_buildable(model: Model, target: Target, settings: BuildSettings) -> None:
    """Raise if the project does not say what a runtime needs that compiles for a range of shapes.

    Raises:
        TargetError: A dynamic axis has no range, or a DLA is asked for that is not there.
        ConfigError: A range is stated for an axis that is not there.
    """
    if target.runtime == "tensorrt":
        require_dla(target, settings)
    if target.runtime in ("tensorrt", "tensorrt_rtx") or target.provider in ("tensorrt", "tensorrt_rtx"):
        try:
            profile_shapes(model.inputs, settings.ranges)
        except TargetError as error:
            raise TargetError(f"target {target.name}: {error.message}", hint=error.hint) from None
