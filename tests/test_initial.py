"""Starting from another run: weights taken, refused, sharded, resumed."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import toy
from toy import compile_cache  # noqa: F401

from videoar_jax.core.export import load_weights, write_export
from videoar_jax.core.manifest import CheckpointError
from videoar_jax.core.mesh import MeshConfig, make_mesh, unbox
from videoar_jax.tokenizer.autoencoder import make_tokenizer
from videoar_jax.train.initial import fill_past, start_from
from videoar_jax.train.state import Origin, create_state


@pytest.fixture(scope='module')
def first(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('first')
  toy.train(workdir, num_steps=4)
  return workdir


def _new_state(updates=None, mesh=None):
  return create_state(
    updates or [toy.make_update()],
    seed=1,
    num_steps=4,
    mesh=mesh or make_mesh(MeshConfig(), jax.devices()[:1]),
  )


def _origin(path, **changes):
  about = {'path': str(path), 'recipe': 'tokenizer', 'net': 'toy', **changes}
  return Origin(**about)


def test_networks_begin_with_that_of_another_name_or_fresh(first):
  names = ('one', 'two', 'judge', 'fresh')
  updates = [
    toy.make_update(net=name, ema_decay=0.9 * (name != 'two')) for name in names
  ]
  before = _new_state(updates)
  origins = {
    'one': _origin(first),
    'two': _origin(first),
    'judge': _origin(first, net='judge', optional=True),
  }
  state = start_from(before, origins)
  wanted = load_weights(first).nets['toy']
  for name in ('one', 'two'):
    jax.tree.map(np.testing.assert_array_equal, state.nets[name].params, wanted)
  assert state.nets['two'].ema is None
  for name in ('judge', 'fresh'):
    assert state.nets[name] is before.nets[name]
  # A step gives its input's buffers away: no array may serve twice.
  buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state.nets)]
  assert len(set(buffers)) == len(buffers)


def test_parameters_and_their_average_are_the_average_there(first):
  before = _new_state()
  state = start_from(before, {'toy': _origin(first)})
  wanted = load_weights(first).nets['toy']
  for tree in (state.nets['toy'].params, state.nets['toy'].ema):
    jax.tree.map(np.testing.assert_array_equal, tree, wanted)
  # A step gives its input's buffers away: no array may serve twice.
  buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state.nets)]
  assert len(set(buffers)) == len(buffers)
  jax.tree.map(
    np.testing.assert_array_equal,
    state.nets['toy'].opt_state,
    before.nets['toy'].opt_state,
  )
  assert int(state.step) == 0


def test_arrays_stay_where_the_mesh_wants_them(first):
  mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2), jax.devices())
  before = _new_state(mesh=mesh)
  state = start_from(before, {'toy': _origin(first)})
  places = jax.tree.map(lambda x: x.sharding, before.nets)
  assert jax.tree.map(lambda x: x.sharding, state.nets) == places
  assert not state.nets['toy'].params['w_in'].sharding.is_fully_replicated
  jax.tree.map(
    np.testing.assert_array_equal,
    state.nets['toy'].params,
    load_weights(first).nets['toy'],
  )


def test_what_does_not_fit_is_refused_by_name(first, tmp_path):
  with pytest.raises(CheckpointError, match='nowhere: no such checkpoint'):
    start_from(_new_state(), {'toy': _origin(tmp_path / 'nowhere')})
  with pytest.raises(CheckpointError, match='wanted a generator'):
    start_from(_new_state(), {'toy': _origin(first, recipe='generator')})
  with pytest.raises(ValueError, match='no other there, only toy'):
    start_from(_new_state(), {'toy': _origin(first, net='other')})
  loaded = load_weights(first)
  wrong = dict(loaded.nets['toy'], w_in=np.zeros((3, 4), np.float32))
  wrong['more'] = wrong.pop('gain')
  write_export(tmp_path / 'wrong', {'toy': wrong}, loaded.config)
  with pytest.raises(ValueError, match='gain is missing, and 2 more arrays'):
    start_from(_new_state(), {'toy': _origin(tmp_path / 'wrong')})


def test_a_run_starts_there_and_resumes_without_it(first, tmp_path, capsys):
  source = tmp_path / 'source'
  shutil.copytree(first, source)
  updates = [toy.make_update(origin=_origin(source))]
  workdir = tmp_path / 'run'
  toy.train(workdir, num_steps=3, updates=updates)
  assert 'starting from the weights of' in capsys.readouterr().out
  shutil.rmtree(source)
  resumed = toy.train(workdir, num_steps=6, updates=updates)
  assert 'resumed from checkpoint 3' in capsys.readouterr().out
  scratch = toy.train(tmp_path / 'scratch', num_steps=6)
  assert not np.allclose(
    resumed.nets['toy'].params['w_in'], scratch.nets['toy'].params['w_in']
  )


def test_past_slices_begin_at_random_and_frames_are_encoded_as_they_were():
  model = make_tokenizer(tiny.TOKENIZER)
  clip = jax.random.uniform(jax.random.key(0), (1, 3, 8, 8, 3), minval=-1)
  given = jax.device_get(
    unbox(jax.jit(model.init)(jax.random.key(1), clip[:, :1])['params'])
  )
  filled = fill_past(given, seed=3)

  @jax.jit
  def encode(params, video):
    return model.apply({'params': params}, video, method='encode')

  np.testing.assert_array_equal(
    encode(given, clip[:, :1]), encode(filled, clip[:, :1])
  )
  assert np.abs(encode(given, clip) - encode(filled, clip)).max() > 1e-2
  kernel = filled['encoder']['level0_block0']['conv1']['kernel']
  wanted = np.prod(kernel.shape[:-1]) ** -0.5
  assert kernel[:-1].std() == pytest.approx(wanted, rel=0.1)
  jax.tree.map(np.testing.assert_array_equal, filled, fill_past(given, seed=3))
  with pytest.raises(ValueError, match='learnt from past frames already'):
    fill_past(filled, seed=3)
  with pytest.raises(ValueError, match="inflation='ones': use zeros or random"):
    start_from(_new_state(), {}, inflation='ones')


def test_frames_of_a_clip_start_as_single_frames():
  """An image tokenizer's weights code each latent's last frame alone."""
  model = make_tokenizer(tiny.TOKENIZER)
  video = jax.random.uniform(
    jax.random.key(0), (1, 3, 8, 8, 3), minval=-1, maxval=1
  )

  @jax.jit
  def trained():
    params = unbox(model.init(jax.random.key(1), video[:, :1])['params'])

    def image_loss(params):
      decoded = model.apply({'params': params}, video[:, :1])
      return jnp.mean(jnp.square(decoded - video[:, :1]))

    grads = jax.grad(image_loss)(params)
    return jax.tree.map(lambda x, g: x - 0.1 * g, params, grads)

  @jax.jit
  def encode(params, video):
    return model.apply({'params': params}, video, method='encode')

  params = trained()
  latents = encode(params, video)
  for latent, frame in ((0, 0), (1, 2)):
    alone = encode(params, video[:, frame : frame + 1])
    np.testing.assert_allclose(
      latents[:, latent], alone[:, 0], rtol=1e-4, atol=1e-5
    )
