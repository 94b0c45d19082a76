"""Trying what we promise: processes are killed, Redis taken away, and the candles held against golden ones.

``python -m chaos --seed 7`` runs the kill matrix, ``python -m chaos outages`` takes Redis away,
``python -m chaos soak --minutes 60`` watches memory. All of it on real processes, with trades from
a seeded file whose candles pandas has computed. Nothing of ``pipeline`` or ``dashboard`` imports this.
"""
