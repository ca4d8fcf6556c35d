"""`python -m ternevo.bench`: named cases, timed side by side in one process.

A case (`cases.py`) builds a few contestants that do the same job (`evaluation.py`,
`loop.py`, `ppo.py`, `reference_ppo.py`, `rivals.py`, `fresh.py`, `deploy.py`). `measure.py` times
them in turns and computes ratios, and `report.py` writes the table, bench.json and bench.png.

Ratios are taken only within one run: times on one machine say little about another.
"""
