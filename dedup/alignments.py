"""Alignments: which words of two stretches of text belong together, and how far that goes.

Around a core, each word of one side is given at most one word of the other:
runs of equal words first, the longest before the shorter, then single words,
the nearest to where their neighbours went. A word with a partner speaks for a
passage by as much as it is unlikely to have found one by chance, a word without
one speaks against it, and the passage is the pair of stretches over which this
sums to most. Order plays no part in the sum, so words may be moved about; and
no word has two partners, so a copy stops where the copied words do.

The sum is a log-likelihood ratio. Under "copied", a word is copied with the
chance `fidelity` and else drawn like any other; under "not copied" it is drawn,
and finds a partner within a distance with the chance given by how often the
word stands in the two texts. Both its steps are capped, so that no word by
itself decides.
"""

import numpy as np

from dedup.kernels import kernel

# Occurrences of a word in the other stretch that are looked at; a word with
# more is no start of a run. In a window of natural text hardly any has.
_MOST_PLACES = 16

# Rounds in which each side is fitted to the other; two to three are the rule.
_MOST_ROUNDS = 8

# Runs of so many words are no accident.
_SURE_WORDS = 4

# A single word this near to where it is expected is as good as there.
_NEAR_WORDS = 5

# Words of a later text under which found passages are listed together.
_CELL_SHIFT = 6

# Cores that gave nothing, remembered for one pair of texts.
_TRIED = 64

# A passage inside another's two sides, but elsewhere in them, has to have so many
# times the least evidence: lists and refrains match themselves at every line. Were
# there none of these, 3 % of equal licences in files of many would be missed; with
# all of them, the English Bible has 7,105 rows instead of 6,400.
_CLEARLY = 3.0


@kernel
def _density(counts, i, words_x, j, words_y):
    """Return how often a word stands in the two texts, its own copy all but apart."""
    return max((counts[i] - 0.7) / words_x, (counts[j] - 0.7) / words_y)


@kernel
def _is_one_run(ids_a, ids_b):
    """Tell whether two stretches are the same, and that from some word on it is seen.

    What follows would come to the same; of passages that are copied word for word,
    this is most of the work.
    """
    n = len(ids_a)
    if n != len(ids_b) or n < _SURE_WORDS:
        return False
    for i in range(n):
        if ids_a[i] != ids_b[i]:
            return False
    for i in range(n):
        count = np.int64(0)
        for j in range(n):
            count += np.int64(ids_b[j] == ids_b[i])
        if count <= _MOST_PLACES:
            return True
    return False


