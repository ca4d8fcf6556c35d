"""`python -m ternevo.bench`: named cases, timed side by side in one process.

A case (`cases.py`) builds a few contestants that do the same job (`evaluation.py`,
`loop.py`, `ppo.py`, `reference_ppo.py`, `rivals.py`, `fresh.py`), `measure.py` times
them in turns and works out ratios, and `report.py` writes the table, bench.json and bench.png.

A ratio is only ever taken within one run: seconds of one machine say little on another.
"""
