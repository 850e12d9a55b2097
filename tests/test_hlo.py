"""The count behind `benchmarks/compiled.py`, on a module small enough to count by hand."""

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "hlo.py"
MODULE = """\
HloModule jit_step, is_scheduled=true

%product (p0: bf16[4,8], p1: bf16[8,2]) -> f32[4,2] {
  %p0 = bf16[4,8]{1,0} parameter(0)
  %p1 = bf16[8,2]{1,0} parameter(1)
  ROOT %dot.1 = f32[4,2]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%take (p0: f32[100,4], p1: s32[]) -> f32[1,4] {
  %p0 = f32[100,4]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %row = f32[1,4]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={1,4}
}

%put (p0: f32[100,4], p1: f32[1,4], p2: s32[]) -> f32[100,4] {
  %p0 = f32[100,4]{1,0} parameter(0)
  %p1 = f32[1,4]{1,0} parameter(1)
  %twice = f32[1,4]{1,0} add(%p1, %p1)
  %p2 = s32[] parameter(2)
  %zero = s32[] constant(0)
  ROOT %all = f32[100,4]{1,0} dynamic-update-slice(%p0, %twice, %p2, %zero)
}

%body (turn: (s32[], f32[100,4])) -> (s32[], f32[100,4]) {
  %turn = (s32[], f32[100,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%turn), index=0
  %stack = f32[100,4]{1,0} get-tuple-element(%turn), index=1
  %fusion.take = f32[1,4]{1,0} fusion(%stack, %i), kind=kLoop, calls=%take
  %fusion.put = f32[100,4]{1,0} fusion(%stack, %fusion.take, %i), kind=kLoop, calls=%put
  ROOT %next = (s32[], f32[100,4]{1,0}) tuple(%i, %fusion.put)
}

%more (turn: (s32[], f32[100,4])) -> pred[] {
  %turn = (s32[], f32[100,4]{1,0}) parameter(0)
  ROOT %yes = pred[] constant(true)
}

ENTRY %main (a: bf16[4,8], b: bf16[8,2], c: f32[100,4]) -> f32[4,2] {
  %a = bf16[4,8]{1,0} parameter(0)
  %b = bf16[8,2]{1,0} parameter(1)
  %c = f32[100,4]{1,0} parameter(2)
  %start = s32[] constant(0)
  %pair = (s32[], f32[100,4]{1,0}) tuple(%start, %c)
  %loop = (s32[], f32[100,4]{1,0}) while(%pair), condition=%more, body=%body, \
backend_config={"known_trip_count":{"n":"3"}}
  %attended = (bf16[2,4,3,8]{3,1,2,0}, u8[0]{0}) custom-call(%q, %k, %v), \
custom_call_target="__cudnn$fmhaSoftmax"
  %q = bf16[2,4,3,8]{3,2,1,0} bitcast(%a)
  %k = bf16[2,5,3,8]{3,2,1,0} bitcast(%a)
  %v = bf16[2,5,3,8]{3,2,1,0} bitcast(%a)
  %gathering = (bf16[4,8]{1,0}, bf16[16,8]{1,0}) all-gather-start(%a), dimensions={0}
  %gathered = bf16[16,8]{1,0} all-gather-done(%gathering)
  %sum = f32[100,4]{1,0} all-reduce(%c), to_apply=%add
  ROOT %out = f32[4,2]{1,0} fusion(%a, %b), kind=kCustom, calls=%product
}
"""


@pytest.fixture(scope="module")
def hlo():
    spec = importlib.util.spec_from_file_location("hlo_of_benchmarks", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_kernels_by_hand(hlo):
    take, put, attention, gathered, summed, product = hlo.kernels(MODULE)
    # A slice is read, not the stack (and the number that says where); three turns.
    assert (take.kind, take.times, take.read, take.written) == ("move", 3, 16 + 4, 16)
    # An update in place writes the update; adding is no mere move.
    assert (put.kind, put.times, put.read, put.written) == ("other", 3, 16 + 4, 16)
    # 2 rows of 4 queries and 5 keys, 3 heads of 8 numbers: scores and mixing, two each.
    assert (attention.kind, attention.flops) == ("attention", 4 * 2 * 4 * 3 * 8 * 5)
    assert (product.kind, product.read, product.written) == ("product", 64 + 32, 32)
    assert product.flops == 2 * 4 * 2 * 8
    # What arrives, not what is sent as well; the link's time is not the memory's.
    assert [(x.kind, x.written) for x in (gathered, summed)] == [("sent", 256), ("sent", 1600)]
    assert gathered.seconds(1, 1) == 0


def test_what_is_not_understood_is_refused(hlo):
    odd = MODULE.replace("__cudnn$fmhaSoftmax", "__cublas$gemm")
    with pytest.raises(ValueError, match=r"attended.*cuBLAS"):
        hlo.kernels(odd)


def test_the_least_time_is_of_what_binds(hlo):
    kernel = hlo.Kernel("product", 3, read=60, written=40, flops=500)
    assert kernel.seconds(bandwidth=10, flops=100) == 3 * 10  # bytes bind
    assert kernel.seconds(bandwidth=100, flops=100) == 3 * 5
