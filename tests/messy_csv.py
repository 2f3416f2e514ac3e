"""CSV files as people write them: blanks, booleans, codes and words for missing values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

ROWS = 120
FILES = {  # header, then how the fields of a row are written
    "tidy": ("age,team,churned", "{age},{team},{churned}"),
    "blanks after commas": ("age, team, churned", "{age}, {team}, {churned}"),
    "blanks before commas": ("age ,team ,churned ", "{age} ,{team} ,{churned} "),
    "quoted with blanks": ('"age";"team";"churned"', '"{age}";" {team} ";"{churned}"'),
    "capitalised booleans": ("age,member,churned", "{age},{Member},{churned}"),
    "boolean target": ("age,team,churned", "{age},{team},{Churned}"),
    "codes with decimals": ("age,code,churned", "{age},{code}.0,{churned}"),
    "numbered classes": ("age,team,churned", "{age},{team},{code}.0"),
    "codes with zeros": ("age,code,churned", "{age},0{code},{churned}"),
    "missing as NA": ("age,code,churned", "{age_or_na},{code_or_na},{churned}"),
    "missing as blanks": ("age,team,churned", "{age_or_blank},{team_or_blank},{churned}"),
    "a rare word": ("age,team,churned", "{age},{team_or_rare},{churned}"),
    "the word NA": ("age,team,churned", "{age},{team_or_na},{churned}"),
}


def write_csv(path: Path, name: str) -> Path:
    """Write one of `FILES`; its target is ``churned``."""
    header, form = FILES[name]
    rng, lines = np.random.default_rng(0), [header]
    for row in range(ROWS):
        some = row % 10 == 3
        age, code = int(rng.integers(18, 80)), int(rng.integers(1, 4))
        team, member = ("Sales", "Tech", "Board")[code - 1], bool(rng.integers(2))
        churned = rng.random() < 0.3
        lines.append(
            form.format(
                age=age,
                team=team,
                code=code,
                Member=member,
                churned="yes" if churned else "no",
                Churned=bool(churned),
                age_or_na="NA" if some else age,
                code_or_na="n/a" if some else code,
                team_or_na="NA" if some else team,
                age_or_blank=" " if some else age,
                team_or_blank="  " if some else team,
                team_or_rare="Rare" if row == 3 else team,
            )
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
