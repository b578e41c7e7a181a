from pathlib import Path

import pytest

from compress.errors import ConfigError, UsageError
from compress.recipe import RECIPES, load_recipe


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_named_recipe_resolves_with_its_defaults(name: str) -> None:
    recipe = load_recipe(name)
    described = recipe.describe()
    assert [[step.name for step in attempt] for attempt in recipe.attempts] in (
        described.get("attempts"),
        [described.get("steps")],
    )


def test_attempts_share_the_settings_of_their_steps(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('attempts = [[], ["quantize"]]\n[quantize]\nobserver = "minmax"\n')
    recipe = load_recipe(str(path))
    assert [len(attempt) for attempt in recipe.attempts] == [0, 1]
    assert recipe.describe()["attempts"] == [[], ["quantize"]]


def test_a_recipe_file_states_settings_and_the_rest_is_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('steps = ["quantize"]\n[quantize]\nobserver = "entropy"\n')
    recipe = load_recipe(str(path))
    assert recipe.name == "mine"
    described = recipe.describe()["quantize"]
    assert described == {
        "observer": "entropy",
        "percentile": 99.99,
        "samples": 2048,
        "smooth": True,
        "equalize": True,
        "bias_correction": "stepwise",
        "rounding": "nearest",
    }


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "`steps` must be a list", "quantize"),
        ('steps = "quantize"', "`steps` must be a list", "quantize"),
        ("attempts = []", "`attempts` a list of such lists", "quantize"),
        ('attempts = [["quantize"]]\nsteps = []', "`attempts` a list of such lists", "quantize"),
        ('steps = ["quantise"]', "unknown step `quantise`", "Did you mean `quantize`?"),
        ('steps = []\n[quantize]\nobserver = "mse"', "`quantize`, which is not in `steps`", "add it"),
        ('steps = ["quantize"]\n[quantize]\nobservr = "mse"', "unknown key `observr`", "Did you mean `observer`?"),
        ('steps = ["quantize"]\n[quantize]\nobserver = "max"', "`observer`", "correct"),
        ('steps = ["quantize"]\n[quantize]\nbias_correction = "always"', "`bias_correction`", "correct"),
        (
            'steps = ["quantize"]\n[quantize]\nbias_correction = "none"\nrounding = "compensated"',
            'rounding = "compensated" needs bias_correction = "stepwise"',
            "correct",
        ),
        ('steps = ["quantize"]\n[quantize]\npercentile = 5000', "`percentile`", "correct"),
        ('steps = ["quantize"', "not valid TOML", "line"),
    ],
)
def test_a_wrong_recipe_is_named_with_place_and_key(tmp_path: Path, text: str, message: str, hint: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_recipe(str(path))
    assert "mine.toml" in caught.value.message
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


def test_float_layers_are_chosen_by_the_policy_unless_the_recipe_states_a_goal(tmp_path: Path) -> None:
    timing = {"latency_threads": 4, "latency_batch": 2}
    aimed = load_recipe("auto").aimed(0.5, timing).describe()
    assert aimed["mixed"] == {**aimed["mixed"], **timing, "max_drop": 0.5}  # type: ignore[dict-item]
    path = tmp_path / "mine.toml"
    path.write_text('steps = ["quantize", "mixed"]\n[mixed]\nmin_sqnr_db = 18\nlatency_threads = 1\n')
    own = load_recipe(str(path)).aimed(0.5, timing).describe()["mixed"]
    assert isinstance(own, dict)
    assert "max_drop" not in own
    assert (own["min_sqnr_db"], own["latency_threads"], own["latency_batch"]) == (18, 1, 2)
    assert "max_drop" not in load_recipe("best").aimed(0.5, timing).describe()["mixed"]  # type: ignore[operator]


def test_a_missing_recipe_is_a_mistake_of_usage_or_of_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown recipe `int9`"):
        load_recipe("int9")
    with pytest.raises(ConfigError, match="does not exist"):
        load_recipe(str(tmp_path / "missing.toml"))


def test_a_recipe_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(str(path))
