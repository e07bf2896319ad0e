"""Compiled loops that trace the outlines of regions."""

import numpy as np

from supercuts.core.compiled import allocating_helper, kernel


@kernel
def order_leaves(parents, n_leaves):
    """Return (M,) first and last + 1 rank of the leaves below each node; a leaf's first rank is its own rank."""
    n_below = np.zeros(parents.size, np.int64)
    n_below[:n_leaves] = 1
    for node in range(parents.size - 1):
        n_below[parents[node]] += n_below[node]
    first = np.zeros(parents.size, np.int64)
    following = np.zeros(parents.size, np.int64)  # rank offset of the next child
    for node in range(parents.size - 2, -1, -1):
        parent = parents[node]
        first[node] = first[parent] + following[parent]
        following[parent] += n_below[node]
    return first, first + n_below


@kernel
def mark_corners(labels):
    """Return (H+1, W+1) bool: the pixel corners where superpixel borders or the image frame bend or meet."""
    height, width = labels.shape
    is_corner = np.zeros((height + 1, width + 1), np.bool_)
    for y in range(height + 1):
        for x in range(width + 1):
            above_left = labels[y - 1, x - 1] if y > 0 and x > 0 else -1
            above = labels[y - 1, x] if y > 0 and x < width else -1
            left = labels[y, x - 1] if y < height and x > 0 else -1
            here = labels[y, x] if y < height and x < width else -1
            is_corner[y, x] = not ((above_left == above and left == here) or (above_left == left and above == here))
    return is_corner


@allocating_helper
def _number_pieces(labels, rank, low, high, box):
    """Return the 4-connected piece 1, 2, ... of each pixel in the node's box, 0 outside the node, zero-padded by 1."""
    height, width = box[2] - box[0], box[3] - box[1]
    piece = np.zeros((height + 2, width + 2), np.int32)
    for y in range(height):
        for x in range(width):
            leaf = labels[box[0] + y, box[1] + x]
            if leaf >= 0 and low <= rank[leaf] < high:
                piece[y + 1, x + 1] = -1
    stack = np.empty((height * width, 2), np.int32)
    n_pieces = 0
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            if piece[y, x] != -1:
                continue
            n_pieces += 1
            piece[y, x] = n_pieces
            stack[0, 0], stack[0, 1] = y, x
            size = 1
            while size > 0:
                size -= 1
                row, column = stack[size, 0], stack[size, 1]
                for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                    if piece[row + dy, column + dx] == -1:
                        piece[row + dy, column + dx] = n_pieces
                        stack[size, 0], stack[size, 1] = row + dy, column + dx
                        size += 1
    return piece


@kernel
def trace(labels, is_corner, rank, low, high, box):
    """Return the corners (P, 2), x y, of all rings of a node; per ring, the index of its end and its piece.

    The piece lies to the right of its rings in the displayed image: outer rings run clockwise, rings of holes
    counter-clockwise.
    """
    piece = _number_pieces(labels, rank, low, high, box)
    height, width = piece.shape
    n_sides, n_tops = 0, 0
    for y in range(1, height):
        for x in range(1, width):
            n_sides += (piece[y, x] != piece[y - 1, x]) + (piece[y, x] != piece[y, x - 1])
            n_tops += piece[y, x] > 0 and piece[y - 1, x] != piece[y, x]
    corners = np.empty((n_sides, 2), np.int32)
    ends, pieces = np.empty(n_tops, np.int64), np.empty(n_tops, np.int32)
    is_walked = np.zeros(piece.shape, np.bool_)  # top side of each pixel: every ring has a side that runs east
    n_corners, n_rings = 0, 0
    for top in range(1, height):
        for start in range(1, width):
            own = piece[top, start]
            if own == 0 or piece[top - 1, start] == own or is_walked[top, start]:
                continue
            y, x, dy, dx = top, start, 0, 1  # corner (y, x) is the upper left corner of pixel (y, x)
            while not (dx == 1 and is_walked[y, x]):
                if dx == 1:
                    is_walked[y, x] = True
                if is_corner[y - 1 + box[0], x - 1 + box[1]]:
                    corners[n_corners, 0], corners[n_corners, 1] = x - 1 + box[1], y - 1 + box[0]
                    n_corners += 1
                y, x = y + dy, x + dx
                # the pixels ahead, left and right of the path
                left_y, left_x = y + (dy - dx - 1) // 2, x + (dx + dy - 1) // 2
                right_y, right_x = y + (dy + dx - 1) // 2, x + (dx - dy - 1) // 2
                # a piece that meets itself at a corner encloses a hole there, which gets its own ring: turning left
                # follows only one of the two rings, so that no ring touches itself
                if piece[left_y, left_x] == own:
                    dy, dx = -dx, dy
                elif piece[right_y, right_x] != own:
                    dy, dx = dx, -dy
            ends[n_rings], pieces[n_rings] = n_corners, own
            n_rings += 1
    return corners[:n_corners].copy(), ends[:n_rings].copy(), pieces[:n_rings].copy()
