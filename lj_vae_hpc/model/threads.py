"""A batch divided over torch's threads, for loops that torch does not divide itself."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor

_own = threading.local()


def buffer(name: str, *shape: int) -> Tensor:
    """A thread's scratch space, zeros the first time; allocating it anew costs as much as using it."""
    buffers: dict[Any, Tensor] = _own.__dict__
    key = (name, shape)
    if key not in buffers:
        buffers[key] = torch.zeros(shape)
    return buffers[key]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))


def in_threads(work: Callable[[range], Any], images: int) -> list[Any]:
    """What the work gives for equal parts of the images, one for each thread of torch, in their order.

    Inside the work torch has one thread.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return [work(range(images))]
    bounds = [images * k // threads for k in range(threads + 1)]
    return list(_pool(threads).map(work, map(range, bounds, bounds[1:])))
