"""The fields of a recipe, from `zoo/recipe.py`: name, type, default and the comment above it."""

from __future__ import annotations

import ast
from typing import NamedTuple

from docs.generate.words import ROOT

#: What the comments say, in Chinese.
CHINESE = {
    "data": "不用模型自带的数据，而用这里的数据训练：类别文件夹、IDX、npz、CSV 或 Parquet 所在文件夹的"
    "绝对路径，或 torchvision 数据集的名称。",
    "target": "CSV 或 Parquet 文件中要学着预测的那一列。",
    "size": "每张图缩放成的正方形边长，像素；0 保持数据的尺寸，图片文件夹则为 28。",
    "prepare": "数字图片的准备：auto 先判断图片是不是数字，是就找出数字，像 MNIST 那样缩放、居中；"
    "none 只缩放。其他图片一律只缩放。",
    "init": "初始权重：random 随机；pretrained 取随附权重中形状相同的各层。",
    "epochs": "遍历训练数据的次数。",
    "batch_size": "每一步的行数；一轮的最后一步取余下的行。",
    "optimizer": "优化器：sgd、adamw 或 muon；muon 更新除最后一层外各层的矩阵和卷积核，其余用 AdamW。",
    "sampler": "一轮取哪些行：uniform 每行一次；balanced 取同样多的行，使各类出现次数相同，适合有稀少类别的数据。",
    "lr": "学习率的峰值，每一步都乘以它。",
    "momentum": "SGD 和 Muon 的动量；0 为不用动量。",
    "nesterov": "动量是否用 Nesterov 形式，即向前多看一步。",
    "weight_decay": "权重衰减：每一步把权重（不含偏置）缩小 lr * weight_decay 这么多。",
    "schedule": "学习率随步数的变化：constant 不变；onecycle 先沿余弦升到峰值，再沿余弦降到 0。",
    "warmup": "schedule 为 onecycle 时，学习率升到峰值所占的步数比例。",
    "label_smoothing": "目标概率中平均分给所有类别的比例。",
    "teacher": "训练好的分类模型，名称或路径；除标签外还学习它的输出。留空则没有教师。",
    "temperature": "蒸馏的温度：教师和模型的 logits 在 softmax 之前都除以它；大于 1 时看得出教师认为哪些错误类别也有可能。",
    "alpha": "损失中来自教师的比例，其余来自标签。",
    "clip_norm": "全部梯度合起来的最大范数，超过就按比例缩小到它；0 不裁剪。",
    "ema_decay": "权重的指数移动平均（EMA）每步的衰减；验证和保留的是平均后的权重。0 则保留权重本身。",
    "rotate": "图像最大旋转角度，度，两个方向都有；每张图各自随机取。",
    "translate": "图像沿两个轴的最大平移，像素，两个方向都有。",
    "scale": "图像宽和高的最大变化，占原来的比例，可大可小。",
    "shear": "图像最大错切角度，度，两个方向都有。",
    "elastic": "使像素移位的平滑随机场的标准差，像素。",
    "precision": "各层计算的精度：fp32，或 bf16（torch 的 autocast），在处理器或 GPU 有相应指令时更快；权重仍是 float32。",
    "engine": "由什么计算每一步：torch，或用 NumPy 手写的层、损失和优化器。",
    "keep": "保留哪一轮的权重：验证集上最好的 best，或最后一轮 last。",
    "seed": "初始权重、行的次序和数据增强的随机种子。",
}


class Field(NamedTuple):
    """A field of the recipe, as text."""

    name: str
    type: str
    default: str
    help: str


def fields() -> list[Field]:
    """Return the fields in the order of the class; the default is "" where there is none."""
    source = (ROOT / "zoo" / "recipe.py").read_text(encoding="utf-8")
    lines = source.splitlines()
    tree = ast.parse(source)
    (recipe,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Recipe")
    found = []
    for node in recipe.body:
        if not isinstance(node, ast.AnnAssign):
            continue
        assert isinstance(node.target, ast.Name)
        comment: list[str] = []
        number = node.lineno - 2
        while lines[number].strip().startswith("#:"):
            comment.insert(0, lines[number].strip().removeprefix("#:").strip())
            number -= 1
        default = ast.unparse(node.value) if node.value else ""
        found.append(Field(node.target.id, _type(node.annotation), default, " ".join(comment)))
    return found


def _type(node: ast.expr) -> str:
    """Return a type as people say it: the choices of a Literal, the range of a number."""
    text = ast.unparse(node)
    names = {
        "Positive": "int, >= 1",
        "Natural": "int, >= 0",
        "NotNegative": "float, >= 0",
        "Fraction": "float, >= 0, < 1",
        "Annotated[float, Meta(gt=0)]": "float, > 0",
        "Annotated[float, Meta(ge=0, le=1)]": "float, >= 0, <= 1",
    }
    if text.startswith("Literal["):
        return text.removeprefix("Literal[").removesuffix("]").replace("'", "")
    return names.get(text, text)
