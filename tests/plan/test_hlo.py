"""The reader of optimised HLO: small programs that are really compiled here, and XLA:TPU's lines as printed."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from clipjax import parallel
from clipjax.plan import hlo
from clipjax.train import losses


def compiled(local, inputs, outputs, *shapes, devices=4):
    mesh = parallel.data_mesh(jax.devices()[:devices])
    run = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False))
    rows = NamedSharding(mesh, P("data"))
    arguments = [jax.ShapeDtypeStruct(s, jnp.float32, sharding=rows) for s in shapes]
    return hlo.Program(run.lower(*arguments).compile().as_text())


def found(program):
    return {c.kind: (c.count, c.bytes) for c in program.collectives()}


ROWS = P("data")
SHIFT = [(i, (i + 1) % 4) for i in range(4)]


@pytest.mark.parametrize(
    ("local", "outputs", "kind", "size"),
    [
        (lambda x: jax.lax.psum(x, "data"), P(), "all-reduce", 2 * 6 * 4),
        (lambda x: jax.lax.all_gather(x, "data", tiled=True), P(), "all-gather", 8 * 6 * 4),
        (lambda x: jax.lax.ppermute(x, "data", SHIFT), ROWS, "collective-permute", 2 * 6 * 4),
        (lambda x: jax.lax.all_to_all(x.reshape(4, 3), "data", 0, 0), ROWS, "all-to-all", 12 * 4),
        (lambda x: jax.lax.psum_scatter(x.reshape(4, 3), "data"), ROWS, "reduce-scatter", 12 * 4),
    ],
)
def test_every_kind_with_its_bytes(local, outputs, kind, size):
    """[8, 6] float32 over four devices: two rows each."""
    assert found(compiled(local, ROWS, outputs, (8, 6))) == {kind: (1, size)}


def test_a_loop_counts_as_often_as_it_runs():
    def local(x):
        return jax.lax.fori_loop(0, 7, lambda _, y: jax.lax.ppermute(y, "data", SHIFT) * 2, x)

    assert found(compiled(local, ROWS, ROWS, (8, 6))) == {"collective-permute": (7, 7 * 2 * 6 * 4)}


def test_no_collective_where_devices_do_not_meet():
    assert found(compiled(lambda x: jnp.sin(x) @ x.T, ROWS, ROWS, (8, 6))) == {}


def test_the_ring_loss_sends_each_text_round_twice():
    """Forward text, ids and column sums, backward the gradient beside them; n turns each."""
    mesh = parallel.data_mesh(jax.devices()[:4])
    loss = lambda a, b: losses.ring_softmax(a, b, jnp.float32(20), mesh=mesh)  # noqa: E731
    rows = NamedSharding(mesh, P("data"))
    given = jax.ShapeDtypeStruct((32, 16), jnp.float32, sharding=rows)
    program = hlo.Program(jax.jit(jax.grad(loss, (0, 1))).lower(given, given).compile().as_text())
    text = 8 * 16 * 4
    count, size = found(program)["collective-permute"]
    assert count % 4 == 0
    assert size >= 4 * (text + 2 * text)


def test_hbm_traffic_is_what_a_copying_program_moves():
    """One fusion reads both [64, 64] operands and writes one: nothing else touches memory."""
    both = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    text = jax.jit(lambda a, b: jnp.sin(a) + b).lower(both, both).compile().as_text()
    assert hlo.Program(text).hbm_bytes() == 3 * 64 * 64 * 4


def test_a_loops_traffic_counts_as_often_as_it_runs():
    one = jax.ShapeDtypeStruct((64, 64), jnp.float32)

    def traffic(turns):
        run = jax.jit(lambda a: jax.lax.fori_loop(0, turns, lambda _, y: jnp.sin(y) @ a, a))
        return hlo.Program(run.lower(one).compile().as_text()).hbm_bytes()

    turn = 5 * 64 * 64 * 4  # sin reads and writes, the product reads two and writes one
    assert traffic(9) - traffic(5) == pytest.approx(4 * turn, rel=0.01)  # counters: a few bytes a turn


TPU = """HloModule jit_step, is_scheduled=true

%fused.1 (p: bf16[64,64]) -> bf16[64,64] {
  %p = bf16[64,64]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %all-gather.1 = bf16[64,256]{1,0:T(8,128)(2,1)} all-gather(%p), channel_id=8, frontend_attributes={chain_id="5"}
}

