"""3x3 convolution with ReLU by Winograd's algorithm, for CPUs that train in single precision.

F(6x6, 3x3) of Lavin and Gray, "Fast algorithms for convolutional neural networks" (arXiv:1509.09308), at the points 0, ±1,
±2, ±1/2 and infinity: 64 products give 36 outputs that take 324 directly. Tiles of 8x8 pixels become 64 points by
y = Bᵀ d B, one matrix product per point over channels (torch.bmm) follows, and Aᵀ m A gives 6x6 pixels back. Both
gradients are the transposed algorithm. The error is about five times that of a direct convolution: 1e-5 of the largest
output. benchmarks/convolution.py compares it with PyTorch's own.

Images lie in memory as rows of (pixel, channel), so that every loop runs over neighbouring numbers; the loops are written
out because a loop over the eight rows is not vectorised. One thread; the matrix products use torch's.
"""

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

# ruff: noqa: E501
# fmt: off
IMAGES_AT_ONCE = 4  # their transforms stay in the cache
FLAGS = {"contract", "nsz"}
G = torch.tensor(
    [[1, 0, 0], [-2 / 9, -2 / 9, -2 / 9], [-2 / 9, 2 / 9, -2 / 9], [1 / 90, 1 / 45, 2 / 45], [1 / 90, -1 / 45, 2 / 45],
     [1 / 45, 1 / 90, 1 / 180], [1 / 45, -1 / 90, 1 / 180], [0, 0, 1]], dtype=torch.float64)
f = np.float32
Q, H, E, S, D, T5 = f(5.25), f(4.25), f(2.5), f(1.25), f(0.25), f(5)
F2, F4, F8, F16, F32, FH = f(2), f(4), f(8), f(16), f(32), f(0.5)


@njit(inline="always")
def _bt(a, b, c, d, e, g, h, i):  # Bᵀ: 8 pixels -> 8 points
    p, q = b + g - H * d, c + h - H * e
    r, s = FH * b - E * d + F2 * g, D * c - S * e + h
    u, v = F2 * b - E * d + FH * g, F4 * c - T5 * e + h
    return a - h + Q * (e - c), q + p, q - p, s + r, s - r, v + u, v - u, i - b + Q * (d - g)


@njit(inline="always")
def _b(a, b, c, d, e, g, h, i):  # B
    p, q, r, s, u, v = b + c, b - c, d + e, d - e, g + h, g - h
    return (a, q + FH * s + F2 * v - i, p + D * r + F4 * u - Q * a, Q * i - H * q - E * (s + v),
            Q * a - H * p - S * r - T5 * u, q + F2 * s + FH * v - Q * i, p + r + u - a, i)


@njit(inline="always")
def _at(a, b, c, d, e, g, h, i):  # Aᵀ: 8 points -> 6 pixels
    p, q, r, s, u, v = b + c, b - c, d + e, d - e, g + h, g - h
    return (a + p + r + F32 * u, q + F2 * s + F16 * v, p + F4 * r + F8 * u, q + F8 * s + F4 * v,
            p + F16 * r + F2 * u, q + F32 * s + v + i)


@njit(inline="always")
def _a(a, b, c, d, e, g):  # A
    p, q = a + c + e, b + d + g
    r, s = a + F4 * c + F16 * e, F2 * b + F8 * d + F32 * g
    u, v = F32 * a + F8 * c + F2 * e, F16 * b + F4 * d + g
    return a, p + q, p - q, r + s, r - s, u + v, u - v, g


@njit(cache=True, fastmath=FLAGS, boundscheck=False)
def _vertical_bt(x, y0, zero, s, o):
    n = x.shape[0]
    r0 = x[y0] if y0 >= 0 else zero
    r1 = x[y0 + 1] if y0 + 1 < n else zero
    r2 = x[y0 + 2] if y0 + 2 < n else zero
    r3 = x[y0 + 3] if y0 + 3 < n else zero
    r4 = x[y0 + 4] if y0 + 4 < n else zero
    r5 = x[y0 + 5] if y0 + 5 < n else zero
    r6 = x[y0 + 6] if y0 + 6 < n else zero
    r7 = x[y0 + 7] if y0 + 7 < n else zero
    length = x.shape[1]
    s0, s1, s2, s3, s4, s5, s6, s7 = (s[0, o:o + length], s[1, o:o + length], s[2, o:o + length], s[3, o:o + length], s[4, o:o + length],
                                      s[5, o:o + length], s[6, o:o + length], s[7, o:o + length])
    for e in range(length):
        s0[e], s1[e], s2[e], s3[e], s4[e], s5[e], s6[e], s7[e] = _bt(r0[e], r1[e], r2[e], r3[e], r4[e], r5[e], r6[e], r7[e])


