"""Stub."""

import numpy as np


class Recent:
    def __init__(self):
        self.keys = np.empty(0, np.uint64)
        self.units = np.empty(0, np.int64)

    def __len__(self):
        return len(self.keys)

    def add(self, keys, units):
        keys = np.concatenate([self.keys, keys])
        units = np.concatenate([self.units, units])
        order = np.lexsort((units, keys))
        self.keys, self.units = keys[order], units[order]


def find_in_all(segments, keys, most, firsts, stops, threads=1):
    found = []
    counts = []
    for key in keys:
        units = []
        for one in segments:
            a = np.searchsorted(one.keys, key, side="left")
            b = np.searchsorted(one.keys, key, side="right")
            units += one.units[a:b].tolist()
        units = sorted(units)
        at = np.searchsorted(firsts, units, side="right") - 1
        live = [u for u, i in zip(units, at) if i >= 0 and u < stops[i]][:most]
        found += live
        counts.append(len(live))
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), np.array(found, np.int64)