%fused.2 (p: bf16[64,64]) -> bf16[64,64] {
  %p = bf16[64,64]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %all-gather.2 = bf16[64,256]{1,0:T(8,128)(2,1)S(1)} all-gather(%p), channel_id=8, frontend_attributes={chain_id="5"}
}

ENTRY %main (a: f32[64,224,224,3], b: bf16[64,64]) -> bf16[64,256] {
  %a = f32[64,224,224,3]{2,1,3,0:T(8,128)} parameter(0)
  %b = bf16[64,64]{1,0:T(8,128)(2,1)} parameter(1)
  %start = (f32[8]{0:T(128)S(1)}, f32[8]{0:T(128)S(1)}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%c), channel_id=1
  %c = f32[8]{0:T(128)S(1)} fusion(%a), kind=kLoop, calls=%fused.9
  %done = f32[8]{0:T(128)S(1)} collective-permute-done(%start)
  %f = bf16[64,256]{1,0:T(8,128)(2,1)S(1)} fusion(%b), kind=kLoop, calls=%fused.1
  ROOT %g = bf16[64,256]{1,0:T(8,128)(2,1)} fusion(%f), kind=kLoop, calls=%fused.2
}
"""  # noqa: E501


def test_a_collective_spread_over_fusions_is_one():
    assert found(hlo.Program(TPU)) == {"all-gather": (1, 64 * 256 * 2), "collective-permute": (1, 32)}


def test_fast_memory_is_not_counted_and_tiles_are_padded():
    """%a is 224 -> 256 columns wide in memory; %c and %f lie in fast memory; %b's 64 columns take 128."""
    a, b, g = 64 * 3 * 224 * 256 * 4, 64 * 128 * 2, 64 * 256 * 2
    assert hlo.Program(TPU).hbm_bytes() == a + b + g


LOOP = """HloModule jit_step

%condition (c: (s32[], f32[8])) -> pred[] {
  %c = (s32[], f32[8]) parameter(0)
  %i = s32[] get-tuple-element(%c), index=0
  %n = s32[] constant(16)
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

%body (b: (s32[], f32[8])) -> (s32[], f32[8]) {
  %b = (s32[], f32[8]) parameter(0)
  %x = f32[8]{0} get-tuple-element(%b), index=1
  %y = f32[8]{0} collective-permute(%x), channel_id=1
  ROOT %t = (s32[], f32[8]) tuple(%x, %y)
}

ENTRY %main (a: (s32[], f32[8])) -> (s32[], f32[8]) {
  %a = (s32[], f32[8]) parameter(0)
  ROOT %w = (s32[], f32[8]) while(%a), condition=%condition, body=%body
}
"""


def test_a_loop_without_a_note_is_read_from_its_condition():
    """XLA:TPU leaves `known_trip_count` out of what it prints."""
    assert found(hlo.Program(LOOP)) == {"collective-permute": (16, 16 * 32)}


SLICED = """HloModule jit_step

%fused (p: f32[3,64], q: f32[64]) -> f32[64] {
  %p = f32[3,64]{1,0} parameter(0)
  %q = f32[64]{0} parameter(1)
  %flat = f32[192]{0} bitcast(%p)
  %s = f32[64]{0} slice(%flat), slice={[128:192]}
  ROOT %m = f32[64]{0} multiply(%s, %q)
}

ENTRY %main (a: f32[3,64], b: f32[64]) -> f32[64] {
  %a = f32[3,64]{1,0} parameter(0)
  %b = f32[64]{0} parameter(1)
  ROOT %f = f32[64]{0} fusion(%a, %b), kind=kLoop, calls=%fused
}
"""


def test_a_fusion_that_slices_reads_the_slice():
    assert hlo.Program(SLICED).hbm_bytes() == 3 * 64 * 4
    assert hlo.Program(SLICED.replace("slice(%flat)", "sine(%flat)")).hbm_bytes() == (3 + 1 + 1) * 64 * 4


def test_sizes():
    assert hlo.size("(f32[2,3]{1,0}, /*index=5*/pred[7]{0}, u32[]{:S(2)}, bf16[], s4[6])") == 24 + 7 + 4 + 2 + 3
    assert hlo.size("f32[5,130]{0,1:T(8,128)}", physical=True) == 128 * 136 * 4
    assert hlo.sent([hlo.Collective("all-reduce", 1, 10), hlo.Collective("all-gather", 1, 7)]) == 27
