"""3x3 convolution with ReLU by Winograd's algorithm, for CPUs that train in single precision.

F(6x6, 3x3) of Lavin and Gray, "Fast algorithms for convolutional neural networks" (arXiv:1509.09308), at the points 0, ±1,
±2, ±1/2 and infinity: 64 products give 36 outputs that take 324 directly. Tiles of 8x8 pixels become 64 points by
y = Bᵀ d B, one matrix product per point over channels (torch.bmm) follows, and Aᵀ m A gives 6x6 pixels back. Both
gradients are the transposed algorithm. The error is about five times that of a direct convolution: 1e-5 of the largest
output. `benchmarks/training.py reference` compares it with PyTorch's own.

Images lie in memory as rows of (pixel, channel), so that every loop runs over neighbouring numbers; the loops are written
out because a loop over the eight rows is not vectorised. Every thread of torch takes a part of the images.
"""

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from lj_vae_hpc.model.threads import buffer, in_threads

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


@njit(inline="always")
def _row(x, y, outside):
    return x[y] if 0 <= y < x.shape[0] else outside


@njit(inline="always")
def _pixels(d, o, C):
    return d[o:], d[o + C:], d[o + 2 * C:], d[o + 3 * C:], d[o + 4 * C:], d[o + 5 * C:], d[o + 6 * C:], d[o + 7 * C:]


@njit(inline="always")
def _points(w, t):
    return w[0, t], w[1, t], w[2, t], w[3, t], w[4, t], w[5, t], w[6, t], w[7, t]


