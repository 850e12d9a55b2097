"""What is read off a compiled program, on a module small enough to count by hand."""

import pytest

from skillrl.planning import hlo

MODULE = """\
HloModule jit_step, is_scheduled=true

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add = f32[] add(%a, %b)
}

%product (p0: f32[4,8], p1: f32[8,2]) -> f32[4,2] {
  %p0 = f32[4,8]{1,0} parameter(0)
  %p1 = f32[8,2]{1,0} parameter(1)
  ROOT %dot.1 = f32[4,2]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (turn: (s32[], f32[4,8], f32[2,2])) -> (s32[], f32[4,8], f32[2,2]) {
  %turn = (s32[], f32[4,8]{1,0}, f32[2,2]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%turn), index=0
  %x = f32[4,8]{1,0} get-tuple-element(%turn), index=1
  %shard = f32[2,2]{1,0} get-tuple-element(%turn), index=2
  %all-gather.1 = f32[8,2]{1,0} all-gather(%shard), channel_id=1, dimensions={0}
  %made = f32[4,2]{1,0} fusion(%x, %all-gather.1), kind=kOutput, calls=%product
  %all-reduce.1 = f32[4,2]{1,0} all-reduce(%made), channel_id=2, to_apply=%sum
  ROOT %next = (s32[], f32[4,8]{1,0}, f32[2,2]{1,0}) tuple(%i, %x, %shard)
}

%more (turn: (s32[], f32[4,8], f32[2,2])) -> pred[] {
  %turn = (s32[], f32[4,8]{1,0}, f32[2,2]{1,0}) parameter(0)
  ROOT %yes = pred[] constant(true)
}

ENTRY %main (a: f32[4,8], b: f32[2,2], c: s32[16]) -> f32[2] {
  %a = f32[4,8]{1,0} parameter(0)
  %b = f32[2,2]{1,0} parameter(1)
  %c = s32[16]{0} parameter(2)
  %start = s32[] constant(0)
  %triple = (s32[], f32[4,8]{1,0}, f32[2,2]{1,0}) tuple(%start, %a, %b)
  %loop = (s32[], f32[4,8]{1,0}, f32[2,2]{1,0}) while(%triple), condition=%more, body=%body, \
backend_config={"known_trip_count":{"n":"3"}}
  %begin = (s32[2]{0}, s32[16]{0}) all-gather-start(%small), channel_id=3, dimensions={0}
  %small = s32[2]{0} slice(%c), slice={[0:2]}
  %end = s32[16]{0} all-gather-done(%begin)
  %line = f32[32]{0} bitcast(%a)
  ROOT %reduce-scatter.1 = f32[4]{0} reduce-scatter(%line), channel_id=4, to_apply=%sum
}
"""


def test_collectives_and_their_bytes_by_hand():
    cost = hlo.count(MODULE)
    # In three turns of the loop, and once each after it; what ends one is not another.
    assert cost.collectives == {"all-gather": 4, "all-reduce": 3, "reduce-scatter": 1}
    assert cost.sent == {
        "all-gather": 3 * 16 * 4 + 16 * 4,  # results
        "all-reduce": 3 * 8 * 4,
        "reduce-scatter": 32 * 4,  # its operand
    }


def test_operations_within_fusions_count_as_often_as_the_loop_turns():
    assert hlo.count(MODULE).flops == 3 * 2 * (4 * 2) * 8


def test_bytes_of_what_runs_by_hand():
    # Three turns: the product reads 32 + 16 numbers and writes 8. Once: a slice of 2 numbers.
    assert hlo.count(MODULE).bytes == 3 * (32 + 16 + 8) * 4 + 2 * 2 * 4


def test_numbers_that_stand_in_for_narrower_ones_count_as_those():
    cost = hlo.count(MODULE, hlo.WIDTHS | {"f32": 2})
    assert cost.sent["all-reduce"] == 3 * 8 * 2
    assert cost.sent["all-gather"] == 3 * 16 * 2 + 16 * 4  # whole numbers stay as they are


def test_a_loop_of_unknown_length_counts_once():
    text = MODULE.replace('backend_config={"known_trip_count":{"n":"3"}}', "metadata={}")
    assert hlo.count(text).collectives["all-reduce"] == 1


@pytest.mark.parametrize(
    ("shape", "size"),
    [("f32[]", 4), ("bf16[3,5]{1,0:T(8,128)}", 30), ("(pred[7], s8[2,2])", 11), ("f32[0]", 0)],
)
def test_bytes_of_a_shape(shape, size):
    assert hlo.size(shape) == size