@kernel
def _match(
    ids, weights, counts, heads, words_x, words_y, own,
    a0, a1, b0, b1, diagonal, fidelity, most_gain,
    partner_a, gain_a, partner_b, gain_b,
):  # fmt: skip
    """Give words of two stretches their partners, and say what each pair speaks for.

    `partner_a`, `partner_b`: position in the other stretch, or -1. `gain_a`,
    `gain_b`: what the word speaks for where it has a partner. With `own`, both
    stand in one text, and partners in the second stretch come earlier. `heads`
    int32[distinct_count] is -1 throughout, before and behind.
    """
    na = a1 - a0
    nb = b1 - b0
    ids_a, ids_b = ids[a0:a1], ids[b0:b1]
    if (not own or b0 < a0) and _is_one_run(ids_a, ids_b):
        for i in range(na):
            partner_a[i] = partner_b[i] = i
            gain_a[i] = gain_b[i] = most_gain * weights[a0 + i] * 0.25
        return
    partner_a[:] = -1
    partner_b[:] = -1
    gain_a[:] = 0.0
    gain_b[:] = 0.0
    # Places of each word in the second stretch, one after the other, and how many
    # follow: a table of all words is 5 times as fast as searching in sorted ones.
    nexts = np.empty(nb, np.int32)
    behind_too = np.empty(nb, np.int32)
    for j in range(nb - 1, -1, -1):
        later = heads[ids_b[j]]
        nexts[j] = later
        behind_too[j] = 1 if later < 0 else behind_too[later] + 1
        heads[ids_b[j]] = j
    place = np.empty(na, np.int32)
    many = np.empty(na, np.int32)
    for i in range(na):
        j = heads[ids_a[i]]
        place[i] = j
        many[i] = 0 if j < 0 else min(behind_too[j], _MOST_PLACES + 1)
        if own:
            count = 0
            while count < many[i] and b0 + j < a0 + i:
                j = nexts[j]
                count += 1
            many[i] = count
    for j in range(nb):
        heads[ids_b[j]] = -1
    most_runs = 4 * na + 16
    run_a = np.empty(most_runs, np.int64)
    run_b = np.empty(most_runs, np.int64)
    run_key = np.empty(most_runs, np.int64)
    runs = np.int64(0)
    for i in range(na):
        if many[i] == 0 or many[i] > _MOST_PLACES:
            continue
        word_before = ids_a[i - 1] if i > 0 else np.int32(-1)
        word_behind = ids_a[i + 1] if i + 1 < na else np.int32(-1)
        is_listed = i > 0 and 0 < many[i - 1] <= _MOST_PLACES
        j = np.int64(place[i])
        for k in range(many[i]):
            if k:
                j = np.int64(nexts[j])
            same_before = j > 0 and ids_b[j - 1] == word_before
            same_behind = j + 1 < nb and ids_b[j + 1] == word_behind
            if not (same_before or same_behind) or (same_before and is_listed):
                continue
            before = np.int64(0)
            while i > before and j > before and ids_a[i - before - 1] == ids_b[j - before - 1]:
                before += 1
            length = before + 1
            while (
                i - before + length < na
                and j - before + length < nb
                and ids_a[i - before + length] == ids_b[j - before + length]
            ):
                length += 1
            if runs < most_runs:
                run_a[runs] = i - before
                run_b[runs] = j - before
                # Of equal lengths, the nearest to the diagonal of the core.
                away = min(abs(a0 + i - b0 - j - diagonal), np.int64((1 << 31) - 1))
                run_key[runs] = -(length << 31) + away
                runs += 1
    ranking = np.argsort(run_key[:runs], kind="mergesort")
    for r in range(runs):
        i = run_a[ranking[r]]
        j = run_b[ranking[r]]
        left = -(run_key[ranking[r]] >> 31)
        while left > 0:
            length = np.int64(0)
            while length < left and partner_a[i + length] < 0 and partner_b[j + length] < 0:
                length += 1
            if length >= 2:
                value = most_gain
                if length < _SURE_WORDS:
                    # Chance that these words stand in a row somewhere in the stretch.
                    log_expected = np.log(nb + 0.0)
                    for k in range(length):
                        log_expected += np.log(
                            _density(counts, a0 + i + k, words_x, b0 + j + k, words_y)
                        )
                    chance = 1.0 - np.exp(-np.exp(min(log_expected, 3.0)))
                    value = _evidence(fidelity, chance) / length
                    value = min(value, most_gain)
                for k in range(length):
                    partner_a[i + k] = j + k
                    partner_b[j + k] = i + k
                    gain_a[i + k] = value * weights[a0 + i + k] * 0.25
                    gain_b[j + k] = gain_a[i + k]
            step = max(length, np.int64(1))
            i += step
            j += step
            left -= step
    # Single words go where their neighbours in runs went.
    ahead = np.empty(na + 1, np.int64)
    ahead[na] = -1
    for i in range(na - 1, -1, -1):
        ahead[i] = i if partner_a[i] >= 0 else ahead[i + 1]
    behind = np.int64(-1)
    for i in range(na):
        if ahead[i] == i:
            behind = i
            continue
        if many[i] == 0:
            continue
        near = behind
        if ahead[i] >= 0 and (near < 0 or ahead[i] - i < i - near):
            near = ahead[i]
        expected = i + a0 - b0 - diagonal
        if near >= 0:
            expected = partner_a[near] + i - near
        best = np.int64(-1)
        distance = np.int64(1) << 60
        j = np.int64(place[i])
        for k in range(many[i]):
            if k:
                j = np.int64(nexts[j])
            if partner_b[j] < 0 and abs(j - expected) < distance:
                distance = abs(j - expected)
                best = j
        if best >= 0:
            density = _density(counts, a0 + i, words_x, b0 + best, words_y)
            chance = 1.0 - np.exp(-density * (2.0 * max(distance, _NEAR_WORDS) + 1.0))
            partner_a[i] = best
            partner_b[best] = i
            value = min(_evidence(fidelity, chance), most_gain)
            gain_a[i] = value * weights[a0 + i] * 0.25
            gain_b[best] = gain_a[i]


@kernel
def _evidence(fidelity, chance):
    """Return the logarithm of how much more likely a partner is in a copy."""
    chance = max(chance, 1e-9)
    return np.log((fidelity + (1.0 - fidelity) * chance) / chance)


@kernel
def _weigh(partner, gain, weights, at, low, high, loss, values):
    """Write what each word adds, when the other stretch is [low, high)."""
    for k in range(len(partner)):
        is_in = (partner[k] >= low) & (partner[k] < high)
        values[k] = gain[k] if is_in else -loss * weights[at + k] * 0.25


@kernel
def _reach(values, anchor, forward, most_drop):
    """Return where the sum from an anchor on is greatest, before it drops too far."""
    best = 0.0
    total = 0.0
    found = anchor
    if forward:
        k = anchor
        while k < len(values) and total >= best - most_drop:
            total += values[k]
            k += 1
            if total > best:
                best = total
                found = k
    else:
        k = anchor - 1
        while k >= 0 and total >= best - most_drop:
            total += values[k]
            if total > best:
                best = total
                found = k
            k -= 1
    return found


@kernel
def _fit(values, first, last, most_drop):
    """Return the best stretch in [first, last) and how far it goes on from there."""
    best = 0.0
    peak = 0.0
    total = 0.0
    begin = first
    start = first
    stop = first
    for k in range(first, last):
        total += values[k]
        peak = max(peak, total)
        if total <= 0.0 or total < peak - most_drop:
            total = 0.0
            peak = 0.0
            begin = k + 1
        elif total > best:
            best = total
            start = begin
            stop = k + 1
    if start == stop:
        return start, stop
    return _reach(values, start, False, most_drop), _reach(values, stop, True, most_drop)


@kernel
def _add_up(weights, partner_a, gain_a, partner_b, a0, b0, s, e, t, f, loss, out, links):
    """Return the sum over two stretches; count the pairs in them, and write them."""
    total = 0.0
    for i in range(s, e):
        if t <= partner_a[i] < f:
            total += gain_a[i]
            if out[4] < len(links):
                links[out[4], 0] = a0 + i
                links[out[4], 1] = b0 + partner_a[i]
            out[4] += 1
        else:
            total -= loss * weights[a0 + i] * 0.125
    for j in range(t, f):
        if not s <= partner_b[j] < e:
            total -= loss * weights[b0 + j] * 0.125
    return total


@kernel
def _align(
    ids, weights, counts, heads, x_start, x_stop, x_core, y_start, y_stop, y_core,
    window, fidelity, most_gain, loss, most_drop, out, links,
):  # fmt: skip
    """Find the passage around a core; return its evidence, 0 where there is none.

    `out` int64[5]: start and stop in x, start and stop in y, words with partners.
    `links` int64[m, 2]: the first m of these pairs.
    """
    own = x_start == y_start
    words_x = x_stop - x_start
    words_y = y_stop - y_start
    diagonal = x_core - y_core
    partner_a = np.empty(4 * window, np.int64)
    partner_b = np.empty(4 * window, np.int64)
    gain_a = np.empty(4 * window, np.float64)
    gain_b = np.empty(4 * window, np.float64)
    value_a = np.empty(4 * window, np.float64)
    value_b = np.empty(4 * window, np.float64)
    a0 = max(x_start, x_core - 2 * window)
    a1 = min(x_stop, x_core + 2 * window)
    b0 = max(y_start, y_core - 2 * window)
    b1 = min(y_stop, y_core + 2 * window)
    pa, ga, va = partner_a[: a1 - a0], gain_a[: a1 - a0], value_a[: a1 - a0]
    pb, gb, vb = partner_b[: b1 - b0], gain_b[: b1 - b0], value_b[: b1 - b0]
    _match(
        ids, weights, counts, heads, words_x, words_y, own,
        a0, a1, b0, b1, diagonal, fidelity, most_gain, pa, ga, pb, gb,
    )  # fmt: skip
    out[4] = 0
    # The best stretch close to the core; others nearby have cores of their own.
    s, e = max(x_start, x_core - window // 2) - a0, min(x_stop, x_core + window // 2) - a0
    t, f = max(y_start, y_core - window // 2) - b0, min(y_stop, y_core + window // 2) - b0
    low, high = np.int64(0), b1 - b0
    for _ in range(_MOST_ROUNDS):
        # At first every partner in the window counts: a side that sees only what
        # the other has reached cannot grow, for neither can the other.
        _weigh(pa, ga, weights, a0, low, high, loss, va)
        new_s, new_e = _fit(va, s, e, most_drop)
        if new_s == new_e:
            return 0.0
        _weigh(pb, gb, weights, b0, new_s, new_e, loss, vb)
        new_t, new_f = _fit(vb, t, f, most_drop)
        if own:
            new_f = min(new_f, a0 + new_s - b0)
        if new_t >= new_f:
            return 0.0
        if new_s == s and new_e == e and new_t == t and new_f == f:
            break
        s, e, t, f = new_s, new_e, new_t, new_f
        low, high = t, f
    total = _add_up(weights, pa, ga, pb, a0, b0, s, e, t, f, loss, out, links)
    grows_back = s < window // 2 or t < window // 2
    grows_on = a1 - a0 - e < window // 2 or b1 - b0 - f < window // 2
    out[0], out[1], out[2], out[3] = a0 + s, a0 + e, b0 + t, b0 + f
    # Block by block, each from where the last ended: as long as the passage and no
    # longer, and a word of the block does not compete with those of the whole text.
    while grows_on:
        a0, b0 = out[1], out[3]
        a1 = min(x_stop, a0 + 2 * window)
        b1 = min(out[0] if own else y_stop, b0 + 2 * window)
        if a0 == a1 or b0 >= b1:
            break
        pa, ga, va = partner_a[: a1 - a0], gain_a[: a1 - a0], value_a[: a1 - a0]
        pb, gb, vb = partner_b[: b1 - b0], gain_b[: b1 - b0], value_b[: b1 - b0]
        _match(
            ids, weights, counts, heads, words_x, words_y, own,
            a0, a1, b0, b1, a0 - b0, fidelity, most_gain, pa, ga, pb, gb,
        )  # fmt: skip
        e, f = np.int64(0), b1 - b0
        for _ in range(_MOST_ROUNDS):
            _weigh(pa, ga, weights, a0, 0, f, loss, va)
            new_e = _reach(va, 0, True, most_drop)
            _weigh(pb, gb, weights, b0, 0, new_e, loss, vb)
            new_f = _reach(vb, 0, True, most_drop)
            if new_e == e and new_f == f:
                break
            e, f = new_e, new_f
        if e == 0 or f == 0:
            break
        total += _add_up(weights, pa, ga, pb, a0, b0, 0, e, 0, f, loss, out, links)
        out[1], out[3] = a0 + e, b0 + f
        grows_on = a1 - a0 - e < window // 2 or b1 - b0 - f < window // 2
    while grows_back:
        a1, b1 = out[0], out[2]
        a0 = max(out[3] if own else x_start, a1 - 2 * window)
        b0 = max(y_start, b1 - 2 * window)
        if a0 >= a1 or b0 == b1:
            break
        na, nb = a1 - a0, b1 - b0
        pa, ga, va = partner_a[:na], gain_a[:na], value_a[:na]
        pb, gb, vb = partner_b[:nb], gain_b[:nb], value_b[:nb]
        _match(
            ids, weights, counts, heads, words_x, words_y, own,
            a0, a1, b0, b1, a1 - b1, fidelity, most_gain, pa, ga, pb, gb,
        )  # fmt: skip
        s, t = na, np.int64(0)
        for _ in range(_MOST_ROUNDS):
            _weigh(pa, ga, weights, a0, t, nb, loss, va)
            new_s = _reach(va, na, False, most_drop)
            _weigh(pb, gb, weights, b0, new_s, na, loss, vb)
            new_t = _reach(vb, nb, False, most_drop)
            if new_s == s and new_t == t:
                break
            s, t = new_s, new_t
        if s == na or t == nb:
            break
        total += _add_up(weights, pa, ga, pb, a0, b0, s, na, t, nb, loss, out, links)
        out[0], out[2] = a0 + s, b0 + t
        grows_back = s < window // 2 or t < window // 2
    return total


@kernel
def align_core(
    ids, weights, counts, heads, offsets, fingerprints, left, right,
    left_core, right_core, window, fidelity, most_gain, loss, most_drop, row, links,
):  # fmt: skip
    """Find the passage around a core; return its evidence, 0 where there is none.

    Which text is matched to which is decided by what they hold, not by their
    order, so that swapped texts give swapped sides.

    `row` int64[5]: start and stop in the left text, in the right, words with
    partners. `links` int64[m, 2]: words of the first m of these pairs, the left
    one first.
    """
    swapped = fingerprints[left] > fingerprints[right]
    x, y = (left, right) if swapped else (right, left)
    x_core, y_core = (left_core, right_core) if swapped else (right_core, left_core)
    total = _align(
        ids, weights, counts, heads, offsets[x], offsets[x + 1], x_core,
        offsets[y], offsets[y + 1], y_core, window, fidelity, most_gain, loss, most_drop,
        row, links,
    )  # fmt: skip
    if not swapped:
        row[0], row[1], row[2], row[3] = row[2], row[3], row[0], row[1]
        for k in range(min(row[4], len(links))):
            links[k, 0], links[k, 1] = links[k, 1], links[k, 0]
    return total


@kernel
def _list_row(heads, nexts, of_node, count, base, start, stop, row):
    """List a row under the cells of the later text that it covers; return the nodes."""
    for cell in range((start - base) >> _CELL_SHIFT, ((stop - 1 - base) >> _CELL_SHIFT) + 1):
        if count == len(nexts):
            grown = np.empty(2 * count, np.int64)
            grown[:count] = nexts
            nexts = grown
            grown_rows = np.empty(2 * count, np.int64)
            grown_rows[:count] = of_node
            of_node = grown_rows
        nexts[count] = heads[cell]
        of_node[count] = row
        heads[cell] = count
        count += 1
    return nexts, of_node, count


@kernel
def align_cores(
    ids, weights, counts, distinct_count, offsets, fingerprints, text_of,
    lefts, rights, spare, pair_firsts, pair_lasts,
    window, fidelity, most_gain, loss, most_drop, least_evidence, least_quarters, least_share,
    rows, found_cores, evidence, row_counts,
):  # fmt: skip
    """Write the passages around some cores; return how many.

    The cores of one pair of texts stand together, the best first; a core that a
    passage passes through, or beside one that gave nothing, is passed over; a
    `spare` one also when its place in the later text is in any passage of the
    two. Passages that are for the most part the same are made one.
    """
    found = np.int64(0)
    tried = np.empty((_TRIED, 2), np.int64)
    out = np.empty(5, np.int64)
    links = np.empty((0, 2), np.int64)
    places = np.full(distinct_count, -1, np.int32)
    nexts = np.empty(256, np.int64)
    of_node = np.empty(256, np.int64)
    for p in range(len(pair_firsts)):
        before = found
        left = np.int64(text_of[lefts[pair_firsts[p]]])
        right = np.int64(text_of[rights[pair_firsts[p]]])
        base = offsets[right]
        heads = np.full(((offsets[right + 1] - base) >> _CELL_SHIFT) + 1, -1, np.int64)
        nodes = np.int64(0)
        tried_count = np.int64(0)
        for c in range(pair_firsts[p], pair_lasts[p]):
            known = False
            node = heads[(rights[c] - base) >> _CELL_SHIFT]
            while node >= 0 and not known:
                row = rows[of_node[node]]
                known = row[2] <= rights[c] < row[3] and (
                    spare[c] or _passes(row, lefts[c], rights[c], window)
                )
                node = nexts[node]
            for k in range(min(tried_count, _TRIED)):
                known |= (
                    abs(tried[k, 0] - lefts[c]) <= window // 2
                    and abs(tried[k, 1] - rights[c]) <= window // 2
                )
            if known:
                continue
            total = align_core(
                ids, weights, counts, places, offsets, fingerprints, left, right,
                lefts[c], rights[c], window, fidelity, most_gain, loss, most_drop, out, links,
            )  # fmt: skip
            if total < least_evidence or not _is_long_enough(
                weights, out, least_quarters, least_share
            ):
                tried[tried_count % _TRIED, 0] = lefts[c]
                tried[tried_count % _TRIED, 1] = rights[c]
                tried_count += 1
                continue
            merged = np.int64(-1)
            for cell in range(
                (out[2] - base) >> _CELL_SHIFT, ((out[3] - 1 - base) >> _CELL_SHIFT) + 1
            ):
                node = heads[cell]
                while node >= 0 and merged < 0:
                    row = rows[of_node[node]]
                    if min(row[1], out[1]) > max(row[0], out[0]) and min(row[3], out[3]) > max(
                        row[2], out[2]
                    ):
                        if _passes(
                            row, (out[0] + out[1]) // 2, (out[2] + out[3]) // 2, window
                        ) or _passes(out, (row[0] + row[1]) // 2, (row[2] + row[3]) // 2, window):
                            merged = of_node[node]
                        elif total < _CLEARLY * least_evidence:
                            known = True
                    node = nexts[node]
            if merged < 0 and known:
                continue
            if merged >= 0 and left == right:
                # Together the sides might meet.
                continue
            if merged >= 0:
                row = rows[merged]
                row[0] = min(row[0], out[0])
                row[1] = max(row[1], out[1])
                row[2] = min(row[2], out[2])
                row[3] = max(row[3], out[3])
                row[4] = max(row[4], out[4])
                evidence[merged] = max(evidence[merged], total)
            else:
                merged = found
                rows[found] = out
                found_cores[found] = c
                evidence[found] = total
                found += 1
            nexts, of_node, nodes = _list_row(
                heads, nexts, of_node, nodes, base, rows[merged, 2], rows[merged, 3], merged
            )
        row_counts[p] = found - before
    return found


@kernel
def _is_long_enough(weights, row, least_quarters, least_share):
    least = np.int64(1) << 60
    for side in range(2):
        quarters = np.int64(0)
        for k in range(row[2 * side], row[2 * side + 1]):
            quarters += weights[k]
            if quarters >= least_quarters:
                break
        if quarters < least_quarters:
            return False
        least = min(least, row[2 * side + 1] - row[2 * side])
    return row[4] >= least_share * least


@kernel
def _passes(row, left, right, window):
    """Tell whether a passage holds two places, and puts them near each other."""
    if not (row[0] <= left < row[1] and row[2] <= right < row[3]):
        return False
    expected = row[0] + (right - row[2]) * (row[1] - row[0]) // (row[3] - row[2])
    return abs(left - expected) <= window