@njit(cache=True, nogil=True, fastmath=FLAGS)
def tiles_of(x, v, s, C):
    """x (N, H, W*C) -> v (8, 8, T, Cp) = Bᵀ d B; s (8, ...) is scratch with zero margins."""
    N, height, length = x.shape
    n, Cp = -(-height // 6), v.shape[3]
    zero = np.zeros(length, np.float32)
    s0, s1, s2, s3, s4, s5, s6, s7 = _pixels(s.reshape(-1), C, s.shape[1])
    t = 0
    for b in range(N):
        z = x[b]
        for ty in range(n):
            r = 6 * ty - 1
            r0, r1, r2, r3 = _row(z, r, zero), _row(z, r + 1, zero), _row(z, r + 2, zero), _row(z, r + 3, zero)
            r4, r5, r6, r7 = _row(z, r + 4, zero), _row(z, r + 5, zero), _row(z, r + 6, zero), _row(z, r + 7, zero)
            for e in range(length):
                s0[e], s1[e], s2[e], s3[e], s4[e], s5[e], s6[e], s7[e] = _bt(r0[e], r1[e], r2[e], r3[e], r4[e], r5[e], r6[e], r7[e])
            for tx in range(n):
                for k in range(8):
                    i0, i1, i2, i3, i4, i5, i6, i7 = _pixels(s[k], 6 * tx * C, C)
                    o0, o1, o2, o3, o4, o5, o6, o7 = _points(v[k], t)
                    for c in range(Cp):
                        o0[c], o1[c], o2[c], o3[c], o4[c], o5[c], o6[c], o7[c] = _bt(
                            i0[c], i1[c], i2[c], i3[c], i4[c], i5[c], i6[c], i7[c])
                t += 1


@njit(cache=True, nogil=True, fastmath=FLAGS)
def image_of(m, y, s, C, bias):
    """m (8, 8, T, Cp) -> y (N, H, W*C) = max(0, Aᵀ m A + bias)."""
    N, height, length = y.shape
    n = -(-height // 6)
    spare = np.empty(length, np.float32)
    s0, s1, s2, s3, s4, s5, s6, s7 = _pixels(s.reshape(-1), 0, s.shape[1])
    low = np.float32(0)
    t = 0
    for b in range(N):
        z = y[b]
        for ty in range(n):
            for tx in range(n):
                for k in range(8):
                    o0, o1, o2, o3, o4, o5, _, _ = _pixels(s[k], 6 * tx * C, C)
                    i0, i1, i2, i3, i4, i5, i6, i7 = _points(m[k], t)
                    for c in range(C):
                        o0[c], o1[c], o2[c], o3[c], o4[c], o5[c] = _at(i0[c], i1[c], i2[c], i3[c], i4[c], i5[c], i6[c], i7[c])
                t += 1
            r = 6 * ty
            y0, y1, y2 = z[r], _row(z, r + 1, spare), _row(z, r + 2, spare)
            y3, y4, y5 = _row(z, r + 3, spare), _row(z, r + 4, spare), _row(z, r + 5, spare)
            for e in range(length):
                q = _at(s0[e], s1[e], s2[e], s3[e], s4[e], s5[e], s6[e], s7[e])
                g = bias[e]
                y0[e], y1[e], y2[e] = max(q[0] + g, low), max(q[1] + g, low), max(q[2] + g, low)
                y3[e], y4[e], y5[e] = max(q[3] + g, low), max(q[4] + g, low), max(q[5] + g, low)


@njit(cache=True, nogil=True, fastmath=FLAGS)
def tiles_of_gradient(g, y, w, s, C, db):
    """g (N, H, W*C), masked where y = 0 -> w (8, 8, T, Cp) = A g Aᵀ; db (W*C) += its sum."""
    N, height, length = g.shape
    n, Cp = -(-height // 6), w.shape[3]
    h = np.zeros((6, length), np.float32)
    s0, s1, s2, s3, s4, s5, s6, s7 = _pixels(s.reshape(-1), 0, s.shape[1])
    h0, h1, h2, h3, h4, h5 = h[0], h[1], h[2], h[3], h[4], h[5]
    zero = np.float32(0)
    t = 0
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
                    i0, i1, i2, i3, i4, i5, _, _ = _pixels(s[k], 6 * tx * C, C)
                    o0, o1, o2, o3, o4, o5, o6, o7 = _points(w[k], t)
                    for c in range(Cp):
                        o0[c], o1[c], o2[c], o3[c], o4[c], o5[c], o6[c], o7[c] = _a(i0[c], i1[c], i2[c], i3[c], i4[c], i5[c])
                t += 1


@njit(cache=True, nogil=True, fastmath=FLAGS)
def image_of_gradient(m, x, s, C):
    """m (8, 8, T, Cp) -> x (N, H, W*C) = Σ over tiles of B m Bᵀ."""
    N, height, length = x.shape
    n = -(-height // 6)
    carry = np.zeros((2, length), np.float32)
    c0, c1 = carry[0], carry[1]
    spare = np.empty(length, np.float32)
    s0, s1, s2, s3, s4, s5, s6, s7 = _pixels(s.reshape(-1), C, s.shape[1])
    t = 0
    for b in range(N):
        carry[:] = 0
        z = x[b]
        for ty in range(n):
            s[:, :2 * C] = 0
            for tx in range(n):
                for k in range(8):
                    o0, o1, o2, o3, o4, o5, o6, o7 = _pixels(s[k], 6 * tx * C, C)
                    i0, i1, i2, i3, i4, i5, i6, i7 = _points(m[k], t)
                    for c in range(C):
                        q = _b(i0[c], i1[c], i2[c], i3[c], i4[c], i5[c], i6[c], i7[c])
                        o0[c] += q[0]
                        o1[c] += q[1]
                        o2[c], o3[c], o4[c], o5[c], o6[c], o7[c] = q[2], q[3], q[4], q[5], q[6], q[7]
                t += 1
            r = 6 * ty - 1
            x0, x1, x2 = _row(z, r, spare), z[r + 1], _row(z, r + 2, spare)
            x3, x4, x5 = _row(z, r + 3, spare), _row(z, r + 4, spare), _row(z, r + 5, spare)
            for e in range(length):
                q = _b(s0[e], s1[e], s2[e], s3[e], s4[e], s5[e], s6[e], s7[e])
                x0[e], x1[e] = c0[e] + q[0], c1[e] + q[1]
                x2[e], x3[e], x4[e], x5[e], c0[e], c1[e] = q[2], q[3], q[4], q[5], q[6], q[7]
        if 6 * n - 1 < height:
            for e in range(length):
                z[6 * n - 1, e] = c0[e]


# fmt: on


def _rows(x: Tensor) -> np.ndarray:
    """(N, H, W * C) view of x (N, C, H, W), copied only if it is not channels-last."""
    n, c, h, w = x.shape
    return x.detach().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).reshape(n, h, w * c).numpy()


def _row_buffer(name: str, width: int, channels: int) -> np.ndarray:
    """Eight rows of whole tiles; their margins stay zero, so that each width and number of channels has its own."""
    return buffer(f"{name} {width} {channels}", 8, (-(-width // 6) * 6 + 2) * channels + 8).numpy()


def _blocks(images: range) -> list[slice]:
    return [slice(k, min(k + IMAGES_AT_ONCE, images.stop)) for k in images[::IMAGES_AT_ONCE]]


def _padded(channels: int) -> int:
    return -(-channels // 8) * 8


def _filter_points(weight: Tensor) -> Tensor:
    """(64, Cip, Cop) points G w Gᵀ of a filter (Co, Ci, 3, 3), zero beyond its channels."""
    g, (co, ci) = G.float(), weight.shape[:2]
    points = torch.einsum("ka,lb,oiab->klio", g, g, weight.detach()).reshape(64, ci, co)
    return torch.nn.functional.pad(points, (0, _padded(co) - co, 0, _padded(ci) - ci))


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
        filters, bias_row = _filter_points(weight), bias.detach().repeat(width).numpy()

        def work(mine: range) -> None:
            s, t = _row_buffer("s", width, ci), _row_buffer("t", width, co)
            for part in _blocks(mine):
                tiles = (part.stop - part.start) * n * n
                v, m = buffer("v", 8, 8, tiles, _padded(ci)), buffer("m", 8, 8, tiles, _padded(co))
                tiles_of(x_rows[part], v.numpy(), s, ci)
                torch.bmm(v.flatten(0, 1), filters, out=m.flatten(0, 1))
                image_of(m.numpy(), y_rows[part], t, co, bias_row)

        in_threads(work, images)
        ctx.save_for_backward(x, y, filters)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Gradients of input, filter and bias."""
        x, y, filters = ctx.saved_tensors
        (images, ci, height, width), co = x.shape, y.shape[1]
        n = -(-height // 6)
        dx = torch.empty_like(x, memory_format=torch.channels_last)
        x_rows, g_rows, y_rows, dx_rows = _rows(x), _rows(gradient), _rows(y), _rows(dx)

        def work(mine: range) -> tuple[Tensor, Tensor]:
            points, db = torch.zeros_like(filters), torch.zeros(width * co)
            s, t, u = _row_buffer("s", width, ci), _row_buffer("g", width, co), _row_buffer("u", width, ci)
            for part in _blocks(mine):
                tiles = (part.stop - part.start) * n * n
                v, z = buffer("v", 8, 8, tiles, _padded(ci)), buffer("z", 8, 8, tiles, _padded(co))
                tiles_of(x_rows[part], v.numpy(), s, ci)
                tiles_of_gradient(g_rows[part], y_rows[part], z.numpy(), t, co, db.numpy())
                torch.baddbmm(points, v.flatten(0, 1).mT, z.flatten(0, 1), out=points)
                torch.bmm(z.flatten(0, 1), filters.mT, out=v.flatten(0, 1))  # its old content is used up
                image_of_gradient(v.numpy(), dx_rows[part], u, ci)
            return points, db

        points, db = (torch.stack(sums).sum(0) for sums in zip(*in_threads(work, images), strict=True))
        g = G.float()
        dw = torch.einsum("klio,ka,lb->oiab", points.unflatten(0, (8, 8))[:, :, :ci, :co], g, g)
        return dx, dw, db.view(width, co).sum(0)