@njit(cache=True, fastmath=FLAGS)
def tiles_of(x, v, s, C):
    """x (N, H, W*C) -> v (8, 8, T, Cp) = Bᵀ d B; s (8, ...) is scratch with zero margins."""
    N, height, length = x.shape
    n, Cp = -(-height // 6), v.shape[3]
    zero = np.zeros(length, np.float32)
    t = 0
    for b in range(N):
        for ty in range(n):
            _vertical_bt(x[b], 6 * ty - 1, zero, s, C)
            for tx in range(n):
                for k in range(8):
                    d, w, o = s[k], v[k], 6 * tx * C
                    i0, i1, i2, i3, i4, i5, i6, i7 = (d[o:], d[o + C:], d[o + 2 * C:], d[o + 3 * C:], d[o + 4 * C:],
                                                      d[o + 5 * C:], d[o + 6 * C:], d[o + 7 * C:])
                    o0, o1, o2, o3, o4, o5, o6, o7 = w[0, t], w[1, t], w[2, t], w[3, t], w[4, t], w[5, t], w[6, t], w[7, t]
                    for c in range(Cp):
                        (o0[c], o1[c], o2[c], o3[c], o4[c], o5[c], o6[c], o7[c]) = _bt(
                            i0[c], i1[c], i2[c], i3[c], i4[c], i5[c], i6[c], i7[c])
                t += 1


@njit(cache=True, fastmath=FLAGS)
def image_of(m, y, s, C, bias):
    """m (8, 8, T, C) -> y (N, H, W*C) = max(0, Aᵀ m A + bias)."""
    N, height, length = y.shape
    n = -(-height // 6)
    spare = np.empty(length, np.float32)
    low = np.float32(0)
    t = 0
    for b in range(N):
        for ty in range(n):
            for tx in range(n):
                for k in range(8):
                    d, w, o = s[k], m[k], 6 * tx * C
                    o0, o1, o2, o3, o4, o5 = (d[o:], d[o + C:], d[o + 2 * C:], d[o + 3 * C:], d[o + 4 * C:], d[o + 5 * C:])
                    i0, i1, i2, i3, i4, i5, i6, i7 = w[0, t], w[1, t], w[2, t], w[3, t], w[4, t], w[5, t], w[6, t], w[7, t]
                    for c in range(C):
                        o0[c], o1[c], o2[c], o3[c], o4[c], o5[c] = _at(
                            i0[c], i1[c], i2[c], i3[c], i4[c], i5[c], i6[c], i7[c])
                t += 1
            i0, i1, i2, i3, i4, i5, i6, i7 = s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
            r = 6 * ty
            z = y[b]
            y0 = z[r]
            y1 = z[r + 1] if r + 1 < height else spare
            y2 = z[r + 2] if r + 2 < height else spare
            y3 = z[r + 3] if r + 3 < height else spare
            y4 = z[r + 4] if r + 4 < height else spare
            y5 = z[r + 5] if r + 5 < height else spare
            for e in range(length):
                q = _at(i0[e], i1[e], i2[e], i3[e], i4[e], i5[e], i6[e], i7[e])
                g = bias[e]
                y0[e], y1[e], y2[e] = max(q[0] + g, low), max(q[1] + g, low), max(q[2] + g, low)
                y3[e], y4[e], y5[e] = max(q[3] + g, low), max(q[4] + g, low), max(q[5] + g, low)


@njit(cache=True, fastmath=FLAGS)
def tiles_of_gradient(g, y, w, s, C, db):
    """g (N, H, W*C), masked where y = 0 -> w (8, 8, T, Cp) = A g Aᵀ; db (W*C) += its sum."""
    N, height, length = g.shape
    n, Cp = -(-height // 6), w.shape[3]
    h = np.zeros((6, length), np.float32)
    s0, s1, s2, s3, s4, s5, s6, s7 = s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
    h0, h1, h2, h3, h4, h5 = h[0], h[1], h[2], h[3], h[4], h[5]
    t = 0
    zero = np.float32(0)
    for b in range(N):
        for ty in range(n):
            for j in range(6):
                hj = h[j]
                if 6 * ty + j < height:
                    gj, yj = g[b, 6 * ty + j], y[b, 6 * ty + j]
                    for e in range(length):
                        hj[e] = gj[e] if yj[e] > zero else zero
                else:
                    hj[:] = zero
            for e in range(length):
                db[e] += h0[e] + h1[e] + h2[e] + h3[e] + h4[e] + h5[e]
                s0[e], s1[e], s2[e], s3[e], s4[e], s5[e], s6[e], s7[e] = _a(h0[e], h1[e], h2[e], h3[e], h4[e], h5[e])
            for tx in range(n):
                for k in range(8):
                    d, z, o = s[k], w[k], 6 * tx * C
                    i0, i1, i2, i3, i4, i5 = (d[o:], d[o + C:], d[o + 2 * C:], d[o + 3 * C:], d[o + 4 * C:], d[o + 5 * C:])
                    o0, o1, o2, o3, o4, o5, o6, o7 = z[0, t], z[1, t], z[2, t], z[3, t], z[4, t], z[5, t], z[6, t], z[7, t]
                    for c in range(Cp):
                        (o0[c], o1[c], o2[c], o3[c], o4[c], o5[c], o6[c], o7[c]) = _a(i0[c], i1[c], i2[c], i3[c], i4[c], i5[c])
                t += 1


@njit(cache=True, fastmath=FLAGS)
def image_of_gradient(m, x, s, C):
    """m (8, 8, T, C) -> x (N, H, W*C) = Σ over tiles of B m Bᵀ."""
    N, height, length = x.shape
    n = -(-height // 6)
    carry = np.zeros((2, length), np.float32)
    c0, c1 = carry[0], carry[1]
    spare = np.empty(length, np.float32)
    t = 0
    for b in range(N):
        carry[:] = 0
        z = x[b]
        for ty in range(n):
            s[:, :2 * C] = 0
            for tx in range(n):
                for k in range(8):
                    d, w, o = s[k], m[k], 6 * tx * C
                    o0, o1, o2, o3, o4, o5, o6, o7 = (d[o:], d[o + C:], d[o + 2 * C:], d[o + 3 * C:], d[o + 4 * C:],
                                                      d[o + 5 * C:], d[o + 6 * C:], d[o + 7 * C:])
                    i0, i1, i2, i3, i4, i5, i6, i7 = w[0, t], w[1, t], w[2, t], w[3, t], w[4, t], w[5, t], w[6, t], w[7, t]
                    for c in range(C):
                        q = _b(i0[c], i1[c], i2[c], i3[c], i4[c], i5[c], i6[c], i7[c])
                        o0[c] += q[0]
                        o1[c] += q[1]
                        o2[c], o3[c], o4[c], o5[c], o6[c], o7[c] = q[2], q[3], q[4], q[5], q[6], q[7]
                t += 1
            i0, i1, i2, i3, i4, i5, i6, i7 = s[0, C:], s[1, C:], s[2, C:], s[3, C:], s[4, C:], s[5, C:], s[6, C:], s[7, C:]
            r = 6 * ty - 1
            x0 = z[r] if r >= 0 else spare
            x1 = z[r + 1]
            x2 = z[r + 2] if r + 2 < height else spare
            x3 = z[r + 3] if r + 3 < height else spare
            x4 = z[r + 4] if r + 4 < height else spare
            x5 = z[r + 5] if r + 5 < height else spare
            for e in range(length):
                q = _b(i0[e], i1[e], i2[e], i3[e], i4[e], i5[e], i6[e], i7[e])
                x0[e], x1[e] = c0[e] + q[0], c1[e] + q[1]
                x2[e], x3[e], x4[e], x5[e], c0[e], c1[e] = q[2], q[3], q[4], q[5], q[6], q[7]
        if 6 * n - 1 < height:
            z[6 * n - 1] = c0


# fmt: on


def _rows(x: Tensor) -> np.ndarray:
    """(N, H, W * C) view of x (N, C, H, W), copied only if it is not channels-last."""
    n, c, h, w = x.shape
    return x.detach().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).reshape(n, h, w * c).numpy()


_buffers: dict[tuple[str, tuple[int, ...]], Tensor] = {}


def _buffer(name: str, *shape: int) -> Tensor:
    """Scratch space, zeros the first time; allocating it anew costs as much as using it."""
    key = (name, shape)
    if key not in _buffers:
        _buffers[key] = torch.zeros(shape)
    return _buffers[key]


def _padded(channels: int) -> int:
    return -(-channels // 8) * 8


def _filter_points(weight: Tensor, inputs: int, outputs: int) -> Tensor:
    """(64, inputs, outputs) points G w Gᵀ of a filter (Co, Ci, 3, 3), zero beyond its channels."""
    g = G.float()
    points = torch.einsum("ka,lb,oiab->klio", g, g, weight).reshape(64, weight.shape[1], weight.shape[0])
    return torch.nn.functional.pad(points, (0, outputs - weight.shape[0], 0, inputs - weight.shape[1]))


class Conv3x3ReLU(torch.autograd.Function):
    """max(0, x * w + b) with stride 1 and same padding, single precision, on the CPU.

    x (N, Ci, H, H); weight (Co, Ci, 3, 3); bias (Co,); the result is (N, Co, H, H), channels-last.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # type: ignore[override]
        """The convolution."""
        images, ci, height, width = x.shape
        co, n = weight.shape[0], -(-height // 6)
        y = torch.empty((images, co, height, width), memory_format=torch.channels_last)
        x_rows, y_rows = _rows(x), _rows(y)
        filters = _filter_points(weight.detach(), _padded(ci), co)
        bias_row = bias.detach().repeat(width).numpy()
        for first in range(0, images, IMAGES_AT_ONCE):
            last = min(first + IMAGES_AT_ONCE, images)
            tiles = (last - first) * n * n
            v, m = _buffer("v", 64, tiles, _padded(ci)), _buffer("m", 64, tiles, co)
            s, t = _buffer("s", 8, (6 * n + 2) * ci + 8), _buffer("t", 8, (6 * n + 2) * co + 8)
            tiles_of(x_rows[first:last], v.view(8, 8, tiles, -1).numpy(), s.numpy(), ci)
            torch.bmm(v, filters, out=m)
            image_of(m.view(8, 8, tiles, co).numpy(), y_rows[first:last], t.numpy(), co, bias_row)
        ctx.save_for_backward(x, weight, y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Gradients of input, filter and bias."""
        x, weight, y = ctx.saved_tensors
        images, ci, height, width = x.shape
        co, n = weight.shape[0], -(-height // 6)
        dx = torch.empty_like(x, memory_format=torch.channels_last)
        x_rows, g_rows, y_rows, dx_rows = _rows(x), _rows(gradient), _rows(y), _rows(dx)
        transposed = _filter_points(weight, ci, _padded(co)).transpose(1, 2)
        points = torch.zeros(64, _padded(ci), _padded(co))
        db = torch.zeros(width * co)
        for first in range(0, images, IMAGES_AT_ONCE):
            last = min(first + IMAGES_AT_ONCE, images)
            tiles = (last - first) * n * n
            v, m = _buffer("v", 64, tiles, _padded(ci)), _buffer("m", 64, tiles, ci)
            z = _buffer("z", 64, tiles, _padded(co))
            s, t = _buffer("s", 8, (6 * n + 2) * ci + 8), _buffer("g", 8, (6 * n + 2) * co + 8)
            u = _buffer("x", 8, (6 * n + 2) * ci + 8)
            tiles_of(x_rows[first:last], v.view(8, 8, tiles, -1).numpy(), s.numpy(), ci)
            tiles_of_gradient(
                g_rows[first:last], y_rows[first:last], z.view(8, 8, tiles, -1).numpy(), t.numpy(), co, db.numpy()
            )
            torch.baddbmm(points, v.transpose(1, 2), z, out=points)
            torch.bmm(z, transposed, out=m)
            image_of_gradient(m.view(8, 8, tiles, ci).numpy(), dx_rows[first:last], u.numpy(), ci)
        g = G.float()
        dw = torch.einsum("klio,ka,lb->oiab", points.view(8, 8, _padded(ci), _padded(co))[:, :, :ci, :co], g, g)
        return dx, dw, db.view(width, co).sum(0)
