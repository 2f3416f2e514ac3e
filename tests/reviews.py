"""Reviews in Chinese, which has no blanks between words."""

from __future__ import annotations

import numpy as np
import pandas as pd

_THINGS = ("牛肉麵", "珍珠奶茶", "客服", "包裝", "運送速度", "這家店的服務", "房間", "早餐")
_OPINIONS = {
    "好評": ("很好", "非常滿意", "讓人驚喜", "值得推薦"),
    "負評": ("很差", "令人失望", "太慢了", "不會再來"),
}


def chinese_reviews(rows: int, seed: int = 0) -> pd.DataFrame:
    """Sentences 句子 about two things each, and whether they praise, 類別; one in ten is wrong."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(list(_OPINIONS), rows)
    sentences = [
        f"{rng.choice(_THINGS)}{rng.choice(_OPINIONS[label])}，"
        f"{rng.choice(_THINGS)}也{rng.choice(_OPINIONS[label])}。第{number}則"
        for number, label in enumerate(labels)
    ]
    wrong = rng.random(rows) < 0.1
    return pd.DataFrame(
        {"句子": sentences, "類別": np.where(wrong, rng.choice(list(_OPINIONS), rows), labels)}
    )
