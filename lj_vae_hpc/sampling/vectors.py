"""Vectors of LANES numbers as values of numba functions: arithmetic on them is the machine's vector instructions.

Loops over lanes leave it to the compiler whether and how they become vector instructions; a Vector always does, and its
lanes never see each other. An operation on a vector and a number applies the number to every lane. Multiplication and
addition are fused only where `fma` says so, so results are the same on every processor.
"""

import operator
from collections.abc import Callable
from typing import Any

import llvmlite.ir as ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

LANES = 16  # two AVX vectors or one AVX-512 vector of float32


class Vector(types.Type):  # type: ignore[misc]
    """The numba type of LANES elements of one type."""

    def __init__(self, element: types.Type) -> None:
        self.element = element
        super().__init__(name=f"Vector({element})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        element = ir.IntType(1) if fe_type.element is types.boolean else dmm.lookup(fe_type.element).get_value_type()
        super().__init__(dmm, fe_type, ir.VectorType(element, LANES))


FLOATS, WORDS, MASK = Vector(types.float32), Vector(types.uint32), Vector(types.boolean)


def _broadcast(context: Any, builder: Any, value: Any, given: types.Type, wanted: Vector) -> Any:
    """The value itself if it is a vector, else a vector with the number in every lane."""
    if isinstance(given, Vector):
        return value
    number = context.cast(builder, value, given, wanted.element)
    kind = context.get_value_type(wanted)
    one_lane = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one_lane, one_lane, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _operation(operands: tuple[Vector, ...], result: Vector, emit: Callable[..., Any]) -> Callable[..., Any]:
    """An intrinsic whose operands are each a vector or a number."""

    def typed(*given: types.Type) -> Any:
        if not all(g == wanted or isinstance(g, types.Number) for g, wanted in zip(given, operands, strict=True)):
            return None

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            each = zip(values, signature.args, operands, strict=True)
            return emit(builder, *(_broadcast(context, builder, *one) for one in each))

        return result(*given), codegen

    if len(operands) == 1:
        return intrinsic(lambda typingctx, a: typed(a))
    if len(operands) == 2:
        return intrinsic(lambda typingctx, a, b: typed(a, b))
    return intrinsic(lambda typingctx, a, b, c: typed(a, b, c))


def _operator(symbol: Callable[..., Any], operand: Vector, result: Vector, emit: Callable[..., Any]) -> None:
    """Gives a Python operator a meaning for two vectors, or a vector and a number."""
    operation = _operation((operand, operand), result, emit)

    @overload(symbol)
    def implementation(a, b):  # type: ignore[no-untyped-def]
        return (lambda a, b: operation(a, b)) if operand in (a, b) else None


_operator(operator.add, FLOATS, FLOATS, lambda builder, a, b: builder.fadd(a, b))
_operator(operator.sub, FLOATS, FLOATS, lambda builder, a, b: builder.fsub(a, b))
_operator(operator.mul, FLOATS, FLOATS, lambda builder, a, b: builder.fmul(a, b))
_operator(operator.truediv, FLOATS, FLOATS, lambda builder, a, b: builder.fdiv(a, b))
_operator(operator.lt, FLOATS, MASK, lambda builder, a, b: builder.fcmp_ordered("<", a, b))
_operator(operator.le, FLOATS, MASK, lambda builder, a, b: builder.fcmp_ordered("<=", a, b))
_operator(operator.and_, MASK, MASK, lambda builder, a, b: builder.and_(a, b))
_operator(operator.lt, WORDS, MASK, lambda builder, a, b: builder.icmp_unsigned("<", a, b))
_operator(operator.add, WORDS, WORDS, lambda builder, a, b: builder.add(a, b))
_operator(operator.xor, WORDS, WORDS, lambda builder, a, b: builder.xor(a, b))
_operator(operator.mul, WORDS, WORDS, lambda builder, a, b: builder.mul(a, b))
_operator(operator.mod, WORDS, WORDS, lambda builder, a, b: builder.urem(a, b))
_operator(operator.and_, WORDS, WORDS, lambda builder, a, b: builder.and_(a, b))
_operator(operator.or_, WORDS, WORDS, lambda builder, a, b: builder.or_(a, b))
_operator(operator.lshift, WORDS, WORDS, lambda builder, a, b: builder.shl(a, b))
_operator(operator.rshift, WORDS, WORDS, lambda builder, a, b: builder.lshr(a, b))


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(a.type, [a.type] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32"), [a, b, c])


def _square_root(builder: Any, a: Any) -> Any:
    kind = ir.FunctionType(a.type, [a.type])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.v{LANES}f32"), [a])


def _high_word(builder: Any, a: Any, b: Any) -> Any:
    wide = ir.VectorType(ir.IntType(64), LANES)
    product = builder.mul(builder.zext(a, wide), builder.zext(b, wide))
    return builder.trunc(builder.lshr(product, ir.Constant(wide, [32] * LANES)), a.type)


_negative = _operation((FLOATS,), FLOATS, lambda builder, a: builder.fneg(a))


@overload(operator.neg)
def _negate(a):  # type: ignore[no-untyped-def]
    return (lambda a: _negative(a)) if a == FLOATS else None


fma = _operation((FLOATS, FLOATS, FLOATS), FLOATS, _fma)
"""a * b + c, rounded once."""

maximum = _operation(
    (FLOATS, FLOATS), FLOATS, lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b)
)
"""The larger of a and b in each lane, b where a is not a number."""

minimum = _operation(
    (FLOATS, FLOATS), FLOATS, lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b)
)
"""The smaller of a and b in each lane, b where a is not a number."""

select = _operation((MASK, FLOATS, FLOATS), FLOATS, lambda builder, mask, a, b: builder.select(mask, a, b))
"""In each lane a where the mask is set, else b."""

square_root = _operation((FLOATS,), FLOATS, _square_root)
"""The square root, rounded correctly."""

high_word = _operation((WORDS, WORDS), WORDS, _high_word)
"""The upper 32 bits of the 64-bit products; * gives the lower ones."""

words = _operation((WORDS,), WORDS, lambda builder, a: a)
"""A number as a vector of words."""

to_float = _operation((WORDS,), FLOATS, lambda builder, a: builder.sitofp(a, ir.VectorType(ir.FloatType(), LANES)))
"""Words below 2^31 as floats."""


def _row(context: Any, builder: Any, array: types.Array, value: Any, row: Any) -> Any:
    """Pointer to a row of a (rows, LANES) array as a vector."""
    data = context.make_array(array)(context, builder, value).data
    offset = builder.mul(row, ir.Constant(row.type, LANES))
    kind = context.get_value_type(Vector(array.dtype))
    return builder.bitcast(builder.gep(data, [offset]), kind.as_pointer())


@intrinsic  # type: ignore[misc]
def load(_: Any, array: Any, row: Any) -> Any:
    """A row of a (rows, LANES) array of float32 or uint32."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load(_row(context, builder, signature.args[0], *values), align=4)

    return Vector(array.dtype)(array, types.intp), codegen


@intrinsic  # type: ignore[misc]
def store(_: Any, array: Any, row: Any, vector: Any) -> Any:
    """Overwrites a row of a (rows, LANES) array with a vector, or with a number in every lane."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = Vector(signature.args[0].dtype)
        value = _broadcast(context, builder, values[2], signature.args[2], kind)
        builder.store(value, _row(context, builder, signature.args[0], *values[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen
