"""Compiled loops of the boundary metrics: thinning and one-to-one matching of boundary pixels."""

import numpy as np

from supercuts.core.compiled import kernel

# (row, column) of the neighbours x1 ... x8 of Lam, Lee and Suen: east first, then counter-clockwise
_RING = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


@kernel
def removable_codes():
    """Return (2, 256) whether each subiteration removes the centre of each neighbourhood (bit i is x(i + 1))."""
    table = np.zeros((2, 256), np.bool_)
    x = np.zeros(9, np.int64)  # x[8] is x1 again
    for code in range(256):
        for i in range(8):
            x[i] = (code >> i) & 1
        x[8] = x[0]
        crossings, first, second = 0, 0, 0
        for i in range(0, 8, 2):
            crossings += x[i] == 0 and (x[i + 1] == 1 or x[i + 2] == 1)
            first += x[i] | x[i + 1]
            second += x[i + 1] | x[i + 2]
        if crossings != 1 or not 2 <= min(first, second) <= 3:
            continue
        table[0, code] = (x[1] | x[2] | (1 - x[7])) & x[0] == 0
        table[1, code] = (x[5] | x[6] | (1 - x[3])) & x[4] == 0
    return table


@kernel
def thin(mask):
    """Remove border pixels by alternating the two subiterations until nothing changes."""
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), np.bool_)  # pixels outside the image count as background
    padded[1:-1, 1:-1] = mask
    flat = padded.ravel()
    steps = np.empty(8, np.int64)
    for i in range(8):
        steps[i] = _RING[i][0] * (width + 2) + _RING[i][1]
    table = removable_codes()
    pixels = np.flatnonzero(flat)
    n_pixels = pixels.size
    removed = np.empty(n_pixels, np.int64)
    n_idle = 0  # number of consecutive subiterations that removed nothing
    subiteration = 0
    while n_idle < 2:
        n_removed, n_kept = 0, 0
        for i in range(n_pixels):
            pixel = pixels[i]
            code = 0
            for j in range(8):
                code |= np.int64(flat[pixel + steps[j]]) << j
            if table[subiteration, code]:
                removed[n_removed] = pixel
                n_removed += 1
            else:
                pixels[n_kept] = pixel
                n_kept += 1
        # removed only now: a subiteration evaluates all pixels on the same mask
        for i in range(n_removed):
            flat[removed[i]] = False
        n_pixels = n_kept
        n_idle = 0 if n_removed else n_idle + 1
        subiteration = 1 - subiteration
    return padded[1:-1, 1:-1].copy()


@kernel
def threshold_and_thin(strength, thresholds):
    """Return the thinned mask of strength >= threshold for each of the ascending thresholds."""
    n_thresholds = thresholds.size
    height, width = strength.shape
    masks = np.empty((n_thresholds, height, width), np.bool_)
    n_above = -1
    for t in range(n_thresholds):
        above = strength >= thresholds[t]
        n_now = np.count_nonzero(above)
        if n_now == n_above:  # masks are nested: an equal number means the same pixels
            masks[t] = masks[t - 1]
        else:
            masks[t] = thin(above)
        n_above = n_now
    return masks


@kernel
def reachable(union, truth, offsets):
    """List the truth pixels within reach of each union pixel, nearest first.

    Returns the flat indices of the union pixels with a truth pixel within reach; the start of each pixel's list, and
    the end of the last; the lists, as numbers of truth pixels; the squared distance of each list entry; and the flat
    indices of the truth pixels.
    """
    height, width = union.shape
    numbers = np.full((height, width), -1, np.int32)
    truth_pixels = np.flatnonzero(truth)
    for i in range(truth_pixels.size):
        numbers[truth_pixels[i] // width, truth_pixels[i] % width] = i
    pixels = np.flatnonzero(union)
    starts = np.zeros(pixels.size + 1, np.int64)
    lists = np.empty((2, 16 * pixels.size + offsets.shape[0]), np.int32)
    n_pixels, n_listed = 0, 0
    for i in range(pixels.size):
        if lists.shape[1] < n_listed + offsets.shape[0]:
            longer = np.empty((2, 2 * lists.shape[1]), np.int32)
            longer[:, :n_listed] = lists[:, :n_listed]
            lists = longer
        y, x = pixels[i] // width, pixels[i] % width
        for j in range(offsets.shape[0]):
            row, column = y + offsets[j, 0], x + offsets[j, 1]
            if 0 <= row < height and 0 <= column < width and numbers[row, column] >= 0:
                lists[0, n_listed] = numbers[row, column]
                lists[1, n_listed] = offsets[j, 0] ** 2 + offsets[j, 1] ** 2
                n_listed += 1
        if n_listed > starts[n_pixels]:
            pixels[n_pixels] = pixels[i]
            n_pixels += 1
            starts[n_pixels] = n_listed
    pixels, starts = pixels[:n_pixels].copy(), starts[: n_pixels + 1].copy()
    return pixels, starts, lists[0, :n_listed].copy(), lists[1, :n_listed].copy(), truth_pixels


@kernel
def match_all(masks, truth, offsets, matched, matched_truth):
    """Match each of the masks (T, H, W) one to one with the truth; add the matched pixels to `matched` by logical or.

    Every mask is matched independently, so a score depends only on its own threshold; equal masks reuse the result.
    Writes the number of matched pixels to `matched_truth` (T,); returns the truth pixels matched by masks[0].
    """
    n_masks, height, width = masks.shape
    union = masks[0].copy()
    for t in range(1, n_masks):
        union |= masks[t]
    pixels, starts, lists, squares, truth_pixels = reachable(union, truth, offsets)
    flat, flat_matched = masks.reshape(n_masks, -1), matched.reshape(n_masks, -1)
    mates = np.full(pixels.size, -1, np.int32)
    truth_mates = np.full(truth_pixels.size, -1, np.int32)
    active = np.zeros(pixels.size, np.bool_)
    for t in range(n_masks - 1, -1, -1):
        is_changed = False
        for i in range(pixels.size):
            is_active = flat[t, pixels[i]]
            is_changed |= is_active != active[i]
            active[i] = is_active
        if is_changed:
            mates[:] = -1
            truth_mates[:] = -1
            match_greedily(starts, lists, squares, active, mates, truth_mates)
            augment(starts, lists, active, mates, truth_mates)
            prefer_nearer(starts, lists, squares, active, mates, truth_mates)
        n_matched = 0
        for i in range(pixels.size):
            if mates[i] >= 0:
                n_matched += 1
                flat_matched[t, pixels[i]] = True
        matched_truth[t] = n_matched
    is_matched = np.zeros((height, width), np.bool_)
    for i in range(truth_pixels.size):
        is_matched[truth_pixels[i] // width, truth_pixels[i] % width] = truth_mates[i] >= 0
    return is_matched


@kernel
def match_greedily(starts, lists, squares, active, mates, truth_mates):
    """Match free pixels with free truth pixels, the nearest pairs first."""
    unread = starts[:-1].copy()
    waiting = np.flatnonzero(active & (mates < 0))
    n_waiting = waiting.size
    while n_waiting > 0:
        square = squares[unread[waiting[0]]]
        for j in range(1, n_waiting):
            square = min(square, squares[unread[waiting[j]]])
        n_kept = 0
        for j in range(n_waiting):
            pixel = waiting[j]
            k, end = unread[pixel], starts[pixel + 1]
            while k < end and squares[k] == square and mates[pixel] < 0:
                if truth_mates[lists[k]] < 0:
                    mates[pixel] = lists[k]
                    truth_mates[lists[k]] = pixel
                k += 1
            unread[pixel] = k
            if mates[pixel] < 0 and k < end:
                waiting[n_kept] = pixel
                n_kept += 1
        n_waiting = n_kept


@kernel
def prefer_nearer(starts, lists, squares, active, mates, truth_mates):
    """Rematch truth pixels to nearer unmatched pixels until none is nearer; the number of pairs stays the same."""
    distances = np.zeros(truth_mates.size, np.int32)  # squared distance of each truth pixel to its mate
    for pixel in range(mates.size):
        if mates[pixel] >= 0:
            for k in range(starts[pixel], starts[pixel + 1]):
                if lists[k] == mates[pixel]:
                    distances[lists[k]] = squares[k]
    for first in range(mates.size):
        pixel = first
        while pixel >= 0 and active[pixel] and mates[pixel] < 0:
            left_over = -1
            for k in range(starts[pixel], starts[pixel + 1]):
                truth = lists[k]
                if squares[k] < distances[truth]:
                    left_over = truth_mates[truth]
                    mates[left_over] = -1
                    mates[pixel] = truth
                    truth_mates[truth] = pixel
                    distances[truth] = squares[k]
                    break
            pixel = left_over


@kernel
def augment(starts, lists, active, mates, truth_mates):
    """Extend a matching to a maximum one (Hopcroft and Karp, 1973); matched pixels stay matched."""
    n_pixels = mates.size
    level = np.empty(n_pixels, np.int32)
    nearest_first = starts[:-1].copy()  # next entry to read in each pixel's list in this phase
    queue = np.empty(n_pixels, np.int32)
    path = np.empty(n_pixels, np.int32)
    while True:
        n_free = 0
        for i in range(n_pixels):
            level[i] = -1
            nearest_first[i] = starts[i]
            if active[i] and mates[i] < 0:
                level[i] = 0
                queue[n_free] = i
                n_free += 1
        if not is_augmentable(starts, lists, truth_mates, level, queue, n_free):
            return
        for j in range(n_free):
            path[0] = queue[j]
            depth = 0
            while depth >= 0:
                pixel = path[depth]
                if nearest_first[pixel] == starts[pixel + 1]:
                    depth -= 1  # a dead end for this phase
                    continue
                mate = truth_mates[lists[nearest_first[pixel]]]
                nearest_first[pixel] += 1
                if mate < 0:
                    flip(path, depth, nearest_first, lists, mates, truth_mates)
                    break
                if level[mate] == level[pixel] + 1:
                    depth += 1
                    path[depth] = mate


@kernel
def is_augmentable(starts, lists, truth_mates, level, queue, n_free):
    """Write to `level` each pixel's distance along alternating paths; return whether a free truth pixel is reached."""
    head, tail = 0, n_free
    last_level = np.int32(level.size)
    is_found = False
    while head < tail and level[queue[head]] <= last_level:
        pixel = queue[head]
        head += 1
        for k in range(starts[pixel], starts[pixel + 1]):
            mate = truth_mates[lists[k]]
            if mate < 0:
                is_found = True
                last_level = level[pixel]
            elif level[mate] < 0:
                level[mate] = level[pixel] + 1
                queue[tail] = mate
                tail += 1
    return is_found


@kernel
def flip(path, depth, nearest_first, lists, mates, truth_mates):
    """Match every pixel of an augmenting path with the truth pixel that was last read from its list."""
    for i in range(depth, -1, -1):
        truth = lists[nearest_first[path[i]] - 1]
        mates[path[i]] = truth
        truth_mates[truth] = path[i]
