"""Vectors of numbers as values of numba functions: arithmetic on them is the machine's vector instructions.

Loops over lanes leave it to the compiler whether and how they become vector instructions; a Vector always does, and its
lanes never see each other. An operation on a vector and a number applies the number to every lane. Multiplication and
addition are fused only where `fma` says so, so results are the same on every processor, however many lanes it likes.
"""

import operator
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import llvmlite.ir as ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

LANES = 32 if llvm.get_host_cpu_features().get("avx512f") else 16
"""Chains of a block: of float32 two vectors of the processor, so that one's instructions fill the gaps of the other."""

PLACES = 16
"""Places of a cell that are looked at together: a part of what its sums depend on."""


class Vector(types.Type):  # type: ignore[misc]
    """The numba type of some elements of one type."""

    def __init__(self, element: types.Type, lanes: int) -> None:
        self.element, self.lanes = element, lanes
        super().__init__(name=f"Vector({element}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        element = ir.IntType(1) if fe_type.element is types.boolean else dmm.lookup(fe_type.element).get_value_type()
        super().__init__(dmm, fe_type, ir.VectorType(element, fe_type.lanes))


FLOAT, WORD, MASK = types.float32, types.uint32, types.boolean


def _broadcast(context: Any, builder: Any, value: Any, given: types.Type, wanted: Vector) -> Any:
    """The value itself if it is a vector, else a vector with the number in every lane."""
    if isinstance(given, Vector):
        return value
    number = context.cast(builder, value, given, wanted.element)
    kind = context.get_value_type(wanted)
    one_lane = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    lanes = ir.VectorType(ir.IntType(32), wanted.lanes)
    return builder.shuffle_vector(one_lane, one_lane, ir.Constant(lanes, [0] * wanted.lanes))


def _lanes(given: tuple[types.Type, ...]) -> int | None:
    """How many lanes the vectors among some types have, if there are any and they agree."""
    found = {g.lanes for g in given if isinstance(g, Vector)}
    return found.pop() if len(found) == 1 else None


def _operation(operands: tuple[types.Type, ...], result: types.Type, emit: Callable[..., Any]) -> Callable[..., Any]:
    """An intrinsic whose operands are each a vector or a number, not all of them numbers."""

    def typed(*given: types.Type) -> Any:
        lanes = _lanes(given)
        if lanes is None:
            return None
        wanted = [Vector(element, lanes) for element in operands]
        if not all(g == w or isinstance(g, types.Number) for g, w in zip(given, wanted, strict=True)):
            return None

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            each = zip(values, signature.args, wanted, strict=True)
            return emit(builder, *(_broadcast(context, builder, *one) for one in each))

        return Vector(result, lanes)(*given), codegen

    if len(operands) == 1:
        return intrinsic(lambda typingctx, a: typed(a))
    if len(operands) == 2:
        return intrinsic(lambda typingctx, a, b: typed(a, b))
    return intrinsic(lambda typingctx, a, b, c: typed(a, b, c))


def _operator(symbol: Callable[..., Any], operand: types.Type, result: types.Type, emit: Callable[..., Any]) -> None:
    """Gives a Python operator a meaning for two vectors, or a vector and a number."""
    operation = _operation((operand, operand), result, emit)

    @overload(symbol)
    def implementation(a, b):  # type: ignore[no-untyped-def]
        ours = operand in [one.element for one in (a, b) if isinstance(one, Vector)]
        return (lambda a, b: operation(a, b)) if ours else None


_operator(operator.add, FLOAT, FLOAT, lambda builder, a, b: builder.fadd(a, b))
_operator(operator.sub, FLOAT, FLOAT, lambda builder, a, b: builder.fsub(a, b))
_operator(operator.mul, FLOAT, FLOAT, lambda builder, a, b: builder.fmul(a, b))
_operator(operator.truediv, FLOAT, FLOAT, lambda builder, a, b: builder.fdiv(a, b))
_operator(operator.lt, FLOAT, MASK, lambda builder, a, b: builder.fcmp_ordered("<", a, b))
_operator(operator.le, FLOAT, MASK, lambda builder, a, b: builder.fcmp_ordered("<=", a, b))
_operator(operator.and_, MASK, MASK, lambda builder, a, b: builder.and_(a, b))
_operator(operator.lt, WORD, MASK, lambda builder, a, b: builder.icmp_unsigned("<", a, b))
_operator(operator.add, WORD, WORD, lambda builder, a, b: builder.add(a, b))
_operator(operator.xor, WORD, WORD, lambda builder, a, b: builder.xor(a, b))
_operator(operator.mul, WORD, WORD, lambda builder, a, b: builder.mul(a, b))
_operator(operator.mod, WORD, WORD, lambda builder, a, b: builder.urem(a, b))
_operator(operator.and_, WORD, WORD, lambda builder, a, b: builder.and_(a, b))
_operator(operator.or_, WORD, WORD, lambda builder, a, b: builder.or_(a, b))
_operator(operator.lshift, WORD, WORD, lambda builder, a, b: builder.shl(a, b))
_operator(operator.rshift, WORD, WORD, lambda builder, a, b: builder.lshr(a, b))


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind, name = ir.FunctionType(a.type, [a.type] * 3), f"llvm.fma.v{a.type.count}f32"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


def _square_root(builder: Any, a: Any) -> Any:
    kind, name = ir.FunctionType(a.type, [a.type]), f"llvm.sqrt.v{a.type.count}f32"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a])


