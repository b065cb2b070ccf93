"""nn 与标准流程 · nn and the standard flow

Code: zoo/training/loop.py, zoo/training/step.py, zoo/models/logistic.py
Picture: nn_standard_flow.png

准备数据, 定义模型, 损失与优化器, 训练循环 Data, model, loss and optimizer, loop: `zoo train`.
"""

import tempfile
from pathlib import Path

from zoo import lessons, registry
from zoo.bundle.folder import Bundle
from zoo.models import logistic
from zoo.training import start, step

print(logistic.Logistic())

# 五行 The five lines of every step, as they stand in zoo/training/step.py.
STEPS = ("# forward", "# loss", "# zero the gradients", "# backward", "# step")
source = Path(step.__file__).read_text(encoding="utf-8").splitlines()
lines = [line.strip() for line in source if line.endswith(STEPS)][:5]
print(*lines, sep="\n")
assert [line[line.index("#") :] for line in lines] == list(STEPS)

# 训练 `zoo train logistic --epochs 20 --lr 0.02 --set schedule=constant`, in Python.
recipe = registry.get("logistic").recipe.replace(epochs=20, schedule="constant", lr=0.02)
with tempfile.TemporaryDirectory() as folder:
    run = start.train("logistic", recipe, Path(folder) / "run", device="cpu")
    card = Bundle.open(run).card
    lessons.save(run / "curves.png", "nn_standard_flow.png")
print(f"a bundle of {len(card.files)} files; {card.parameters} parameters")
print(f"test accuracy {card.score} on {card.dataset.test} rows")
assert card.test["accuracy"] > 0.93
