"""`zoo compare`, `zoo reproduce`, `benchmarks/ship.py`, `--tensorboard`, on short trainings."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import ROOT
from PIL import Image

from zoo import install
from zoo.bundle.card import WEIGHTS, Seeds
from zoo.bundle.folder import Bundle
from zoo.bundle.run import LOG, PLAN
from zoo.training import checkpoint

Cli = Callable[..., Any]


@pytest.fixture
def runs(logistic_runs: dict[int, Path]) -> dict[int, Path]:
    """Logistic regression, 30 epochs, with three seeds."""
    return logistic_runs


def test_compare_shows_what_differs_and_what_came_out(
    runs: dict[int, Path], zoo_cli: Cli, tmp_path: Path
) -> None:
    unfinished = tmp_path / "stopped"
    unfinished.mkdir()
    lines = (runs[1] / LOG).read_text().splitlines(keepends=True)[:5]
    (unfinished / LOG).write_text("".join(lines))
    shutil.copy(runs[1] / PLAN, unfinished)
    done = zoo_cli("compare", runs[1], runs[2], "logistic", unfinished, "--plot", "c.png")
    assert done.exit_code == 0, done.stderr
    head, *rows = (line.split() for line in done.stdout.splitlines())
    assert head == "run model epochs seed test validation epoch seconds parameters".split()
    shipped = str(Bundle.open("logistic").card.recipe.seed)
    assert [row[1:4] for row in rows] == [
        ["logistic", "30", "1"], ["logistic", "30", "2"], ["logistic", "100", shipped],
        ["logistic", "30", "1"],
    ]  # fmt: skip
    assert rows[2][0] == "logistic"
    assert rows[2][4:6] == ["99.12", "%"]
    assert rows[3][4] == "unfinished"
    with Image.open("c.png") as image:
        assert min(image.size) > 200

    found = json.loads(zoo_cli("compare", runs[1], unfinished, "--json").stdout)
    card = Bundle.open(runs[1]).card
    assert found[0]["test"] == card.test["accuracy"]
    assert found[0]["validation"] == card.validation["accuracy"]
    assert found[0]["parameters"] == 31
    assert found[0]["history"][card.training.epoch - 1] == card.validation["accuracy"]
    assert found[1]["test"] is None
    assert found[1]["history"] == found[0]["history"][:5]
    assert found[1]["validation"] == max(found[1]["history"])


def test_compare_takes_any_models(zoo_cli: Cli) -> None:
    done = zoo_cli("compare", "linear", "cnn")
    assert done.exit_code == 0
    assert "R2 0.458" in done.stdout
    assert "99.4" in done.stdout


@pytest.mark.parametrize(
    ("args", "code", "reason"),
    [
        (("nope",), 2, "unknown run or model 'nope'"),
        (("linear", "cnn", "--plot", "x.png"), 2, "these runs have: accuracy, r2"),
        (("torn",), 5, "torn/log.jsonl is not the log of a training"),
    ],
)
def test_compare_says_what_it_cannot(
    args: tuple[str, ...], code: int, reason: str, zoo_cli: Cli, runs: dict[int, Path]
) -> None:
    shutil.copytree(runs[1], "torn")
    Path("torn", LOG).write_text('{"epoch": 1}\n')
    done = zoo_cli("compare", *args)
    assert done.exit_code == code
    assert reason in done.stderr
    assert not Path("x.png").exists()


def ship(*args: object) -> subprocess.CompletedProcess[str]:
    """Run the maintainers' script of `make weights`."""
    command = [sys.executable, ROOT / "benchmarks" / "ship.py", *args]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def test_the_seed_that_is_best_on_validation_ships_and_is_reproduced(
    runs: dict[int, Path], zoo_cli: Cli
) -> None:
    done = ship(*runs.values(), "--to", "shipped")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "shipped\n"
    shipped = Bundle.open(Path("shipped"))
    shipped.check()
    card, of_runs = shipped.card, [Bundle.open(run).card for run in runs.values()]
    values = tuple(each.test["accuracy"] for each in of_runs)
    assert card.seeds is not None
    assert card.seeds == Seeds(
        metric="accuracy", seeds=(1, 2, 3), values=values, mean=statistics.mean(values),
        std=statistics.stdev(values), shipped=card.recipe.seed,
        why="best of 3 seeds on the validation split",
    )  # fmt: skip
    assert card.validation["accuracy"] == max(each.validation["accuracy"] for each in of_runs)
    spread = f"(mean {100 * card.seeds.mean:.2f} +- {100 * card.seeds.std:.2f} over 3 seeds)"
    assert (
        f"{card.score} {spread}; seed {card.recipe.seed} ships" in zoo_cli("info", "shipped").stdout
    )

    done = zoo_cli("reproduce", "shipped", "--seeds", 2, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problem"] == ""
    assert found["trials"][0]["seed"] == card.recipe.seed
    assert [trial["weights"] for trial in found["trials"]] == ["the same bytes", ""]
    assert all(trial["card"] == trial["measured"] for trial in found["trials"])
    weights = Path("runs/reproduce", f"logistic-{card.recipe.seed}", WEIGHTS)
    assert weights.read_bytes() == Path("shipped", WEIGHTS).read_bytes()

    # another figure on the card, weights of another machine: the runs there are taken as they are
    other = msgspec.structs.replace(card, seeds=None, test={**card.test, "accuracy": 0.8})
    elsewhere = {**card.files, WEIGHTS: "0" * 64}
    training = msgspec.structs.replace(card.training, hardware="abacus")
    Bundle.write(
        Path("shipped"), msgspec.structs.replace(other, files=elsewhere, training=training)
    )
    done = zoo_cli("reproduce", "shipped")
    assert done.exit_code == 5
    assert "is a finished run and is used" in done.stderr
    assert "is not within the published 80.00 %" in done.stderr
    assert "other bytes: hardware abacus, here " in done.stdout
    Bundle.write(Path("shipped"), msgspec.structs.replace(card, files=elsewhere))
    done = zoo_cli("reproduce", "shipped", "--seeds", 1)
    assert done.exit_code == 5
    assert "model.safetensors does not have the bytes of the shipped file" in done.stderr


def test_a_folder_with_another_training_is_not_reproduced_into(
    runs: dict[int, Path], zoo_cli: Cli
) -> None:
    shutil.copytree(runs[2], "runs/reproduce/logistic-1")
    done = zoo_cli("reproduce", "logistic")
    assert done.exit_code == 2
    assert "runs/reproduce/logistic-1 holds another training than the card's" in done.stderr


def test_a_sum_is_of_one_recipe_with_several_seeds(runs: dict[int, Path]) -> None:
    another = "runs of one model and recipe, with another seed each"
    for given, reason in (
        ([runs[1]], "two or more finished runs, given 1"),
        ([runs[1], runs[1]], another),
        ([runs[2], "logistic"], another),
    ):
        done = ship(*given, "--to", "shipped")
        assert (done.returncode, done.stderr) == (2, f"ship: expected {reason}\n")
    assert not Path("shipped").exists()


@pytest.mark.filterwarnings("ignore")  # of TensorBoard and of what it imports
def test_tensorboard_gets_each_epoch_once(zoo_cli: Cli) -> None:
    done = zoo_cli("train", "logistic", "--epochs", 3, "--out", "run", "--tensorboard")
    assert done.exit_code == 0, done.stderr
    (file,) = Path("run/tensorboard").iterdir()
    assert file.name.startswith("events.out.tfevents.")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for files in (1, 2):
        assert len(list(Path("run/tensorboard").iterdir())) == files
        board = EventAccumulator("run/tensorboard").Reload()
        tags = board.Tags()
        scalars = {tag: [[e.step, e.value] for e in board.Scalars(tag)] for tag in tags["scalars"]}
        assert tags["tensors"] == ["recipe/text_summary"]
        assert set(scalars) == {
            "loss", "lr", "images_per_second", "validation/accuracy", "validation/loss",
        }  # fmt: skip
        log = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
        for name in ("loss", "lr"):
            assert scalars[name] == [[line["epoch"], pytest.approx(line[name])] for line in log]
        if files == 1:  # back to the checkpoint before: its epochs are trained and written again
            Path("run", checkpoint.NAME).unlink()
            assert checkpoint.load(Path("run"))[0].step < 18
            assert zoo_cli("train", "--resume", "run", "--tensorboard").exit_code == 0


def test_without_tensorboard_the_extra_is_named(
    zoo_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    done = zoo_cli("train", "logistic", "--out", "run", "--tensorboard")
    assert done.exit_code == 1
    assert install.command("tensorboard") in done.stderr
    assert not Path("run").exists()
