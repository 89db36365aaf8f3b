"""All that changes RecBole 1.2.1: repairs, policy, speed and features, each an entry of one registry.

Nothing outside RecBole changes, but for names that numpy and scipy no longer have, which are only added where missing,
and pandas' ``Series.agg``, which changes for calls from RecBole only. `patching.changes` has the entries, and
``sparse-elsa repairs`` prints them.
"""