def _high_word(builder: Any, a: Any, b: Any) -> Any:
    wide = ir.VectorType(ir.IntType(64), a.type.count)
    product = builder.mul(builder.zext(a, wide), builder.zext(b, wide))
    return builder.trunc(builder.lshr(product, ir.Constant(wide, [32] * wide.count)), a.type)


_negative = _operation((FLOAT,), FLOAT, lambda builder, a: builder.fneg(a))


@overload(operator.neg)
def _negate(a):  # type: ignore[no-untyped-def]
    return (lambda a: _negative(a)) if isinstance(a, Vector) and a.element is FLOAT else None


fma = _operation((FLOAT, FLOAT, FLOAT), FLOAT, _fma)
"""a * b + c, rounded once."""

maximum = _operation((FLOAT, FLOAT), FLOAT, lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))
"""The larger of a and b in each lane, b where a is not a number."""

minimum = _operation((FLOAT, FLOAT), FLOAT, lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))
"""The smaller of a and b in each lane, b where a is not a number."""

select = _operation((MASK, FLOAT, FLOAT), FLOAT, lambda builder, mask, a, b: builder.select(mask, a, b))
"""In each lane a where the mask is set, else b."""

square_root = _operation((FLOAT,), FLOAT, _square_root)
"""The square root, rounded correctly."""

high_word = _operation((WORD, WORD), WORD, _high_word)
"""The upper 32 bits of the 64-bit products; * gives the lower ones."""

to_float = _operation((WORD,), FLOAT, lambda builder, a: builder.sitofp(a, ir.VectorType(ir.FloatType(), a.type.count)))
"""Words below 2^31 as floats."""


def _row(context: Any, builder: Any, vector: Vector, array: types.Array, value: Any, row: Any) -> Any:
    """Pointer to a row of a (rows, lanes) array as a vector."""
    data = context.make_array(array)(context, builder, value).data
    offset = builder.mul(row, ir.Constant(row.type, vector.lanes))
    return builder.bitcast(builder.gep(data, [offset]), context.get_value_type(vector).as_pointer())


def _load(lanes: int) -> Any:
    @intrinsic  # type: ignore[misc]
    def load(_: Any, array: Any, row: Any) -> Any:
        """A row of a (rows, lanes) array of float32 or uint32."""

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            pointer = _row(context, builder, signature.return_type, signature.args[0], *values)
            return builder.load(pointer, align=4)

        return Vector(array.dtype, lanes)(array, types.intp), codegen

    return load


def _words(lanes: int) -> Any:
    @intrinsic  # type: ignore[misc]
    def words(_: Any, number: Any) -> Any:
        """A vector with a word in every lane."""

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return _broadcast(context, builder, values[0], signature.args[0], signature.return_type)

        return Vector(WORD, lanes)(number), codegen

    return words


load, words, load_places, place_words = _load(LANES), _words(LANES), _load(PLACES), _words(PLACES)


@intrinsic  # type: ignore[misc]
def store(_: Any, array: Any, row: Any, vector: Any) -> Any:
    """Overwrites a row of a (rows, lanes) array with a vector."""
    if not isinstance(vector, Vector):
        return None

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array, _, vector = signature.args
        builder.store(values[2], _row(context, builder, vector, array, *values[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen
